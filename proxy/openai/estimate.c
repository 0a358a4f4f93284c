/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/estimate.h"

#include <string.h>

#include "openai/estimate_table.h"

/*
 * Long texts are looked at in samples: the first bytes all, then a block of each stretch, over all strings of a body. A
 * prompt of 100 KB is more of the same for longer, and reading all of it by class would cost more than passing it on.
 */
#define WHOLE   320
#define BLOCK   64
#define STRETCH 512

/* ---- characters ---- */

static unsigned code_class(uint32_t code)
{
    static const struct {
        uint32_t below;
        uint8_t class;
    } ranges[] = {
        {0xc0, CLASS_TWO_BYTES},          {0x250, CLASS_LATIN},
        {0x370, CLASS_TWO_BYTES},         {0x530, CLASS_CYRILLIC},
        {0x800, CLASS_TWO_BYTES},         {0x2000, CLASS_THREE_BYTES},
        {0x2c00, CLASS_SYMBOL},           {0x3000, CLASS_THREE_BYTES},
        {0x3040, CLASS_WIDE_PUNCTUATION}, {0x3100, CLASS_KANA},
        {0x3400, CLASS_THREE_BYTES},      {0xa000, CLASS_HAN},
        {0xac00, CLASS_THREE_BYTES},      {0xd7b0, CLASS_HANGUL},
        {0xff00, CLASS_THREE_BYTES},      {0xfff0, CLASS_WIDE_PUNCTUATION},
        {0x10000, CLASS_THREE_BYTES},
    };
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
        if (code < ranges[i].below)
            return ranges[i].class;
    return CLASS_FOUR_BYTES;
}

static unsigned cost_of(unsigned last, unsigned class)
{
    return estimate_costs[last][class] - 1U;
}

/* What a character costs behind another of its class or of any. */
static unsigned wide_cost(unsigned last, unsigned class, uint32_t code)
{
    return class == CLASS_HAN && last == CLASS_HAN ? estimate_han[code % ESTIMATE_HAN] : cost_of(last, class);
}

/* The code of a character beyond ASCII and its length; bytes that are no UTF-8 go singly. */
static uint32_t wide_code(const unsigned char *p, const unsigned char *end, unsigned *ret_length)
{
    unsigned length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 1;
    *ret_length = 1;
    if (length == 1 || (size_t)(end - p) < length)
        return 0x800; /* counts like a letter of a rare script */
    uint32_t code = p[0] & (0x7fU >> length);
    for (unsigned i = 1; i < length; i++)
        code = code << 6 | (p[i] & 0x3fU);
    *ret_length = length;
    return code;
}

/* ---- runs of text ---- */

struct reading {
    uint64_t cost; /* in 64ths of a token */
    unsigned last; /* class of the character before */
};

static void read_code(struct reading *reading, uint32_t code)
{
    unsigned class = code < 0x80 ? estimate_bytes[code] : code_class(code);
    class = class == ESTIMATE_DIGIT ? CLASS_DIGIT : class;
    reading->cost += code == ' ' && reading->last == CLASS_SPACE ? 0 : wide_cost(reading->last, class, code);
    reading->last = class;
}

/* What is read with care: a digit or a further space, whose class depends on its run, or a character beyond ASCII. */
static const unsigned char *read_special(struct reading *reading, const unsigned char *p, const unsigned char *end)
{
    unsigned last = reading->last, class = estimate_bytes[*p], length = 1;
    if (class == ESTIMATE_WIDE) {
        read_code(reading, wide_code(p, end, &length));
        return p + length;
    }
    if (class == CLASS_SPACE)
        class = CLASS_SPACES;
    else
        class = last == CLASS_DIGIT || last == CLASS_DIGIT_2 ? last + 1 : CLASS_DIGIT;
    reading->cost += cost_of(last, class);
    reading->last = class;
    return p + 1;
}

/* Spaces of a run beyond the second, which are many in code. */
static const unsigned char *read_spaces(struct reading *reading, const unsigned char *p, const unsigned char *end)
{
    for (; p < end && *p == ' '; p++)
        reading->cost += cost_of(CLASS_SPACES, CLASS_SPACES);
    return p;
}

static void read_plain(struct reading *reading, const char *from, const char *to)
{
    const unsigned char *p = (const unsigned char *)from, *end = (const unsigned char *)to;
    while (p < end) {
        if (reading->last == CLASS_SPACES && (p = read_spaces(reading, p, end)) == end)
            break;
        const unsigned char *start = p;
        const uint8_t *row = estimate_costs[reading->last];
        uint64_t cost = 0;
        unsigned one;
        do {
            unsigned class = estimate_bytes[*p];
            one = row[class];
            if (!one)
                break;
            row = estimate_costs[class];
            cost += one;
        } while (++p < end);
        reading->cost += cost - (uint64_t)(p - start);
        reading->last = (unsigned)((row - estimate_costs[0]) / ESTIMATE_ROW);
        if (!one)
            p = read_special(reading, p, end);
    }
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : 0;
}

/* One escape of a JSON string; `p` is behind the backslash. Returns what follows. */
static const char *read_escape(struct reading *reading, const char *p, const char *end)
{
    char plain = *p == 'n' || *p == 'r' ? '\n' : *p == 't' ? '\t' : *p == 'b' || *p == 'f' ? 1 : *p;
    if (*p != 'u' || end - p < 5) {
        read_plain(reading, &plain, &plain + 1);
        return p + 1;
    }
    uint32_t code = (uint32_t)(hex(p[1]) << 12 | hex(p[2]) << 8 | hex(p[3]) << 4 | hex(p[4]));
    if (code >= 0xd800 && code < 0xdc00)
        read_code(reading, 0x10000); /* the first half stands for both */
    else if (code < 0xdc00 || code >= 0xe000)
        read_code(reading, code);
    return p + 5;
}

/* In 64ths of a token, behind a character of class `last`. */
static uint64_t read_run(struct span run, unsigned last, bool escapes)
{
    struct reading reading = {.last = last};
    const char *p = run.ptr, *end = run.ptr + run.len;
    while (p < end) {
        const char *stop = escapes ? memchr(p, '\\', (size_t)(end - p)) : NULL;
        if (!stop || end - stop < 2) {
            read_plain(&reading, p, end);
            break;
        }
        read_plain(&reading, p, stop);
        p = read_escape(&reading, stop + 1, end);
    }
    return reading.cost;
}

/* ---- samples ---- */

struct samples {
    uint64_t bytes;               /* of all texts so far */
    uint64_t whole_cost;          /* of the first WHOLE of them, in 64ths */
    uint64_t cost, seen, skipped; /* of the rest: of what was looked at; what was and what was not, in bytes */
};

/* The block at `at` of a text; in its middle it begins behind what stands before it. Returns how much was looked at. */
static size_t read_block(struct samples *samples, struct span text, size_t at, size_t most, bool escapes)
{
    struct span block = span_take(span_skip(text, at), most);
    unsigned last = CLASS_START;
    if (at > 0) {
        while (block.len && ((unsigned char)block.ptr[0] & 0xc0) == 0x80) /* not from the middle of a character */
            block = span_skip(block, 1);
        unsigned before = estimate_bytes[(unsigned char)text.ptr[at - 1]];
        last = before == ESTIMATE_DIGIT ? CLASS_DIGIT : before == ESTIMATE_WIDE ? CLASS_START : before;
    }
    samples->cost += block.len ? read_run(block, last, escapes) : 0;
    samples->seen += block.len;
    return block.len;
}

static void read_text(struct samples *samples, struct span text, bool escapes)
{
    size_t at = 0;
    if (samples->bytes < WHOLE && text.len) {
        struct span first = span_take(text, WHOLE - (size_t)samples->bytes);
        samples->whole_cost += read_run(first, CLASS_START, escapes);
        at = first.len;
        samples->bytes += at;
    }
    while (at < text.len) {
        size_t place = (size_t)(samples->bytes - WHOLE) % STRETCH, left = text.len - at, step;
        if (place < BLOCK) {
            step = BLOCK - place < left ? BLOCK - place : left;
            samples->skipped += step - read_block(samples, text, at, step, escapes);
        } else {
            step = STRETCH - place < left ? STRETCH - place : left;
            samples->skipped += step;
        }
        at += step;
        samples->bytes += step;
    }
}

/* In 64ths of a token. */
static uint64_t cost_of_all(const struct samples *samples)
{
    return samples->whole_cost + samples->cost + (samples->seen ? samples->cost * samples->skipped / samples->seen : 0);
}

static uint64_t tokens_of(uint64_t cost)
{
    return (cost + ESTIMATE_TOKEN / 2) / ESTIMATE_TOKEN;
}

uint64_t estimate_text(struct span text)
{
    struct samples samples = {0};
    read_text(&samples, text, false);
    return tokens_of(cost_of_all(&samples));
}

/* ---- bodies ---- */

/* What the strings of a member are to the model. */
enum meaning {
    TEXT,
    LABEL,  /* ids, formats and URLs: not read */
    KIND,   /* the type of a content part */
    DETAIL, /* of an image */
    AUDIO,  /* base64 */
    FILE_BYTES
};

static enum meaning meaning_of(struct span name)
{
    static const struct {
        struct span name;
        enum meaning meaning;
    } known[] = {
        {SPAN_INIT("type"), KIND},      {SPAN_INIT("detail"), DETAIL},
        {SPAN_INIT("data"), AUDIO},     {SPAN_INIT("file_data"), FILE_BYTES},
        {SPAN_INIT("url"), LABEL},      {SPAN_INIT("image_url"), LABEL},
        {SPAN_INIT("id"), LABEL},       {SPAN_INIT("file_id"), LABEL},
        {SPAN_INIT("file_url"), LABEL}, {SPAN_INIT("tool_call_id"), LABEL},
        {SPAN_INIT("call_id"), LABEL},  {SPAN_INIT("format"), LABEL},
        {SPAN_INIT("status"), LABEL},   {SPAN_INIT("encrypted_content"), LABEL},
        {SPAN_INIT("filename"), LABEL},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (span_equal(name, known[i].name))
            return known[i].meaning;
    return TEXT;
}

struct body_walk {
    struct estimate *estimate;
    struct samples text;
    uint64_t others;  /* tokens by rule */
    struct span name; /* of the member under way */
    bool schema;      /* tools: names of members are read, too */
};

static void take_kind(struct body_walk *walk, struct span kind)
{
    if (span_equal(kind, SPAN("image_url")) || span_equal(kind, SPAN("input_image"))) {
        walk->estimate->images++;
        walk->others += ESTIMATE_IMAGE;
    } else if (span_equal(kind, SPAN("input_audio"))) {
        walk->estimate->audio++;
    }
}

static void take_string(struct body_walk *walk, struct span inside)
{
    switch (meaning_of(walk->name)) {
    case TEXT:
        walk->estimate->text_bytes += inside.len;
        read_text(&walk->text, inside, true);
        break;
    case KIND:
        take_kind(walk, inside);
        break;
    case DETAIL:
        if (span_equal(inside, SPAN("low")) && walk->estimate->images)
            walk->others -= ESTIMATE_IMAGE - ESTIMATE_IMAGE_LOW;
        break;
    case AUDIO: /* base64 at 16,000 bytes and 10 tokens a second */
        walk->others += inside.len * 3 / 6400;
        break;
    case FILE_BYTES:
        walk->others += inside.len * 3 / 16;
        break;
    case LABEL:
        break;
    }
}

/* The closing quote of a string whose inside begins at `p`. */
static const char *string_end(const char *p, const char *end)
{
    for (const char *at = p;;) {
        const char *quote = memchr(at, '"', (size_t)(end - at));
        if (!quote)
            return end;
        const char *back = quote;
        while (back > p && back[-1] == '\\')
            back--;
        if ((quote - back) % 2 == 0)
            return quote;
        at = quote + 1;
    }
}

static bool is_name(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p < end && *p == ':';
}

/* One top-level value, known to be valid JSON. `numbers`: they are tokens. */
static void walk_value(struct body_walk *walk, struct span raw, bool numbers)
{
    const char *p = raw.ptr, *end = raw.ptr + raw.len;
    walk->name = (struct span){0};
    while (p < end) {
        if (*p == '"') {
            const char *close = string_end(p + 1, end);
            struct span inside = span_of(p + 1, (size_t)(close - p - 1));
            p = close < end ? close + 1 : end;
            if (!is_name(p, end)) {
                take_string(walk, inside);
                continue;
            }
            walk->name = inside;
            if (walk->schema) {
                read_text(&walk->text, inside, true);
                walk->others++;
            } else if (span_equal(inside, SPAN("role"))) {
                walk->others += ESTIMATE_MESSAGE;
            }
            continue;
        }
        if (numbers && *p >= '0' && *p <= '9') {
            walk->others++;
            while (p < end && *p >= '0' && *p <= '9')
                p++;
            continue;
        }
        p++;
    }
}

void estimate_request(const struct request_info *info, struct span body, struct estimate *ret)
{
    static const struct {
        struct span name;
        bool schema, numbers;
    } read[] = {{SPAN_INIT("messages"), false, false},      {SPAN_INIT("input"), false, true},
                {SPAN_INIT("prompt"), false, true},         {SPAN_INIT("instructions"), false, false},
                {SPAN_INIT("tools"), true, false},          {SPAN_INIT("functions"), true, false},
                {SPAN_INIT("response_format"), true, false}};
    *ret = (struct estimate){0};
    if (info->kind != REQUEST_JSON)
        return;
    struct body_walk walk = {.estimate = ret};
    for (size_t m = 0; m < info->member_count; m++) {
        const struct request_member *member = &info->members[m];
        for (size_t i = 0; i < ARRAY_LEN(read); i++) {
            if (!span_equal(member->name, read[i].name) || member->value_end > body.len)
                continue;
            walk.schema = read[i].schema;
            walk_value(&walk, span_of(body.ptr + member->value_start, member->value_end - member->value_start),
                       read[i].numbers);
            if (i == 0)
                walk.others += ESTIMATE_MESSAGE;
        }
    }
    ret->text_tokens = tokens_of(cost_of_all(&walk.text));
    ret->tokens = ret->text_tokens + walk.others;
}

uint64_t estimate_delivered(const struct estimate *request, uint64_t text_bytes)
{
    /* Bytes per token in quarters; a short question tells nothing of its language. */
    uint64_t quarters = 16;
    if (request->text_tokens >= 16)
        quarters = request->text_bytes * 4 / request->text_tokens;
    quarters = quarters < 8 ? 8 : quarters > 20 ? 20 : quarters;
    return (text_bytes * 4 + quarters - 1) / quarters;
}
