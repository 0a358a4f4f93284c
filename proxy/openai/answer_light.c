/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/answer_light.h"

#include "openai/string_skip.h"

/*
 * Each reading function takes the first byte of what it reads and returns the byte after it; NULL: not for us, ask the
 * tap. The text ends with the brace that closes the answer, so what looks for anything but a quote stops there at the
 * latest and needs no other bound; only after a bracket may the end be passed (see read_object, read_array).
 */
struct light {
    struct span text; /* up to that brace */
    const char *last; /* that brace */
    struct answer_facts facts;
    struct span model; /* in the text */
};

/* Deeper text is the tap's: it refuses what is deeper than 256. */
#define LIGHT_DEPTH 200

/* Shorter text is not worth it. */
#define LIGHT_LEAST 16

static inline const char *skip_space(const char *p)
{
    while (UNLIKELY((unsigned char)*p <= ' ') && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

#define IS(name, literal) (memcmp((name), "" literal, sizeof(literal) - 1) == 0)

/* ---- what is passed over ---- */

static const char *skip_string(const struct light *l, const char *p)
{
    const char *end = l->text.ptr + l->text.len;
    p = string_plain_end(l->text, p + 1);
    while (p < end && *p != '"')
        p = end - p > 2 ? string_plain_end(l->text, p + 2) : end;
    return p < end ? p + 1 : NULL;
}

/* The first quote or bracket from `p` on; NULL when there is none. */
static const char *find_bracket(const struct light *l, const char *p)
{
    const char *end = l->text.ptr + l->text.len;
#if defined(__SSE2__)
    /* '[' and ']' are '{' and '}' but for one bit. */
    const __m128i quote = _mm_set1_epi8('"'), bit = _mm_set1_epi8('{' ^ '['), open = _mm_set1_epi8('{'),
                  close = _mm_set1_epi8('}');
    for (; end - p >= 16; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p), curly = _mm_or_si128(bytes, bit);
        __m128i hits = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote),
                                    _mm_or_si128(_mm_cmpeq_epi8(curly, open), _mm_cmpeq_epi8(curly, close)));
        unsigned mask = (unsigned)_mm_movemask_epi8(hits);
        if (mask)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p != '"' && *p != '{' && *p != '[' && *p != '}' && *p != ']')
        p++;
    return p < end ? p : NULL;
}

static const char *skip_container(const struct light *l, const char *p)
{
    unsigned depth = 0;
    for (;;) {
        if (*p == '"') {
            p = skip_string(l, p);
            if (!p)
                return NULL;
        } else {
            bool open = (*p | 0x20) == '{';
            depth = open ? depth + 1 : depth - 1;
            p++;
            if (depth == 0)
                return p;
            if (depth > LIGHT_DEPTH)
                return NULL;
        }
        p = find_bracket(l, p);
        if (!p)
            return NULL;
    }
}

static inline const char *skip_value(const struct light *l, const char *p)
{
    if (*p == '"')
        return skip_string(l, p);
    if (*p == '{' || *p == '[')
        return p[1] == *p + 2 ? p + 2 : skip_container(l, p);
    const char *start = p;
    while (*p != ',' && *p != '}' && *p != ']' && (unsigned char)*p > ' ')
        p++;
    return p == start ? NULL : p;
}

/* ---- containers ---- */

typedef const char *read_member(struct light *l, struct span name, const char *p);
typedef const char *read_element(struct light *l, const char *p);

#define INLINE static inline __attribute__((always_inline))

INLINE const char *read_object(struct light *l, const char *p, read_member *member)
{
    p = skip_space(p + 1);
    if (*p == '}')
        return p + 1;
    for (;;) {
        if (UNLIKELY(*p != '"'))
            return NULL;
        const char *name = p + 1, *stop = string_plain_end(l->text, name);
        if (UNLIKELY(stop >= l->last || *stop != '"'))
            return NULL;
        p = stop + 1;
        if (UNLIKELY(*p != ':')) {
            p = skip_space(p);
            if (*p != ':')
                return NULL;
        }
        p = member(l, span_of(name, (size_t)(stop - name)), skip_space(p + 1));
        if (UNLIKELY(!p || p > l->last))
            return NULL;
        if (UNLIKELY(*p != ',')) {
            p = skip_space(p);
            if (*p == '}')
                return p + 1;
            if (*p != ',')
                return NULL;
        }
        p = skip_space(p + 1);
    }
}

INLINE const char *read_array(struct light *l, const char *p, read_element *element)
{
    p = skip_space(p + 1);
    if (*p == ']')
        return p + 1;
    for (;;) {
        p = element(l, p);
        if (UNLIKELY(!p || p > l->last))
            return NULL;
        p = skip_space(p);
        if (*p == ']')
            return p + 1;
        if (UNLIKELY(*p != ','))
            return NULL;
        p = skip_space(p + 1);
    }
}

/* ---- values ---- */

/* A string without escapes. */
static const char *read_plain(const struct light *l, const char *p, struct span *ret)
{
    const char *stop = string_plain_end(l->text, p + 1);
    if (stop >= l->last || *stop != '"')
        return NULL;
    *ret = span_of(p + 1, (size_t)(stop - p) - 1);
    return stop + 1;
}

/* What the client is after, if it is a string. */
static const char *read_text(struct light *l, const char *p)
{
    return *p == '"' ? string_skip(l->text, p, &l->facts.text_bytes) : skip_value(l, p);
}

/* A count of tokens. Null and strings are none; numbers that are no plain integers are the tap's. */
static const char *read_count(const struct light *l, const char *p, uint64_t *ret, bool *ret_found)
{
    uint64_t value = 0;
    const char *start = p;
    if (*p == '-')
        return NULL;
    for (; *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    if (p == start)
        return skip_value(l, p);
    bool ends = *p == ',' || *p == '}' || (unsigned char)*p <= ' ';
    if (!ends || p - start > 19 || (*start == '0' && p - start > 1))
        return NULL;
    *ret = value;
    *ret_found = true;
    return p;
}

/* ---- usage ---- */

static const char *input_details_member(struct light *l, struct span name, const char *p)
{
    struct usage *usage = &l->facts.usage;
    bool found;
    if (name.len == 13 && IS(name.ptr, "cached_tokens"))
        return read_count(l, p, &usage->cached, &found);
    if (name.len == 12 && IS(name.ptr, "audio_tokens"))
        return read_count(l, p, &usage->audio_input, &found);
    return skip_value(l, p);
}

static const char *output_details_member(struct light *l, struct span name, const char *p)
{
    struct usage *usage = &l->facts.usage;
    bool found;
    if (name.len == 16 && IS(name.ptr, "reasoning_tokens"))
        return read_count(l, p, &usage->reasoning, &found);
    if (name.len == 12 && IS(name.ptr, "audio_tokens"))
        return read_count(l, p, &usage->audio_output, &found);
    return skip_value(l, p);
}

static const char *read_details(struct light *l, const char *p, bool input)
{
    if (*p != '{')
        return skip_value(l, p);
    return input ? read_object(l, p, input_details_member) : read_object(l, p, output_details_member);
}

static const char *usage_member(struct light *l, struct span name, const char *p)
{
    struct usage *usage = &l->facts.usage;
    switch (name.len) {
    case 7:
        if (IS(name.ptr, "seconds"))
            return read_count(l, p, &usage->audio_seconds, &usage->reported);
        break;
    case 12:
        if (IS(name.ptr, "total_tokens"))
            return read_count(l, p, &usage->total, &usage->reported);
        if (IS(name.ptr, "input_tokens"))
            return read_count(l, p, &usage->input, &usage->reported);
        break;
    case 13:
        if (IS(name.ptr, "prompt_tokens"))
            return read_count(l, p, &usage->input, &usage->reported);
        if (IS(name.ptr, "output_tokens"))
            return read_count(l, p, &usage->output, &usage->reported);
        break;
    case 17:
        if (IS(name.ptr, "completion_tokens"))
            return read_count(l, p, &usage->output, &usage->reported);
        break;
    case 19:
        if (IS(name.ptr, "input_token_details"))
            return read_details(l, p, true);
        break;
    case 20:
        if (IS(name.ptr, "input_tokens_details"))
            return read_details(l, p, true);
        if (IS(name.ptr, "output_token_details"))
            return read_details(l, p, false);
        break;
    case 21:
        if (IS(name.ptr, "prompt_tokens_details"))
            return read_details(l, p, true);
        if (IS(name.ptr, "output_tokens_details"))
            return read_details(l, p, false);
        break;
    case 25:
        if (IS(name.ptr, "completion_tokens_details"))
            return read_details(l, p, false);
        break;
    default:
        break;
    }
    return skip_value(l, p);
}

/* A later one counts, if it says anything. */
static const char *read_usage(struct light *l, const char *p)
{
    struct usage *usage = &l->facts.usage, before = *usage;
    *usage = (struct usage){0};
    p = read_object(l, p, usage_member);
    if (!usage->reported)
        *usage = before;
    else if (!usage->total)
        usage->total = usage->input + usage->output;
    return p;
}

/* ---- choices ---- */

static const char *function_member(struct light *l, struct span name, const char *p)
{
    bool text = (name.len == 4 && IS(name.ptr, "name")) || (name.len == 9 && IS(name.ptr, "arguments"));
    return text ? read_text(l, p) : skip_value(l, p);
}

static const char *read_function(struct light *l, const char *p)
{
    return *p == '{' ? read_object(l, p, function_member) : skip_value(l, p);
}

/* Strings of other names are what kinds of tool calls yet to come deliver. */
static const char *tool_call_member(struct light *l, struct span name, const char *p)
{
    switch (name.len) {
    case 2:
        return IS(name.ptr, "id") ? skip_value(l, p) : read_text(l, p);
    case 4:
        return IS(name.ptr, "type") ? skip_value(l, p) : read_text(l, p);
    case 5:
        return IS(name.ptr, "index") ? skip_value(l, p) : read_text(l, p);
    case 8:
        return IS(name.ptr, "function") ? read_function(l, p) : read_text(l, p);
    default:
        return read_text(l, p);
    }
}

static const char *read_tool_call(struct light *l, const char *p)
{
    return *p == '{' ? read_object(l, p, tool_call_member) : skip_value(l, p);
}

static const char *message_member(struct light *l, struct span name, const char *p)
{
    switch (name.len) {
    case 7:
        if (IS(name.ptr, "content") || IS(name.ptr, "refusal"))
            return read_text(l, p);
        break;
    case 9:
        if (IS(name.ptr, "reasoning"))
            return read_text(l, p);
        break;
    case 10:
        if (IS(name.ptr, "tool_calls") && *p == '[')
            return read_array(l, p, read_tool_call);
        break;
    case 13:
        if (IS(name.ptr, "function_call"))
            return read_function(l, p);
        break;
    case 17:
        if (IS(name.ptr, "reasoning_content"))
            return read_text(l, p);
        break;
    default:
        break;
    }
    return skip_value(l, p);
}

static const char *choice_member(struct light *l, struct span name, const char *p)
{
    struct span reason;
    if (name.len == 7 && IS(name.ptr, "message") && *p == '{')
        return read_object(l, p, message_member);
    if (name.len == 4 && IS(name.ptr, "text"))
        return read_text(l, p);
    if (name.len == 13 && IS(name.ptr, "finish_reason") && *p == '"') {
        p = read_plain(l, p, &reason);
        if (p && reason.len)
            l->facts.finish |= answer_finish_bit(reason);
        return p;
    }
    return skip_value(l, p);
}

static const char *read_choice(struct light *l, const char *p)
{
    return *p == '{' ? read_object(l, p, choice_member) : skip_value(l, p);
}

/* ---- the answer ---- */

static const char *read_model(struct light *l, const char *p)
{
    struct span model;
    p = read_plain(l, p, &model);
    if (p && !l->model.len && model.len <= ANSWER_TEXT_MAX)
        l->model = model;
    return p;
}

static const char *read_object_kind(struct light *l, const char *p)
{
    struct span kind;
    p = read_plain(l, p, &kind);
    return p && span_equal(kind, SPAN("error")) ? NULL : p;
}

static const char *read_status(struct light *l, const char *p)
{
    struct span status;
    p = read_plain(l, p, &status);
    if (p && span_equal(status, SPAN("completed")))
        l->facts.finish |= FINISH_STOP;
    return p;
}

/* What is there only when something is wrong. */
static const char *skip_null(const struct light *l, const char *p)
{
    return *p == 'n' ? skip_value(l, p) : NULL;
}

static const char *answer_member(struct light *l, struct span name, const char *p)
{
    switch (name.len) {
    case 4:
        if (IS(name.ptr, "code"))
            return skip_null(l, p);
        break;
    case 5:
        if (IS(name.ptr, "model") && *p == '"')
            return read_model(l, p);
        if (IS(name.ptr, "usage") && *p == '{')
            return read_usage(l, p);
        if (IS(name.ptr, "error"))
            return skip_null(l, p);
        break;
    case 6:
        if (IS(name.ptr, "object") && *p == '"')
            return read_object_kind(l, p);
        if (IS(name.ptr, "status") && *p == '"')
            return read_status(l, p);
        break;
    case 7:
        if (IS(name.ptr, "choices") && *p == '[')
            return read_array(l, p, read_choice);
        break;
    case 18:
        if (IS(name.ptr, "incomplete_details"))
            return skip_null(l, p);
        break;
    default:
        break;
    }
    return skip_value(l, p);
}

bool answer_light(struct span whole, struct arena *arena, struct answer_facts *ret)
{
    struct light l;
    while (whole.len && (unsigned char)whole.ptr[whole.len - 1] <= ' ')
        whole.len--;
    if (whole.len < LIGHT_LEAST || whole.ptr[whole.len - 1] != '}')
        return false;
    l.text = whole;
    l.last = whole.ptr + whole.len - 1;
    l.facts = (struct answer_facts){0};
    l.model = (struct span){NULL, 0};
    const char *p = skip_space(whole.ptr);
    if (*p != '{' || read_object(&l, p, answer_member) != l.last + 1)
        return false;
    if (l.model.len)
        l.facts.model = arena_copy(arena, l.model);
    *ret = l.facts;
    return true;
}
