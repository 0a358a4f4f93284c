/* SPDX-License-Identifier: Apache-2.0 */
#include "config/value.h"

#include <arpa/inet.h>

#include "base/uri.h"

static bool loopback4(const unsigned char *address)
{
    return address[0] == 127;
}

static bool loopback6(const unsigned char *address)
{
    static const unsigned char self[16] = {[15] = 1};
    return memcmp(address, self, sizeof(self)) == 0;
}

/* A numeric address without port; `host` needs no NUL. Returns AF_INET, AF_INET6 or 0. */
static int parse_ip(struct span host, unsigned char address[16])
{
    char copy[INET6_ADDRSTRLEN + 1];
    if (host.len == 0 || host.len >= sizeof(copy) || memchr(host.ptr, '\0', host.len))
        return 0;
    memcpy(copy, host.ptr, host.len);
    copy[host.len] = '\0';
    memset(address, 0, 16);
    if (inet_pton(AF_INET, copy, address) == 1)
        return AF_INET;
    return inet_pton(AF_INET6, copy, address) == 1 ? AF_INET6 : 0;
}

static bool unix_address(struct arena *arena, struct span path, struct setting_address *ret, const char **ret_reason)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (path.len < 2 || path.ptr[0] != '/') {
        *ret_reason = "an absolute path after unix:, such as unix:/run/postern/postern.sock";
        return false;
    }
    if (path.len >= sizeof(un.sun_path)) {
        *ret_reason = "a unix: path of at most 107 bytes (the kernel's limit)";
        return false;
    }
    memcpy(un.sun_path, path.ptr, path.len);
    ret->path = arena_copy(arena, path);
    memcpy(&ret->socket, &un, sizeof(un));
    ret->socket_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    ret->local = true;
    return true;
}

static bool ip_address(struct span text, struct setting_address *ret, const char **ret_reason)
{
    static const char form[] =
        "an address with a port, such as 127.0.0.1:4610, [::1]:4610 or unix:/run/postern/postern.sock";
    struct uri_authority authority;
    const char *reason;
    unsigned char bytes[16];
    *ret_reason = form;
    if (!uri_parse_authority(text, true, &authority, &reason) || !authority.port_given)
        return false;
    int family = parse_ip(authority.host, bytes);
    if (family == 0 || (family == AF_INET6) != authority.ipv6) {
        *ret_reason = "an IP address with a port, not a name: 127.0.0.1:4610 for this machine, 0.0.0.0:4610 for all";
        return false;
    }
    ret->port = authority.port;
    if (family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(authority.port)};
        memcpy(&in.sin_addr, bytes, 4);
        memcpy(&ret->socket, &in, sizeof(in));
        ret->socket_length = sizeof(in);
        ret->local = loopback4(bytes);
    } else {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(authority.port)};
        memcpy(&in6.sin6_addr, bytes, 16);
        memcpy(&ret->socket, &in6, sizeof(in6));
        ret->socket_length = sizeof(in6);
        ret->local = loopback6(bytes);
    }
    return true;
}

bool value_address(struct arena *arena, struct span text, struct setting_address *ret, const char **ret_reason)
{
    struct setting_address address = {0};
    bool good = span_starts_with(text, SPAN("unix:")) ? unix_address(arena, span_skip(text, 5), &address, ret_reason)
                                                      : ip_address(text, &address, ret_reason);
    if (!good)
        return false;
    address.text = arena_copy(arena, text);
    *ret = address;
    return true;
}

static struct span lower_copy(struct arena *arena, struct span text)
{
    char *copy = arena_bytes(arena, text.len + 1);
    for (size_t i = 0; i < text.len; i++)
        copy[i] = (char)(text.ptr[i] >= 'A' && text.ptr[i] <= 'Z' ? text.ptr[i] + 32 : text.ptr[i]);
    copy[text.len] = '\0';
    return span_of(copy, text.len);
}

static bool names_loopback(struct span host)
{
    unsigned char bytes[16];
    int family = parse_ip(host, bytes);
    if (family == 0)
        return span_equal(host, SPAN("localhost"));
    return family == AF_INET ? loopback4(bytes) : loopback6(bytes);
}

bool value_url(struct arena *arena, struct span text, struct setting_url *ret, const char **ret_reason)
{
    struct uri uri;
    if (!span_equal_nocase(span_take(text, 7), SPAN("http://")) &&
        !span_equal_nocase(span_take(text, 8), SPAN("https://"))) {
        *ret_reason = "must begin with http:// or https://";
        return false;
    }
    if (!uri_parse(text, &uri, ret_reason))
        return false;
    struct span path = uri.path;
    while (path.len && path.ptr[path.len - 1] == '/')
        path.len--;
    ret->text = arena_copy(arena, text);
    ret->scheme = uri.scheme == URI_HTTPS ? SPAN("https") : SPAN("http");
    ret->host = lower_copy(arena, uri.authority.host);
    ret->authority = uri_host_field(&uri, arena);
    ret->path = arena_copy(arena, path);
    ret->port = uri.authority.port;
    ret->secure = uri.scheme == URI_HTTPS;
    ret->loopback = names_loopback(ret->host);
    return true;
}

static bool beyond_prefix_zero(const unsigned char *address, unsigned bits, unsigned all)
{
    for (unsigned bit = bits; bit < all; bit++)
        if (address[bit / 8] & (0x80u >> bit % 8))
            return false;
    return true;
}

bool value_network(struct span text, struct setting_network *ret)
{
    struct setting_network network = {0};
    size_t slash = span_find(text, '/');
    int family = parse_ip(span_take(text, slash), network.address);
    unsigned all = family == AF_INET6 ? 128 : 32;
    uint64_t bits = all;
    if (family == 0 || (slash < text.len && !span_to_u64(span_skip(text, slash + 1), &bits)) || bits > all)
        return false;
    network.ip6 = family == AF_INET6;
    network.bits = (unsigned)bits;
    if (!beyond_prefix_zero(network.address, network.bits, all))
        return false;
    *ret = network;
    return true;
}
