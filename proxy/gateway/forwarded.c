/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/forwarded.h"

#include "net/address.h"

struct address_range forwarded_range(const struct setting_network *network)
{
    struct address_range range = {.base.family = network->ip6 ? ADDRESS_IPV6 : ADDRESS_IPV4,
                                  .bits = (uint8_t)network->bits};
    memcpy(range.base.bytes, network->address, sizeof(range.base.bytes));
    return range;
}

static bool trusted(const struct config_listener *listener, const struct address *address)
{
    if (address->family == ADDRESS_UNIX)
        return true; /* only this machine gets at a socket file */
    for (size_t i = 0; i < listener->trusted_peers.count; i++) {
        struct address_range range = forwarded_range(&listener->trusted_peers.items[i]);
        if (address_in_range(address, &range))
            return true;
    }
    return false;
}

/* "10.0.0.1", "10.0.0.1:4711", "[::1]:4711" or "::1"; proxies write all of them. */
static bool parse_hop(struct span text, struct address *ret)
{
    text = span_trim(text);
    if (address_parse(text, ret))
        return true;
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    return colon > 1 && address_parse(span_take(text, colon - 1), ret);
}

struct span forwarded_peer(struct arena *arena, const struct config_listener *listener, const struct fields *fields,
                           struct span peer)
{
    struct address at;
    if (listener->trusted_peers.count == 0)
        return peer;
    if (!parse_hop(peer, &at) && !span_equal(peer, SPAN("unix")))
        return peer;
    if (!span_equal(peer, SPAN("unix")) && !trusted(listener, &at))
        return peer;
    for (unsigned i = fields->count; i-- > 0;) {
        if (fields->at[i].id != FIELD_X_FORWARDED_FOR)
            continue;
        struct span list = fields->at[i].value;
        while (list.len) {
            size_t comma = list.len;
            while (comma > 0 && list.ptr[comma - 1] != ',')
                comma--;
            if (!parse_hop(span_skip(list, comma), &at))
                return peer;
            char text[ADDRESS_TEXT];
            peer = arena_copy(arena, span_str(address_format(&at, text)));
            if (!trusted(listener, &at))
                return peer;
            list = span_take(list, comma ? comma - 1 : 0);
        }
    }
    return peer;
}
