/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h1_reader.h"

#include "http/h1_head.h"
#include "http/h1_scan.h"

/* 16 hexadecimal digits fill 64 bits exactly, so a size never overflows. */
#define SIZE_DIGITS 16
/* A head in pieces is gathered this much at a time, so that body bytes behind it are not copied along. */
#define GATHER 1024
/* Bytes without a slash after which a connection is HTTP/1: longer than any method. */
#define FIRST_LINE_MAX 64
/* 1xx answers before the final one; each costs arena memory. */
#define INTERIM_MAX 16

const struct h1_limits h1_limits_default = {
    .head_bytes = 64 * 1024,
    .target_bytes = 8 * 1024,
    .fields = 200,
    .trailer_bytes = 8 * 1024,
    .trailers = 32,
    .extension_bytes = 4 * 1024,
};

void h1_reader_init(struct h1_reader *reader, enum h1_role role, const struct h1_limits *limits)
{
    *reader = (struct h1_reader){.role = role, .limits = *limits, .state = H1_AT_END};
}

void h1_reader_finish(struct h1_reader *reader)
{
    buffer_finish(&reader->partial);
}

static void begin_block(struct h1_reader *r)
{
    buffer_finish(&r->partial);
    r->line_start = 0;
    r->lines = 0;
}

void h1_reader_start(struct h1_reader *reader, struct arena *arena, struct message *message, enum http_method asked)
{
    begin_block(reader);
    reader->arena = arena;
    reader->message = message;
    reader->asked = asked;
    reader->trailers = (struct fields){0};
    reader->fault = FAULT_NONE;
    reader->reason = NULL;
    reader->extension = 0;
    reader->interim = 0;
    reader->state = reader->role == H1_SERVER ? H1_AT_START : H1_AT_FIRST_BYTE;
}

/* Faults are written as for a request; an answer has two of its own. */
static enum h1_event bad(struct h1_reader *r, enum fault fault, const char *reason)
{
    if (r->role == H1_CLIENT)
        fault = fault == FAULT_HEAD_TOO_LARGE ? FAULT_UPSTREAM_TOO_LARGE : FAULT_UPSTREAM_PROTOCOL;
    r->fault = fault;
    r->reason = reason;
    r->state = H1_AT_BAD;
    buffer_finish(&r->partial);
    return H1_BAD;
}

static enum h1_event malformed(struct h1_reader *r, const char *reason)
{
    return bad(r, FAULT_MALFORMED_REQUEST, reason);
}

/* blocks: heads and trailer sections ------------------------------------------------------------------------------ */

enum block { BLOCK_MORE, BLOCK_WHOLE, BLOCK_BARE_LF };

/*
 * Looks for the empty line that ends the block, from offset `from` of the block at `base`, which has `len` bytes so
 * far. Every LF is judged on the way, so that `Host: x LF LF` is refused at once and not after a timeout.
 */
static enum block find_end(struct h1_reader *r, const char *base, size_t from, size_t len, size_t *ret_end)
{
    const char *at = base + from;
    while ((at = h1_find_lf(at, base + len)) != NULL) {
        unsigned i = (unsigned)(at - base);
        if (i == r->line_start || base[i - 1] != '\r')
            return BLOCK_BARE_LF;
        r->lines++;
        at++;
        if (i - r->line_start == 1) {
            *ret_end = i + 1;
            return BLOCK_WHOLE;
        }
        r->line_start = i + 1;
    }
    return BLOCK_MORE;
}

/* Moves bytes from *in to the partial block until that ends, fails, is full or *in is used up. */
static enum block gather(struct h1_reader *r, struct span *in, unsigned limit, size_t *ret_end)
{
    enum block found = BLOCK_MORE;
    while (found == BLOCK_MORE && in->len && buffer_len(&r->partial) < limit) {
        size_t before = buffer_len(&r->partial), room = limit - before;
        struct span piece = span_take(*in, room < GATHER ? room : GATHER);
        buffer_append(&r->partial, piece);
        found = find_end(r, buffer_span(&r->partial).ptr, before, before + piece.len, ret_end);
        *in = span_skip(*in, found == BLOCK_WHOLE ? *ret_end - before : piece.len);
    }
    return found;
}

/* The block's copy in the arena. */
static struct h1_block copy_block(struct h1_reader *r, const char *from, size_t len)
{
    char *text = arena_bytes(r->arena, len + H1_SCAN_PAD);
    memcpy(text, from, len);
    memset(text + len, 0, H1_SCAN_PAD);
    return (struct h1_block){.text = text, .len = len};
}

/*
 * Takes the next block from *in. True: *ret_block is its copy in the arena. False: *ret_event is H1_MORE or H1_BAD. A
 * first line that alone exceeds the limit is called too_long.
 *
 * A block that has come whole is found by its blank line alone, since parsing refuses every bare LF too; bad_block then
 * sees to it that the reason is the one given here for pieces.
 */
static bool take_block(struct h1_reader *r, struct span *in, unsigned limit, enum fault too_long,
                       struct h1_block *ret_block, enum h1_event *ret_event)
{
    if (LIKELY(buffer_len(&r->partial) == 0)) {
        struct span seen = span_take(*in, limit);
        const char *blank = h1_find_blank_line(seen.ptr, seen.ptr + seen.len);
        if (LIKELY(blank)) {
            size_t len = (size_t)(blank - seen.ptr) + 4;
            *ret_block = copy_block(r, seen.ptr, len);
            *in = span_skip(*in, len);
            return true;
        }
    }
    size_t end = 0;
    enum block found = gather(r, in, limit, &end);
    if (found == BLOCK_WHOLE) {
        *ret_block = copy_block(r, buffer_span(&r->partial).ptr, end);
        begin_block(r);
        return true;
    }
    if (found == BLOCK_BARE_LF)
        *ret_event = malformed(r, "bare LF");
    else if (buffer_len(&r->partial) >= limit)
        *ret_event = bad(r, r->lines ? FAULT_HEAD_TOO_LARGE : too_long, "section too large");
    else
        *ret_event = H1_MORE;
    return false;
}

/* A whole block was refused: had it come in pieces, a bare LF would have been noticed first. */
static enum h1_event bad_block(struct h1_reader *r, const struct h1_block *block, const struct h1_refusal *refusal)
{
    size_t end = 0;
    begin_block(r);
    if (find_end(r, block->text, 0, block->len, &end) == BLOCK_BARE_LF)
        return malformed(r, "bare LF");
    return bad(r, refusal->fault, refusal->reason);
}

/* heads ----------------------------------------------------------------------------------------------------------- */

/* Where the body begins, or the next head after an interim answer. */
static enum h1_state after_head(struct h1_reader *r)
{
    const struct message *m = r->message;
    r->left = m->body_length;
    r->digits = 0;
    if (r->role == H1_CLIENT && m->status < 200 && m->status != 101)
        return H1_AT_HEAD;
    switch (m->framing) {
    case BODY_LENGTH:
        return r->left ? H1_AT_LENGTH : H1_AT_END;
    case BODY_CHUNKED:
        return H1_AT_CHUNK_SIZE;
    case BODY_CLOSE:
        return H1_AT_CLOSE;
    case BODY_NONE:
        break;
    }
    return H1_AT_END;
}

static enum h1_event read_head(struct h1_reader *r, struct span *in)
{
    struct h1_block block;
    enum h1_event event = H1_MORE;
    enum fault too_long = r->role == H1_SERVER ? FAULT_URI_TOO_LONG : FAULT_HEAD_TOO_LARGE;
    if (!take_block(r, in, r->limits.head_bytes, too_long, &block, &event))
        return event;
    struct h1_refusal refusal = {FAULT_NONE, NULL};
    struct message head = {.method = r->asked};
    bool good = r->role == H1_SERVER ? h1_parse_request(&block, &r->limits, r->arena, &head, &refusal)
                                     : h1_parse_response(&block, &r->limits, r->arena, &head, &refusal);
    if (!good)
        return bad_block(r, &block, &refusal);
    *r->message = head;
    r->state = after_head(r);
    if (r->state == H1_AT_HEAD && ++r->interim > INTERIM_MAX)
        return malformed(r, "too many interim answers");
    return H1_HEAD;
}

/* One empty line before a request is forgiven (RFC 9112 2.2): old clients send it after a body. */
static enum h1_event read_start(struct h1_reader *r, struct span *in)
{
    if (r->state == H1_AT_START) {
        if (in->ptr[0] == '\r') {
            *in = span_skip(*in, 1);
            r->state = H1_AT_START_LF;
            return H1_MORE;
        }
    } else if (r->state == H1_AT_START_LF) {
        if (in->ptr[0] != '\n')
            return malformed(r, "bare CR");
        *in = span_skip(*in, 1);
        r->state = H1_AT_FIRST_BYTE;
        return H1_MORE;
    }
    /* Refused at once, not when a head's worth has come: a TLS handshake, say, on a plain port. */
    unsigned char first = (unsigned char)in->ptr[0];
    if (r->role == H1_SERVER ? h1_token[first] == 0 : first != 'H')
        return malformed(r, "not HTTP");
    r->state = H1_AT_HEAD;
    return H1_MORE;
}

/* bodies ---------------------------------------------------------------------------------------------------------- */

/* Hands out what *in holds of `left` bytes; `done` is the state when all have gone. */
static enum h1_event read_sized(struct h1_reader *r, struct span *in, struct span *ret_body, enum h1_state done)
{
    *ret_body = in->len < r->left ? *in : span_take(*in, (size_t)r->left);
    *in = span_skip(*in, ret_body->len);
    r->left -= ret_body->len;
    if (r->left == 0)
        r->state = done;
    return H1_BODY;
}

/* The value of a hexadecimal digit, or 16 and more. */
static unsigned hex_digit(unsigned char c)
{
    unsigned digit = (unsigned)c - '0';
    if (digit <= 9)
        return digit;
    digit = ((unsigned)c | 0x20) - 'a';
    return digit <= 5 ? digit + 10 : 16;
}

/* A chunk's size line is complete. */
static void enter_chunk(struct h1_reader *r)
{
    r->digits = 0;
    r->state = r->left ? H1_AT_CHUNK_DATA : H1_AT_TRAILERS;
}

/* A whole size line without extension, the usual case, at once. False: nothing was taken, byte by byte then. */
static bool take_size_line(struct h1_reader *r, struct span *in)
{
    uint64_t size = 0;
    size_t digits = 0, most = in->len < SIZE_DIGITS + 2 ? in->len : SIZE_DIGITS + 2;
    for (unsigned digit; digits + 2 < most && (digit = hex_digit((unsigned char)in->ptr[digits])) < 16; digits++)
        size = size << 4 | digit;
    if (digits == 0 || in->ptr[digits] != '\r' || in->ptr[digits + 1] != '\n')
        return false;
    r->left = size;
    *in = span_skip(*in, digits + 2);
    enter_chunk(r);
    return true;
}

/* One byte of a chunk's size. */
static enum h1_event read_chunk_size(struct h1_reader *r, unsigned char c)
{
    unsigned digit = hex_digit(c);
    if (digit < 16) {
        r->left = (r->digits ? r->left << 4 : 0) | digit;
        return ++r->digits > SIZE_DIGITS ? malformed(r, "chunk size too long") : H1_MORE;
    }
    if (r->digits == 0)
        return malformed(r, "bad chunk size");
    if (c == '\r')
        r->state = H1_AT_CHUNK_SIZE_LF;
    else if (c == ';')
        r->state = H1_AT_CHUNK_EXTENSION;
    else
        return malformed(r, c == '\n' ? "bare LF" : "bad chunk size");
    return H1_MORE;
}

static enum h1_event read_chunk_extension(struct h1_reader *r, unsigned char c)
{
    if (c == '\r')
        r->state = H1_AT_CHUNK_SIZE_LF;
    else if (c == '\n')
        return malformed(r, "bare LF");
    else if ((c < 0x20 && c != '\t') || c == 0x7F)
        return malformed(r, "bad chunk extension");
    else if (++r->extension > r->limits.extension_bytes)
        return bad(r, FAULT_HEAD_TOO_LARGE, "chunk extensions too large");
    return H1_MORE;
}

/* Everything of the chunked coding but data and trailers, a byte at a time: where it was cut, or has extensions. */
static enum h1_event read_chunk_framing(struct h1_reader *r, unsigned char c)
{
    switch (r->state) {
    case H1_AT_CHUNK_SIZE:
        return read_chunk_size(r, c);
    case H1_AT_CHUNK_EXTENSION:
        return read_chunk_extension(r, c);
    case H1_AT_CHUNK_SIZE_LF:
        if (c != '\n')
            return malformed(r, "bare CR");
        enter_chunk(r);
        return H1_MORE;
    case H1_AT_CHUNK_DATA_CR:
        if (c != '\r')
            return malformed(r, "chunk longer than its size");
        r->state = H1_AT_CHUNK_DATA_LF;
        return H1_MORE;
    default: /* H1_AT_CHUNK_DATA_LF */
        if (c != '\n')
            return malformed(r, "bare CR");
        r->state = H1_AT_CHUNK_SIZE;
        return H1_MORE;
    }
}

static enum h1_event read_framing_byte(struct h1_reader *r, struct span *in)
{
    unsigned char c = (unsigned char)in->ptr[0];
    *in = span_skip(*in, 1);
    return read_chunk_framing(r, c);
}

static enum h1_event read_trailers(struct h1_reader *r, struct span *in)
{
    if (LIKELY(in->len >= 2 && buffer_len(&r->partial) == 0 && memcmp(in->ptr, "\r\n", 2) == 0)) {
        *in = span_skip(*in, 2);
        r->state = H1_AT_END;
        return H1_END;
    }
    struct h1_block block;
    enum h1_event event = H1_MORE;
    if (!take_block(r, in, r->limits.trailer_bytes, FAULT_HEAD_TOO_LARGE, &block, &event))
        return event;
    struct h1_refusal refusal = {FAULT_NONE, NULL};
    if (!h1_parse_trailers(&block, &r->limits, r->arena, &r->trailers, &refusal))
        return bad_block(r, &block, &refusal);
    r->state = H1_AT_END;
    return H1_END;
}

/* next ------------------------------------------------------------------------------------------------------------ */

/* What the current state makes of *in, which is not empty; H1_MORE when it should be asked again while bytes are left.
 */
static enum h1_event step(struct h1_reader *r, struct span *in, struct span *ret_body)
{
    switch (r->state) {
    case H1_AT_START:
    case H1_AT_START_LF:
    case H1_AT_FIRST_BYTE:
        return read_start(r, in);
    case H1_AT_HEAD:
        return read_head(r, in);
    case H1_AT_LENGTH:
        return read_sized(r, in, ret_body, H1_AT_END);
    case H1_AT_CHUNK_DATA:
        return read_sized(r, in, ret_body, H1_AT_CHUNK_DATA_CR);
    case H1_AT_CLOSE:
        *ret_body = *in;
        *in = span_skip(*in, in->len);
        return H1_BODY;
    case H1_AT_CHUNK_DATA_CR:
        if (LIKELY(in->len >= 2 && in->ptr[0] == '\r' && in->ptr[1] == '\n')) {
            *in = span_skip(*in, 2);
            r->state = H1_AT_CHUNK_SIZE;
            return H1_MORE;
        }
        return read_framing_byte(r, in);
    case H1_AT_CHUNK_SIZE:
        if (LIKELY(r->digits == 0 && in->len > 2 && take_size_line(r, in)))
            return H1_MORE;
        return read_framing_byte(r, in);
    case H1_AT_CHUNK_EXTENSION:
    case H1_AT_CHUNK_SIZE_LF:
    case H1_AT_CHUNK_DATA_LF:
        return read_framing_byte(r, in);
    case H1_AT_TRAILERS:
        return read_trailers(r, in);
    case H1_AT_END:
        return H1_END;
    case H1_AT_BAD:
        break;
    }
    return H1_BAD;
}

/*
 * A whole chunk without extension that *in begins with, which is how the events of a stream come. False: it is another,
 * or not whole, or the last; nothing has been taken then.
 */
static inline bool take_chunk(const struct h1_reader *r, struct span *in, struct span *ret_body)
{
    const char *p = in->ptr;
    size_t size = 0, digits = 0, len = in->len;
    /* Six digits are more than a read holds. */
    if (UNLIKELY(r->digits || len < 16))
        return false;
    for (unsigned digit; digits < 6 && (digit = hex_digit((unsigned char)p[digits])) < 16; digits++)
        size = size << 4 | digit;
    size_t taken = digits + size + 4;
    if (digits == 0 || size == 0 || taken > len || memcmp(p + digits, "\r\n", 2) != 0 ||
        memcmp(p + taken - 2, "\r\n", 2) != 0)
        return false;
    *ret_body = span_of(p + digits + 2, size);
    *in = span_of(p + taken, len - taken);
    return true;
}

enum h1_event h1_reader_next(struct h1_reader *reader, struct span *in, struct span *ret_body)
{
    if (reader->state == H1_AT_CHUNK_SIZE && LIKELY(take_chunk(reader, in, ret_body)))
        return H1_BODY;
    if (UNLIKELY(reader->state >= H1_AT_END))
        return reader->state == H1_AT_END ? H1_END : H1_BAD;
    enum h1_event event = H1_MORE;
    while (event == H1_MORE && in->len)
        event = step(reader, in, ret_body);
    return event;
}

enum h1_event h1_reader_eof(struct h1_reader *reader)
{
    switch (reader->state) {
    case H1_AT_START:
    case H1_AT_START_LF:
    case H1_AT_FIRST_BYTE:
        return H1_MORE;
    case H1_AT_CLOSE:
        reader->state = H1_AT_END;
        return H1_END;
    case H1_AT_END:
        return H1_END;
    case H1_AT_BAD:
        return H1_BAD;
    default:
        reader->state = H1_AT_BAD;
        reader->fault = reader->role == H1_SERVER ? FAULT_CLIENT_GONE : FAULT_UPSTREAM_CLOSED;
        reader->reason = "closed in the middle of a message";
        buffer_finish(&reader->partial);
        return H1_BAD;
    }
}

bool h1_reader_untouched(const struct h1_reader *reader)
{
    return reader->state <= H1_AT_FIRST_BYTE;
}

/* YES once a line that is not empty has ended and held no slash. */
static enum h1_preface line_without_slash(struct span bytes)
{
    for (size_t i = 0; i < bytes.len && i < FIRST_LINE_MAX; i++) {
        if (bytes.ptr[i] == '/' || (i == 0 && (unsigned char)bytes.ptr[0] < ' '))
            return H1_PREFACE_NO;
        if (bytes.ptr[i] == '\n')
            return H1_PREFACE_YES;
    }
    return bytes.len < FIRST_LINE_MAX ? H1_PREFACE_MORE : H1_PREFACE_NO;
}

enum h1_preface h1_looks_like_h2(struct span first_bytes)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    _Static_assert(sizeof(preface) - 1 == H1_PREFACE_LEN, "the preface has 24 bytes");
    static const struct span version = SPAN_INIT("PRI * HTTP/2");
    struct span head = span_take(first_bytes, H1_PREFACE_LEN);
    if (head.len == 0 || memcmp(head.ptr, preface, head.len) == 0)
        return head.len == H1_PREFACE_LEN ? H1_PREFACE_YES : H1_PREFACE_MORE;
    return span_starts_with(head, version) ? H1_PREFACE_YES : line_without_slash(first_bytes);
}
