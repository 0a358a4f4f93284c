/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/replay_merge.h"

/* Merged containers within each other: choice, message, tool_calls, call, function make five. */
#define MERGE_DEPTH 24

static bool absorb(struct replay_merge *m, struct replay_node *node, struct json_value value);

static bool fail(struct replay_merge *m, enum replay_flaw flaw)
{
    replay_blame(m->facts, flaw);
    return false;
}

/* --- the tree --- */

struct replay_node *replay_node_member(const struct replay_node *object, struct span name)
{
    for (struct replay_node *node = object->first; node; node = node->next)
        if (span_equal(node->name, name))
            return node;
    return NULL;
}

struct json_value replay_node_value(const struct replay_node *node)
{
    if (!replay_node_is_text(node))
        return (struct json_value){.kind = node ? node->kind : JSON_MORE, .raw = node ? node->raw : SPAN("")};
    /* A word that is replaced and never appended to: what is around its inside are its quotes. */
    struct span inside = node->text.inside;
    return (struct json_value){JSON_STRING, span_of(inside.ptr - 1, inside.len + 2)};
}

static struct replay_node *add_last(struct replay_merge *m, struct replay_node *parent)
{
    struct replay_node *node = ARENA_NEW(m->arena, struct replay_node);
    node->kind = JSON_MORE;
    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->count++;
    return node;
}

static struct span keep(struct replay_merge *m, const struct replay_walk *walk)
{
    return walk->name.ptr == walk->kept ? arena_copy(m->arena, walk->name) : walk->name;
}

/* The member that the walk stands at. NULL when there are too many. */
static struct replay_node *member_of(struct replay_merge *m, struct replay_node *object, const struct replay_walk *walk)
{
    bool message = m->chat && object->choice && replay_named(walk, SPAN("delta"));
    struct replay_node *node = replay_node_member(object, message ? SPAN("message") : walk->name);
    if (node)
        return node;
    if (object->count == REPLAY_MEMBERS_MAX)
        return NULL;
    node = add_last(m, object);
    node->name = message ? SPAN("message") : keep(m, walk);
    node->spelled = message ? SPAN("\"message\"") : walk->spelled;
    node->open = message;
    return node;
}

/* The element of that index, in order. NULL when there are too many. */
static struct replay_node *element_of(struct replay_merge *m, struct replay_node *array, uint64_t index)
{
    struct replay_node **at = &array->first;
    if (array->recent && array->recent->index == index)
        return array->recent;
    while (*at && (*at)->index < index)
        at = &(*at)->next;
    if (!*at || (*at)->index != index) {
        if (array->count == REPLAY_INDEXED_MAX)
            return NULL;
        struct replay_node *node = ARENA_NEW(m->arena, struct replay_node);
        *node = (struct replay_node){
            .kind = JSON_MORE, .index = index, .open = true, .choice = array == m->choices, .next = *at};
        *at = node;
        array->count++;
    }
    return array->recent = *at;
}

/* --- merging values --- */

/* Sound is sent in base64: behind padding, another piece would be no base64. */
static bool ends_padded(const struct replay_node *node)
{
    struct span last = node->last_text->inside;
    return span_equal(node->name, SPAN("data")) && last.len && last.ptr[last.len - 1] == '=';
}

static bool append_text(struct replay_merge *m, struct replay_node *node, struct span inside)
{
    if (inside.len == 0)
        return true;
    if (node->text.inside.len == 0) {
        node->text.inside = inside;
        return true;
    }
    if (ends_padded(node))
        return fail(m, REPLAY_MALFORMED);
    struct replay_text *text = ARENA_NEW(m->arena, struct replay_text);
    text->inside = inside;
    node->last_text->next = text;
    node->last_text = text;
    return true;
}

static bool is_unset(const struct replay_node *node)
{
    return node->kind == JSON_MORE || node->kind == JSON_NULL;
}

static bool absorb_string(struct replay_merge *m, struct replay_node *node, struct span raw)
{
    struct span inside = replay_inside(raw);
    if (is_unset(node)) {
        node->kind = JSON_STRING;
        node->text = (struct replay_text){.inside = inside};
        node->last_text = &node->text;
    } else if (node->kind != JSON_STRING) {
        return fail(m, REPLAY_MALFORMED);
    } else if (!replay_is_word(node->name)) {
        if (!append_text(m, node, inside))
            return false;
    } else if (inside.len) {
        node->text.inside = inside;
    }
    if (replay_is_word(node->name))
        return true;
    m->appended++;
    m->target = node;
    m->addition = inside;
    return true;
}

static bool absorb_scalar(struct replay_merge *m, struct replay_node *node, struct json_value value)
{
    bool container = node->kind == JSON_OBJECT_OPEN || node->kind == JSON_ARRAY_OPEN;
    if (container || node->kind == JSON_STRING)
        return fail(m, REPLAY_MALFORMED);
    node->kind = value.kind;
    node->raw = value.raw;
    return true;
}

/* How grave a category's finding is; what was filtered is refused before. */
static unsigned gravity(struct json_value category)
{
    static const struct span severities[] = {SPAN_INIT("safe"), SPAN_INIT("low"), SPAN_INIT("medium"),
                                             SPAN_INIT("high")};
    unsigned grave = 0;
    struct replay_walk walk;
    if (category.kind != JSON_OBJECT_OPEN || !replay_walk_object(&walk, category.raw))
        return 0;
    while (replay_walk_next(&walk)) {
        if (replay_named(&walk, SPAN("detected")) && walk.value.kind == JSON_TRUE)
            grave += 8;
        if (!replay_named(&walk, SPAN("severity")))
            continue;
        for (unsigned i = 0; i < ARRAY_LEN(severities); i++)
            if (span_equal(severities[i], replay_plain(walk.value)))
                grave += i;
    }
    return grave;
}

static bool absorb_finding(struct replay_node *node, struct json_value value)
{
    struct json_value old = {node->kind, node->raw};
    if (!is_unset(node) && gravity(value) < gravity(old))
        return true;
    node->kind = value.kind;
    node->raw = value.raw;
    return true;
}

static bool absorb_member(struct replay_merge *m, struct replay_node *object, const struct replay_walk *walk)
{
    if (replay_is_report(walk->name) && replay_filtered(walk->value))
        return fail(m, REPLAY_FILTERED);
    if (object->choice) {
        if (replay_named(walk, SPAN("content_filter_offsets")))
            return true;
        if (replay_named(walk, SPAN("error")) && !replay_is_empty(walk->value))
            return fail(m, REPLAY_ERROR);
        if (replay_named(walk, m->chat ? SPAN("message") : SPAN("delta")))
            return fail(m, REPLAY_MALFORMED);
    }
    struct replay_node *node = member_of(m, object, walk);
    if (!node)
        return fail(m, REPLAY_MALFORMED);
    if (span_equal(object->name, SPAN("content_filter_results")))
        return absorb_finding(node, walk->value);
    return absorb(m, node, walk->value);
}

static bool absorb_members(struct replay_merge *m, struct replay_node *object, struct span raw)
{
    struct replay_walk walk;
    if (m->depth == MERGE_DEPTH || !replay_walk_object(&walk, raw))
        return fail(m, REPLAY_MALFORMED);
    m->depth++;
    while (replay_walk_next(&walk))
        if (!absorb_member(m, object, &walk))
            return false;
    m->depth--;
    return !walk.bad || fail(m, REPLAY_MALFORMED);
}

/* An object is only looked into when there is a second one to merge with it. */
static bool absorb_object(struct replay_merge *m, struct replay_node *node, struct span raw)
{
    if (is_unset(node)) {
        node->kind = JSON_OBJECT_OPEN;
        node->raw = raw;
        if (!node->open) {
            m->otherwise++;
            return true;
        }
        node->merged = true;
    } else if (node->kind != JSON_OBJECT_OPEN) {
        return fail(m, REPLAY_MALFORMED);
    } else if (!node->merged) {
        node->merged = true;
        m->otherwise++;
        if (!absorb_members(m, node, node->raw))
            return false;
    }
    return absorb_members(m, node, raw);
}

static bool index_of(struct json_value element, uint64_t *ret)
{
    return element.kind == JSON_OBJECT_OPEN && json_value_u64(replay_member(element.raw, SPAN("index")), ret);
}

static bool absorb_indexed(struct replay_merge *m, struct replay_node *array, struct replay_walk *walk)
{
    do {
        uint64_t index;
        struct replay_node *node = index_of(walk->value, &index) ? element_of(m, array, index) : NULL;
        if (!node)
            return fail(m, REPLAY_MALFORMED);
        if (!absorb_object(m, node, walk->value.raw))
            return false;
    } while (replay_walk_next(walk));
    return !walk->bad || fail(m, REPLAY_MALFORMED);
}

static bool absorb_array(struct replay_merge *m, struct replay_node *node, struct span raw)
{
    struct replay_walk walk;
    uint64_t index;
    if (!is_unset(node) && node->kind != JSON_ARRAY_OPEN)
        return fail(m, REPLAY_MALFORMED);
    node->kind = JSON_ARRAY_OPEN;
    node->merged = true;
    if (!replay_walk_array(&walk, raw) || !replay_walk_next(&walk))
        return !walk.bad || fail(m, REPLAY_MALFORMED);
    if (node->count == 0)
        node->indexed = node == m->choices || index_of(walk.value, &index);
    if (node->indexed)
        return absorb_indexed(m, node, &walk);
    m->otherwise++;
    add_last(m, node)->raw = replay_inside(raw);
    return true;
}

static bool absorb(struct replay_merge *m, struct replay_node *node, struct json_value value)
{
    switch (value.kind) {
    case JSON_NULL:
        if (node->kind == JSON_MORE) {
            node->kind = JSON_NULL;
            node->raw = value.raw;
        }
        return true;
    case JSON_STRING:
        return absorb_string(m, node, value.raw);
    case JSON_OBJECT_OPEN:
        return absorb_object(m, node, value.raw);
    case JSON_ARRAY_OPEN:
        return absorb_array(m, node, value.raw);
    default:
        return absorb_scalar(m, node, value);
    }
}

/* --- chunks --- */

void replay_merge_init(struct replay_merge *m, struct arena *arena, bool chat, struct replay_facts *facts)
{
    *m = (struct replay_merge){.arena = arena, .chat = chat, .facts = facts};
    m->root.kind = JSON_OBJECT_OPEN;
    m->root.merged = true;
    m->usage.kind = JSON_MORE;
}

/* Members that are the same in each chunk, and if not, the first that says something. */
static bool is_first_kept(struct span name)
{
    return span_equal(name, SPAN("id")) || span_equal(name, SPAN("created")) || span_equal(name, SPAN("model"));
}

static void set_whole(struct replay_node *node, struct json_value value)
{
    struct json_value old = {node->kind, node->raw};
    bool empty = node->kind == JSON_MORE || replay_is_empty(old);
    if (!empty && (is_first_kept(node->name) || replay_is_empty(value)))
        return;
    node->kind = value.kind;
    node->raw = value.raw;
}

static bool merge_top(struct replay_merge *m, const struct replay_walk *walk)
{
    struct json_value value = walk->value;
    if (replay_named(walk, SPAN("obfuscation"))) {
        m->padding = value.kind == JSON_STRING ? replay_inside(value.raw) : SPAN("");
        return true;
    }
    if (replay_named(walk, SPAN("usage"))) {
        if (value.kind == JSON_OBJECT_OPEN)
            m->usage = value;
        return value.kind == JSON_OBJECT_OPEN || value.kind == JSON_NULL || fail(m, REPLAY_MALFORMED);
    }
    if (replay_named(walk, SPAN("error")) && !replay_is_empty(value))
        return fail(m, REPLAY_ERROR);
    if (replay_named(walk, SPAN("object")) && json_value_is(value, SPAN("error")))
        return fail(m, REPLAY_ERROR);
    if (replay_is_report(walk->name) && replay_filtered(value))
        return fail(m, REPLAY_FILTERED);
    struct replay_node *node = member_of(m, &m->root, walk);
    if (!node)
        return fail(m, REPLAY_MALFORMED);
    if (!replay_named(walk, SPAN("choices"))) {
        set_whole(node, value);
        return true;
    }
    m->choices = node;
    return value.kind == JSON_ARRAY_OPEN ? absorb_array(m, node, value.raw) : fail(m, REPLAY_MALFORMED);
}

static bool merge_members(struct replay_merge *m, struct span data)
{
    struct replay_walk walk;
    bool choices = false, empty = false, usage = false;
    if (!replay_walk_object(&walk, data))
        return fail(m, REPLAY_MALFORMED);
    while (replay_walk_next(&walk)) {
        if (replay_named(&walk, SPAN("choices"))) {
            choices = true;
            empty = replay_is_empty(walk.value);
        }
        usage = usage || (replay_named(&walk, SPAN("usage")) && walk.value.kind == JSON_OBJECT_OPEN);
        if (!merge_top(m, &walk))
            return false;
    }
    m->usage_only = empty && usage;
    return (!walk.bad && choices) || fail(m, REPLAY_MALFORMED);
}

/* --- comparing chunks --- */

static void remember(struct replay_merge *m, struct span data)
{
    m->last_match = m->next_pattern++ % REPLAY_PATTERNS;
    struct replay_pattern *pattern = &m->patterns[m->last_match];
    size_t text = (size_t)(m->addition.ptr - data.ptr), padding = (size_t)(m->padding.ptr - data.ptr);
    struct replay_hole first = {text, text + m->addition.len, true};
    *pattern = (struct replay_pattern){.data = data, .holes = {first}, .hole_count = 1, .target = m->target};
    if (!m->padding.ptr)
        return;
    bool behind = padding > text;
    pattern->holes[behind] = (struct replay_hole){padding, padding + m->padding.len, false};
    pattern->holes[!behind] = first;
    pattern->hole_count = 2;
}

static bool is_plain(unsigned char c)
{
    return c >= ' ' && c < 0x80 && c != '\\';
}

/* The inside of the string whose first byte is at `at`: its end. 0 when it is no valid string. */
static size_t string_end(struct span data, size_t at)
{
    struct json r;
    struct span rest = span_skip(data, at - 1);
    for (size_t i = at; i < data.len && is_plain((unsigned char)data.ptr[i]); i++)
        if (data.ptr[i] == '"')
            return i; /* plain and short, as pieces are */
    json_init(&r, 1);
    return json_next(&r, &rest, false) == JSON_STRING ? at - 1 + r.token_end - 1 : 0;
}

/* Whether `data` is the pattern with other strings in its holes; *ret_text is the one that counts. */
static bool matches(const struct replay_pattern *pattern, struct span data, struct span *ret_text)
{
    size_t at = 0, from = 0; /* in data, in the pattern */
    for (unsigned i = 0; i < pattern->hole_count; i++) {
        const struct replay_hole *hole = &pattern->holes[i];
        size_t fixed = hole->start - from;
        if (data.len - at <= fixed || memcmp(data.ptr + at, pattern->data.ptr + from, fixed) != 0)
            return false;
        size_t start = at + fixed, end = string_end(data, start);
        if (end == 0)
            return false;
        if (hole->text)
            *ret_text = span_of(data.ptr + start, end - start);
        at = end;
        from = hole->end;
    }
    return span_equal(span_skip(data, at), span_skip(pattern->data, from));
}

/* From the last that matched on: choices that take turns, and one that does not, find theirs at once. */
static struct replay_pattern *find_pattern(struct replay_merge *m, struct span data, struct span *ret_text)
{
    for (unsigned i = 0; i < REPLAY_PATTERNS; i++) {
        unsigned at = (m->last_match + i) % REPLAY_PATTERNS;
        if (!m->patterns[at].target || !matches(&m->patterns[at], data, ret_text))
            continue;
        m->last_match = at;
        return &m->patterns[at];
    }
    return NULL;
}

bool replay_merge_chunk(struct replay_merge *m, struct span data)
{
    struct span text;
    const struct replay_pattern *pattern = find_pattern(m, data, &text);
    m->usage_only = false;
    if (pattern)
        return append_text(m, pattern->target, text);
    m->appended = m->otherwise = m->depth = 0;
    m->addition = m->padding = span_of(NULL, 0);
    if (!merge_members(m, data))
        return false;
    if (m->appended == 1 && m->otherwise == 0)
        remember(m, data);
    return true;
}
