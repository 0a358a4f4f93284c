/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/watch.h"

/* Records kept for the next commands, and what each may keep of its command's memory. */
#define SPARE_MOST 256
#define SPARE_ROOM 2048

struct redis_request *redis_request_create(struct redis *redis)
{
    struct redis_request *request = LIST_FIRST(&redis->spare, struct redis_request, link);
    struct redis_command command = {0};
    if (request) {
        list_remove(&request->link);
        redis->spare_count--;
        command = request->command;
    } else
        request = memory_alloc(sizeof(*request));
    *request = (struct redis_request){.redis = redis, .slot = REDIS_ANY_SLOT, .command = command};
    return request;
}

void redis_request_free(struct redis_request *request)
{
    struct redis *redis = request->redis;
    redis_request_take(request);
    list_remove(&request->due);
    if (request->secret || request->command.room > SPARE_ROOM || redis->spare_count >= SPARE_MOST)
        redis_command_free(&request->command, request->secret);
    if (redis->spare_count < SPARE_MOST) {
        list_prepend(&redis->spare, &request->link);
        redis->spare_count++;
    } else
        free(request);
}

/* ---- deadlines ---- */

static void set_sharp(struct redis *redis, uint64_t at)
{
    if (clock_is_fake() || (redis->sharp_at && redis->sharp_at <= at))
        return;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / CLOCK_SECOND), .tv_nsec = (long)(at % CLOCK_SECOND * 1000 + 1)}};
    if (timerfd_settime(redis->sharp_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0)
        redis->sharp_at = at;
}

/* Both look at the list when they come up; neither is moved when what it was set for is over, so a busy store sets them
 * some fifty times a second and not once per command. */
static void set_timers(struct redis *redis)
{
    struct redis_request *first = LIST_FIRST(&redis->due, struct redis_request, due);
    if (!first)
        return;
    if (!timer_is_set(&redis->coarse) || redis->coarse.deadline > first->deadline)
        timer_set(redis->loop, &redis->coarse, first->deadline);
    set_sharp(redis, first->deadline);
}

static void expire(struct redis_request *request)
{
    static const struct redis_reply late = {.error = REDIS_ERROR_TIMEOUT,
                                            .detail = SPAN_INIT("no answer within the deadline")};
    struct redis_node *node = request->place == REDIS_FLYING ? request->node : NULL;
    request->redis->counters.timeouts++;
    if (!node) {
        redis_request_take(request);
        redis_request_tell(request, &late);
        redis_request_free(request);
        return;
    }
    /* It stays: its answer must still be matched. */
    redis_request_tell(request, &late);
    redis_node_unanswered(node);
}

static void sweep(struct redis *redis)
{
    uint64_t now = loop_now(redis->loop);
    for (;;) {
        struct redis_request *first = LIST_FIRST(&redis->due, struct redis_request, due);
        if (!first || first->deadline > now)
            break;
        expire(first);
    }
    set_timers(redis);
}

static void coarse_fired(struct timer *timer)
{
    sweep(CONTAINER_OF(timer, struct redis, coarse));
}

static void sharp_fired(void *arg, unsigned ready)
{
    (void)ready;
    struct redis *redis = arg;
    uint64_t count;
    while (read(redis->sharp_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    redis->sharp_at = 0;
    sweep(redis);
}

void redis_request_wait(struct redis_request *request, uint64_t deadline)
{
    struct redis *redis = request->redis;
    request->deadline = deadline;
    /* Nearly always the last: most commands have the same time. */
    struct list *at = &redis->due;
    while (at->prev != &redis->due && CONTAINER_OF(at->prev, struct redis_request, due)->deadline > deadline)
        at = at->prev;
    list_insert_before(at, &request->due);
    if (redis->due.next == &request->due)
        set_timers(redis);
}

/* ---- ends ---- */

void redis_request_tell(struct redis_request *request, const struct redis_reply *reply)
{
    struct redis_counters *counters = &request->redis->counters;
    list_remove(&request->due);
    if (request->call) {
        struct redis_call *call = request->call;
        request->call = NULL;
        call->request = NULL;
        if (reply->error)
            counters->errors[reply->error]++;
        else
            counters->answered++;
        pending_complete(&call->pending);
        call->done(call, reply);
    } else if (request->internal) {
        redis_internal_fn *internal = request->internal;
        request->internal = NULL;
        internal(request, reply);
    }
}

void redis_request_take(struct redis_request *request)
{
    list_remove(&request->link);
    if (request->place == REDIS_FLYING)
        request->node->flying--;
    else if (request->place == REDIS_QUEUED)
        request->node->queued--;
    else if (request->place == REDIS_UNROUTED)
        request->redis->unrouted_count--;
    request->node = NULL;
    request->place = REDIS_NOWHERE;
}

void redis_request_end(struct redis_request *request, enum redis_error error)
{
    struct redis *redis = request->redis;
    redis_request_take(request);
    if (!request->call && (!request->internal || redis->closing)) {
        redis_request_free(request);
        return;
    }
    /* Its time must not run out while the end is on its way. */
    list_remove(&request->due);
    request->error = error;
    request->place = REDIS_ENDED;
    list_append(&redis->ended, &request->link);
    loop_post(redis->loop, &redis->deliver);
}

void redis_request_forget(struct redis_request *request)
{
    request->call = NULL;
    request->internal = NULL;
    list_remove(&request->due);
    if (request->place != REDIS_FLYING)
        redis_request_free(request);
}

/* Those that end while this runs are told in a task of their own: nothing ends inside the call that starts it. */
static void deliver(struct task *task)
{
    struct redis *redis = CONTAINER_OF(task, struct redis, deliver);
    struct list now;
    list_init(&now);
    while (!list_empty(&redis->ended)) {
        struct list *link = redis->ended.next;
        list_remove(link);
        list_append(&now, link);
    }
    while (!list_empty(&now)) {
        struct redis_request *request = LIST_FIRST(&now, struct redis_request, link);
        redis_request_take(request);
        struct redis_reply reply = {.error = request->error, .detail = SPAN("too many commands wait")};
        if (request->error != REDIS_ERROR_FULL)
            reply.detail = span_str(redis->why);
        redis_request_tell(request, &reply);
        redis_request_free(request);
    }
    if (redis->closing && list_empty(&redis->ended))
        redis_bury(redis);
}

/* ---- life ---- */

void redis_requests_init(struct redis *redis)
{
    list_init(&redis->unrouted);
    list_init(&redis->ended);
    list_init(&redis->spare);
    list_init(&redis->due);
    redis->deliver.run = deliver;
    redis->coarse.fire = coarse_fired;
    redis->sharp_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (redis->sharp_fd < 0) {
        log_write(LOG_ERROR, "redis", "timerfd: %s", strerror(errno));
        exit(1);
    }
    redis->sharp = watch_create(redis->loop, redis->sharp_fd, sharp_fired, redis);
    watch_want(redis->sharp, WATCH_READ);
}

static void free_all(struct list *list)
{
    while (!list_empty(list)) {
        struct redis_request *request = LIST_FIRST(list, struct redis_request, link);
        assert(!request->call);
        list_remove(&request->link);
        list_remove(&request->due);
        redis_command_free(&request->command, request->secret);
        free(request);
    }
}

void redis_requests_finish(struct redis *redis)
{
    task_cancel(&redis->deliver);
    timer_clear(redis->loop, &redis->coarse);
    watch_destroy(redis->sharp);
    (void)close(redis->sharp_fd);
    free_all(&redis->unrouted);
    free_all(&redis->ended);
    free_all(&redis->spare);
}
