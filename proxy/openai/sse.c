/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/sse.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* The reader's `bom` when the beginning of the stream is settled. */
#define BOM_SETTLED 4u

void sse_init(struct sse_reader *reader, size_t limit)
{
    memset(reader, 0, sizeof(*reader));
    reader->limit = limit;
}

void sse_finish(struct sse_reader *reader)
{
    buffer_finish(&reader->line);
    buffer_finish(&reader->kept);
}

/*
 * The first byte from `from` on that may end a line: anything up to CR. JSON text has no such byte but its line end, so
 * this skips whole events; tabs in other text only cost a second look. [begin, end) may be read.
 */
static const char *skip_text(const char *begin, const char *from, const char *end)
{
    const char *p = from;
#if defined(__SSE2__)
    const __m128i cr = _mm_set1_epi8('\r');
    for (; end - p >= 64; p += 64) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(p + 32));
        __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(p + 48));
        __m128i least = _mm_min_epu8(_mm_min_epu8(a, b), _mm_min_epu8(c, d));
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(least, cr), least)))
            break;
    }
    while (p < end && end - begin >= 16) {
        /* The last step looks back over bytes that were seen, and forgets them. */
        const char *at = end - p >= 16 ? p : end - 16;
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)at);
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(a, cr), a)) >> (p - at);
        if (mask)
            return p + __builtin_ctz(mask);
        p = at + 16;
    }
#else
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    (void)begin;
    for (; end - p >= 8; p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        if ((word - ones * ('\r' + 1)) & ~word & highs)
            break;
    }
#endif
    while (p < end && (unsigned char)*p > '\r')
        p++;
    return p;
}

/* Position of the first CR or LF, or `end`. */
static const char *find_line_end(const char *begin, const char *end)
{
    const char *p = begin;
    while (p < end && *p != '\n' && *p != '\r') {
        p = skip_text(begin, p, end);
        if (p < end && *p != '\n' && *p != '\r')
            p++;
    }
    return p;
}

static void begin_event(struct sse_reader *reader)
{
    if (reader->kept.ptr)
        buffer_finish(&reader->kept);
    reader->start = reader->offset;
    reader->data = (struct span){NULL, 0};
    reader->name_len = 0;
    reader->has_data = reader->has_line = reader->opaque = reader->delivered = false;
}

static void drop_data(struct sse_reader *reader)
{
    reader->opaque = true;
    reader->data = (struct span){NULL, 0};
    buffer_finish(&reader->kept);
}

/* Moves data that lies in memory about to vanish to where it stays. */
static void keep_data(struct sse_reader *reader)
{
    if (reader->data.len == 0 || buffer_len(&reader->kept))
        return;
    buffer_append(&reader->kept, reader->data);
    reader->data = buffer_span(&reader->kept);
}

static void add_data(struct sse_reader *reader, struct span value)
{
    bool first = !reader->has_data;
    reader->has_data = true;
    if (reader->opaque)
        return;
    if (value.len + reader->data.len + !first > reader->limit) {
        drop_data(reader);
        return;
    }
    if (first) {
        reader->data = value;
        return;
    }
    keep_data(reader);
    buffer_append(&reader->kept, SPAN("\n"));
    buffer_append(&reader->kept, value);
    reader->data = buffer_span(&reader->kept);
}

static void set_name(struct sse_reader *reader, struct span value)
{
    if (value.len > SSE_NAME_MAX) {
        reader->name_len = 0;
        drop_data(reader);
        return;
    }
    memcpy(reader->name, value.ptr, value.len);
    reader->name_len = (unsigned)value.len;
}

static void read_field(struct sse_reader *reader, struct span line)
{
    /* Nearly all fields are data. */
    size_t colon = span_starts_with(line, SPAN("data:")) ? 4 : span_find(line, ':');
    struct span name = span_take(line, colon), value = span_skip(line, colon + 1);
    if (value.len && value.ptr[0] == ' ')
        value = span_skip(value, 1);
    if (span_equal(name, SPAN("data")))
        add_data(reader, value);
    else if (span_equal(name, SPAN("event")))
        set_name(reader, value);
}

static bool is_line_too_long(const struct sse_reader *reader, size_t len)
{
    return len > reader->limit + SSE_NAME_MAX;
}

/* A line too long to look at may have been data. */
static void drop_line(struct sse_reader *reader)
{
    reader->has_data = true;
    drop_data(reader);
}

/* Adds to an unfinished line; one that cannot matter any more is only remembered as such. */
static void keep_line(struct sse_reader *reader, struct span part)
{
    if (part.len == 0)
        return;
    reader->has_line = true;
    if (reader->line_dropped)
        return;
    size_t len = buffer_len(&reader->line);
    bool comment = (len ? buffer_span(&reader->line).ptr : part.ptr)[0] == ':';
    if (!comment && !is_line_too_long(reader, len + part.len)) {
        buffer_append(&reader->line, part);
        return;
    }
    reader->line_dropped = true;
    buffer_finish(&reader->line);
    if (!comment)
        drop_line(reader);
}

static void read_line(struct sse_reader *reader, struct span line)
{
    if (line.ptr[0] == ':')
        return;
    if (is_line_too_long(reader, line.len))
        drop_line(reader);
    else
        read_field(reader, line);
}

/* Reads the line that ends here. True when it was the empty line that ends an event. */
static bool end_line(struct sse_reader *reader, struct span part)
{
    bool pieces = buffer_len(&reader->line) || reader->line_dropped;
    if (!pieces && part.len == 0)
        return reader->has_line;
    reader->has_line = true;
    if (!pieces) {
        read_line(reader, part);
        return false;
    }
    keep_line(reader, part);
    if (!reader->line_dropped) {
        read_line(reader, buffer_span(&reader->line));
        keep_data(reader);
    }
    reader->line_dropped = false;
    buffer_finish(&reader->line);
    return false;
}

/* Passes over a byte order mark at the very beginning, in as many pieces as it comes. */
static void skip_bom(struct sse_reader *reader, struct span *in)
{
    static const char mark[] = "\xef\xbb\xbf";
    while (in->len && reader->bom < 3) {
        if (in->ptr[0] != mark[reader->bom]) {
            /* Not one after all: what went by belongs to the first line. */
            keep_line(reader, span_of(mark, reader->bom));
            break;
        }
        *in = span_skip(*in, 1);
        reader->offset++;
        reader->bom++;
    }
    if (in->len || reader->bom == 3)
        reader->bom = BOM_SETTLED;
}

static void deliver(struct sse_reader *reader, struct sse_event *ret)
{
    *ret = (struct sse_event){.start = reader->start,
                              .end = reader->offset,
                              .name = span_of(reader->name, reader->name_len),
                              .data = reader->data,
                              .has_data = reader->has_data,
                              .opaque = reader->opaque};
    /* Between events nothing is unfinished, even before the next call. */
    reader->start = reader->offset;
    reader->delivered = true;
}

/* The value of the field that line `at` of the input begins with, if it is this one and ends with LF. */
static inline __attribute__((always_inline)) bool plain_field(struct span in, size_t at, struct span field,
                                                              struct span *ret)
{
    const char *begin = in.ptr + at, *end = in.ptr + in.len;
    if (in.len - at < field.len || memcmp(begin, field.ptr, field.len) != 0)
        return false;
    const char *stop = find_line_end(begin, end);
    if (stop == end || *stop != '\n')
        return false;
    *ret = span_of(begin + field.len, (size_t)(stop - begin) - field.len);
    return true;
}

/*
 * The event that nearly all are, whole in the input: one `data` line, perhaps after one `event` line, ended by LF LF.
 * False: it is another, or not whole; nothing has been taken then.
 */
static bool next_plain(struct sse_reader *reader, struct span *in, struct sse_event *ret)
{
    struct span name = {NULL, 0}, data;
    size_t at = 0;
    if (reader->has_line || reader->after_cr || reader->bom != BOM_SETTLED)
        return false;
    if (in->ptr[0] == 'e') {
        if (!plain_field(*in, 0, SPAN("event: "), &name) || name.len > SSE_NAME_MAX)
            return false;
        at = (size_t)(name.ptr + name.len - in->ptr) + 1;
    }
    if (!plain_field(*in, at, SPAN("data: "), &data) || data.len > reader->limit)
        return false;
    at = (size_t)(data.ptr + data.len - in->ptr) + 2;
    if (at > in->len || in->ptr[at - 1] != '\n')
        return false;
    *ret = (struct sse_event){
        .start = reader->start, .end = reader->offset + at, .name = name, .data = data, .has_data = true};
    reader->start = reader->offset = ret->end;
    *in = span_of(in->ptr + at, in->len - at);
    return true;
}

enum sse_status sse_next(struct sse_reader *reader, struct span *in, struct sse_event *ret)
{
    if (in->len == 0)
        return SSE_MORE;
    if (reader->delivered)
        begin_event(reader);
    if (next_plain(reader, in, ret))
        return SSE_EVENT;
    if (reader->bom != BOM_SETTLED)
        skip_bom(reader, in);
    while (in->len) {
        if (reader->after_cr && in->ptr[0] == '\n') {
            *in = span_skip(*in, 1);
            reader->offset++;
        }
        reader->after_cr = false;
        const char *end = in->ptr + in->len, *stop = find_line_end(in->ptr, end);
        struct span part = span_of(in->ptr, (size_t)(stop - in->ptr));
        if (stop == end) {
            keep_line(reader, part);
            reader->offset += in->len;
            *in = span_of(end, 0);
            break;
        }
        size_t taken = part.len + 1;
        if (*stop == '\r' && taken < in->len && stop[1] == '\n')
            taken++;
        else
            reader->after_cr = *stop == '\r';
        *in = span_skip(*in, taken);
        reader->offset += taken;
        if (end_line(reader, part)) {
            deliver(reader, ret);
            return SSE_EVENT;
        }
    }
    keep_data(reader);
    return SSE_MORE;
}
