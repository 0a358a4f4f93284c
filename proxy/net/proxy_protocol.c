/* SPDX-License-Identifier: Apache-2.0 */
#include "net/proxy_protocol.h"

#include <arpa/inet.h>
#include <string.h>

/* Version 1: "PROXY TCP6 " + two addresses + two ports + CRLF, at most 107 bytes (section 2.1). */
#define V1_MAX 107
/* Version 2: signature, version and command, family and transport, length (section 2.2). */
#define V2_HEAD 16

static const char v2_signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

static bool v1_port(struct span text, uint16_t *ret)
{
    uint64_t port;
    if (text.len > 5 || (text.len > 1 && text.ptr[0] == '0') || !span_to_u64(text, &port) || port > 65535)
        return false;
    *ret = (uint16_t)port;
    return true;
}

static bool v1_address(struct span text, int family, struct address *ret)
{
    /* the literal of its own family, without the brackets that address_parse knows */
    bool colon = span_find(text, ':') < text.len;
    return colon == (family == AF_INET6) && text.len && text.ptr[0] != '[' && address_parse(text, ret);
}

/* `line` is what stands between "PROXY " and CRLF. */
static bool v1_line(struct span line, struct address *ret)
{
    struct span word;
    if (!span_split(&line, ' ', &word))
        return false;
    if (span_equal(word, SPAN("UNKNOWN"))) {
        *ret = (struct address){.family = ADDRESS_NONE};
        return true; /* whatever follows is to be ignored */
    }
    int family = span_equal(word, SPAN("TCP4")) ? AF_INET : span_equal(word, SPAN("TCP6")) ? AF_INET6 : AF_UNSPEC;
    struct span part[4], extra;
    if (family == AF_UNSPEC)
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (!span_split(&line, ' ', &part[i]))
            return false;
    struct address source, destination;
    uint16_t port;
    if (span_split(&line, ' ', &extra) || !v1_address(part[0], family, &source) ||
        !v1_address(part[1], family, &destination) || !v1_port(part[2], &source.port) || !v1_port(part[3], &port))
        return false;
    *ret = source;
    return true;
}

static enum proxy_result parse_v1(struct span bytes, struct address *ret_source, size_t *ret_length)
{
    struct span word = SPAN("PROXY ");
    if (!span_equal(span_take(bytes, word.len), span_take(word, bytes.len)))
        return PROXY_BAD;
    struct span head = span_take(bytes, V1_MAX);
    size_t lf = span_find(head, '\n');
    if (lf == head.len)
        return bytes.len < V1_MAX ? PROXY_MORE : PROXY_BAD;
    if (lf <= word.len || head.ptr[lf - 1] != '\r')
        return PROXY_BAD;
    struct span line = span_skip(span_take(head, lf - 1), word.len);
    struct address source;
    if (span_find(line, '\r') < line.len || !v1_line(line, &source))
        return PROXY_BAD;
    *ret_source = source;
    *ret_length = lf + 1;
    return PROXY_DONE;
}

/* The source of a PROXY command; false when the block is too short for its family. */
static bool v2_source(uint8_t family, struct span block, struct address *ret)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    switch (family) {
    case 0x11: /* TCP over IPv4: source, destination, two ports */
        if (block.len < 12)
            return false;
        memcpy(&in.sin_addr, block.ptr, 4);
        memcpy(&in.sin_port, block.ptr + 8, 2);
        *ret = address_from_sockaddr((const struct sockaddr *)&in, sizeof(in));
        return true;
    case 0x21: /* TCP over IPv6 */
        if (block.len < 36)
            return false;
        memcpy(&in6.sin6_addr, block.ptr, 16);
        memcpy(&in6.sin6_port, block.ptr + 32, 2);
        *ret = address_from_sockaddr((const struct sockaddr *)&in6, sizeof(in6));
        return true;
    case 0x31: /* Unix stream: two paths of 108 bytes */
        *ret = (struct address){.family = ADDRESS_NONE};
        return block.len >= 216;
    default: /* unspecified, or a datagram: accept and use the socket's own (section 2.2) */
        *ret = (struct address){.family = ADDRESS_NONE};
        return true;
    }
}

static enum proxy_result parse_v2(struct span bytes, struct address *ret_source, size_t *ret_length)
{
    if (memcmp(bytes.ptr, v2_signature, bytes.len < sizeof(v2_signature) ? bytes.len : sizeof(v2_signature)) != 0)
        return PROXY_BAD;
    if (bytes.len < V2_HEAD)
        return PROXY_MORE;
    uint8_t command = (uint8_t)bytes.ptr[12], family = (uint8_t)bytes.ptr[13];
    size_t length = (size_t)(uint8_t)bytes.ptr[14] << 8 | (uint8_t)bytes.ptr[15];
    if ((command != 0x20 && command != 0x21) || V2_HEAD + length > PROXY_HEADER_MAX)
        return PROXY_BAD;
    if (bytes.len < V2_HEAD + length)
        return PROXY_MORE;
    struct address source = {.family = ADDRESS_NONE};
    if (command == 0x21 && !v2_source(family, span_take(span_skip(bytes, V2_HEAD), length), &source))
        return PROXY_BAD;
    *ret_source = source;
    *ret_length = V2_HEAD + length;
    return PROXY_DONE;
}

enum proxy_result proxy_protocol_parse(struct span bytes, struct address *ret_source, size_t *ret_length)
{
    if (bytes.len == 0)
        return PROXY_MORE;
    return bytes.ptr[0] == 'P' ? parse_v1(bytes, ret_source, ret_length) : parse_v2(bytes, ret_source, ret_length);
}
