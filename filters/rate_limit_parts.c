/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/crypto.h"
#include "base/encoding.h"
#include "base/hash.h"
#include "filters/rate_limit.h"
#include "gateway/metrics_series.h"
#include "gateway/snapshot.h"
#include "gateway/tokens.h"
#include "gateway/worker.h"

/* Longer values count by their digest: keys are kept by other stores. */
#define VALUE_MAX 128

/* ---- who is meant ---- */

static bool matched(const struct setting_list *patterns, struct span text)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (span_matches(text, patterns->items[i]))
            return true;
    return false;
}

static bool listed(const struct setting_list *list, struct span text)
{
    for (size_t i = 0; i < list->count; i++)
        if (span_equal(list->items[i], text))
            return true;
    return false;
}

static bool in_groups(const struct setting_list *groups, const struct consumer *consumer)
{
    for (unsigned i = 0; i < consumer->group_count; i++)
        if (listed(groups, consumer->groups[i]))
            return true;
    return false;
}

bool rate_limit_exempt(const struct rate_limit_settings *settings, const struct consumer *consumer)
{
    return (consumer->name.len && matched(&settings->exempt.consumers, consumer->name)) ||
           in_groups(&settings->exempt.groups, consumer);
}

bool rate_limit_fits(const struct limit_settings *limit, const struct exchange *exchange)
{
    const struct operation *operation = exchange->call.operation;
    return (!limit->consumers.count || matched(&limit->consumers, exchange->consumer.name)) &&
           (!limit->groups.count || in_groups(&limit->groups, &exchange->consumer)) &&
           (!limit->models.count || matched(&limit->models, exchange->model_asked)) &&
           (!limit->operations.count || (operation && listed(&limit->operations, operation->name)));
}

/* ---- keys ---- */

/* Nothing in a key can be taken for a separator, and nothing for the mark of a shard. */
static void append_value(struct buffer *key, struct span value)
{
    static const char digits[] = "0123456789ABCDEF";
    buffer_append(key, SPAN("/"));
    if (value.len > VALUE_MAX) {
        uint8_t digest[CRYPTO_SHA256_BYTES];
        crypto_sha256(value, digest);
        buffer_append(key, SPAN("#"));
        encode_hex(key, span_of((const char *)digest, sizeof(digest)));
        return;
    }
    char text[VALUE_MAX * 3];
    size_t length = 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c > ' ' && c < 0x7f && c != '/' && c != '%' && c != '#' && c != '{' && c != '}') {
            text[length++] = (char)c;
            continue;
        }
        text[length++] = '%';
        text[length++] = digits[c >> 4];
        text[length++] = digits[c & 15];
    }
    buffer_append(key, span_of(text, length));
}

static struct span attribute(const struct consumer *consumer, struct span name)
{
    const struct fields *attributes = &consumer->attributes;
    for (unsigned i = 0; i < attributes->count; i++)
        if (span_equal(attributes->at[i].name, name))
            return attributes->at[i].value;
    return (struct span){0};
}

static struct span value_of(const struct exchange *exchange, struct span per, struct span group)
{
    if (span_equal(per, SPAN("consumer")))
        return exchange->consumer.name;
    if (span_equal(per, SPAN("group")))
        return group;
    if (span_equal(per, SPAN("model")))
        return exchange->model ? exchange->model->name : (struct span){0};
    if (span_equal(per, SPAN("operation")))
        return exchange->call.operation ? exchange->call.operation->name : (struct span){0};
    if (span_equal(per, SPAN("client_address")))
        return exchange->peer;
    if (span_starts_with(per, SPAN("attribute:")))
        return attribute(&exchange->consumer, span_skip(per, sizeof("attribute:") - 1));
    const struct field *field = fields_find_name(&exchange->request.fields, span_skip(per, sizeof("header:") - 1));
    return field ? field->value : (struct span){0};
}

static void set_key(struct limits_part *part, const struct filter *filter, const struct limit_settings *limit,
                    struct span group)
{
    struct buffer key = {0};
    append_value(&key, filter->name);
    append_value(&key, limit->name);
    for (size_t i = 0; i < limit->per.count; i++)
        append_value(&key, value_of(filter->exchange, limit->per.items[i], group));
    part->key = arena_copy(&filter->exchange->arena, buffer_span(&key));
    part->hash = hash_bytes(part->key);
    buffer_finish(&key);
}

/* ---- amounts ---- */

static bool needs_estimate(enum limit_unit unit)
{
    return unit != UNIT_REQUESTS && unit != UNIT_CONCURRENCY;
}

static uint64_t whole(double units)
{
    double up = ceil(units);
    return up <= 0 ? 0 : up >= (double)LIMIT_AMOUNT_MAX ? LIMIT_AMOUNT_MAX : (uint64_t)up;
}

static const struct price_settings *price_of(const struct rate_limit_settings *settings,
                                             const struct exchange *exchange)
{
    for (size_t i = 0; i < settings->price_count; i++)
        if (span_matches(exchange->model_asked, settings->prices[i].model))
            return &settings->prices[i];
    return &settings->dearest;
}

/* The four kinds apart. */
struct kinds {
    double input, cached, output, reasoning;
};

static struct kinds kinds_of(struct tokens t)
{
    return (struct kinds){.input = (double)(t.input - t.cached),
                          .cached = (double)t.cached,
                          .output = (double)(t.output - t.reasoning),
                          .reasoning = (double)t.reasoning};
}

/* A price per million tokens is one in millionths per token. */
static double cost_of(const struct price_settings *price, struct kinds k)
{
    return k.input * price->input + k.cached * price->cached + k.output * price->output +
           k.reasoning * price->reasoning + price->request * COST_MICROS;
}

extern const struct filter_type filter_rate_limit;

static const struct price_settings *known_price(const struct exchange *exchange)
{
    const struct snapshot *snapshot = exchange->snapshot;
    for (unsigned i = 0; i < snapshot->instance_count; i++) {
        const struct rate_limit_settings *settings = snapshot->instances[i].settings;
        if (snapshot->instances[i].type != &filter_rate_limit)
            continue;
        const struct price_settings *price = price_of(settings, exchange);
        if (price != &settings->dearest)
            return price;
    }
    return NULL;
}

uint64_t rate_limit_cost(const struct exchange *exchange, const struct usage *usage)
{
    const struct price_settings *price = known_price(exchange);
    struct tokens t = {.input = usage->input,
                       .output = usage->output,
                       .cached = usage->cached < usage->input ? usage->cached : usage->input,
                       .reasoning = usage->reasoning < usage->output ? usage->reasoning : usage->output};
    return price ? whole(cost_of(price, kinds_of(t))) : 0;
}

static uint64_t units_of(const struct filter *filter, const struct limit_settings *limit, struct tokens t)
{
    if (!needs_estimate(limit->unit))
        return 1;
    struct kinds k = kinds_of(t);
    if (limit->unit == UNIT_COST)
        return whole(cost_of(price_of(filter->settings, filter->exchange), k));
    const struct weights_settings *w = &limit->weights;
    double input = limit->unit == UNIT_OUTPUT_TOKENS ? 0 : k.input * w->input + k.cached * w->cached;
    double output = limit->unit == UNIT_INPUT_TOKENS ? 0 : k.output * w->output + k.reasoning * w->reasoning;
    return whole(input + output);
}

/* Before the call nobody knows what will be cached or thought: whichever counts more. */
static uint64_t units_at_most(const struct filter *filter, const struct limit_settings *limit, uint64_t input,
                              uint64_t output)
{
    uint64_t plain = units_of(filter, limit, (struct tokens){.input = input, .output = output});
    uint64_t thought = units_of(filter, limit, (struct tokens){.input = input, .output = output, .reasoning = output});
    return plain > thought ? plain : thought;
}

/* ---- reservation ---- */

/* Under which the answers of this model to this consumer are averaged. */
static uint64_t learned_hash(const struct filter *filter)
{
    struct buffer key = {0};
    append_value(&key, filter->exchange->model ? filter->exchange->model->name : (struct span){0});
    append_value(&key, filter->exchange->consumer.name);
    uint64_t hash = hash_bytes(buffer_span(&key));
    buffer_finish(&key);
    return hash;
}

/* The limit's numbers, or the caller's own. */
static void set_law(struct limits_part *part, const struct limit_settings *limit, const struct exchange *exchange)
{
    uint64_t amount;
    part->law = limit->law;
    if (!limit->amount_attribute.len || !span_to_u64(attribute(&exchange->consumer, limit->amount_attribute), &amount))
        return;
    uint64_t scale = limit->unit == UNIT_COST ? COST_MICROS : 1;
    if (amount > LIMIT_AMOUNT_MAX / scale)
        amount = LIMIT_AMOUNT_MAX / scale;
    part->law.amount = amount ? amount * scale : 1;
    if (limit->burst == SETTING_ABSENT_INTEGER)
        part->law.burst = part->law.amount;
    if (amount == 0) /* more than there can be */
        part->units = LIMIT_AMOUNT_MAX;
}

static void add_part(struct filter *filter, const struct limit_settings *limit, struct span group)
{
    struct rate_limit_state *state = filter->state;
    struct limits_part *part = &state->call.parts[state->call.count];
    state->of[state->call.count++] = limit;
    part->units = units_at_most(filter, limit, state->input, state->output);
    part->shadow = limit->shadow;
    part->when_lost = limit->when_store_lost;
    if (listed(&limit->per, SPAN("consumer")))
        part->tag = filter->exchange->consumer.name;
    set_law(part, limit, filter->exchange);
    set_key(part, filter, limit, group);
}

static void add_parts(struct filter *filter, const struct limit_settings *limit)
{
    const struct consumer *consumer = &filter->exchange->consumer;
    unsigned before = ((struct rate_limit_state *)filter->state)->call.count;
    if (!listed(&limit->per, SPAN("group"))) {
        add_part(filter, limit, (struct span){0});
        return;
    }
    for (unsigned i = 0; i < consumer->group_count; i++)
        if (!limit->groups.count || listed(&limit->groups, consumer->groups[i]))
            add_part(filter, limit, consumer->groups[i]);
    if (((struct rate_limit_state *)filter->state)->call.count == before)
        add_part(filter, limit, (struct span){0});
}

bool rate_limit_parts(struct filter *filter)
{
    const struct rate_limit_settings *settings = filter->settings;
    struct rate_limit_state *state = filter->state;
    struct exchange *exchange = filter->exchange;
    bool tokens = false;
    size_t count = 0;
    for (size_t i = 0; i < settings->limit_count; i++) {
        const struct limit_settings *limit = &settings->limits[i];
        if (!rate_limit_fits(limit, exchange))
            continue;
        bool groups = listed(&limit->per, SPAN("group"));
        count += groups && exchange->consumer.group_count ? exchange->consumer.group_count : 1;
        tokens |= needs_estimate(limit->unit);
    }
    if (count == 0)
        return false;
    state->call.parts = ARENA_ARRAY(&exchange->arena, struct limits_part, count);
    state->of = ARENA_ARRAY(&exchange->arena, const struct limit_settings *, count);
    if (tokens && exchange->inspected) {
        const struct rate_limit_instance *instance = filter->instance;
        state->estimated = true;
        state->input = tokens_estimate(exchange)->tokens;
        state->output = tokens_output_most(
            exchange, limits_learned(instance->table, learned_hash(filter), settings->assumed_output));
    }
    for (size_t i = 0; i < settings->limit_count; i++)
        if (rate_limit_fits(&settings->limits[i], exchange))
            add_parts(filter, &settings->limits[i]);
    return true;
}

/* Tokens of output that fit into what is left of a limit beside its reservation; UINT64_MAX when it counts none. */
static uint64_t output_left(const struct filter *filter, const struct limit_settings *limit, uint64_t remaining)
{
    struct tokens million = {.output = 1000000}, thought = {.output = 1000000, .reasoning = 1000000};
    if (!needs_estimate(limit->unit))
        return UINT64_MAX;
    uint64_t none = units_of(filter, limit, (struct tokens){0}), plain = units_of(filter, limit, million) - none;
    uint64_t dearer = units_of(filter, limit, thought) - none;
    if (plain < dearer)
        plain = dearer;
    return plain ? (uint64_t)((double)remaining / (double)plain * 1e6) : UINT64_MAX;
}

void rate_limit_set_budget(struct filter *filter)
{
    const struct rate_limit_settings *settings = filter->settings;
    const struct rate_limit_state *state = filter->state;
    struct exchange *exchange = filter->exchange;
    if (settings->over_budget != OVER_BUDGET_FINISH || !state->estimated || !exchange->info.stream ||
        tokens_output_is_given(exchange))
        return;
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < state->call.count; i++) {
        const struct limits_part *part = &state->call.parts[i];
        uint64_t left = part->shadow ? UINT64_MAX : output_left(filter, state->of[i], part->answer.remaining);
        least = left < least ? left : least;
    }
    if (least == UINT64_MAX)
        return;
    uint64_t budget = state->output + least ? state->output + least : 1;
    if (!exchange->output_budget || budget < exchange->output_budget)
        exchange->output_budget = budget;
}

/* ---- settlement ---- */

/* The request reached a target, which may have worked on it. */
static bool was_sent(const struct exchange *exchange)
{
    return exchange->sent_at && !exchange->local_answer;
}

static bool refused_by_target(const struct exchange *exchange)
{
    return exchange->response_started && exchange->response.status >= 400;
}

static void count_tokens(struct filter *filter, struct tokens t, struct span basis)
{
    struct span labels[] = {filter->name, basis};
    struct exchange *exchange = filter->exchange;
    metrics_add(
        metrics_series_find(exchange->worker->metrics, exchange->snapshot->generation, METRIC_LIMIT_TOKENS, labels),
        t.input + t.output);
}

/* How far the estimate of the input was off; what it says teaches the operator, not the filter. */
static void note_error(struct filter *filter, uint64_t reported)
{
    struct exchange *exchange = filter->exchange;
    const struct estimate *estimate = exchange->estimate;
    if (!estimate || !estimate->tokens || !reported || !exchange->model)
        return;
    struct span labels[] = {exchange->model->name};
    metrics_observe(
        metrics_series_find(exchange->worker->metrics, exchange->snapshot->generation, METRIC_ESTIMATE_RATIO, labels),
        estimate->tokens * 1000000 / reported, 1);
}

void rate_limit_charge(struct filter *filter)
{
    struct rate_limit_state *state = filter->state;
    struct rate_limit_instance *instance = filter->instance;
    const struct exchange *exchange = filter->exchange;
    struct tokens t = {0};
    if (!exchange->usage_free && tokens_reported(exchange, &t)) {
        count_tokens(filter, t, SPAN("reported"));
        note_error(filter, t.input);
        uint64_t choices = tokens_choices(exchange);
        if (state->estimated && tokens_are_written(exchange))
            limits_learn(instance->table, learned_hash(filter), t.output / choices + (t.output % choices != 0),
                         loop_now(instance->worker->loop));
    } else if (was_sent(exchange) && !refused_by_target(exchange) &&
               (exchange->response_started || exchange->fault == FAULT_CLIENT_GONE)) {
        t = tokens_guess(exchange, state->output);
        count_tokens(filter, t, SPAN("estimated"));
    }
    bool nothing = t.input + t.output == 0;
    for (unsigned i = 0; i < state->call.count; i++) {
        const struct limit_settings *limit = state->of[i];
        bool free_of_charge = nothing && needs_estimate(limit->unit);
        state->call.parts[i].units = free_of_charge ? 0 : units_of(filter, limit, t);
    }
}
