/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/clock.h"
#include "filters/cache.h"
#include "openai/operations.h"

/* ---- rules ---- */

#define AT(member) .offset = offsetof(struct cache_rule, member)
static const struct setting rule_table[] = {
    {.name = "models",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(models),
     .max = 1024,
     .help = "Only these models, by patterns of the names that clients ask for.",
     .example = "[\"gpt-4o*\"]"},
    {.name = "operations",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(operations),
     .max = 8,
     .help =
         "Only these operations: chat, completions, responses, embeddings. Responses are kept only of requests with "
         "`store: false`, since the target stores all others.",
     .example = "[chat, embeddings]"},
    {.name = "listeners",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(listeners),
     .max = 64,
     .refers = "listeners",
     .help = "Only requests on these listeners.",
     .example = "[apps]"},
    {.name = "max_temperature",
     .type = SETTING_DECIMAL,
     AT(max_temperature),
     .fallback = "0",
     .help =
         "The highest temperature of requests whose answers are kept; a request without one has 1, as the API says. "
         "Above 0 a client that asks twice means to get two answers, so raise it only where one is as good. Has no "
         "meaning for embeddings."},
    {.name = "ttl",
     .type = SETTING_DURATION,
     AT(ttl),
     .min = 1 * CLOCK_SECOND,
     .max = 366 * 24 * 3600 * CLOCK_SECOND,
     .fallback_note = "the filter's",
     .help = "How long these answers are fresh."},
    {.name = "max_size",
     .type = SETTING_SIZE,
     AT(max_size),
     .min = 1024,
     .max = 16777216,
     .fallback_note = "the filter's",
     .help = "The largest of these answers that is kept."},
};
#undef AT

static bool may_cache(const struct operation *operation)
{
    return operation && (operation->id == OPERATION_CHAT || operation->id == OPERATION_COMPLETIONS ||
                         operation->id == OPERATION_RESPONSES || operation->id == OPERATION_EMBEDDINGS);
}

static void check_rule(void *settings, struct report *report)
{
    const struct cache_rule *rule = settings;
    bool embeddings_only = rule->operations.count == 1 && span_equal(rule->operations.items[0], SPAN("embeddings"));
    for (size_t i = 0; i < rule->operations.count; i++)
        if (!may_cache(operation_by_name(rule->operations.items[i])))
            report_error(report, settings_place_at(&rule->settings, "operations", i),
                         "answers of \"%.*s\" are never kept; those of chat, completions, responses and embeddings can "
                         "be",
                         SPAN_ARG(rule->operations.items[i]));
    if (rule->max_temperature > 2)
        report_error(report, settings_place(&rule->settings, "max_temperature"), "a temperature is at most 2");
    if (embeddings_only && settings_given(&rule->settings, "max_temperature"))
        report_error(report, settings_place(&rule->settings, "max_temperature"),
                     "\"max_temperature\" has no effect on embeddings");
}

static const struct settings_spec rule_spec =
    SETTINGS_SPEC("rule", struct cache_rule, rule_table,
                  "Requests whose answers are kept: those that fit all of its parts. The first rule that fits counts.",
                  .check = check_rule);

/* ---- seal ---- */

static const struct setting keys_table[] = {
    {.name = "file",
     .type = SETTING_PATH,
     .flags = SETTING_REQUIRED | SETTING_MUST_EXIST,
     .offset = offsetof(struct cache_seal_keys, file),
     .help = "A file of a mounted Secret with one key to a line, `id:base64 of 32 bytes`. The first line seals, all "
             "lines open; a change is taken up within a second. To rotate: put a new line first, take the old one away "
             "when its entries have run out.",
     .example = "/var/run/secrets/cache/keys"},
};
static const struct settings_spec keys_spec =
    SETTINGS_SPEC("keys", struct cache_seal_keys, keys_table, "Where the keys are.", .shorthand = "file");

static const char *const seal_modes[] = {[CACHE_SEAL_ON] = "on", [CACHE_SEAL_OFF] = "off", NULL};

static const struct setting seal_table[] = {
    {.name = "mode",
     .type = SETTING_ENUM,
     .offset = offsetof(struct cache_seal, mode),
     .fallback = "on",
     .choices = seal_modes,
     .help =
         "on: entries are encrypted and authenticated (AES-256-GCM), and named by a keyed digest, so that who reads "
         "the store learns neither questions nor answers and cannot confirm a guess. off: they lie there as plain "
         "text, for everybody who can read the store to read, and to change for who can write it."},
    {.name = "keys",
     .type = SETTING_OPTIONAL,
     .offset = offsetof(struct cache_seal, keys),
     .sub = &keys_spec,
     .help = "The keys. Whoever has them can read and write all entries of this cache: pods that do not trust each "
             "other must not have the same ones.",
     .example = "{file: /var/run/secrets/cache/keys}"},
};

static void check_seal(void *settings, struct report *report)
{
    const struct cache_seal *seal = settings;
    if (seal->mode == CACHE_SEAL_OFF && seal->keys)
        report_error(report, settings_place(&seal->settings, "keys"), "\"keys\" has no effect when \"mode\" is off");
    if (seal->mode == CACHE_SEAL_ON && !seal->keys)
        report_error(report, settings_place(&seal->settings, NULL),
                     "sealing needs \"keys\": {file: PATH}; write `seal: off` to keep plain text in the store");
}

static const struct settings_spec seal_spec =
    SETTINGS_SPEC("seal", struct cache_seal, seal_table, "How entries in a store are protected.", .shorthand = "mode",
                  .check = check_seal);

/* ---- the filter ---- */

static const char *const tenants[] = {[CACHE_TENANT_CONSUMER] = "consumer", [CACHE_TENANT_SHARED] = "shared", NULL};
static const char *const charges[] = {[CACHE_HITS_FREE] = "free", [CACHE_HITS_COUNTED] = "counted", NULL};
static const char *const slow_ones[] = {[FLIGHT_SLOW_WAIT] = "wait", [FLIGHT_SLOW_CUT] = "cut", NULL};
static const char *const ignorable[] = {"user", "metadata", "safety_identifier", "prompt_cache_key", NULL};

#define AT(member) .offset = offsetof(struct cache_settings, member)
static const struct setting cache_table[] = {
    {.name = "rules",
     .type = SETTING_OBJECTS,
     .flags = SETTING_REQUIRED | SETTING_NOT_EMPTY,
     AT(rules),
     .count = offsetof(struct cache_settings, rule_count),
     .max = 256,
     .sub = &rule_spec,
     .help = "Requests whose answers are kept. What no rule fits goes past the cache.",
     .example = "[{models: [\"gpt-4o*\"], operations: [chat], max_temperature: 0}, {operations: [embeddings]}]"},
    {.name = "store",
     .type = SETTING_STRING,
     AT(store),
     .refers = "stores",
     .help = "Where answers are kept for all pods, below the memory of each. Without it there is memory alone.",
     .example = "shared"},
    {.name = "seal",
     .type = SETTING_OPTIONAL,
     AT(seal),
     .sub = &seal_spec,
     .help = "How entries in the store are protected; required with a store.",
     .example = "{keys: {file: /var/run/secrets/cache/keys}}"},
    {.name = "memory",
     .type = SETTING_SIZE,
     AT(memory),
     .fallback = "64MiB",
     .min = 1048576,
     .help = "Memory for answers in this process, shared by its workers. What is asked for often stays."},
    {.name = "max_size",
     .type = SETTING_SIZE,
     AT(max_size),
     .fallback = "512KiB",
     .min = 1024,
     .max = 16777216,
     .help = "The largest answer that is kept; a quarter of `memory` is the most. So far, too, may those who share a "
             "call be apart in what they have read."},
    {.name = "ttl",
     .type = SETTING_DURATION,
     AT(ttl),
     .fallback = "1h",
     .min = 1 * CLOCK_SECOND,
     .max = 366 * 24 * 3600 * CLOCK_SECOND,
     .help = "How long an answer is fresh."},
    {.name = "ttl_jitter",
     .type = SETTING_INTEGER,
     AT(ttl_jitter),
     .fallback = "10",
     .max = 50,
     .unit = "per cent",
     .help = "Each entry's ttl is shortened by a random part up to this, so that entries made together do not end "
             "together."},
    {.name = "scope",
     .type = SETTING_ENUM,
     AT(scope),
     .fallback = "consumer",
     .choices = tenants,
     .help =
         "consumer: each caller has entries of its own; callers that nobody has authenticated have none, but for "
         "those of a loopback or socket listener in memory, who are one pod. shared: all callers who may ask the same "
         "get the same answer, and by its speed can learn that somebody has asked before."},
    {.name = "stale_while_revalidate",
     .type = SETTING_DURATION,
     AT(stale_while_revalidate),
     .fallback = "0s",
     .max = 366 * 24 * 3600 * CLOCK_SECOND,
     .help = "So long after its ttl an answer is still given at once, while a new one is fetched behind it."},
    {.name = "stale_if_error",
     .type = SETTING_DURATION,
     AT(stale_if_error),
     .fallback = "0s",
     .max = 366 * 24 * 3600 * CLOCK_SECOND,
     .help = "So long after its ttl an answer is given in place of an error (5xx, no target) of the targets."},
    {.name = "ignore",
     .type = SETTING_ENUMS,
     AT(ignore),
     .choices = ignorable,
     .fallback_note = "none",
     .help =
         "Members of requests that do not change the answer and so do not count. `stream` and `stream_options` never "
         "do.",
     .example = "[user]"},
    {.name = "vary",
     .type = SETTING_LIST,
     .flags = SETTING_FIELD_NAME | SETTING_UNIQUE,
     AT(vary),
     .max = 16,
     .help = "Request fields whose values count, beside those by which the APIs are known to be steered: openai-*, "
             "x-openai-*, azureml-*, aoai-*, x-ms-oai-*, x-policy-*, x-gateway-*, extra-parameters and "
             "x-ms-spillover-deployment.",
     .example = "[x-experiment]"},
    {.name = "hits",
     .type = SETTING_ENUM,
     AT(hits),
     .fallback = "free",
     .choices = charges,
     .help = "What limits that stand before the cache charge for an answer that cost nothing. free: the request alone. "
             "counted: the tokens that the answer cost once."},
    {.name = "slow_follower",
     .type = SETTING_ENUM,
     AT(slow_follower),
     .fallback = "wait",
     .choices = slow_ones,
     .help = "When one of those who share a call is max_size behind what has come. wait: the target is read no further "
             "until it has caught up. cut: its answer breaks off, so that the others need not wait."},
    {.name = "lookup_timeout",
     .type = SETTING_DURATION,
     AT(lookup_timeout),
     .fallback = "10ms",
     .min = 1 * CLOCK_MS,
     .max = 1 * CLOCK_SECOND,
     .help = "How long the store may take to find an entry before the request goes on without."},
    {.name = "lease",
     .type = SETTING_DURATION,
     AT(lease),
     .fallback = "0s",
     .max = 120 * CLOCK_SECOND,
     .help = "So long one pod at most fetches an answer while others that want the same wait for it to appear in the "
             "store. 0s: each pod fetches its own."},
    {.name = "pace",
     .type = SETTING_DURATION,
     AT(pace),
     .fallback = "0s",
     .max = 1 * CLOCK_SECOND,
     .help = "The pause between two events when a kept answer is given as a stream. 0s: all at once.",
     .example = "20ms"},
};
#undef AT

static void check_size(const struct cache_settings *all, const struct settings *settings, size_t size,
                       struct report *report)
{
    if (size <= all->memory / 4 || !settings_given(settings, "max_size"))
        return;
    report_error(report, settings_place(settings, "max_size"), "\"max_size\" is more than a quarter of \"memory\"");
}

static void check_cache(void *settings, struct report *report)
{
    const struct cache_settings *all = settings;
    if (all->store.len && !all->seal)
        report_error(report, settings_place(&all->settings, "store"),
                     "answers in a store are sealed: give \"seal\": {keys: {file: PATH}}, or write `seal: off`");
    if (!all->store.len && all->seal)
        report_error(report, settings_place(&all->settings, "seal"), "\"seal\" has no effect without \"store\"");
    if (!all->store.len && all->lease)
        report_error(report, settings_place(&all->settings, "lease"), "\"lease\" has no effect without \"store\"");
    if (!all->store.len && settings_given(&all->settings, "lookup_timeout"))
        report_error(report, settings_place(&all->settings, "lookup_timeout"),
                     "\"lookup_timeout\" has no effect without \"store\"");
    check_size(all, &all->settings, all->max_size, report);
    for (size_t i = 0; i < all->rule_count; i++)
        if (all->rules[i].max_size != SETTING_ABSENT_SIZE)
            check_size(all, &all->rules[i].settings, all->rules[i].max_size, report);
}

const struct settings_spec cache_spec =
    SETTINGS_SPEC("cache", struct cache_settings, cache_table,
                  "Keeps answers and gives them again to the same request, and lets requests that are the same at the "
                  "same time share "
                  "one call. Both wire forms, JSON and event stream, are served from one entry.",
                  .check = check_cache);

uint64_t cache_life_most(const struct cache_settings *settings)
{
    uint64_t ttl = settings->ttl;
    for (size_t i = 0; i < settings->rule_count; i++)
        if (cache_rule_ttl(settings, &settings->rules[i]) > ttl)
            ttl = cache_rule_ttl(settings, &settings->rules[i]);
    uint64_t stale = settings->stale_while_revalidate > settings->stale_if_error ? settings->stale_while_revalidate
                                                                                 : settings->stale_if_error;
    return ttl + stale;
}

size_t cache_size_most(const struct cache_settings *settings)
{
    size_t size = settings->max_size > CACHE_EMBEDDING_MOST ? settings->max_size : CACHE_EMBEDDING_MOST;
    for (size_t i = 0; i < settings->rule_count; i++)
        if (cache_rule_size(settings, &settings->rules[i]) > size)
            size = cache_rule_size(settings, &settings->rules[i]);
    return size;
}
