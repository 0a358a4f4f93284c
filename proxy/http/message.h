/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message: the head of one HTTP message, the same whatever HTTP version carried it (RFC 9110 section 6). Framing
 * (Content-Length, chunks, END_STREAM) belongs to the readers and writers; `framing` only says what is known of the
 * body's size. All spans point into the exchange's arena or to static text.
 */
#ifndef POSTERN_HTTP_MESSAGE_H
#define POSTERN_HTTP_MESSAGE_H

#include <stdint.h>

#include "base/span.h"
#include "http/fields.h"

enum http_method {
    HTTP_OTHER, /* a valid token that is none of these; see method_text */
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_CONNECT,
    HTTP_TRACE
};

enum http_version { HTTP_1_0 = 10, HTTP_1_1 = 11, HTTP_2 = 20 };

enum body_framing {
    BODY_NONE,    /* there is no body (also: answers to HEAD, 204, 304) */
    BODY_LENGTH,  /* exactly body_length bytes */
    BODY_CHUNKED, /* unknown length, ends by framing: chunked coding or END_STREAM */
    BODY_CLOSE    /* HTTP/1 answers only: ends when the connection does */
};

struct message {
    enum http_version version;
    /* request; in an answer, `method` alone is set, to the method asked */
    enum http_method method;
    struct span method_text;
    struct span target;    /* as received, origin form: path and query */
    struct span path;      /* before '?', still percent-encoded */
    struct span query;     /* after '?', without it; empty if none */
    struct span authority; /* Host or :authority */
    struct span scheme;    /* "http" or "https"; empty on HTTP/1 */
    /* response */
    unsigned status;
    struct span reason; /* HTTP/1 only; may be empty */
    /* both */
    struct fields fields; /* without pseudo-fields; with Content-Length, Transfer-Encoding as received */
    enum body_framing framing;
    uint64_t body_length; /* for BODY_LENGTH */
    bool keep_alive;      /* HTTP/1: the connection may be used again after this message */
    bool expect_continue; /* request with Expect: 100-continue */
};

/* The method of a token; HTTP_OTHER when it is none of the list (methods are case-sensitive, RFC 9110 9.1). */
enum http_method http_method(struct span token);
/* The name of a method; empty for HTTP_OTHER. */
struct span http_method_name(enum http_method method);
/* The standard reason phrase of a status, "" when there is none (RFC 9110 section 15). */
struct span http_reason(unsigned status);
/*
 * Removes the fields that end at this hop: Connection and all it names, Keep-Alive, Proxy-Connection, TE, Trailer,
 * Transfer-Encoding, Upgrade, HTTP2-Settings, Proxy-Authenticate, Proxy-Authorization (RFC 9110 7.6.1).
 * Content-Length stays.
 */
void message_remove_hop_by_hop(struct message *message);

#endif
