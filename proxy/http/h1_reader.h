/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_reader: reads HTTP/1.1 and HTTP/1.0 messages (RFC 9112) from bytes that arrive in pieces of any size. One reader
 * per connection; SERVER reads requests, CLIENT reads answers. It knows no socket, loop, log or clock.
 *
 *     h1_reader_init(&reader, H1_SERVER, &h1_limits_default);
 *     h1_reader_start(&reader, &arena, &message, HTTP_OTHER);          once per message
 *     while ((event = h1_reader_next(&reader, &in, &body)) != H1_MORE)
 *         H1_HEAD, then any number of H1_BODY, then H1_END; or H1_BAD
 *
 * Strict: what two parsers could understand differently is refused, so that nothing ambiguous is ever forwarded. The
 * verdict never depends on where the bytes were split. Refused, both roles: Content-Length beside Transfer-Encoding,
 * repeated (even when identical), listed, signed, empty or overflowing lengths, any transfer coding but a single
 * `chunked`, any on HTTP/1.0; bare CR or bare LF, blanks before the colon, folded lines, control bytes in values, names
 * that are not tokens; chunk sizes with anything but 1-16 hexadecimal digits, blanks around them; framing, routing or
 * credential fields as trailers. Requests: more than one empty line before, extra spaces, CONNECT, `*` unless OPTIONS,
 * targets with bytes outside 0x21-0x7E or with a fragment, absolute form that disagrees with Host, missing (1.1),
 * repeated or malformed Host, unknown expectations.
 *
 * Cost: a head that arrives in one piece is copied once, into the arena; a body is never copied. Between messages and
 * while heads arrive whole, the reader holds no memory beyond itself.
 */
#ifndef POSTERN_HTTP_H1_READER_H
#define POSTERN_HTTP_H1_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/compiler.h"
#include "base/fault.h"
#include "base/span.h"
#include "http/message.h"

enum h1_role { H1_SERVER, H1_CLIENT };

enum h1_event {
    H1_MORE, /* all of *in was taken; call again when there is more, or h1_reader_eof */
    H1_HEAD, /* the message is filled. In an answer with a 1xx status but 101 another head follows */
    H1_BODY, /* *ret_body holds at least one byte of the body; it points into *in's bytes */
    H1_END,  /* the message is complete, trailers included; what is left of *in belongs to the next one */
    H1_BAD   /* see fault and reason; the connection cannot be used any more */
};

/* All in bytes, except the two counts. What goes beyond is HEAD_TOO_LARGE, URI_TOO_LONG or, from upstream,
 * UPSTREAM_TOO_LARGE. */
struct h1_limits {
    unsigned head_bytes;      /* start line, fields and the empty line after them */
    unsigned target_bytes;    /* request target */
    unsigned fields;          /* count of fields */
    unsigned trailer_bytes;   /* trailer section with its empty line */
    unsigned trailers;        /* count of trailer fields */
    unsigned extension_bytes; /* chunk extensions of a whole message */
};

/* 64 KiB, 8 KiB, 200, 8 KiB, 32, 4 KiB */
extern const struct h1_limits h1_limits_default;

/* Where the reader stands; only h1_reader.c acts on it. */
enum h1_state {
    H1_AT_START,
    H1_AT_START_LF,
    H1_AT_FIRST_BYTE,
    H1_AT_HEAD,
    H1_AT_LENGTH,
    H1_AT_CLOSE,
    H1_AT_CHUNK_SIZE,
    H1_AT_CHUNK_EXTENSION,
    H1_AT_CHUNK_SIZE_LF,
    H1_AT_CHUNK_DATA,
    H1_AT_CHUNK_DATA_CR,
    H1_AT_CHUNK_DATA_LF,
    H1_AT_TRAILERS,
    H1_AT_END,
    H1_AT_BAD
};

struct h1_reader {
    /* Readable by the caller. */
    enum fault fault;       /* after H1_BAD: what to answer or to count */
    const char *reason;     /* after H1_BAD: static text for the log, e.g. "bare LF" */
    struct fields trailers; /* after H1_END; spans in the arena given to h1_reader_start */

    /* The rest is the reader's own. */
    enum h1_role role;
    enum h1_state state;
    enum http_method asked;
    struct h1_limits limits;
    struct arena *arena;
    struct message *message;
    struct buffer partial;      /* a head or trailer section that came in pieces */
    unsigned line_start, lines; /* of the block being read: offset of the current line, lines complete */
    unsigned digits, extension; /* of the chunk size, of extensions so far */
    unsigned interim;           /* 1xx answers so far */
    uint64_t left;              /* body or chunk bytes to come */
};

void h1_reader_init(struct h1_reader *reader, enum h1_role role, const struct h1_limits *limits);
/* Gives back memory; the reader can be started again. */
void h1_reader_finish(struct h1_reader *reader);

/*
 * Prepares for one message. `arena` and `message` must live until H1_END or H1_BAD, the message's spans live as long as
 * the arena. `asked`: for answers, the method of the request (framing depends on it); ignored for requests. Call it
 * after init and after each H1_END, before the next byte is handed in. *message is written at H1_HEAD only.
 */
void h1_reader_start(struct h1_reader *reader, struct arena *arena, struct message *message, enum http_method asked);

/*
 * The next event. Takes bytes from the front of *in; *ret_body is written on H1_BODY only. After H1_MORE *in is empty.
 * H1_END and H1_BAD repeat until h1_reader_start. A message without a body gives H1_HEAD, then H1_END.
 *
 * At H1_HEAD the message says: framing and body_length; keep_alive (RFC 9112 9.3; false also for BODY_CLOSE and for
 * answers whose length fields contradict their status); expect_continue (never on HTTP/1.0). Absolute-form targets are
 * given in origin form, their scheme in `scheme`. In answers `method` is the method asked. 101 has framing BODY_CLOSE:
 * whatever follows is given as body. 2xx to CONNECT ends at once: the rest of *in belongs to the tunnel.
 *
 * Faults: requests MALFORMED_REQUEST, HEAD_TOO_LARGE, URI_TOO_LONG, VERSION, NOT_IMPLEMENTED (CONNECT), EXPECTATION;
 * answers UPSTREAM_PROTOCOL, UPSTREAM_TOO_LARGE.
 */
MUST_CHECK enum h1_event h1_reader_next(struct h1_reader *reader, struct span *in, struct span *ret_body);

/*
 * The peer has closed. H1_END: the message is complete (a body that ends with the connection, or it had ended before).
 * H1_MORE: closed between messages, nothing of this one had come. H1_BAD: cut short; fault is CLIENT_GONE or
 * UPSTREAM_CLOSED.
 */
MUST_CHECK enum h1_event h1_reader_eof(struct h1_reader *reader);

/* No byte of the current message has come: a reused connection that closes now was stale, and an idle one may be
 * closed. */
bool h1_reader_untouched(const struct h1_reader *reader);

enum h1_preface { H1_PREFACE_NO, H1_PREFACE_MORE, H1_PREFACE_YES };
#define H1_PREFACE_LEN 24
/*
 * Whether the first bytes of a connection are meant as HTTP/2: its preface (RFC 9113 3.4), one that goes wrong after
 * `PRI * HTTP/2`, or a first line without any `/`. The latter names neither a path nor a version, so it is no HTTP/1
 * request, not even a malformed one, and an answer in HTTP/1 would mean nothing to its sender. MORE while it may be
 * either.
 */
enum h1_preface h1_looks_like_h2(struct span first_bytes);

#endif
