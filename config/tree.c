/* SPDX-License-Identifier: Apache-2.0 */
#include "config/tree.h"

#include <yaml.h>

#include "base/table.h"

struct parse {
    yaml_parser_t yaml;
    struct arena *arena;
    struct report *report;
    struct span file;
    bool over;   /* nothing more can be read */
    bool broken; /* what was read is not all that was meant: of no use */
};

static struct place place_of(const struct parse *parse, yaml_mark_t mark)
{
    return (struct place){.file = parse->file, .line = (unsigned)mark.line + 1, .column = (unsigned)mark.column + 1};
}

/* libyaml's own words, with the place where it stumbled. */
static void syntax_error(struct parse *parse)
{
    const yaml_parser_t *yaml = &parse->yaml;
    parse->over = parse->broken = true;
    if (yaml->error == YAML_READER_ERROR) {
        report_error(parse->report, place_of(parse, yaml->mark),
                     "byte %zu is not valid UTF-8 text (%s); save the file as UTF-8 without control characters",
                     yaml->problem_offset, yaml->problem ? yaml->problem : "unreadable");
        return;
    }
    const char *problem = yaml->problem ? yaml->problem : "unreadable";
    /* `name: *` is what everybody writes once. */
    if (yaml->context && strstr(yaml->context, "an alias")) {
        report_error(parse->report, place_of(parse, yaml->context_mark),
                     "an asterisk begins an alias in YAML; quote the text: \"*\"");
        return;
    }
    if (yaml->context)
        report_error(parse->report, place_of(parse, yaml->problem_mark), "not valid YAML: %s %s (begun in line %zu)",
                     problem, yaml->context, yaml->context_mark.line + 1);
    else
        report_error(parse->report, place_of(parse, yaml->problem_mark), "not valid YAML: %s", problem);
}

/* False at the end of what can be read; the event must be deleted otherwise. */
static bool next_event(struct parse *parse, yaml_event_t *event)
{
    if (parse->over)
        return false;
    if (!yaml_parser_parse(&parse->yaml, event)) {
        syntax_error(parse);
        return false;
    }
    return true;
}

static void refuse_anchor(struct parse *parse, const yaml_event_t *event, const yaml_char_t *anchor)
{
    if (anchor)
        report_error(parse->report, place_of(parse, event->start_mark),
                     "anchors and aliases (\"&%s\") are not allowed; write the value out where it is needed",
                     (const char *)anchor);
}

static void refuse_tag(struct parse *parse, const yaml_event_t *event, const yaml_char_t *tag)
{
    if (tag)
        report_error(parse->report, place_of(parse, event->start_mark),
                     "tags (\"%s\") are not allowed; the setting itself decides what a value means", (const char *)tag);
}

static struct node *new_node(struct parse *parse, const yaml_event_t *event, enum node_kind kind)
{
    struct node *node = ARENA_NEW(parse->arena, struct node);
    node->kind = kind;
    node->place = place_of(parse, event->start_mark);
    return node;
}

static struct span scalar_text(struct parse *parse, const yaml_event_t *event)
{
    return arena_copy(parse->arena, span_of((const char *)event->data.scalar.value, event->data.scalar.length));
}

static struct node *read_scalar(struct parse *parse, const yaml_event_t *event)
{
    struct node *node = new_node(parse, event, NODE_SCALAR);
    node->text = scalar_text(parse, event);
    switch (event->data.scalar.style) {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
        node->style = STYLE_QUOTED;
        break;
    case YAML_LITERAL_SCALAR_STYLE:
    case YAML_FOLDED_SCALAR_STYLE:
        node->style = STYLE_BLOCK;
        break;
    default:
        node->style = STYLE_PLAIN;
    }
    refuse_anchor(parse, event, event->data.scalar.anchor);
    refuse_tag(parse, event, event->data.scalar.tag);
    if (memchr(node->text.ptr, '\0', node->text.len))
        report_error(parse->report, node->place, "NUL bytes are not allowed");
    return node;
}

static void append(struct node *parent, struct node *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->count++;
}

static struct node *read_value(struct parse *parse, yaml_event_t *event, unsigned depth);

static void read_list(struct parse *parse, struct node *list, unsigned depth)
{
    yaml_event_t event;
    while (next_event(parse, &event)) {
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        if (!end) {
            struct node *item = read_value(parse, &event, depth);
            if (item)
                append(list, item);
        }
        yaml_event_delete(&event);
        if (end)
            return;
    }
}

/* The key of a pair as a scalar node, or NULL after an error. */
static struct node *read_key(struct parse *parse, yaml_event_t *event, unsigned depth)
{
    struct node *key = read_value(parse, event, depth);
    if (!key)
        return NULL;
    if (key->kind != NODE_SCALAR || key->text.len == 0) {
        report_error(parse->report, key->place, "a key must be a word");
        return NULL;
    }
    if (span_equal(key->text, SPAN("<<")) && key->style == STYLE_PLAIN) {
        report_error(parse->report, key->place, "merge keys (\"<<\") are not allowed; write the settings out");
        return NULL;
    }
    return key;
}

static void read_map(struct parse *parse, struct node *map, unsigned depth)
{
    struct table seen;
    table_init(&seen);
    yaml_event_t event;
    bool end = false;
    while (!end && next_event(parse, &event)) {
        end = event.type == YAML_MAPPING_END_EVENT;
        struct node *key = end ? NULL : read_key(parse, &event, depth);
        yaml_event_delete(&event);
        if (end || !next_event(parse, &event))
            break;
        struct node *value = read_value(parse, &event, depth);
        yaml_event_delete(&event);
        if (!key || !value)
            continue;
        value->key = key->text;
        value->key_place = key->place;
        const struct node *other = table_get(&seen, key->text);
        if (other) {
            report_error(parse->report, key->place, "key \"%.*s\" was already given in line %u", SPAN_ARG(key->text),
                         other->key_place.line);
            continue;
        }
        table_put(&seen, key->text, value);
        append(map, value);
    }
    table_finish(&seen);
}

/* The event was read by the caller, who deletes it. NULL after an error. */
static struct node *read_value(struct parse *parse, yaml_event_t *event, unsigned depth)
{
    struct node *node;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(parse, event);
    case YAML_SEQUENCE_START_EVENT:
        node = new_node(parse, event, NODE_LIST);
        refuse_anchor(parse, event, event->data.sequence_start.anchor);
        refuse_tag(parse, event, event->data.sequence_start.tag);
        break;
    case YAML_MAPPING_START_EVENT:
        node = new_node(parse, event, NODE_MAP);
        refuse_anchor(parse, event, event->data.mapping_start.anchor);
        refuse_tag(parse, event, event->data.mapping_start.tag);
        break;
    case YAML_ALIAS_EVENT:
        report_error(parse->report, place_of(parse, event->start_mark),
                     "anchors and aliases (\"*%s\") are not allowed; quote the text if it begins with an asterisk",
                     (const char *)event->data.alias.anchor);
        return NULL;
    default:
        return NULL;
    }
    if (depth == TREE_DEPTH) {
        report_error(parse->report, node->place, "maps and lists lie more than %d deep inside each other", TREE_DEPTH);
        parse->over = parse->broken = true;
        return NULL;
    }
    if (node->kind == NODE_LIST)
        read_list(parse, node, depth + 1);
    else
        read_map(parse, node, depth + 1);
    return node;
}

static struct node *read_stream(struct parse *parse)
{
    struct node *root = NULL;
    unsigned documents = 0;
    yaml_event_t event;
    bool end = false;
    while (!end && next_event(parse, &event)) {
        end = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT && ++documents == 2) {
            report_error(parse->report, place_of(parse, event.start_mark),
                         "a second document begins; put it into a file of its own in the same directory");
            parse->over = true;
        } else if (event.type != YAML_STREAM_START_EVENT && event.type != YAML_DOCUMENT_START_EVENT &&
                   event.type != YAML_DOCUMENT_END_EVENT && !end) {
            root = read_value(parse, &event, 0);
        }
        yaml_event_delete(&event);
    }
    return root;
}

struct node *tree_parse(struct arena *arena, struct span file, struct span text, struct report *report)
{
    struct parse parse = {.arena = arena, .report = report, .file = arena_copy(arena, file)};
    struct place whole = {.file = parse.file};
    size_t errors = report->errors;
    if (text.len > TREE_BYTES) {
        report_error(report, whole, "larger than %zu MiB", TREE_BYTES / 1024 / 1024);
        return NULL;
    }
    /* libyaml would take UTF-16 by its mark; every other tool in the cluster would not. */
    if (span_starts_with(text, SPAN("\xff\xfe")) || span_starts_with(text, SPAN("\xfe\xff"))) {
        report_error(report, whole, "is UTF-16; save the file as UTF-8");
        return NULL;
    }
    if (!yaml_parser_initialize(&parse.yaml)) {
        report_error(report, whole, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&parse.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parse.yaml, (const unsigned char *)(text.ptr ? text.ptr : ""), text.len);
    struct node *root = read_stream(&parse);
    yaml_parser_delete(&parse.yaml);
    if (parse.broken)
        return NULL;
    if (!root && report->errors == errors)
        report_error(report, whole, "is empty; a configuration begins with \"apiVersion: postern/v1\"");
    if (root && root->kind == NODE_SCALAR && root->text.len == 0 && root->style == STYLE_PLAIN) {
        report_error(report, whole, "is empty; a configuration begins with \"apiVersion: postern/v1\"");
        return NULL;
    }
    return root;
}

static const char *kind_name(enum node_kind kind)
{
    return kind == NODE_LIST ? "a list" : kind == NODE_MAP ? "a map" : "a single value";
}

static void merge_list(struct node *to, struct node *from)
{
    if (!from->first)
        return;
    if (to->last)
        to->last->next = from->first;
    else
        to->first = from->first;
    to->last = from->last;
    to->count += from->count;
}

static void merge_value(struct node *old, struct node *new, bool root, struct report *report)
{
    const struct place *was = &old->key_place;
    if (old->kind != new->kind)
        report_error(report, new->key_place, "\"%.*s\" is %s here but %s at %.*s:%u:%u", SPAN_ARG(new->key),
                     kind_name(new->kind), kind_name(old->kind), SPAN_ARG(was->file), was->line, was->column);
    else if (new->kind == NODE_MAP)
        tree_merge(old, new, report);
    else if (new->kind == NODE_LIST)
        merge_list(old, new);
    else if (!(root && span_equal(new->key, SPAN("apiVersion")) && span_equal(old->text, new->text)))
        report_error(report, new->key_place, "\"%.*s\" was already given at %.*s:%u:%u", SPAN_ARG(new->key),
                     SPAN_ARG(was->file), was->line, was->column);
}

void tree_merge(struct node *to, struct node *from, struct report *report)
{
    struct table keys;
    table_init(&keys);
    for (struct node *child = to->first; child; child = child->next)
        table_put(&keys, child->key, child);
    bool root = to->key.len == 0;
    for (struct node *child = from->first, *next; child; child = next) {
        next = child->next;
        child->next = NULL;
        struct node *old = table_get(&keys, child->key);
        if (old)
            merge_value(old, child, root, report);
        else
            append(to, child);
    }
    table_finish(&keys);
}

const struct node *tree_get(const struct node *map, struct span key)
{
    if (!map || map->kind != NODE_MAP)
        return NULL;
    for (const struct node *child = map->first; child; child = child->next)
        if (span_equal(child->key, key))
            return child;
    return NULL;
}

const struct node *tree_at(const struct node *list, size_t index)
{
    if (!list || list->kind != NODE_LIST)
        return NULL;
    const struct node *child = list->first;
    for (; child && index > 0; child = child->next)
        index--;
    return child;
}
