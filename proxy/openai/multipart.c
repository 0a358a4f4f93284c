/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/multipart.h"

enum {
    AT_START,     /* the first delimiter, which has no CRLF of its own */
    AT_TAIL,      /* after a delimiter: CRLF, or "--" */
    AT_TAIL_CR,   /* its CR was read */
    AT_TAIL_DASH, /* its first dash was read */
    AT_HEADER,    /* collecting a part's header up to the blank line */
    AT_CONTENT,   /* looking for the next delimiter */
    AT_CLOSED,    /* after the closing delimiter: nothing, or CRLF */
    AT_CLOSED_CR,
    AT_END,
    AT_BAD
};

/* Where in the delimiter (CRLF "--" boundary) a match may begin: with CR, with a bare LF, or with the dashes. */
enum { FROM_CR, FROM_LF, FROM_DASHES };

static enum multipart_event bad(struct multipart *m, const char *reason)
{
    m->state = AT_BAD;
    m->reason = reason;
    m->bad_at = m->at;
    return MULTIPART_BAD;
}

static void eat(struct multipart *m, struct span *input, size_t count)
{
    *input = span_skip(*input, count);
    m->at += count;
}

/* --- boundary --- */

/* RFC 2046 5.1.1 bchars; space is allowed except at the end. */
static bool is_boundary_char(char c)
{
    bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return alphanumeric || (c && strchr("'()+_,-./:=? ", c));
}

bool multipart_init(struct multipart *m, struct span boundary)
{
    if (boundary.len == 0 || boundary.len > MULTIPART_BOUNDARY_LIMIT || boundary.ptr[boundary.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < boundary.len; i++)
        if (!is_boundary_char(boundary.ptr[i]))
            return false;
    memset(m, 0, offsetof(struct multipart, delimiter));
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.ptr, boundary.len);
    m->delimiter_len = boundary.len + 4;
    m->state = AT_START;
    m->matched = m->held = FROM_DASHES;
    return true;
}

/* --- parameters of a header value: ; name=token or ; name="quoted" --- */

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static struct span take_token(struct span *rest)
{
    size_t len = 0;
    while (len < rest->len && is_token_char(rest->ptr[len]))
        len++;
    struct span token = span_take(*rest, len);
    *rest = span_skip(*rest, len);
    return token;
}

static void skip_blank(struct span *rest)
{
    while (rest->len && (rest->ptr[0] == ' ' || rest->ptr[0] == '\t'))
        *rest = span_skip(*rest, 1);
}

/* A value in quotes, without them but with its backslashes. */
static bool take_quoted(struct span *rest, struct span *ret)
{
    size_t len = 1;
    while (len < rest->len && rest->ptr[len] != '"')
        len += rest->ptr[len] == '\\' ? 2 : 1;
    if (len >= rest->len)
        return false;
    *ret = span_of(rest->ptr + 1, len - 1);
    *rest = span_skip(*rest, len + 1);
    return true;
}

/* The next parameter; false at the end and on bad syntax, told apart by rest->len. */
static bool take_parameter(struct span *rest, struct span *ret_name, struct span *ret_value)
{
    struct span at = *rest;
    skip_blank(&at);
    if (at.len == 0 || at.ptr[0] != ';') {
        *rest = at;
        return false;
    }
    at = span_skip(at, 1);
    skip_blank(&at);
    *ret_name = take_token(&at);
    if (ret_name->len == 0 || at.len < 2 || at.ptr[0] != '=')
        return false;
    at = span_skip(at, 1);
    if (at.ptr[0] == '"') {
        if (!take_quoted(&at, ret_value))
            return false;
    } else {
        *ret_value = take_token(&at);
        if (ret_value->len == 0)
            return false;
    }
    *rest = at;
    return true;
}

bool multipart_boundary(struct span content_type, struct span *ret)
{
    const struct span type = SPAN("multipart/form-data");
    struct span rest = span_trim(content_type), name, value, found = {NULL, 0};
    if (!span_equal_nocase(span_take(rest, type.len), type))
        return false;
    rest = span_skip(rest, type.len);
    while (take_parameter(&rest, &name, &value))
        if (span_equal_nocase(name, SPAN("boundary"))) {
            if (found.ptr)
                return false;
            found = value;
        }
    if (rest.len || !found.ptr || span_find(found, '\\') < found.len)
        return false;
    *ret = found;
    return true;
}

/* --- a part's header --- */

/* Copies a quoted value without its backslashes; false when it is too long. */
static bool set_name(struct multipart *m, struct span value)
{
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '\\')
            i++;
        if (len == sizeof(m->name))
            return false;
        m->name[len++] = value.ptr[i];
    }
    m->name_len = len;
    return true;
}

static const char *read_disposition(struct multipart *m, struct span value)
{
    struct span rest = value, name;
    bool named = false;
    if (m->has_name)
        return "a part has two Content-Disposition fields";
    if (!span_equal_nocase(take_token(&rest), SPAN("form-data")))
        return "a part's Content-Disposition is not form-data";
    while (take_parameter(&rest, &name, &value)) {
        if (span_equal_nocase(name, SPAN("name*")) || (named && span_equal_nocase(name, SPAN("name"))))
            return "a part has more than one name";
        if (span_equal_nocase(name, SPAN("name"))) {
            named = true;
            if (!set_name(m, value))
                return "a part's name is too long";
        }
        if (span_equal_nocase(name, SPAN("filename")) || span_equal_nocase(name, SPAN("filename*")))
            m->is_file = true;
    }
    if (rest.len || !named)
        return "a part's Content-Disposition is malformed or has no name";
    m->has_name = true;
    return NULL;
}

static const char *read_header_line(struct multipart *m, struct span line)
{
    struct span rest = line, name = take_token(&rest);
    if (name.len == 0 || rest.len == 0 || rest.ptr[0] != ':')
        return "a part's header is malformed";
    for (size_t i = 0; i < rest.len; i++)
        if ((unsigned char)rest.ptr[i] < 0x20 && rest.ptr[i] != '\t')
            return "a part's header has a control byte";
    struct span value = span_trim(span_skip(rest, 1));
    if (span_equal_nocase(name, SPAN("content-disposition")))
        return read_disposition(m, value);
    if (span_equal_nocase(name, SPAN("content-transfer-encoding")))
        m->encoded = !span_equal_nocase(value, SPAN("7bit")) && !span_equal_nocase(value, SPAN("8bit")) &&
                     !span_equal_nocase(value, SPAN("binary"));
    return NULL;
}

/* `header` holds whole lines, each with its CRLF, without the blank one. */
static const char *read_header(struct multipart *m)
{
    struct span rest = span_of(m->header, m->header_len);
    m->has_name = m->is_file = m->encoded = false;
    while (rest.len) {
        size_t end = span_search(rest, SPAN("\r\n"));
        const char *reason = read_header_line(m, span_take(rest, end));
        if (reason)
            return reason;
        rest = span_skip(rest, end + 2);
    }
    return m->has_name ? NULL : "a part has no Content-Disposition";
}

static enum multipart_event collect_header(struct multipart *m, struct span *input)
{
    while (input->len) {
        if (m->header_len == sizeof(m->header))
            return bad(m, "a part's header is too long");
        char c = input->ptr[0];
        m->header[m->header_len++] = c;
        eat(m, input, 1);
        if (c != '\n')
            continue;
        struct span so_far = span_of(m->header, m->header_len);
        if (!span_ends_with(so_far, SPAN("\r\n")))
            return bad(m, "a part's header has a bare LF");
        if (so_far.len != 2 && !span_ends_with(so_far, SPAN("\r\n\r\n")))
            continue;
        m->header_len -= 2;
        const char *reason = read_header(m);
        if (reason)
            return bad(m, reason);
        m->state = AT_CONTENT;
        m->value_start = m->at;
        m->matched = m->held = FROM_DASHES; /* a delimiter right here would have no line break of its own */
        return MULTIPART_PART;
    }
    return MULTIPART_MORE;
}

/* --- content --- */

static enum multipart_event give(struct multipart *m, struct span data)
{
    m->data = data;
    return data.len ? MULTIPART_DATA : MULTIPART_MORE;
}

/* The delimiter is complete. */
static enum multipart_event delimiter_found(struct multipart *m)
{
    if (m->held != FROM_CR)
        return bad(m, "a boundary does not follow a CRLF of its own");
    m->value_end = m->at - m->delimiter_len;
    m->state = AT_TAIL;
    return MULTIPART_END;
}

/*
 * Bytes that match the delimiter so far are held back: they are consumed but not given out, and when the match
 * fails they are given out from our copy of it.
 */
static enum multipart_event match_on(struct multipart *m, struct span *input)
{
    size_t count = 0;
    while (count < input->len && m->matched < m->delimiter_len && input->ptr[count] == m->delimiter[m->matched]) {
        m->matched++;
        count++;
    }
    eat(m, input, count);
    if (m->matched == m->delimiter_len)
        return delimiter_found(m);
    if (input->len == 0)
        return MULTIPART_MORE;
    struct span held = span_of(m->delimiter + m->held, m->matched - m->held);
    m->matched = m->held = 0;
    return give(m, held);
}

/* Everything before the next line break is content; the break may begin a delimiter. */
static enum multipart_event plain_content(struct multipart *m, struct span *input)
{
    size_t len = span_find(*input, '\n');
    bool found = len < input->len;
    bool after_cr = len && input->ptr[len - 1] == '\r';
    struct span data = span_take(*input, after_cr ? len - 1 : len);
    if (after_cr) {
        m->held = FROM_CR;
        m->matched = FROM_CR + 1;
    }
    if (found) {
        m->held = after_cr ? FROM_CR : FROM_LF;
        m->matched = FROM_DASHES;
    }
    eat(m, input, len + found);
    return give(m, data);
}

static enum multipart_event read_content(struct multipart *m, struct span *input)
{
    return m->matched ? match_on(m, input) : plain_content(m, input);
}

/* --- delimiters --- */

static enum multipart_event read_start(struct multipart *m, struct span *input)
{
    while (input->len && m->matched < m->delimiter_len) {
        if (input->ptr[0] != m->delimiter[m->matched])
            return bad(m, "the body does not begin with its boundary");
        m->matched++;
        eat(m, input, 1);
    }
    if (m->matched == m->delimiter_len)
        m->state = AT_TAIL;
    return MULTIPART_MORE;
}

/* One byte of what follows a delimiter. */
static enum multipart_event read_tail(struct multipart *m, struct span *input)
{
    static const struct {
        int state, next;
        char byte;
    } steps[] = {
        {AT_TAIL, AT_TAIL_CR, '\r'},    {AT_TAIL, AT_TAIL_DASH, '-'},    {AT_TAIL_CR, AT_HEADER, '\n'},
        {AT_TAIL_DASH, AT_CLOSED, '-'}, {AT_CLOSED, AT_CLOSED_CR, '\r'}, {AT_CLOSED_CR, AT_END, '\n'},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (steps[i].state == m->state && steps[i].byte == input->ptr[0]) {
            m->state = steps[i].next;
            m->header_len = 0;
            eat(m, input, 1);
            return MULTIPART_MORE;
        }
    return bad(m, m->state >= AT_CLOSED ? "there are bytes after the closing boundary"
                                        : "a boundary is followed by other bytes");
}

static enum multipart_event read_some(struct multipart *m, struct span *input)
{
    switch (m->state) {
    case AT_START:
        return read_start(m, input);
    case AT_HEADER:
        return collect_header(m, input);
    case AT_CONTENT:
        return read_content(m, input);
    default:
        return read_tail(m, input);
    }
}

enum multipart_event multipart_next(struct multipart *m, struct span *input, bool last)
{
    m->data = span_of(NULL, 0);
    if (m->state == AT_BAD)
        return MULTIPART_BAD;
    while (input->len) {
        enum multipart_event event = read_some(m, input);
        if (event != MULTIPART_MORE)
            return event;
    }
    if (!last)
        return MULTIPART_MORE;
    return m->state == AT_CLOSED || m->state == AT_END ? MULTIPART_DONE : bad(m, "unexpected end");
}
