/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients are told. x-ratelimit-* as api.openai.com sends it: of the limits in one unit the one with the least
 * left. RateLimit and RateLimit-Policy as in draft-ietf-httpapi-ratelimit-headers-10: all of them.
 */
#include "base/clock.h"
#include "base/decimal.h"
#include "filters/rate_limit.h"
#include "gateway/retry_after.h"
#include "gateway/worker.h"

static uint64_t seconds(uint64_t micros)
{
    return micros / CLOCK_SECOND + (micros % CLOCK_SECOND != 0);
}

/* ---- x-ratelimit-* ---- */

/* The part with the least left among those of one unit. */
static const struct limits_part *scarcest(const struct rate_limit_state *state, bool tokens)
{
    const struct limits_part *found = NULL;
    for (unsigned i = 0; i < state->call.count; i++) {
        const struct limits_part *part = &state->call.parts[i];
        enum limit_unit unit = state->of[i]->unit;
        bool is_tokens = unit == UNIT_TOKENS || unit == UNIT_INPUT_TOKENS || unit == UNIT_OUTPUT_TOKENS;
        if (part->shadow || (tokens ? !is_tokens : unit != UNIT_REQUESTS))
            continue;
        if (!found || part->answer.remaining < found->answer.remaining)
            found = part;
    }
    return found;
}

/* Where the fields go: into the answer of a target, or into the one that is made here. */
struct field_target {
    struct filter *filter;
    bool refusal;
};

static void put(const struct field_target *to, struct span name, struct span value)
{
    struct exchange *exchange = to->filter->exchange;
    if (to->refusal)
        filter_answer_field(to->filter, name, value);
    else
        fields_set(&exchange->response.fields, &exchange->arena, name, value);
}

static struct span number(struct arena *arena, uint64_t value)
{
    char *text = arena_bytes(arena, DECIMAL_MAX);
    return span_of(text, (size_t)(decimal_write(text, value, 1) - text));
}

static void openai_fields(const struct field_target *to)
{
    static const struct {
        struct span limit, remaining, reset;
    } names[] = {
        {SPAN_INIT("x-ratelimit-limit-requests"), SPAN_INIT("x-ratelimit-remaining-requests"),
         SPAN_INIT("x-ratelimit-reset-requests")},
        {SPAN_INIT("x-ratelimit-limit-tokens"), SPAN_INIT("x-ratelimit-remaining-tokens"),
         SPAN_INIT("x-ratelimit-reset-tokens")},
    };
    struct arena *arena = &to->filter->exchange->arena;
    for (unsigned tokens = 0; tokens < ARRAY_LEN(names); tokens++) {
        const struct limits_part *part = scarcest(to->filter->state, tokens);
        if (!part)
            continue;
        put(to, names[tokens].limit, number(arena, part->law.amount));
        put(to, names[tokens].remaining, number(arena, part->answer.remaining));
        put(to, names[tokens].reset, retry_after_text(arena, part->answer.reset));
    }
}

/* ---- RateLimit ---- */

/* A caller in several groups has several parts of one limit: the scarcest speaks. */
static bool speaks(const struct rate_limit_state *state, unsigned at)
{
    const struct limits_part *part = &state->call.parts[at];
    if (part->shadow)
        return false;
    for (unsigned i = 0; i < state->call.count; i++) {
        if (i == at || state->of[i] != state->of[at])
            continue;
        uint64_t other = state->call.parts[i].answer.remaining;
        if (other < part->answer.remaining || (other == part->answer.remaining && i < at))
            return false;
    }
    return true;
}

static struct span quota_unit(enum limit_unit unit)
{
    switch (unit) {
    case UNIT_REQUESTS:
        return (struct span){0};
    case UNIT_CONCURRENCY:
        return SPAN(";qu=\"concurrent-requests\"");
    case UNIT_COST:
        return SPAN(";qu=\"cost-micros\"");
    default:
        return SPAN(";qu=\"tokens\"");
    }
}

/* Text that is put together in the arena: fields go with every answer. */
static char *copy(char *to, struct span text)
{
    memcpy(to, text.ptr ? text.ptr : "", text.len);
    return to + text.len;
}

static char *item(char *at, bool first, struct span name, struct span key, uint64_t value)
{
    at = copy(at, first ? SPAN("\"") : SPAN(", \""));
    at = copy(at, name);
    at = copy(at, key);
    return decimal_write(at, value, 1);
}

/* Of one limit, beside its name: separators, keys, two numbers and a unit. */
#define ITEM_MOST (16 + 2 * DECIMAL_MAX + sizeof(";qu=\"concurrent-requests\""))

static void ietf_fields(const struct field_target *to)
{
    const struct rate_limit_state *state = to->filter->state;
    struct arena *arena = &to->filter->exchange->arena;
    size_t most = 0;
    for (unsigned i = 0; i < state->call.count; i++)
        most += state->of[i]->name.len + ITEM_MOST;
    char *policy = arena_bytes(arena, most), *now = arena_bytes(arena, most), *p = policy, *n = now;
    for (unsigned i = 0; i < state->call.count; i++) {
        const struct limits_part *part = &state->call.parts[i];
        const struct limit_settings *limit = state->of[i];
        if (!speaks(state, i))
            continue;
        p = item(p, p == policy, limit->name, SPAN("\";q="), part->law.amount);
        n = item(n, n == now, limit->name, SPAN("\";r="), part->answer.remaining);
        if (part->law.kind != LIMIT_CONCURRENCY) {
            p = decimal_write(copy(p, SPAN(";w=")), seconds(part->law.period), 1);
            n = decimal_write(copy(n, SPAN(";t=")), seconds(part->answer.reset), 1);
        }
        p = copy(p, quota_unit(limit->unit));
    }
    if (p == policy)
        return;
    put(to, SPAN("ratelimit-policy"), span_of(policy, (size_t)(p - policy)));
    put(to, SPAN("ratelimit"), span_of(now, (size_t)(n - now)));
}

static void put_all(const struct field_target *to)
{
    const struct rate_limit_settings *settings = to->filter->settings;
    if (settings->fields & FIELDS_OPENAI)
        openai_fields(to);
    if (settings->fields & FIELDS_IETF)
        ietf_fields(to);
}

void rate_limit_answer_fields(struct filter *filter)
{
    put_all(&(struct field_target){.filter = filter});
}

/* ---- refusal ---- */

/* Cost as the configuration writes it: in the unit of prices, without trailing zeros. */
static struct span money(struct arena *arena, uint64_t micros)
{
    char *text = arena_bytes(arena, 2 * DECIMAL_MAX + 1), *end = decimal_write(text, micros / COST_MICROS, 1);
    if (micros % COST_MICROS == 0)
        return span_of(text, (size_t)(end - text));
    *end++ = '.';
    end = decimal_write(end, micros % COST_MICROS, 6);
    while (end[-1] == '0')
        end--;
    return span_of(text, (size_t)(end - text));
}

static const char *unit_words(enum limit_unit unit)
{
    static const char *const words[] = {[UNIT_REQUESTS] = "requests",
                                        [UNIT_TOKENS] = "tokens",
                                        [UNIT_INPUT_TOKENS] = "input tokens",
                                        [UNIT_OUTPUT_TOKENS] = "output tokens",
                                        [UNIT_CONCURRENCY] = "requests at a time"};
    return words[unit];
}

/* "Limit 500 per month", "Limit 20 requests": the amount in the unit that it is written in. */
static struct span limit_words(struct arena *arena, const struct limit_settings *limit, const struct limits_part *part)
{
    static const char *const periods[] = {[PERIOD_SECOND] = "second",
                                          [PERIOD_MINUTE] = "minute",
                                          [PERIOD_HOUR] = "hour",
                                          [PERIOD_DAY] = "day",
                                          [PERIOD_MONTH] = "month"};
    if (limit->unit == UNIT_COST) {
        struct span amount = money(arena, part->law.amount);
        return arena_format(arena, "Limit %.*s per %s", SPAN_ARG(amount), periods[limit->cost.period]);
    }
    return arena_format(arena, "Limit %llu %s", (unsigned long long)part->law.amount, unit_words(limit->unit));
}

static struct span units_words(struct arena *arena, enum limit_unit unit, uint64_t units)
{
    return unit == UNIT_COST ? money(arena, units) : number(arena, units);
}

enum verdict rate_limit_refuse(struct filter *filter)
{
    const struct rate_limit_state *state = filter->state;
    struct arena *arena = &filter->exchange->arena;
    const struct limits_part *part;
    uint64_t wait = limits_wait(&state->call, &part);
    if (!part) { /* what refused had room again when it was looked at */
        part = &state->call.parts[0];
        wait = 1;
    }
    const struct limit_settings *limit = state->of[part - state->call.parts];
    if (part->law.kind == LIMIT_CONCURRENCY && wait == 0)
        wait = limits_place_wait(&part->law, ((const struct rate_limit_instance *)filter->instance)->hold);
    struct field_target to = {.filter = filter, .refusal = true};
    struct span amount = limit_words(arena, limit, part), asked = units_words(arena, limit->unit, part->units),
                left = units_words(arena, limit->unit, part->answer.remaining);
    struct span text = arena_format(arena, "Rate limit %.*s reached: %.*s, Remaining %.*s, Requested %.*s.",
                                    SPAN_ARG(limit->name), SPAN_ARG(amount), SPAN_ARG(left), SPAN_ARG(asked));
    if (wait == LIMIT_NEVER) {
        text = arena_format(arena, "Request too large for rate limit %.*s: %.*s, Requested %.*s.",
                            SPAN_ARG(limit->name), SPAN_ARG(amount), SPAN_ARG(asked));
    } else {
        struct span when = retry_after_text(arena, wait);
        text = arena_format(arena, "%.*s Please try again in %.*s.", SPAN_ARG(text), SPAN_ARG(when));
    }
    retry_after_fields(filter->exchange, wait);
    put_all(&to);
    rate_limit_count(filter, limit->name, SPAN("refused"));
    filter->exchange->fault_detail =
        arena_format(arena, "%.*s: limit %.*s", SPAN_ARG(filter->name), SPAN_ARG(limit->name));
    bool quota = part->law.kind == LIMIT_CALENDAR || part->law.kind == LIMIT_ROLLING;
    filter_fail(filter, quota ? FAULT_QUOTA_EXCEEDED : FAULT_RATE_LIMITED, text, (struct span){0});
    return FILTER_FAIL;
}

enum verdict rate_limit_turn_away(struct filter *filter)
{
    const struct limit_settings *limit = rate_limit_must_queue(filter);
    struct exchange *exchange = filter->exchange;
    /* By then those who wait have been let in or refused. */
    struct span when = retry_after_text(&exchange->arena, limit->max_wait);
    struct span text =
        arena_format(&exchange->arena, "Too many requests wait for rate limit %.*s already. Please try again in %.*s.",
                     SPAN_ARG(limit->name), SPAN_ARG(when));
    retry_after_fields(exchange, limit->max_wait);
    rate_limit_count(filter, limit->name, SPAN("refused"));
    filter_fail(filter, FAULT_RATE_LIMITED, text, (struct span){0});
    return FILTER_FAIL;
}
