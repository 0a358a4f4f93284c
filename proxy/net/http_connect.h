/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_connect: the few lines of HTTP that open a tunnel through a proxy (RFC 9110 section 9.3.6). Pure.
 */
#ifndef POSTERN_NET_HTTP_CONNECT_H
#define POSTERN_NET_HTTP_CONNECT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"

/* Longest reply head accepted. */
#define HTTP_CONNECT_REPLY_MAX 8192

/* Appends the request; `host` is a name or an IP literal (IPv6 gets its brackets), `authorization` may be empty. */
void http_connect_request(struct buffer *into, struct span host, uint16_t port, struct span authorization);

enum http_connect_result { HTTP_CONNECT_MORE, HTTP_CONNECT_OPEN, HTTP_CONNECT_REFUSED, HTTP_CONNECT_BAD };

/*
 * Looks at all bytes so far. OPEN: a 2xx head of *ret_length bytes; the tunnel begins after it. REFUSED: another final
 * status, in *ret_status. 1xx heads are passed over. BAD: not an HTTP/1 reply, or too long.
 */
enum http_connect_result http_connect_reply(struct span bytes, size_t *ret_length, unsigned *ret_status);

#endif
