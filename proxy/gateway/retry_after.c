/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/retry_after.h"

#include "base/clock.h"
#include "base/decimal.h"

_Static_assert(RETRY_MOST == 60 * CLOCK_SECOND, "RETRY_MOST is a minute");

/* "5124095576h1m1.001s" */
#define TEXT_MAX 40

static char *unit(char *at, uint64_t value, char name)
{
    at = decimal_write(at, value, 1);
    *at++ = name;
    return at;
}

struct span retry_after_text(struct arena *arena, uint64_t micros)
{
    uint64_t ms = micros / CLOCK_MS + (micros % CLOCK_MS != 0);
    char *text = arena_bytes(arena, TEXT_MAX), *at = text;
    if (ms < 1000) {
        at = unit(at, ms, 'm');
    } else {
        if (ms >= 3600000)
            at = unit(at, ms / 3600000, 'h');
        if (ms >= 60000)
            at = unit(at, ms / 60000 % 60, 'm');
        at = decimal_write(at, ms / 1000 % 60, 1);
        if (ms % 1000) {
            *at++ = '.';
            at = decimal_write(at, ms % 1000, 3);
        }
    }
    *at++ = 's';
    return span_of(text, (size_t)(at - text));
}

static void add(struct exchange *exchange, enum field_id id, uint64_t micros, uint64_t step)
{
    char *text = arena_bytes(&exchange->arena, DECIMAL_MAX);
    char *end = decimal_write(text, micros / step + (micros % step != 0), 1);
    fields_add_id(&exchange->answer_fields, &exchange->arena, id, span_of(text, (size_t)(end - text)));
}

void retry_after_fields(struct exchange *exchange, uint64_t wait)
{
    if (wait != RETRY_NEVER) {
        add(exchange, FIELD_RETRY_AFTER, wait, CLOCK_SECOND);
        add(exchange, FIELD_RETRY_AFTER_MS, wait, CLOCK_MS);
    }
    if (wait > RETRY_MOST)
        fields_add_id(&exchange->answer_fields, &exchange->arena, FIELD_X_SHOULD_RETRY, SPAN("false"));
}
