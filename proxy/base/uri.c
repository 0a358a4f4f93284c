/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uri.h"

static bool refuse(const char **ret_reason, const char *reason)
{
    *ret_reason = reason;
    return false;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* What DNS names, IPv4 addresses and Kubernetes service names consist of. */
static bool name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
}

/* "[address]" at the front of text; false without the right shape. */
static bool read_ipv6(struct span text, struct span *ret_host, struct span *ret_rest)
{
    size_t end = span_find(text, ']');
    if (end == text.len)
        return false;
    struct span host = span_of(text.ptr + 1, end - 1);
    bool colon = false;
    for (size_t i = 0; i < host.len; i++) {
        colon = colon || host.ptr[i] == ':';
        if (!is_hex(host.ptr[i]) && host.ptr[i] != ':' && host.ptr[i] != '.')
            return false;
    }
    *ret_host = host;
    *ret_rest = span_skip(text, end + 1);
    return colon;
}

static bool read_port(struct span digits, bool zero, uint16_t *ret)
{
    uint64_t port;
    if (!span_to_u64(digits, &port) || port > UINT16_MAX || (port == 0 && !zero))
        return false;
    *ret = (uint16_t)port;
    return true;
}

bool uri_parse_authority(struct span text, bool zero, struct uri_authority *ret, const char **ret_reason)
{
    struct uri_authority authority = {0};
    struct span rest;
    if (text.len == 0)
        return refuse(ret_reason, "has no host");
    if (span_find(text, '@') < text.len)
        return refuse(ret_reason, "must not hold a user name or password");
    if (text.ptr[0] == '[') {
        if (!read_ipv6(text, &authority.host, &rest))
            return refuse(ret_reason, "has a malformed IPv6 address");
        authority.ipv6 = true;
    } else {
        size_t len = 0;
        while (len < text.len && name_byte(text.ptr[len]))
            len++;
        authority.host = span_take(text, len);
        rest = span_skip(text, len);
        /* A second colon means an IPv6 address without its brackets. */
        if (rest.len && rest.ptr[0] == ':' && span_find(span_skip(rest, 1), ':') < rest.len - 1)
            return refuse(ret_reason, "needs [ ] around its IPv6 address");
        if (len == 0)
            return refuse(ret_reason, "has no host");
    }
    if (rest.len) {
        if (rest.ptr[0] != ':')
            return refuse(ret_reason, "has a byte in its host that cannot stand there");
        if (!read_port(span_skip(rest, 1), zero, &authority.port))
            return refuse(ret_reason, "has a bad port");
        authority.port_given = true;
    }
    *ret = authority;
    return true;
}

/* Every byte after the scheme must be visible ASCII, and none may begin a query or fragment. */
static bool check_bytes(struct span text, const char **ret_reason)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= 0x20 || text.ptr[i] >= 0x7F)
            return refuse(ret_reason, "holds a blank, control or non-ASCII byte");
        if (text.ptr[i] == '?')
            return refuse(ret_reason, "must not have a query");
        if (text.ptr[i] == '#')
            return refuse(ret_reason, "must not have a fragment");
    }
    return true;
}

static bool parse_unix(struct span name, struct uri *ret, const char **ret_reason)
{
    if (span_starts_with(name, SPAN("///")))
        name = span_skip(name, 2);
    if (name.len < 2 || name.ptr[0] != '/' || name.ptr[1] == '/')
        return refuse(ret_reason, "needs an absolute file name after unix:");
    if (span_find(name, '\0') < name.len)
        return refuse(ret_reason, "holds a NUL");
    *ret = (struct uri){.scheme = URI_UNIX, .path = name};
    return true;
}

bool uri_parse(struct span text, struct uri *ret, const char **ret_reason)
{
    size_t colon = span_find(text, ':');
    struct span scheme = span_take(text, colon), rest = span_skip(text, colon + 1);
    if (span_equal_nocase(scheme, SPAN("unix")))
        return parse_unix(rest, ret, ret_reason);
    struct uri uri = {.scheme = URI_HTTP};
    if (span_equal_nocase(scheme, SPAN("https")))
        uri.scheme = URI_HTTPS;
    else if (!span_equal_nocase(scheme, SPAN("http")))
        return refuse(ret_reason, "must begin with http://, https:// or unix:/");
    if (!span_starts_with(rest, SPAN("//")))
        return refuse(ret_reason, "needs // after its scheme");
    rest = span_skip(rest, 2);
    if (!check_bytes(rest, ret_reason))
        return false;
    size_t slash = span_find(rest, '/');
    if (!uri_parse_authority(span_take(rest, slash), false, &uri.authority, ret_reason))
        return false;
    if (!uri.authority.port_given)
        uri.authority.port = uri.scheme == URI_HTTPS ? 443 : 80;
    uri.path = span_skip(rest, slash);
    *ret = uri;
    return true;
}

struct span uri_host_field(const struct uri *uri, struct arena *arena)
{
    const struct uri_authority *a = &uri->authority;
    if (uri->scheme == URI_UNIX)
        return SPAN("localhost");
    char *host = arena_bytes(arena, a->host.len + 1);
    for (size_t i = 0; i < a->host.len; i++)
        host[i] = (char)(a->host.ptr[i] >= 'A' && a->host.ptr[i] <= 'Z' ? a->host.ptr[i] | 0x20 : a->host.ptr[i]);
    struct span lower = span_of(host, a->host.len);
    const char *open = a->ipv6 ? "[" : "", *close = a->ipv6 ? "]" : "";
    if (a->port == (uri->scheme == URI_HTTPS ? 443 : 80))
        return arena_format(arena, "%s%.*s%s", open, SPAN_ARG(lower), close);
    return arena_format(arena, "%s%.*s%s:%u", open, SPAN_ARG(lower), close, (unsigned)a->port);
}
