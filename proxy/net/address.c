/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static struct address from_v6(const uint8_t bytes[16])
{
    struct address address = {.family = ADDRESS_IPV6};
    if (memcmp(bytes, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        address.family = ADDRESS_IPV4;
        memcpy(address.bytes, bytes + sizeof(mapped_prefix), 4);
    } else {
        memcpy(address.bytes, bytes, 16);
    }
    return address;
}

bool address_parse(struct span text, struct address *ret)
{
    if (text.len >= 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']') {
        text = span_take(span_skip(text, 1), text.len - 2);
        if (span_find(text, ':') == text.len)
            return false; /* brackets are for IPv6 */
    }
    char literal[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(literal) || memchr(text.ptr, 0, text.len))
        return false;
    memcpy(literal, text.ptr, text.len);
    literal[text.len] = 0;
    struct address address = {.family = ADDRESS_IPV4};
    if (inet_pton(AF_INET, literal, address.bytes) == 1) {
        *ret = address;
        return true;
    }
    uint8_t bytes[16];
    if (inet_pton(AF_INET6, literal, bytes) != 1)
        return false;
    *ret = from_v6(bytes);
    return true;
}

static unsigned address_bits(const struct address *address)
{
    return address->family == ADDRESS_IPV4 ? 32 : 128;
}

/* Whether the first `bits` bits are equal. */
static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool zero_beyond(const struct address *address, unsigned bits)
{
    for (unsigned bit = bits; bit < address_bits(address); bit++)
        if (address->bytes[bit / 8] & (0x80 >> bit % 8))
            return false;
    return true;
}

bool address_range_parse(struct span text, struct address_range *ret)
{
    size_t slash = span_find(text, '/');
    struct address_range range;
    if (!address_parse(span_take(text, slash), &range.base))
        return false;
    uint64_t bits = address_bits(&range.base);
    if (slash < text.len) {
        struct span digits = span_skip(text, slash + 1);
        if (!span_to_u64(digits, &bits))
            return false;
        /* ::ffff:10.0.0.0/104 was turned into IPv4, and so is its length */
        bool was_v6 = span_find(text, ':') < slash;
        if (range.base.family == ADDRESS_IPV4 && was_v6) {
            if (bits < 96)
                return false;
            bits -= 96;
        }
    }
    if (bits > address_bits(&range.base) || !zero_beyond(&range.base, (unsigned)bits))
        return false;
    range.bits = (uint8_t)bits;
    *ret = range;
    return true;
}

bool address_in_range(const struct address *address, const struct address_range *range)
{
    return address->family == range->base.family && same_prefix(address->bytes, range->base.bytes, range->bits);
}

bool address_in_any(const struct address *address, const struct address_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (address_in_range(address, &ranges[i]))
            return true;
    return false;
}

bool address_same_host(const struct address *a, const struct address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool address_is_loopback(const struct address *address)
{
    static const uint8_t one[16] = {[15] = 1};
    switch (address->family) {
    case ADDRESS_IPV4:
        return address->bytes[0] == 127;
    case ADDRESS_IPV6:
        return memcmp(address->bytes, one, sizeof(one)) == 0;
    case ADDRESS_UNIX:
        return true;
    default:
        return false;
    }
}

struct address address_from_sockaddr(const struct sockaddr *sa, socklen_t len)
{
    struct address address = {.family = ADDRESS_NONE};
    if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const void *)sa;
        address.family = ADDRESS_IPV4;
        memcpy(address.bytes, &in->sin_addr, 4);
        address.port = ntohs(in->sin_port);
    } else if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        address = from_v6(in6->sin6_addr.s6_addr);
        address.port = ntohs(in6->sin6_port);
    } else if (sa->sa_family == AF_UNIX) {
        address.family = ADDRESS_UNIX;
    }
    return address;
}

socklen_t address_to_sockaddr(const struct address *address, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (address->family == ADDRESS_IPV4) {
        struct sockaddr_in *in = (void *)ret;
        in->sin_family = AF_INET;
        in->sin_port = htons(address->port);
        memcpy(&in->sin_addr, address->bytes, 4);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (void *)ret;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(address->port);
    memcpy(&in6->sin6_addr, address->bytes, 16);
    return sizeof(*in6);
}

const char *address_format(const struct address *address, char into[ADDRESS_TEXT])
{
    const char *word = address->family == ADDRESS_UNIX ? "unix" : "-";
    if (address->family == ADDRESS_IPV4 || address->family == ADDRESS_IPV6) {
        int family = address->family == ADDRESS_IPV4 ? AF_INET : AF_INET6;
        if (inet_ntop(family, address->bytes, into, ADDRESS_TEXT))
            return into;
    }
    (void)snprintf(into, ADDRESS_TEXT, "%s", word);
    return into;
}

const char *address_format_port(const struct address *address, char into[ADDRESS_TEXT])
{
    char host[ADDRESS_TEXT];
    (void)address_format(address, host);
    if (address->family == ADDRESS_IPV6)
        (void)snprintf(into, ADDRESS_TEXT, "[%.45s]:%u", host, address->port);
    else if (address->family == ADDRESS_IPV4)
        (void)snprintf(into, ADDRESS_TEXT, "%.15s:%u", host, address->port);
    else
        (void)snprintf(into, ADDRESS_TEXT, "%.15s", host);
    return into;
}
