/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_slots.h"

/* CRC-16/XMODEM (polynomial 0x1021), four bits at a time: the table stays in one cache line. */
static const uint16_t crc_nibble[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};

static unsigned crc16(struct span bytes)
{
    unsigned crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned byte = (unsigned char)bytes.ptr[i];
        crc = ((crc << 4) & 0xffff) ^ crc_nibble[(crc >> 12) ^ (byte >> 4)];
        crc = ((crc << 4) & 0xffff) ^ crc_nibble[(crc >> 12) ^ (byte & 15)];
    }
    return crc;
}

unsigned redis_slot(struct span key)
{
    size_t open = span_find(key, '{');
    if (open < key.len) {
        struct span inside = span_skip(key, open + 1);
        size_t end = span_find(inside, '}');
        if (end > 0 && end < inside.len)
            key = span_take(inside, end);
    }
    return crc16(key) % REDIS_SLOTS;
}

bool redis_redirect_parse(struct span text, struct redis_redirect *ret)
{
    struct span word, slot;
    if (!span_split(&text, ' ', &word) || !span_split(&text, ' ', &slot) || !text.ptr)
        return false;
    bool ask = span_equal(word, SPAN("ASK"));
    uint64_t number, port;
    if ((!ask && !span_equal(word, SPAN("MOVED"))) || !span_to_u64(slot, &number) || number >= REDIS_SLOTS)
        return false;
    /* The last colon: IPv6 addresses come without brackets. */
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0 || !span_to_u64(span_skip(text, colon), &port) || port == 0 || port > UINT16_MAX)
        return false;
    *ret = (struct redis_redirect){
        .ask = ask,
        .slot = (unsigned)number,
        .address = {.host = span_take(text, colon - 1), .port = (uint16_t)port},
    };
    return ret->address.host.len < 256;
}

static bool is_slot(const struct redis_value *value)
{
    return value->kind == REDIS_INTEGER && value->integer >= 0 && value->integer < REDIS_SLOTS;
}

/* [host or nil, port, id, ...] */
static bool is_node(const struct redis_value *value)
{
    if (value->kind != REDIS_ARRAY || value->count < 2)
        return false;
    const struct redis_value *host = &value->items[0], *port = &value->items[1];
    return (host->kind == REDIS_NIL || (host->kind == REDIS_STRING && host->text.len < 256)) &&
           port->kind == REDIS_INTEGER && port->integer > 0 && port->integer <= UINT16_MAX;
}

static bool is_range(const struct redis_value *value)
{
    if (value->kind != REDIS_ARRAY || value->count < 3 || !is_slot(&value->items[0]) || !is_slot(&value->items[1]) ||
        value->items[0].integer > value->items[1].integer)
        return false;
    for (size_t i = 2; i < value->count; i++)
        if (!is_node(&value->items[i]))
            return false;
    return true;
}

bool redis_ranges_check(const struct redis_value *value)
{
    if (value->kind != REDIS_ARRAY || value->count == 0)
        return false;
    for (size_t i = 0; i < value->count; i++)
        if (!is_range(&value->items[i]))
            return false;
    return true;
}

struct redis_range redis_range(const struct redis_value *value, size_t index)
{
    const struct redis_value *range = &value->items[index];
    return (struct redis_range){.first = (unsigned)range->items[0].integer,
                                .last = (unsigned)range->items[1].integer,
                                .nodes = range->items + 2,
                                .node_count = range->count - 2};
}

struct redis_address redis_range_node(const struct redis_range *range, size_t index)
{
    const struct redis_value *node = &range->nodes[index];
    struct span host = node->items[0].kind == REDIS_STRING ? node->items[0].text : (struct span){0};
    /* "?": the node announces a host name but has none. */
    if (span_equal(host, SPAN("?")))
        host = (struct span){0};
    return (struct redis_address){.host = host, .port = (uint16_t)node->items[1].integer};
}
