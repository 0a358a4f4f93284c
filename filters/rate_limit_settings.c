/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/clock.h"
#include "filters/operation_names.h"
#include "filters/rate_limit.h"

/* ---- one limit ---- */

static const char *const windows[] = {[WINDOW_AUTO] = "auto",
                                      [WINDOW_SMOOTH] = "smooth",
                                      [WINDOW_CALENDAR] = "calendar",
                                      [WINDOW_ROLLING] = "rolling",
                                      NULL};

static const char *const when_lost[] = {
    [LIMITS_LOST_LEASE] = "lease", [LIMITS_LOST_OPEN] = "open", [LIMITS_LOST_CLOSED] = "closed", NULL};

#define WEIGHT(member, text)                                                                                           \
    {                                                                                                                  \
        .name = #member, .type = SETTING_DECIMAL, .offset = offsetof(struct weights_settings, member),                 \
        .fallback = "1", .help = (text)                                                                                \
    }
static const struct setting weights_table[] = {
    WEIGHT(input, "Of a token of input that was not cached."),
    WEIGHT(cached, "Of a token of input that the target had in its cache."),
    WEIGHT(output, "Of a token of output that is no reasoning."),
    WEIGHT(reasoning, "Of a token of reasoning."),
};
static const struct settings_spec weights_spec =
    SETTINGS_SPEC("weights", struct weights_settings, weights_table, "What a token of each kind counts.");

#define AT(member) .offset = offsetof(struct limit_settings, member)
#define AMOUNT(member, text, sample)                                                                                   \
    {                                                                                                                  \
        .name = #member, .type = SETTING_RATE, .flags = SETTING_ONE_OF, AT(member), .help = (text),                    \
        .example = (sample)                                                                                            \
    }
static const struct setting limit_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED | SETTING_UNIQUE,
     AT(name),
     .max = 64,
     .help = "How metrics, error messages and RateLimit fields call it. Counts belong to the name: another name begins "
             "anew. Letters, digits, '.', '_' and '-'.",
     .example = "team-tokens"},
    {.name = "per",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE,
     AT(per),
     .max = 8,
     .help = "Whom it counts apart: any of consumer, group, model, operation, client_address, attribute:NAME and "
             "header:NAME together. A caller in several groups counts in each. Who has no such value counts with all "
             "others that have none. Without it all requests count together.",
     .example = "[consumer, model]"},
    AMOUNT(requests, "Requests per second, minute, hour, day or month.", "20/second"),
    AMOUNT(tokens, "Tokens of input and output together, by their weights.", "100000/minute"),
    AMOUNT(input_tokens, "Tokens of input, by their weights.", "1000000/hour"),
    AMOUNT(output_tokens, "Tokens of output, by their weights.", "50000/minute"),
    {.name = "cost",
     .type = SETTING_RATE,
     .flags = SETTING_ONE_OF | SETTING_FRACTION,
     AT(cost),
     .help = "Money, in the unit that `prices` are written in.",
     .example = "500/month"},
    {.name = "concurrency",
     .type = SETTING_INTEGER,
     .flags = SETTING_ONE_OF,
     AT(concurrency),
     .min = 1,
     .max = 1000000,
     .unit = "requests",
     .help = "Requests at a time, from the request to the end of its answer.",
     .example = "50"},
    {.name = "window",
     .type = SETTING_ENUM,
     AT(window),
     .fallback = "auto",
     .choices = windows,
     .help =
         "smooth: a rate; within any window T at most burst + rate x T. calendar: begins anew with each hour, day or "
         "month in UTC. rolling: at most so much within any window as long as the period, a month being 30 days. "
         "auto: smooth for seconds and minutes, calendar for the rest."},
    {.name = "burst",
     .type = SETTING_INTEGER,
     AT(burst),
     .min = 1,
     .fallback_note = "the amount of one period",
     .help = "What a smooth limit lets in at once after a pause. A request larger than this is never let in."},
    {.name = "amount_attribute",
     .type = SETTING_STRING,
     AT(amount_attribute),
     .max = 128,
     .help =
         "An attribute of the caller's key or token whose whole number replaces the amount (and a burst that is not "
         "given). Callers without it, or with something else in it, have the amount written here; 0 lets nothing in.",
     .example = "tokens_per_minute"},
    {.name = "max_wait",
     .type = SETTING_DURATION,
     AT(max_wait),
     .fallback = "0s",
     .max = 300 * CLOCK_SECOND,
     .help =
         "How long a request may be held until it fits, in order of arrival for each who is counted; if it would take "
         "longer it is refused at once.",
     .example = "500ms"},
    {.name = "shadow",
     .type = SETTING_BOOL,
     AT(shadow),
     .fallback = "false",
     .help = "Count, and report in the metrics what would be refused, but refuse nothing."},
    {.name = "consumers",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(consumers),
     .max = 1024,
     .help = "Only these callers, by patterns of their names.",
     .example = "[\"team-*\"]"},
    {.name = "groups",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(groups),
     .max = 1024,
     .help = "Only callers in one of these groups; with `per: [group]`, only these groups are counted.",
     .example = "[research]"},
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
     .max = 64,
     .help = "Only these operations, by the names that the access log uses.",
     .example = "[chat, responses]"},
    {.name = "when_store_lost",
     .type = SETTING_ENUM,
     AT(when_store_lost),
     .fallback = "lease",
     .choices = when_lost,
     .help = "What happens while the store does not answer. lease: each process goes on within its share of what was "
             "left; filters/README.md says by how much that can pass the limit. open: everything is let in. closed: "
             "requests that this limit counts are answered with 503.",
     .example = "closed"},
    {.name = "weights", .type = SETTING_OBJECT, AT(weights), .sub = &weights_spec, .help = "What tokens count."},
};
#undef AT

static void check_name(const struct limit_settings *limit, struct report *report)
{
    for (size_t i = 0; i < limit->name.len; i++) {
        char c = limit->name.ptr[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '-';
        if (good)
            continue;
        report_error(report, settings_place(&limit->settings, "name"),
                     "a limit's name has letters, digits, '.', '_' and '-' only, since it is sent in header fields");
        return;
    }
}

static bool per_is_known(struct span word)
{
    static const struct span plain[] = {SPAN_INIT("consumer"), SPAN_INIT("group"), SPAN_INIT("model"),
                                        SPAN_INIT("operation"), SPAN_INIT("client_address")};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (span_equal(word, plain[i]))
            return true;
    if (span_starts_with(word, SPAN("attribute:")))
        return word.len > sizeof("attribute:") - 1;
    if (!span_starts_with(word, SPAN("header:")) || word.len == sizeof("header:") - 1)
        return false;
    for (size_t i = 0; i < word.len; i++)
        if (word.ptr[i] <= ' ' || word.ptr[i] > '~' || (word.ptr[i] >= 'A' && word.ptr[i] <= 'Z'))
            return false;
    return true;
}

static void check_lists(const struct limit_settings *limit, struct report *report)
{
    for (size_t i = 0; i < limit->per.count; i++)
        if (!per_is_known(limit->per.items[i]))
            report_error(report, settings_place_at(&limit->settings, "per", i),
                         "\"per\" cannot hold \"%.*s\"; allowed: consumer, group, model, operation, client_address, "
                         "attribute:NAME, header:NAME (in small letters)",
                         SPAN_ARG(limit->per.items[i]));
    operation_names_check(&limit->settings, &limit->operations, (struct span){0}, report);
}

static const char *const amount_names[] = {
    [UNIT_REQUESTS] = "requests",           [UNIT_TOKENS] = "tokens", [UNIT_INPUT_TOKENS] = "input_tokens",
    [UNIT_OUTPUT_TOKENS] = "output_tokens", [UNIT_COST] = "cost",     [UNIT_CONCURRENCY] = "concurrency"};

static const struct setting_rate *amount_of(struct limit_settings *limit)
{
    const struct setting_rate *rates[] = {[UNIT_REQUESTS] = &limit->requests,
                                          [UNIT_TOKENS] = &limit->tokens,
                                          [UNIT_INPUT_TOKENS] = &limit->input_tokens,
                                          [UNIT_OUTPUT_TOKENS] = &limit->output_tokens,
                                          [UNIT_COST] = &limit->cost};
    for (unsigned unit = 0; unit < ARRAY_LEN(rates); unit++)
        if (rates[unit]->given) {
            limit->unit = (enum limit_unit)unit;
            return rates[unit];
        }
    limit->unit = UNIT_CONCURRENCY;
    return NULL;
}

static enum limit_kind kind_of(struct limit_settings *limit, const struct setting_rate *rate, struct report *report)
{
    bool shorter = rate->period == PERIOD_SECOND || rate->period == PERIOD_MINUTE;
    switch (limit->window) {
    case WINDOW_AUTO:
        return shorter ? LIMIT_RATE : LIMIT_CALENDAR;
    case WINDOW_SMOOTH:
        return LIMIT_RATE;
    case WINDOW_CALENDAR:
    case WINDOW_ROLLING:
        break;
    }
    if (shorter)
        report_error(report, settings_place(&limit->settings, "window"),
                     "\"window: %s\" is for hours, days and months; limits per second or minute are smooth",
                     windows[limit->window]);
    return limit->window == WINDOW_CALENDAR ? LIMIT_CALENDAR : LIMIT_ROLLING;
}

/* Within what stores can count: neither too large a number nor one that takes months to drain. */
static void check_burst(const struct limit_settings *limit, struct report *report)
{
    if (limit->law.kind != LIMIT_RATE)
        return;
    if (limit->law.burst > LIMIT_AMOUNT_MAX || limit_ticks(&limit->law, limit->law.burst) == LIMIT_TICKS_MAX)
        report_error(report, settings_place(&limit->settings, "burst"),
                     "a \"burst\" of %u would take more than 100 days to be there again at this rate; make it smaller",
                     limit->burst);
}

static void check_limit(void *settings, struct report *report)
{
    struct limit_settings *limit = settings;
    const struct setting_rate *rate = amount_of(limit);
    check_name(limit, report);
    check_lists(limit, report);
    bool burst = limit->burst != SETTING_ABSENT_INTEGER;
    if (!rate) {
        limit->law = (struct limit_law){.kind = LIMIT_CONCURRENCY, .amount = limit->concurrency};
        if (limit->window != WINDOW_AUTO)
            report_error(report, settings_place(&limit->settings, "window"), "\"window\" has no effect on concurrency");
    } else {
        double amount = limit->unit == UNIT_COST ? rate->amount * COST_MICROS : rate->amount;
        if (amount > (double)LIMIT_AMOUNT_MAX)
            report_error(
                report, settings_place(&limit->settings, amount_names[limit->unit]),
                "\"%s\" of limit \"%.*s\" is too large; the most is %llu", amount_names[limit->unit],
                SPAN_ARG(limit->name),
                (unsigned long long)(limit->unit == UNIT_COST ? LIMIT_AMOUNT_MAX / COST_MICROS : LIMIT_AMOUNT_MAX));
        limit->law = (struct limit_law){.kind = kind_of(limit, rate, report),
                                        .amount = amount < 1 ? 1 : (uint64_t)amount,
                                        .period = rate->micros,
                                        .month = rate->period == PERIOD_MONTH};
        limit->law.burst =
            burst ? (uint64_t)limit->burst * (limit->unit == UNIT_COST ? COST_MICROS : 1) : limit->law.amount;
        if (burst)
            check_burst(limit, report);
    }
    if (burst && limit->law.kind != LIMIT_RATE)
        report_error(report, settings_place(&limit->settings, "burst"),
                     "\"burst\" has an effect on smooth limits only");
    bool weighted = limit->unit == UNIT_TOKENS || limit->unit == UNIT_INPUT_TOKENS || limit->unit == UNIT_OUTPUT_TOKENS;
    if (!weighted && settings_given(&limit->settings, "weights"))
        report_error(report, settings_place(&limit->settings, "weights"), "\"weights\" has an effect on tokens only");
}

static const struct settings_spec limit_spec = SETTINGS_SPEC(
    "limit", struct limit_settings, limit_table,
    "One limit. Exactly one of requests, tokens, input_tokens, output_tokens, cost and concurrency says of "
    "what.",
    .check = check_limit);

/* ---- prices ---- */

#define AT(member) .offset = offsetof(struct price_settings, member)
static const struct setting price_table[] = {
    {.name = "model",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(model),
     .max = 256,
     .help = "A pattern of the model names that clients ask for; the first that fits is taken.",
     .example = "gpt-4o-mini*"},
    {.name = "input", .type = SETTING_DECIMAL, AT(input), .fallback = "0", .help = "Per million tokens of input."},
    {.name = "cached",
     .type = SETTING_DECIMAL,
     AT(cached),
     .fallback_note = "as input",
     .help = "Per million tokens of input that the target had in its cache."},
    {.name = "output", .type = SETTING_DECIMAL, AT(output), .fallback = "0", .help = "Per million tokens of output."},
    {.name = "reasoning",
     .type = SETTING_DECIMAL,
     AT(reasoning),
     .fallback_note = "as output",
     .help = "Per million tokens of reasoning."},
    {.name = "request", .type = SETTING_DECIMAL, AT(request), .fallback = "0", .help = "Per request."},
};
#undef AT

static void check_price(void *settings, struct report *report)
{
    struct price_settings *price = settings;
    static const double most = 1e6;
    if (price->input > most || price->output > most || price->request > most || price->cached > most ||
        price->reasoning > most)
        report_error(report, settings_place(&price->settings, "model"), "a price is above a million");
    if (isnan(price->cached))
        price->cached = price->input;
    if (isnan(price->reasoning))
        price->reasoning = price->output;
}

static const struct settings_spec price_spec =
    SETTINGS_SPEC("price", struct price_settings, price_table, "What a model's tokens cost.", .check = check_price);

/* ---- the filter ---- */

#define AT(member) .offset = offsetof(struct exempt_settings, member)
static const struct setting exempt_table[] = {
    {.name = "consumers",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE,
     AT(consumers),
     .max = 1024,
     .help = "Callers, by patterns of their names."},
    {.name = "groups",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE,
     AT(groups),
     .max = 1024,
     .help = "Groups, of which the caller is in one."},
};
#undef AT
static const struct settings_spec exempt_spec =
    SETTINGS_SPEC("exempt", struct exempt_settings, exempt_table, "Who is neither counted nor refused.");

static const char *const over_budgets[] = {[OVER_BUDGET_CONTINUE] = "continue", [OVER_BUDGET_FINISH] = "finish", NULL};
static const char *const field_sets[] = {"openai", "ietf", NULL};

#define AT(member) .offset = offsetof(struct rate_limit_settings, member)
static const struct setting rate_limit_table[] = {
    {.name = "limits",
     .type = SETTING_OBJECTS,
     .flags = SETTING_REQUIRED | SETTING_NOT_EMPTY,
     AT(limits),
     .count = offsetof(struct rate_limit_settings, limit_count),
     .max = 64,
     .sub = &limit_spec,
     .help = "All limits that fit a request apply: it is let in when every one of them has room.",
     .example = "[{name: team-tokens, per: [consumer, model], tokens: 100000/minute}]"},
    {.name = "store",
     .type = SETTING_STRING,
     AT(store),
     .fallback_note = "the memory of this process",
     .refers = "stores",
     .help = "Where counts are kept that several Posterns share: they then enforce the limits together, whatever "
             "their number. Filters of one name share their counts.",
     .example = "shared"},
    {.name = "prices",
     .type = SETTING_OBJECTS,
     AT(prices),
     .count = offsetof(struct rate_limit_settings, price_count),
     .max = 1024,
     .sub = &price_spec,
     .help = "For limits on cost. A model that none of them fits counts with the highest prices of the table, so that "
             "nothing is free because it was forgotten.",
     .example = "[{model: \"gpt-4o*\", input: 2.5, cached: 1.25, output: 10}]"},
    {.name = "exempt", .type = SETTING_OBJECT, AT(exempt), .sub = &exempt_spec, .help = "Who is not limited."},
    {.name = "assumed_output",
     .type = SETTING_INTEGER,
     AT(assumed_output),
     .fallback = "500",
     .max = 1000000,
     .unit = "tokens",
     .help = "Reserved for an answer whose request sets no maximum, until answers of its model have been seen."},
    {.name = "over_budget",
     .type = SETTING_ENUM,
     AT(over_budget),
     .fallback = "continue",
     .choices = over_budgets,
     .help = "What becomes of a stream whose request set no maximum, when its answer has grown beyond what was "
             "reserved and what else was left in its limits. continue: it is charged in full, others wait. finish: it "
             "ends as if its maximum were reached, with finish_reason length (responses: response.incomplete). "
             "Streams of chat, completions and responses; counted by estimate."},
    {.name = "max_waiting",
     .type = SETTING_INTEGER,
     AT(max_waiting),
     .fallback = "1000",
     .max = 65000,
     .unit = "requests",
     .help = "Requests of one worker that may be held by max_wait at a time; more are refused, and nobody "
             "passes those who wait."},
    {.name = "keys",
     .type = SETTING_INTEGER,
     AT(keys),
     .fallback = "131072",
     .min = 64,
     .max = 16777216,
     .reload = RELOAD_RESTART,
     .help =
         "Places for counts: about two for each caller, model, ... and limit at a time. Each takes 136 bytes once it "
         "is used. When there is none for a request it is answered with 503. With a store they hold the shares that "
         "are counted here while it is lost."},
    {.name = "fields",
     .type = SETTING_ENUMS,
     AT(fields),
     .choices = field_sets,
     .fallback_note = "both",
     .help = "What answers say of the limits. openai: x-ratelimit-limit-requests, -remaining-tokens and so on, as the "
             "API's own; they replace those of the target. ietf: RateLimit and RateLimit-Policy. An empty list: "
             "nothing.",
     .example = "[openai]"},
};
#undef AT

static double higher(double a, double b)
{
    return a > b ? a : b;
}

static void check_rate_limit(void *settings, struct report *report)
{
    struct rate_limit_settings *all = settings;
    struct price_settings *dearest = &all->dearest;
    if (!settings_given(&all->settings, "fields"))
        all->fields = FIELDS_OPENAI | FIELDS_IETF;
    for (size_t i = 0; i < all->price_count; i++) {
        const struct price_settings *price = &all->prices[i];
        dearest->input = higher(dearest->input, price->input);
        dearest->cached = higher(dearest->cached, price->cached);
        dearest->output = higher(dearest->output, price->output);
        dearest->reasoning = higher(dearest->reasoning, price->reasoning);
        dearest->request = higher(dearest->request, price->request);
    }
    bool costs = false;
    for (size_t i = 0; i < all->limit_count; i++) {
        costs |= all->limits[i].unit == UNIT_COST;
        if (!all->store.len && settings_given(&all->limits[i].settings, "when_store_lost"))
            report_error(report, settings_place(&all->limits[i].settings, "when_store_lost"),
                         "\"when_store_lost\" has no effect without a \"store\"");
        if (all->limits[i].unit == UNIT_COST && all->price_count == 0)
            report_error(report, settings_place(&all->limits[i].settings, "cost"),
                         "limit \"%.*s\" is on cost, but there are no \"prices\"", SPAN_ARG(all->limits[i].name));
    }
    if (!costs && all->price_count)
        report_error(report, settings_place(&all->settings, "prices"),
                     "\"prices\" has no effect without a limit on cost");
}

const struct settings_spec rate_limit_spec =
    SETTINGS_SPEC("rate_limit", struct rate_limit_settings, rate_limit_table,
                  "Limits on requests, tokens, money and concurrency. Tokens are reserved before the call and settled "
                  "when the answer ends, however it ends.",
                  .shorthand = "limits", .check = check_rate_limit);
