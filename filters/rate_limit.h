/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate_limit: what the files of this filter share. The law by which it admits is gateway/limits.h's; here is what is
 * counted for whom, what a request reserves, and what is told to the client.
 *
 * Reserve and settle: before the call every limit that fits reserves the estimated input (openai/estimate.h) and the
 * most the answer may be: max_tokens (or its newer names) times n, else what answers of this model to this consumer
 * have come to on average. Whatever way the exchange ends, on_end settles once: with the usage that the target
 * reported, else with the estimate of the input and of the text that was delivered (counted as estimated in the
 * metrics); with nothing when the target never got the request or answered with an error. A request that was let in
 * counts as one however it ends.
 */
#ifndef POSTERN_FILTERS_RATE_LIMIT_H
#define POSTERN_FILTERS_RATE_LIMIT_H

#include "config/schema.h"
#include "gateway/exchange.h"
#include "gateway/filter.h"
#include "gateway/limits_memory.h"
#include "gateway/limits_store.h"

/* ---- settings ---- */

enum limit_unit { UNIT_REQUESTS, UNIT_TOKENS, UNIT_INPUT_TOKENS, UNIT_OUTPUT_TOKENS, UNIT_COST, UNIT_CONCURRENCY };
enum limit_window_kind { WINDOW_AUTO, WINDOW_SMOOTH, WINDOW_CALENDAR, WINDOW_ROLLING };
/* Cost is counted in millionths of the currency unit that prices are written in. */
#define COST_MICROS 1000000

struct weights_settings {
    struct settings settings;
    double input, cached, output, reasoning;
};

struct limit_settings {
    struct settings settings;
    struct span name;
    struct setting_list per; /* consumer, group, model, operation, client_address, attribute:NAME, header:NAME */
    struct setting_rate requests, tokens, input_tokens, output_tokens, cost;
    unsigned concurrency;
    enum limit_window_kind window;
    unsigned burst;
    struct span amount_attribute;
    uint64_t max_wait;
    bool shadow;
    struct setting_list consumers, groups, models, operations;
    struct weights_settings weights;
    enum limits_when_lost when_store_lost;
    /* filled in by the check */
    enum limit_unit unit;
    struct limit_law law;
};

struct price_settings {
    struct settings settings;
    struct span model;                       /* pattern */
    double input, cached, output, reasoning; /* per million tokens; cached and reasoning may be NaN: as input, output */
    double request;
};

struct exempt_settings {
    struct settings settings;
    struct setting_list consumers, groups;
};

enum { FIELDS_OPENAI = 1, FIELDS_IETF = 2 };
enum over_budget { OVER_BUDGET_CONTINUE, OVER_BUDGET_FINISH };

struct rate_limit_settings {
    struct settings settings;
    const struct limit_settings *limits;
    size_t limit_count;
    struct span store; /* a name in config.stores; empty: memory of this process */
    const struct price_settings *prices;
    size_t price_count;
    struct price_settings dearest; /* of all prices, for models without one */
    struct exempt_settings exempt;
    unsigned assumed_output;
    unsigned max_waiting;
    unsigned keys;
    uint64_t fields; /* FIELDS_*; nothing given: all */
    enum over_budget over_budget;
};

extern const struct settings_spec rate_limit_spec;

/* ---- instance and state ---- */

/* Waiters are told apart by this many classes of keys; two keys in one class wait for each other now and then. */
#define WAIT_CLASSES 1024

struct rate_limit_instance {
    struct worker *worker;
    struct limits_table *table; /* what is learned; the counts, too, unless a store is named */
    struct limits_memory memory;
    struct limits_store *shared; /* limits_redis.h's; NULL: none is named */
    struct limits_store *store;  /* whichever counts */
    struct list waiters;         /* struct rate_limit_state.link, in order of arrival */
    unsigned waiting;
    uint16_t classes[WAIT_CLASSES];    /* waiters by the key they wait for */
    uint64_t woken[WAIT_CLASSES / 64]; /* bits: something has changed for that class since the last look */
    struct timer timer;                /* when the next of them may be let in */
    struct task look;
    uint64_t hold;                /* average time that an exchange keeps its place, µs; 0: none has ended */
    uint64_t id_prefix, id_count; /* reservation ids */
};

struct rate_limit_state {
    struct filter *filter;
    struct limits_call call;
    const struct limit_settings **of; /* the limit of each part */
    bool estimated;                   /* some limit counts tokens */
    uint64_t input;                   /* tokens reserved for the request */
    uint64_t output;                  /* tokens reserved for the answer */
    uint64_t granted_at;              /* loop time */
    uint64_t since;                   /* when it began to wait */
    struct list link;                 /* on instance->waiters */
    struct pending pending;
    unsigned wait_class;
    unsigned tries;   /* since it stands in the queue */
    uint64_t look_at; /* not tried again before, unless something was given back; loop time */
    bool queued;      /* on instance->waiters */
    bool asking;      /* the store's answer is awaited */
    struct timer renew;
};

/* ---- rate_limit_parts.c ---- */

/* Makes the parts of all limits that fit this exchange; false when there are none. */
bool rate_limit_parts(struct filter *filter);
/* Sets how many tokens a granted stream may deliver, where `over_budget: finish` bounds one without a maximum. */
void rate_limit_set_budget(struct filter *filter);
/* Puts what the exchange came to into the parts. */
void rate_limit_charge(struct filter *filter);
/*
 * What such an answer costs, in millionths of the unit of prices: by the first filter of the snapshot that has a price
 * for the model. 0: none has.
 */
uint64_t rate_limit_cost(const struct exchange *exchange, const struct usage *usage);
/* Whether the caller is exempt. */
bool rate_limit_exempt(const struct rate_limit_settings *settings, const struct consumer *consumer);
/* Whether this limit counts requests like this one. */
bool rate_limit_fits(const struct limit_settings *limit, const struct exchange *exchange);

/* ---- rate_limit_fields.c ---- */

/* x-ratelimit-* and RateLimit fields on the answer of a target. */
void rate_limit_answer_fields(struct filter *filter);
/* Fails the exchange with 429 and says when to come again. */
enum verdict rate_limit_refuse(struct filter *filter);
/* The same for one who would have to wait behind others, where there is no place to wait. */
enum verdict rate_limit_turn_away(struct filter *filter);

/* ---- rate_limit_queue.c ---- */

void rate_limit_queue_init(struct rate_limit_instance *instance);
/* The first of its limits for which others of the same key wait, as it has to; NULL: nobody does. */
const struct limit_settings *rate_limit_must_queue(const struct filter *filter);
/* Takes its place in the queue if the wait is allowed and there is room; the verdict is then FILTER_WAIT. */
bool rate_limit_wait(struct filter *filter);
/* The store has answered one who stands in the queue. */
void rate_limit_queue_answered(struct rate_limit_state *state, enum limits_result result);
/* What this exchange had reserved was given back: look soon at those who wait for the same. */
void rate_limit_queue_wake(const struct filter *filter);

/* ---- rate_limit.c ---- */

/* Asks the store; LIMITS_GRANTED starts the reservation's life. */
enum limits_result rate_limit_reserve(struct filter *filter);
/* Fails the exchange: the store that must be asked cannot be, or there is no place for another key. */
enum verdict rate_limit_lost(struct filter *filter);
/* postern_limit_total{filter,limit,result}. */
void rate_limit_count(const struct filter *filter, struct span limit, struct span result);

#endif
