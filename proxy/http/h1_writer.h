/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_writer: writes HTTP/1.1 heads and chunk framing (RFC 9112) at the end of a buffer. Framing fields are chosen here,
 * from message.framing; Content-Length, Transfer-Encoding, Connection (and Host in requests) among the fields are
 * therefore not copied. The caller has removed the other hop-by-hop fields (message_remove_hop_by_hop) and checked
 * nothing else:
 *
 * Every head is checked before it counts: a CR, LF or NUL anywhere but in our own line ends, a name that is not a
 * token, a blank or control byte in method or target makes the function return false, with the buffer as it was. That
 * is what keeps a field that came over HTTP/2 or from a configuration from becoming two.
 */
#ifndef POSTERN_HTTP_H1_WRITER_H
#define POSTERN_HTTP_H1_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"
#include "http/message.h"

/*
 * method_text SP target SP HTTP/1.1, `host: authority`, fields, framing, then `connection: close` unless
 * message.keep_alive. An empty method_text stands for the name of message.method. BODY_LENGTH writes content-length,
 * BODY_CHUNKED transfer-encoding; BODY_NONE writes content-length: 0 for POST, PUT and PATCH (RFC 9110 8.6), nothing
 * otherwise. BODY_CLOSE is refused.
 */
MUST_CHECK bool h1_write_request(struct buffer *out, const struct message *message, struct span authority);

/*
 * HTTP/1.1 SP status SP reason (empty: the standard phrase), fields, `date: date` when the span is not empty and no
 * Date field is among the fields, framing, connection. message.version is that of the client: to HTTP_1_0, keep_alive
 * is written as `connection: keep-alive` and BODY_CHUNKED is refused (send BODY_CLOSE). BODY_CLOSE always writes
 * connection: close. BODY_NONE: 1xx and 204 carry no length; 304, and answers to HEAD (message.method), keep the
 * Content-Length they came with; all others get content-length: 0. Any 1xx is written without framing or connection.
 */
MUST_CHECK bool h1_write_response(struct buffer *out, const struct message *message, struct span date);

/* The interim answer HTTP/1.1 100 Continue. */
void h1_write_continue(struct buffer *out);

/* Longest chunk head: 16 digits and CRLF. */
#define H1_CHUNK_HEAD_MAX 18
/* Writes a chunk's size line into `room`, for gathered writes; returns its length. `len` must not be 0: that would end
 * the body. */
size_t h1_chunk_head(char room[H1_CHUNK_HEAD_MAX], uint64_t len);
/* The same at the end of a buffer; after the `len` bytes of data comes h1_write_chunk_end. */
void h1_write_chunk_head(struct buffer *out, uint64_t len);
/* The CRLF after a chunk's data. */
void h1_write_chunk_end(struct buffer *out);
/*
 * The last chunk and the trailers (NULL: none). False, and nothing written, on a bad name or value. Fields that may not
 * be trailers (framing, routing, credentials; RFC 9110 6.5.1) are left out.
 */
MUST_CHECK bool h1_write_last_chunk(struct buffer *out, const struct fields *trailers);

#endif
