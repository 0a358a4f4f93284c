/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of Redis, cut as the first byte says: the reader, errors, redirections, the map of a cluster. */
#include <stdint.h>
#include <stdlib.h>

#include "gateway/redis_protocol.h"
#include "gateway/redis_slots.h"

#define MOST ((size_t)64 * 1024)

/* Every byte of the value must be there to be read. */
static size_t visit(const struct redis_value *value)
{
    size_t sum = 1;
    int64_t number;
    if (value->kind == REDIS_STRING || value->kind == REDIS_STATUS || value->kind == REDIS_FAILURE)
        for (size_t i = 0; i < value->text.len; i++)
            sum += (unsigned char)value->text.ptr[i];
    if (value->kind == REDIS_ARRAY)
        for (size_t i = 0; i < value->count; i++)
            sum += visit(&value->items[i]);
    if (redis_value_integer(value, &number))
        sum += (uint64_t)number & 1;
    return sum;
}

static void look_at(const struct redis_value *value)
{
    struct redis_redirect to;
    (void)visit(value);
    if (value->kind == REDIS_FAILURE) {
        if (redis_error_of(value->text) >= REDIS_ERRORS)
            abort();
        if (redis_redirect_parse(value->text, &to) && (to.slot >= REDIS_SLOTS || to.address.port == 0))
            abort();
    }
    if (!redis_ranges_check(value))
        return;
    for (size_t i = 0; i < value->count; i++) {
        struct redis_range range = redis_range(value, i);
        if (range.last >= REDIS_SLOTS || range.first > range.last || range.node_count == 0)
            abort();
        for (size_t n = 0; n < range.node_count; n++)
            if (redis_range_node(&range, n).port == 0)
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t step = data[0] ? data[0] : size;
    struct span rest = span_of((const char *)data + 1, size - 1);
    struct redis_reader *reader = redis_reader_create(MOST);
    enum redis_read read = REDIS_READ_MORE;
    (void)redis_slot(rest);
    while (rest.len && read != REDIS_READ_BAD) {
        const struct redis_value *value = NULL;
        if (!redis_reader_feed(reader, span_take(rest, step)))
            break;
        rest = span_skip(rest, step);
        while ((read = redis_reader_next(reader, &value)) == REDIS_READ_VALUE)
            look_at(value);
    }
    redis_reader_destroy(reader);
    return 0;
}
