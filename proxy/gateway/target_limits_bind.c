/* SPDX-License-Identifier: Apache-2.0 */
/* From the settings of targets and deployments to the laws of each way to serve a model. */
#include "base/clock.h"
#include "base/encoding.h"
#include "base/hash.h"
#include "gateway/target_limits.h"

/* A name that stands in a key: anything that could be taken for a separator or a shard's mark is written as hex. */
static void append_name(struct buffer *key, struct span name)
{
    bool plain = name.len > 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        plain &= c > ' ' && c < 0x7f && c != '/' && c != '#' && c != '{' && c != '}';
    }
    buffer_append(key, plain ? SPAN("/") : SPAN("/#"));
    if (plain)
        buffer_append(key, name);
    else
        encode_hex(key, name);
}

/* ---- what is written where ---- */

/* Without a deployment the target is asked for the model by its own name. */
static struct span effective(struct span deployment, struct span model)
{
    return deployment.len ? deployment : model;
}

static struct span way(struct arena *arena, struct span target, struct span deployment)
{
    return arena_format(arena, "%.*s\n%.*s", SPAN_ARG(target), SPAN_ARG(deployment));
}

void target_limits_written(const struct config *config, struct arena *arena, struct table *written,
                           struct report *report)
{
    table_init(written);
    for (size_t i = 0; i < config->model_count; i++) {
        const struct config_model *model = &config->models[i];
        for (size_t j = 0; j < model->target_count; j++) {
            const struct config_model_target *entry = &model->targets[j];
            if (!entry->limits)
                continue;
            struct span deployment = effective(entry->deployment, model->name);
            struct span name = way(arena, entry->target, deployment);
            const struct config_target_limits *other = table_get(written, name);
            if (!other) {
                (void)table_put(written, name, (void *)(uintptr_t)entry->limits);
                continue;
            }
            struct place place = settings_place(&other->settings, NULL);
            report_error(report, settings_place(&entry->limits->settings, NULL),
                         "the limits of \"%.*s\" at target \"%.*s\" are written at %.*s:%u:%u already; they count for "
                         "all models that name it",
                         SPAN_ARG(deployment), SPAN_ARG(entry->target), SPAN_ARG(place.file), place.line, place.column);
        }
    }
}

/* ---- laws ---- */

static struct limit_law law_of(const struct setting_rate *rate)
{
    bool shorter = rate->period == PERIOD_SECOND || rate->period == PERIOD_MINUTE;
    uint64_t amount = rate->amount < 1                          ? 1
                      : rate->amount > (double)LIMIT_AMOUNT_MAX ? LIMIT_AMOUNT_MAX
                                                                : (uint64_t)rate->amount;
    return (struct limit_law){.kind = shorter ? LIMIT_RATE : LIMIT_CALENDAR,
                              .amount = amount,
                              .burst = amount,
                              .period = rate->micros,
                              .month = rate->period == PERIOD_MONTH};
}

static void add(struct model_target *to, struct target_limit *limits, struct target_limit limit, struct arena *arena)
{
    struct buffer key = {0};
    append_name(&key, to->target->name);
    append_name(&key, limit.deployment);
    buffer_append(&key, SPAN("/"));
    buffer_append(&key, limit.what);
    limit.key = arena_copy(arena, buffer_span(&key));
    limit.hash = hash_bytes(limit.key);
    limits[to->limit_count++] = limit;
    buffer_finish(&key);
}

static void add_all(struct model_target *to, struct target_limit *limits, const struct config_target_limits *from,
                    struct span deployment, struct arena *arena)
{
    if (!from)
        return;
    if (from->concurrency != SETTING_ABSENT_INTEGER)
        add(to, limits,
            (struct target_limit){.law = {.kind = LIMIT_CONCURRENCY, .amount = from->concurrency},
                                  .unit = TARGET_CONCURRENCY,
                                  .what = SPAN("concurrency"),
                                  .deployment = deployment},
            arena);
    if (from->requests.given)
        add(to, limits,
            (struct target_limit){.law = law_of(&from->requests),
                                  .unit = TARGET_REQUESTS,
                                  .what = SPAN("requests"),
                                  .deployment = deployment},
            arena);
    if (from->tokens.given)
        add(to, limits,
            (struct target_limit){
                .law = law_of(&from->tokens), .unit = TARGET_TOKENS, .what = SPAN("tokens"), .deployment = deployment},
            arena);
}

/* Three of the target, three of the deployment. */
#define LIMITS_MOST 6

void target_limits_bind(struct model_target *to, struct span model, const struct table *written, struct arena *arena)
{
    const struct config_target_limits *whole = to->target->config->limits;
    struct span deployment = effective(to->deployment, model);
    const struct config_target_limits *own =
        deployment.len ? table_get(written, way(arena, to->target->name, deployment)) : NULL;
    if (!whole && !own)
        return;
    struct target_limit *limits = ARENA_ARRAY(arena, struct target_limit, LIMITS_MOST);
    to->limits = limits;
    if (whole)
        to->limit_store = whole->store;
    add_all(to, limits, whole, (struct span){0}, arena);
    add_all(to, limits, own, deployment, arena);
}
