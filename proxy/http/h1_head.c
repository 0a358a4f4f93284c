/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h1_head.h"

#include "http/h1_scan.h"

/* Longer method names than any registered one (IANA's longest has 17 letters) are not worth carrying. */
#define METHOD_MAX 24
/* Connection options beyond this serve only to make their removal expensive. */
#define OPTIONS_MAX 32
/* Bytes of a short field line: how many fields a head may have is guessed from its length, so that the list seldom
 * grows. */
#define FIELD_USUAL 28

const unsigned char h1_token[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*', ['+'] = '+',
    ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`', ['|'] = '|',   ['~'] = '~', ['0'] = '0',
    ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6',   ['7'] = '7', ['8'] = '8',
    ['9'] = '9', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e',   ['F'] = 'f', ['G'] = 'g',
    ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm',   ['N'] = 'n', ['O'] = 'o',
    ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u',   ['V'] = 'v', ['W'] = 'w',
    ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c',   ['d'] = 'd', ['e'] = 'e',
    ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k',   ['l'] = 'l', ['m'] = 'm',
    ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r', ['s'] = 's',   ['t'] = 't', ['u'] = 'u',
    ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
};

/* One parse: where it is, and what the fields said about framing. */
struct parse {
    char *at;
    const char *end;
    struct arena *arena;
    struct message *message;
    struct h1_refusal *refusal;
    uint64_t seen; /* set of field ids */
    struct span host, length, coding;
    struct span connection; /* the last of them */
};

#define BIT(id) (UINT64_C(1) << FIELD_##id)
/* A noted field came more than once; takes FIELD_OTHER's bit, which is never set otherwise. */
#define REPEATED UINT64_C(1)
_Static_assert(FIELD_OTHER == 0, "the bit is free");
/* Fields that may stand once: two of them is one parser's first and another's last. */
#define SINGLE (BIT(HOST) | BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING))

/* Fields that note() looks at. */
#define NOTED (SINGLE | BIT(CONNECTION) | BIT(EXPECT))

static bool refuse_as(struct parse *p, enum fault fault, const char *reason)
{
    *p->refusal = (struct h1_refusal){.fault = fault, .reason = reason};
    return false;
}

static bool refuse(struct parse *p, const char *reason)
{
    return refuse_as(p, FAULT_MALFORMED_REQUEST, reason);
}

static bool has(const struct parse *p, uint64_t bit)
{
    return (p->seen & bit) != 0;
}

/* fields ---------------------------------------------------------------------------------------------------------- */

/* The reason for a name that did not end in a colon; `at` is where the token ended, `len` its length. */
static bool refuse_name(struct parse *p, const char *at, size_t len)
{
    bool blank = *at == ' ' || *at == '\t';
    if (len == 0)
        return refuse(p, blank ? "folded line" : *at == ':' ? "empty field name" : "bad byte in a field name");
    return refuse(p, blank ? "blank before the colon" : "bad byte in a field name");
}

static bool refuse_value(struct parse *p, const char *at)
{
    if (*at == '\r')
        return refuse(p, "bare CR");
    return refuse(p, *at == '\0' ? "NUL in a field value" : "control byte in a field value");
}

/* Remembers what framing and routing depend on. */
static bool note(struct parse *p, const struct field *field)
{
    uint64_t bit = UINT64_C(1) << field->id;
    if (UNLIKELY(p->seen & bit & SINGLE))
        return refuse(p, field->id == FIELD_HOST             ? "repeated Host"
                         : field->id == FIELD_CONTENT_LENGTH ? "repeated Content-Length"
                                                             : "repeated Transfer-Encoding");
    p->seen |= bit | (p->seen & bit ? REPEATED : 0);
    if (field->id == FIELD_HOST)
        p->host = field->value;
    else if (field->id == FIELD_CONTENT_LENGTH)
        p->length = field->value;
    else if (field->id == FIELD_TRANSFER_ENCODING)
        p->coding = field->value;
    else if (field->id == FIELD_CONNECTION)
        p->connection = field->value;
    return true;
}

/* Makes *room how many fields may be held before asking again. */
static bool more_room(struct parse *p, struct fields *fields, unsigned max, unsigned *room)
{
    if (fields->count >= max)
        return refuse_as(p, FAULT_HEAD_TOO_LARGE, "too many fields");
    fields_reserve(fields, p->arena, (unsigned)((size_t)(p->end - p->at) / FIELD_USUAL) + 2);
    *room = fields->cap < max ? fields->cap : max;
    return true;
}

/* From the start of the first field line to the end of the block. */
static bool read_fields(struct parse *p, struct fields *fields, unsigned max)
{
    *fields = (struct fields){0};
    char *at = p->at;
    unsigned room = 0;
    while (*at != '\r') {
        size_t len = h1_lower_name(at);
        if (UNLIKELY(at[len] != ':' || len == 0))
            return refuse_name(p, at + len, len);
        if (UNLIKELY(fields->count == room) && !more_room(p, fields, max, &room))
            return false;
        char *value = at + len + 1;
        while (*value == ' ' || *value == '\t')
            value++;
        char *stop = h1_scan_value(value), *tail = stop;
        if (UNLIKELY(stop[0] != '\r' || stop[1] != '\n'))
            return refuse_value(p, stop);
        while (tail > value && (tail[-1] == ' ' || tail[-1] == '\t'))
            tail--;
        struct field *field = &fields->at[fields->count++];
        field->name = span_of(at, len);
        field->value = span_of(value, (size_t)(tail - value));
        field->id = field_id(span_of(at, len));
        fields->ids |= field_bit(field->id);
        if ((NOTED >> field->id & 1) && !note(p, field))
            return false;
        at = stop + 2;
    }
    /* The block ends at the first empty line, so a CR elsewhere stands alone. */
    return at + 2 == p->end || refuse(p, "bare CR");
}

/* Connection: may it be used again, and is the list short enough to be worked on. */
static bool read_connection(struct parse *p)
{
    struct message *m = p->message;
    /* One field of one word is what nearly all send. */
    if (!has(p, BIT(CONNECTION)) || (!has(p, REPEATED) && span_equal(p->connection, SPAN("keep-alive")))) {
        m->keep_alive = m->version == HTTP_1_1 || has(p, BIT(CONNECTION));
        return true;
    }
    unsigned options = 0;
    bool close = false, keep = false;
    for (unsigned i = 0; i < m->fields.count; i++) {
        if (m->fields.at[i].id != FIELD_CONNECTION)
            continue;
        struct span rest = m->fields.at[i].value, part;
        while (span_split(&rest, ',', &part)) {
            part = span_trim(part);
            close = close || span_equal_nocase(part, SPAN("close"));
            keep = keep || span_equal_nocase(part, SPAN("keep-alive"));
            if (++options > OPTIONS_MAX)
                return refuse(p, "too many connection options");
        }
    }
    m->keep_alive = !close && (keep || m->version == HTTP_1_1);
    return true;
}

/* Content-Length and Transfer-Encoding, before a status or method overrules them (RFC 9112 6.1-6.3). */
static bool read_framing(struct parse *p)
{
    struct message *m = p->message;
    m->framing = BODY_NONE;
    m->body_length = 0;
    if (has(p, BIT(TRANSFER_ENCODING))) {
        if (has(p, BIT(CONTENT_LENGTH)))
            return refuse(p, "Content-Length beside Transfer-Encoding");
        if (m->version == HTTP_1_0)
            return refuse(p, "Transfer-Encoding on HTTP/1.0");
        if (!span_equal_nocase(p->coding, SPAN("chunked")))
            return refuse(p, "transfer coding other than chunked");
        m->framing = BODY_CHUNKED;
    } else if (has(p, BIT(CONTENT_LENGTH))) {
        /* Room for sums of lengths without overflow. */
        if (!span_to_u64(p->length, &m->body_length) || m->body_length > INT64_MAX)
            return refuse(p, "bad Content-Length");
        m->framing = BODY_LENGTH;
    }
    return true;
}

/* requests -------------------------------------------------------------------------------------------------------- */

static bool read_method(struct parse *p)
{
    const char *start = p->at;
    while (h1_token[(unsigned char)*p->at])
        p->at++;
    size_t len = (size_t)(p->at - start);
    if (len == 0 || len > METHOD_MAX || *p->at != ' ')
        return refuse(p, "bad method");
    p->message->method_text = span_of(start, len);
    p->message->method = http_method(p->message->method_text);
    if (p->message->method == HTTP_CONNECT)
        return refuse_as(p, FAULT_NOT_IMPLEMENTED, "CONNECT");
    p->at++;
    return true;
}

static bool read_target(struct parse *p, const struct h1_limits *limits)
{
    struct message *m = p->message;
    const char *start = p->at, *question = NULL, *stop = h1_scan_target(start, &question);
    size_t len = (size_t)(stop - start);
    if (len > limits->target_bytes)
        return refuse_as(p, FAULT_URI_TOO_LONG, "request target too long");
    if (*stop != ' ')
        return refuse(p, *stop == '#' ? "fragment in the target" : "bad byte in the request line");
    if (len == 0)
        return refuse(p, "empty target");
    m->target = span_of(start, len);
    m->path = span_of(start, question ? (size_t)(question - start) : len);
    m->query = question ? span_of(question + 1, (size_t)(stop - question - 1)) : SPAN("");
    p->at += len + 1;
    return true;
}

/* HTTP/1.x at `at`; `after` is the byte that ends it. */
static bool read_version(struct parse *p, char after)
{
    const char *at = p->at;
    if (memcmp(at, "HTTP/", 5) != 0 || at[5] < '0' || at[5] > '9' || at[6] != '.' || at[7] < '0' || at[7] > '9')
        return refuse(p, "bad HTTP version");
    if (at[5] != '1' || at[7] > '1')
        return refuse_as(p, FAULT_VERSION, "unknown HTTP version");
    if (at[8] != after)
        return refuse(p, "bad byte after the HTTP version");
    p->message->version = at[7] == '1' ? HTTP_1_1 : HTTP_1_0;
    p->at += 9;
    return true;
}

/* RFC 3986 unreserved, sub-delims but the comma (a list to some), and '%'. */
static const bool host_byte[256] = {
    ['-'] = true, ['.'] = true, ['_'] = true,  ['~'] = true, ['%'] = true, ['!'] = true, ['$'] = true, ['&'] = true,
    ['*'] = true, ['+'] = true, ['\''] = true, ['('] = true, [')'] = true, [';'] = true, ['='] = true, ['0'] = true,
    ['1'] = true, ['2'] = true, ['3'] = true,  ['4'] = true, ['5'] = true, ['6'] = true, ['7'] = true, ['8'] = true,
    ['9'] = true, ['A'] = true, ['B'] = true,  ['C'] = true, ['D'] = true, ['E'] = true, ['F'] = true, ['G'] = true,
    ['H'] = true, ['I'] = true, ['J'] = true,  ['K'] = true, ['L'] = true, ['M'] = true, ['N'] = true, ['O'] = true,
    ['P'] = true, ['Q'] = true, ['R'] = true,  ['S'] = true, ['T'] = true, ['U'] = true, ['V'] = true, ['W'] = true,
    ['X'] = true, ['Y'] = true, ['Z'] = true,  ['a'] = true, ['b'] = true, ['c'] = true, ['d'] = true, ['e'] = true,
    ['f'] = true, ['g'] = true, ['h'] = true,  ['i'] = true, ['j'] = true, ['k'] = true, ['l'] = true, ['m'] = true,
    ['n'] = true, ['o'] = true, ['p'] = true,  ['q'] = true, ['r'] = true, ['s'] = true, ['t'] = true, ['u'] = true,
    ['v'] = true, ['w'] = true, ['x'] = true,  ['y'] = true, ['z'] = true,
};

/* uri-host [":" port]; empty is allowed (RFC 9112 3.2). */
static bool valid_host(struct span host)
{
    size_t i = 0;
    if (host.len && host.ptr[0] == '[') {
        for (i = 1; i < host.len && host.ptr[i] != ']'; i++)
            if (!strchr("0123456789abcdefABCDEF:.", host.ptr[i]))
                return false;
        if (i++ >= host.len || i == 2)
            return false;
    } else {
        while (i < host.len && host_byte[(unsigned char)host.ptr[i]])
            i++;
    }
    if (i == host.len)
        return true;
    uint64_t port = 0;
    struct span digits = span_skip(host, i + 1);
    return i > 0 && host.ptr[i] == ':' && (digits.len == 0 || (span_to_u64(digits, &port) && port <= UINT16_MAX));
}

/* http://authority[/path][?query] becomes origin form (RFC 9112 3.2.2); the authority must be what Host says. */
static bool read_absolute_form(struct parse *p)
{
    struct message *m = p->message;
    struct span scheme = span_take(m->target, span_search(m->target, SPAN("://")));
    if (span_equal_nocase(scheme, SPAN("http")))
        m->scheme = SPAN("http");
    else if (span_equal_nocase(scheme, SPAN("https")))
        m->scheme = SPAN("https");
    else
        return refuse(p, "bad request target");
    struct span rest = span_skip(m->target, scheme.len + 3);
    size_t len = 0;
    while (len < rest.len && rest.ptr[len] != '/' && rest.ptr[len] != '?')
        len++;
    struct span authority = span_take(rest, len);
    if (len == 0 || !valid_host(authority))
        return refuse(p, "bad authority in the target");
    if (has(p, BIT(HOST)) && !span_equal_nocase(authority, p->host))
        return refuse(p, "target and Host disagree");
    m->authority = authority;
    m->target = span_skip(rest, len);
    if (m->target.len == 0)
        m->target = SPAN("/");
    else if (m->target.ptr[0] == '?')
        m->target = arena_format(p->arena, "/%.*s", SPAN_ARG(m->target));
    size_t mark = span_find(m->target, '?');
    m->path = span_take(m->target, mark);
    m->query = span_skip(m->target, mark + 1);
    return true;
}

/* Host against version and target form. */
static bool read_authority(struct parse *p)
{
    struct message *m = p->message;
    if (!has(p, BIT(HOST)) && m->version == HTTP_1_1)
        return refuse(p, "missing Host");
    if (!valid_host(p->host))
        return refuse(p, "bad Host");
    m->authority = p->host;
    if (LIKELY(m->target.ptr[0] == '/'))
        return true;
    if (m->target.ptr[0] == '*')
        return (m->target.len == 1 && m->method == HTTP_OPTIONS) || refuse(p, "bad request target");
    return read_absolute_form(p);
}

static bool read_expect(struct parse *p)
{
    struct message *m = p->message;
    m->expect_continue = false;
    if (!has(p, BIT(EXPECT)) || m->version == HTTP_1_0)
        return true;
    for (unsigned i = 0; i < m->fields.count; i++)
        if (m->fields.at[i].id == FIELD_EXPECT && !span_equal_nocase(m->fields.at[i].value, SPAN("100-continue")))
            return refuse_as(p, FAULT_EXPECTATION, "unknown expectation");
    m->expect_continue = m->framing == BODY_CHUNKED || m->body_length > 0;
    return true;
}

static struct parse parse_of(const struct h1_block *block, struct arena *arena, struct message *message,
                             struct h1_refusal *refusal)
{
    return (struct parse){
        .at = block->text, .end = block->text + block->len, .arena = arena, .message = message, .refusal = refusal};
}

bool h1_parse_request(const struct h1_block *block, const struct h1_limits *limits, struct arena *arena,
                      struct message *ret, struct h1_refusal *ret_refusal)
{
    struct parse p = parse_of(block, arena, ret, ret_refusal);
    *ret = (struct message){0};
    if (!read_method(&p) || !read_target(&p, limits) || !read_version(&p, '\r'))
        return false;
    if (*p.at++ != '\n')
        return refuse(&p, "bare CR");
    return read_fields(&p, &ret->fields, limits->fields) && read_authority(&p) && read_framing(&p) &&
           read_connection(&p) && read_expect(&p);
}

/* answers --------------------------------------------------------------------------------------------------------- */

static bool read_status(struct parse *p)
{
    const char *at = p->at;
    unsigned status = 0;
    for (int i = 0; i < 3; i++) {
        if (at[i] < '0' || at[i] > '9')
            return refuse(p, "bad status");
        status = status * 10 + (unsigned)(at[i] - '0');
    }
    if (status < 100 || status > 599)
        return refuse(p, "bad status");
    p->message->status = status;
    p->at += 3;
    /* The space before an empty reason is often forgotten. */
    if (*p->at == ' ')
        p->at++;
    else if (*p->at != '\r')
        return refuse(p, "bad status");
    char *stop = h1_scan_value(p->at);
    if (stop[0] != '\r' || stop[1] != '\n')
        return refuse(p, "bad byte in the status line");
    p->message->reason = span_of(p->at, (size_t)(stop - p->at));
    p->at = stop + 2;
    return true;
}

/* What the status and the method asked make of the framing (RFC 9112 6.3). */
static bool overrule_framing(struct parse *p)
{
    struct message *m = p->message;
    bool announced = m->framing == BODY_CHUNKED || m->body_length > 0;
    if (m->status == 101) {
        m->framing = BODY_CLOSE;
    } else if (m->status < 200) {
        if (announced)
            return refuse(p, "interim answer with a body");
        m->framing = BODY_NONE;
    } else if (m->method == HTTP_CONNECT && m->status < 300) {
        m->framing = BODY_NONE;
    } else if (m->method == HTTP_HEAD || m->status == 304) {
        m->framing = BODY_NONE;
    } else if (m->status == 204) {
        /* The peer may send the body it announced: do not read that as the next answer. */
        m->keep_alive = m->keep_alive && !announced;
        m->framing = BODY_NONE;
    } else if (m->framing == BODY_NONE) {
        m->framing = BODY_CLOSE;
    }
    if (m->framing == BODY_CLOSE)
        m->keep_alive = false;
    return true;
}

bool h1_parse_response(const struct h1_block *block, const struct h1_limits *limits, struct arena *arena,
                       struct message *ret, struct h1_refusal *ret_refusal)
{
    struct parse p = parse_of(block, arena, ret, ret_refusal);
    *ret = (struct message){.method = ret->method};
    if (!read_version(&p, ' ') || !read_status(&p))
        return false;
    return read_fields(&p, &ret->fields, limits->fields) && read_framing(&p) && read_connection(&p) &&
           overrule_framing(&p);
}

/* trailers -------------------------------------------------------------------------------------------------------- */

bool h1_parse_trailers(const struct h1_block *block, const struct h1_limits *limits, struct arena *arena,
                       struct fields *ret, struct h1_refusal *ret_refusal)
{
    struct parse p = parse_of(block, arena, NULL, ret_refusal);
    if (!read_fields(&p, ret, limits->trailers))
        return false;
    for (unsigned i = 0; i < ret->count; i++)
        if (field_forbidden_as_trailer(ret->at[i].id))
            return refuse(&p, "forbidden trailer");
    return true;
}
