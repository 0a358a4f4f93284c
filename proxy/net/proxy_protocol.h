/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PROXY protocol, versions 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt): the header a load balancer puts
 * before the first byte to say who the client is. Pure: bytes in, value out.
 */
#ifndef POSTERN_NET_PROXY_PROTOCOL_H
#define POSTERN_NET_PROXY_PROTOCOL_H

#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"
#include "net/address.h"

/* Longest header accepted, TLVs of version 2 included. */
#define PROXY_HEADER_MAX 1024

enum proxy_result { PROXY_MORE, PROXY_DONE, PROXY_BAD };

/*
 * Looks at all bytes so far. PROXY_MORE: a correct beginning; PROXY_BAD: not a header or longer than PROXY_HEADER_MAX.
 * PROXY_DONE: *ret_length bytes are the header; *ret_source is the client, or family ADDRESS_NONE where the header does
 * not say (v1 UNKNOWN, v2 LOCAL or another family): keep the socket's own peer then. No byte beyond the header is
 * looked at.
 */
enum proxy_result proxy_protocol_parse(struct span bytes, struct address *ret_source, size_t *ret_length);

#endif
