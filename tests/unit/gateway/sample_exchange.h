/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample_exchange: a served exchange made by hand, for what only looks at exchanges when they are over.
 */
#ifndef POSTERN_TESTS_UNIT_GATEWAY_SAMPLE_EXCHANGE_H
#define POSTERN_TESTS_UNIT_GATEWAY_SAMPLE_EXCHANGE_H

#include <stdlib.h>

#include "base/hash.h"
#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/metrics.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"

struct sample {
    struct process process;
    struct worker worker;
    struct snapshot snapshot;
    struct listener_use listener;
    struct config_target config_target;
    struct target target;
    struct model_target to;
    const struct model_target *order[1];
    struct model_route model;
    struct attempts attempts;
    struct attempt_record record;
    struct exchange exchange;
};

/* A chat that east answered at once: 200, 12 tokens in, 34 out. Times in µs: 100 to 5000. */
static inline void sample_init(struct sample *s)
{
    *s = (struct sample){0};
    hash_start();
    s->snapshot.generation = 1;
    s->worker.process = &s->process;
    table_init(&s->worker.pools);
    s->listener.name = SPAN("front");
    s->target.name = SPAN("east");
    s->target.provider = SPAN("azure.ai.openai");
    s->target.config = &s->config_target;
    s->to.target = &s->target;
    s->to.deployment = SPAN("gpt-4o-ptu");
    s->order[0] = &s->to;
    s->model.name = SPAN("gpt-4o");
    s->record = (struct attempt_record){
        .target = s->target.name, .deployment = s->to.deployment, .status = 200, .started = 1000, .ended = 4800};
    s->attempts = (struct attempts){.exchange = &s->exchange,
                                    .order = s->order,
                                    .count = 1,
                                    .next = 1,
                                    .made = 1,
                                    .to = &s->to,
                                    .first = &s->record,
                                    .last = &s->record};
    struct exchange *e = &s->exchange;
    arena_init(&e->arena);
    e->worker = &s->worker;
    e->snapshot = &s->snapshot;
    e->listener = &s->listener;
    e->attempts = &s->attempts;
    e->id = SPAN("0123456789abcdef0000000000000001");
    e->peer = SPAN("10.0.0.7");
    e->call = (struct api_call){.operation = operation_entry(OPERATION_CHAT), .dialect = DIALECT_OPENAI};
    e->model = &s->model;
    e->model_asked = SPAN("gpt-4o");
    e->request.method = HTTP_POST;
    e->request.method_text = SPAN("POST");
    e->request.path = SPAN("/v1/chat/completions");
    e->response.status = 200;
    e->response_started = true;
    e->facts.usage = (struct usage){.input = 12, .output = 34, .total = 46, .reported = true};
    e->facts.model = SPAN("gpt-4o-2024-08-06");
    e->facts.finish = FINISH_STOP;
    e->bytes_in = 200;
    e->bytes_out = 900;
    e->started = 100;
    e->head_at = 150;
    e->body_at = 1000;
    e->sent_at = 1030;
    e->first_byte_at = 4000;
    e->answer_end_at = 4950;
    e->ended = 5000;
}

static inline void sample_finish(struct sample *s)
{
    table_finish(&s->worker.pools);
    arena_finish(&s->exchange.arena);
}

#endif
