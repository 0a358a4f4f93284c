/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/paced_stream.h"

#include "base/clock.h"
#include "gateway/exchange.h"
#include "gateway/stream.h"
#include "gateway/worker.h"

struct paced_stream {
    struct stream stream;
    struct exchange *exchange;
    struct message head;
    struct buffer events;
    uint64_t pause;
    struct task task;
    struct timer timer;
    bool began, unwanted, over;
};

static struct paced_stream *paced_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct paced_stream, stream);
}

static void stop(struct paced_stream *paced)
{
    paced->over = true;
    task_cancel(&paced->task);
    timer_clear(paced->exchange->worker->loop, &paced->timer);
    buffer_finish(&paced->events);
}

static void wait(struct paced_stream *paced)
{
    struct loop *loop = paced->exchange->worker->loop;
    timer_set(loop, &paced->timer, loop_now(loop) + paced->pause);
}

static void begin(struct paced_stream *paced)
{
    struct exchange *exchange = paced->exchange;
    paced->began = true;
    exchange->response = paced->head;
    exchange->first_byte_at = clock_monotonic();
    stream_arrived_head(&paced->stream, &exchange->response, false);
    if (!paced->over)
        loop_post(exchange->worker->loop, &paced->task);
}

static void give_event(struct paced_stream *paced)
{
    struct exchange *exchange = paced->exchange;
    struct span rest = buffer_span(&paced->events);
    size_t end = span_search(rest, SPAN("\n\n"));
    size_t len = end < rest.len ? end + 2 : rest.len;
    if (len == 0) {
        stop(paced);
        stream_arrived_end(&paced->stream, NULL);
        return;
    }
    if (!exchange->first_content_at)
        exchange->first_content_at = clock_monotonic();
    struct buffer event = {0};
    buffer_append(&event, span_take(rest, len));
    buffer_consume(&paced->events, len);
    stream_arrived_body(&paced->stream, buffer_span(&event));
    buffer_finish(&event);
    if (!paced->over && buffer_len(&paced->events) == 0)
        loop_post(exchange->worker->loop, &paced->task);
    else if (!paced->over && !paced->unwanted)
        wait(paced);
}

static void run(struct paced_stream *paced)
{
    if (!paced->began)
        begin(paced);
    else if (!paced->unwanted || buffer_len(&paced->events) == 0)
        give_event(paced);
}

static void run_task(struct task *task)
{
    run(CONTAINER_OF(task, struct paced_stream, task));
}

static void fired(struct timer *timer)
{
    run(CONTAINER_OF(timer, struct paced_stream, timer));
}

static void op_want(struct stream *stream, bool more)
{
    struct paced_stream *paced = paced_of(stream);
    bool goes_on = more && paced->unwanted && !paced->over;
    paced->unwanted = !more;
    if (goes_on && !timer_is_set(&paced->timer))
        wait(paced);
}

static void op_reset(struct stream *stream, enum fault why)
{
    (void)why;
    stop(paced_of(stream));
}

static const struct stream_ops paced_ops = {.name = "paced", .want = op_want, .reset = op_reset};

struct stream *paced_stream_create(struct exchange *exchange, const struct message *head, struct buffer *events,
                                   uint64_t pause)
{
    struct paced_stream *paced = ARENA_NEW(&exchange->arena, struct paced_stream);
    paced->stream = (struct stream){.ops = &paced_ops, .role = STREAM_ANSWER};
    paced->exchange = exchange;
    paced->head = *head;
    paced->head.framing = BODY_CHUNKED;
    paced->pause = pause;
    paced->task.run = run_task;
    paced->timer.fire = fired;
    buffer_move(&paced->events, events);
    loop_post(exchange->worker->loop, &paced->task);
    return &paced->stream;
}
