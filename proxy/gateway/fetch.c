/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/fetch.h"

#include <stdio.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/uri.h"
#include "gateway/upstream_head.h"
#include "gateway/worker.h"
#include "http/h1_writer.h"
#include "net/connector.h"
#include "net/loop.h"
#include "net/tls.h"
#include "net/transport.h"

#define HEAD_USUAL ((size_t)2048)
#define BODY_MOST  ((size_t)64 * 1024)
/* Room for an answer of unknown length: tokens have 1 to 4 KiB. */
#define BODY_USUAL ((size_t)16 * 1024)
#define TIMEOUT    (10 * CLOCK_SECOND)

/* At once, since a buffer that grows leaves copies of its secrets behind. */
static void make_room(struct buffer *buffer, size_t size)
{
    const char *room = buffer_reserve(buffer, size);
    (void)room;
}

/* ---- the end ---- */

/* Lets go of everything that could call back. What was collected stays for the callback. */
static void release(struct fetch *fetch)
{
    task_cancel(&fetch->failing);
    if (fetch->connector)
        connector_cancel(fetch->connector);
    fetch->connector = NULL;
    transport_close(fetch->transport);
    fetch->transport = NULL;
    tls_context_unref(fetch->tls);
    fetch->tls = NULL;
    h1_reader_finish(&fetch->reader);
    buffer_wipe(&fetch->out);
}

static void report(struct fetch *fetch, struct fetch_answer answer)
{
    /* The callback may start the fetch again: what it is shown must not live in it. */
    struct arena arena = fetch->arena;
    struct buffer body = fetch->body;
    struct fields fields = fetch->message.fields;
    char detail[sizeof(fetch->detail)];
    (void)snprintf(detail, sizeof(detail), "%s", fetch->detail);
    arena_init(&fetch->arena);
    fetch->body = (struct buffer){0};
    answer.detail = detail;
    if (answer.status) {
        answer.fields = &fields;
        answer.body = buffer_span(&body);
    }
    fetch->done(fetch, &answer);
    buffer_wipe(&body);
    arena_finish(&arena);
}

static void fail(struct fetch *fetch, enum fault why, const char *detail)
{
    (void)snprintf(fetch->detail, sizeof(fetch->detail), "%s", detail);
    pending_complete(&fetch->pending);
    release(fetch);
    report(fetch, (struct fetch_answer){.fault = why});
}

static void succeed(struct fetch *fetch)
{
    fetch->detail[0] = '\0';
    pending_complete(&fetch->pending);
    release(fetch);
    report(fetch, (struct fetch_answer){.status = fetch->message.status, .fault = FAULT_NONE});
}

static void timed_out(struct pending *pending)
{
    struct fetch *fetch = CONTAINER_OF(pending, struct fetch, pending);
    (void)snprintf(fetch->detail, sizeof(fetch->detail), "no complete answer in time");
    release(fetch);
    report(fetch, (struct fetch_answer){.fault = FAULT_TOTAL_TIMEOUT});
}

static void cancelled(struct pending *pending)
{
    struct fetch *fetch = CONTAINER_OF(pending, struct fetch, pending);
    release(fetch);
    buffer_wipe(&fetch->body);
    arena_finish(&fetch->arena);
}

void fetch_cancel(struct fetch *fetch)
{
    pending_cancel(&fetch->pending);
}

/* ---- the answer ---- */

static bool take_body(struct fetch *fetch, struct span bytes)
{
    uint64_t announced = fetch->message.framing == BODY_LENGTH ? fetch->message.body_length : 0;
    if (announced > fetch->body_most || buffer_len(&fetch->body) + bytes.len > fetch->body_most) {
        fail(fetch, FAULT_UPSTREAM_TOO_LARGE, "the answer is too large");
        return false;
    }
    if (buffer_len(&fetch->body) == 0) {
        size_t expected = fetch->message.framing == BODY_LENGTH ? (size_t)fetch->message.body_length : BODY_USUAL;
        make_room(&fetch->body, expected > bytes.len ? expected : bytes.len);
    }
    buffer_append(&fetch->body, bytes);
    return true;
}

/* False: over, the fetch may be gone. */
static bool take(struct fetch *fetch, struct span bytes)
{
    struct span body;
    for (;;) {
        switch (h1_reader_next(&fetch->reader, &bytes, &body)) {
        case H1_MORE:
            return true;
        case H1_HEAD: /* of an interim answer, too; the last one counts */
            break;
        case H1_BODY:
            if (!take_body(fetch, body))
                return false;
            break;
        case H1_END:
            succeed(fetch);
            return false;
        case H1_BAD:
            fail(fetch, fetch->reader.fault, fetch->reader.reason);
            return false;
        }
    }
}

static void ended(struct fetch *fetch)
{
    if (h1_reader_eof(&fetch->reader) == H1_END)
        succeed(fetch);
    else
        fail(fetch, FAULT_UPSTREAM_CLOSED, "the connection was closed before the answer was complete");
}

static void readable(struct fetch *fetch)
{
    char *scratch = loop_scratch(fetch->loop);
    for (;;) {
        ssize_t got = transport_read(fetch->transport, scratch, LOOP_SCRATCH);
        if (got == TRANSPORT_EOF) {
            ended(fetch);
            return;
        }
        if (got < 0) {
            fail(fetch, FAULT_UPSTREAM_CLOSED, transport_error(fetch->transport));
            return;
        }
        if (!take(fetch, span_of(scratch, (size_t)got)) || (size_t)got < LOOP_SCRATCH)
            return;
    }
}

/* ---- the request ---- */

/* A failure to write is not one yet: the answer may have come before (411, 413). The read that follows tells. */
static void write_on(struct fetch *fetch)
{
    struct span out = span_skip(buffer_span(&fetch->out), fetch->sent);
    while (out.len) {
        struct iovec iov = {.iov_base = (void *)(uintptr_t)out.ptr, .iov_len = out.len};
        ssize_t sent = transport_write(fetch->transport, &iov, 1);
        if (sent <= 0)
            return;
        fetch->sent += (size_t)sent; /* not consumed: what was sent holds secrets, and is wiped with the rest */
        if ((size_t)sent < out.len)
            return;
        out = span_skip(out, (size_t)sent);
    }
}

static void notified(struct transport *transport, enum transport_event event)
{
    struct fetch *fetch = transport->owner;
    switch (event) {
    case TRANSPORT_READABLE:
        readable(fetch);
        break;
    case TRANSPORT_WRITABLE:
        write_on(fetch);
        break;
    case TRANSPORT_CLOSED:
        ended(fetch);
        break;
    case TRANSPORT_FAILED:
        fail(fetch, FAULT_UPSTREAM_CLOSED, transport_error(transport));
        break;
    case TRANSPORT_SECURED:
        break;
    }
}

static void connected(void *arg, struct transport *transport, enum fault fault, const char *detail)
{
    struct fetch *fetch = arg;
    fetch->connector = NULL;
    if (!transport) {
        fail(fetch, fault, detail);
        return;
    }
    fetch->transport = transport;
    transport_own(transport, fetch, notified);
    write_on(fetch);
    transport_want(transport, true);
}

static void refuse(struct task *task)
{
    struct fetch *fetch = CONTAINER_OF(task, struct fetch, failing);
    char detail[sizeof(fetch->detail)];
    (void)snprintf(detail, sizeof(detail), "%s", fetch->detail);
    fail(fetch, FAULT_INTERNAL, detail);
}

static void refuse_later(struct fetch *fetch, const char *detail)
{
    (void)snprintf(fetch->detail, sizeof(fetch->detail), "%s", detail);
    fetch->failing.run = refuse;
    loop_post(fetch->loop, &fetch->failing);
}

/* base/uri.h takes no query: scheme and authority are its part, path and query are sent as they are written. */
static bool split_url(struct span url, struct uri *ret, struct span *ret_target, const char **ret_reason)
{
    size_t scheme = span_search(url, SPAN("://"));
    size_t host = scheme < url.len ? scheme + 3 : url.len;
    size_t path = host + span_find(span_skip(url, host), '/');
    *ret_target = path < url.len ? span_skip(url, path) : SPAN("/");
    return uri_parse(span_take(url, path), ret, ret_reason) && ret->scheme != URI_UNIX;
}

static bool write_request(struct fetch *fetch, const struct fetch_request *request, struct span authority,
                          struct span target)
{
    struct message message = {.version = HTTP_1_1, .method = request->method, .target = target, .keep_alive = false};
    if (request->fields)
        fields_copy(&message.fields, &fetch->arena, request->fields);
    if (!fields_find_name(&message.fields, SPAN("accept")))
        fields_add(&message.fields, &fetch->arena, SPAN("accept"), SPAN("application/json"));
    fields_add_id(&message.fields, &fetch->arena, FIELD_USER_AGENT, SPAN("postern/" POSTERN_VERSION));
    message.framing = request->body.len ? BODY_LENGTH : BODY_NONE;
    message.body_length = request->body.len;
    make_room(&fetch->out, HEAD_USUAL + request->body.len);
    if (!h1_write_request(&fetch->out, &message, authority))
        return false;
    buffer_append(&fetch->out, request->body);
    return true;
}

static struct tls_context *trust(const struct fetch_request *request, struct net_error *error)
{
    if (request->tls)
        return tls_context_ref(request->tls);
    struct tls_options options = {.role = TLS_CLIENT};
    return tls_context_create(&options, error);
}

/* NULL when it is under way, else why it cannot be. */
static const char *begin(struct worker *worker, struct fetch *fetch, const struct fetch_request *request,
                         struct net_error *error)
{
    struct uri uri;
    struct span target;
    const char *reason = "is not http or https";
    if (!split_url(request->url, &uri, &target, &reason)) {
        (void)snprintf(error->text, sizeof(error->text), "the URL %s", reason);
        return error->text;
    }
    struct span host = arena_copy(&fetch->arena, uri.authority.host);
    if (!write_request(fetch, request, uri_host_field(&uri, &fetch->arena), target))
        return "the request cannot be written: a URL or field with bytes that HTTP does not allow";
    if (uri.scheme == URI_HTTPS && !(fetch->tls = trust(request, error)))
        return error->text;
    struct endpoint endpoint = {.host = host,
                                .port = uri.authority.port,
                                .tls = fetch->tls,
                                .server_name = request->server_name,
                                .alpn = fetch->tls ? SPAN("http/1.1") : (struct span){0},
                                .proxy_host = request->proxy.host,
                                .proxy_port = request->proxy.port,
                                .proxy_authorization = request->proxy.authorization};
    fetch->connector = connector_start(fetch->loop, worker->resolver, &endpoint,
                                       request->timeout ? request->timeout : TIMEOUT, NULL, connected, fetch);
    return NULL;
}

void fetch_start(struct worker *worker, struct list *list, struct fetch *fetch, const struct fetch_request *request,
                 fetch_fn *done)
{
    *fetch = (struct fetch){.loop = worker->loop, .done = done};
    arena_init(&fetch->arena);
    fetch->body_most = request->body_most ? request->body_most : BODY_MOST;
    h1_reader_init(&fetch->reader, H1_CLIENT, &h1_limits_default);
    h1_reader_start(&fetch->reader, &fetch->arena, &fetch->message, request->method);
    /* A little beyond the connector's own, whose words say more. */
    uint64_t deadline = loop_now(fetch->loop) + (request->timeout ? request->timeout : TIMEOUT) + 2 * TIMER_GRAIN;
    pending_start(list, &fetch->pending, fetch->loop, deadline, timed_out, cancelled);
    struct net_error error = {""};
    const char *refused = begin(worker, fetch, request, &error);
    if (refused)
        refuse_later(fetch, refused);
}

uint64_t fetch_retry_after(const struct fields *fields, uint64_t wall)
{
    struct message answer = {.fields = *fields};
    return upstream_retry_after(&answer, wall);
}
