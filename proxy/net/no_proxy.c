/* SPDX-License-Identifier: Apache-2.0 */
/* NO_PROXY has no standard; this is what curl, Go and Python agree on, CIDR as Go reads it. */
#include "net/connector.h"

static struct span strip_brackets(struct span host)
{
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        return span_take(span_skip(host, 1), host.len - 2);
    return host;
}

/* Splits "host:port" and "[v6]:port"; a bare IPv6 address has more than one colon and no port. */
static struct span split_port(struct span entry, uint64_t *ret_port)
{
    size_t colon = span_find(entry, ':');
    if (entry.len && entry.ptr[0] == '[') {
        size_t close = span_find(entry, ']');
        colon = close + 1 < entry.len && entry.ptr[close + 1] == ':' ? close + 1 : entry.len;
    } else if (colon < entry.len && span_find(span_skip(entry, colon + 1), ':') < entry.len - colon - 1) {
        return entry;
    }
    uint64_t port;
    if (colon >= entry.len || !span_to_u64(span_skip(entry, colon + 1), &port))
        return entry;
    *ret_port = port;
    return span_take(entry, colon);
}

/* "example.com" and everything below it. */
static bool in_domain(struct span host, struct span domain)
{
    if (domain.len && domain.ptr[0] == '*')
        domain = span_skip(domain, 1);
    if (domain.len && domain.ptr[0] == '.')
        domain = span_skip(domain, 1);
    if (domain.len == 0 || host.len < domain.len)
        return false;
    if (!span_equal_nocase(span_skip(host, host.len - domain.len), domain))
        return false;
    return host.len == domain.len || host.ptr[host.len - domain.len - 1] == '.';
}

static bool entry_matches(struct span entry, struct span host, const struct address *literal, uint16_t port)
{
    if (span_equal(entry, SPAN("*")))
        return true;
    uint64_t only = port;
    entry = split_port(entry, &only);
    if (only != port)
        return false;
    struct address_range range;
    if (address_range_parse(entry, &range))
        return literal && address_in_range(literal, &range);
    return !literal && in_domain(host, entry);
}

static struct span drop_dot(struct span host)
{
    return host.len > 1 && host.ptr[host.len - 1] == '.' ? span_take(host, host.len - 1) : host;
}

bool no_proxy_matches(struct span no_proxy, struct span host, uint16_t port)
{
    host = drop_dot(strip_brackets(host));
    struct address address;
    bool is_literal = address_parse(host, &address);
    if (is_literal ? address_is_loopback(&address) : in_domain(host, SPAN("localhost")))
        return true;
    size_t at = 0;
    while (at < no_proxy.len) {
        size_t end = at;
        while (end < no_proxy.len && no_proxy.ptr[end] != ',' && no_proxy.ptr[end] != ' ' && no_proxy.ptr[end] != '\t')
            end++;
        struct span entry = drop_dot(span_of(no_proxy.ptr + at, end - at));
        if (entry.len && entry_matches(entry, host, is_literal ? &address : NULL, port))
            return true;
        at = end + 1;
    }
    return false;
}
