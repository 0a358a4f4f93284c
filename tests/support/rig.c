/* SPDX-License-Identifier: Apache-2.0 */
#include "support/rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gateway/flight.h"
#include "gateway/metrics.h"
#include "support/probes.h"

#define DRIBBLES   4
#define IDLE_TURNS 5

const char rig_two_targets[] =
    "targets:\n"
    "  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"
    "  - {name: west, openai: {url: \"http://west.test/v1\"}}\n"
    "models:\n"
    "  - {name: m, targets: [{target: east, deployment: d, priority: 1}, {target: west, priority: 2}]}\n"
    "  - {name: only, targets: [{target: east}]}\n"
    "  - {name: \"any-*\", targets: [{target: east}]}\n";

/* ---- configuration ---- */

static void write_config(struct buffer *text, const struct rig *rig, const struct rig_setup *setup)
{
    const char *order = setup->order ? setup->order : "", *filters = setup->filters ? setup->filters : "";
    const char *comma = *order ? ", " : "";
    buffer_append(text, SPAN("apiVersion: postern/v1\nlog: {access: \"off\", level: error}\nlisteners:\n"));
    if (rig->dribble) {
        buffer_format(text, "  - {address: \"127.0.0.1:4610\", filters: [dribble-out%s%s%s]}\n", comma, order,
                      setup->serves ? "" : ", dribble-in");
        buffer_format(text, "filters: {dribble-out: {type: dribble}%s%s%s}\n",
                      setup->serves ? "" : ", dribble-in: {type: dribble}", *filters ? ", " : "", filters);
    } else {
        buffer_format(text, "  - {address: \"127.0.0.1:4610\", filters: [%s]}\n", order);
        if (*filters)
            buffer_format(text, "filters: {%s}\n", filters);
    }
    buffer_append(text, span_str(setup->rest ? setup->rest : rig_two_targets));
}

static struct snapshot *load(const struct rig *rig, const struct rig_setup *setup)
{
    struct buffer text = {0};
    struct report report;
    struct config *config = NULL;
    report_init(&report);
    write_config(&text, rig, setup);
    struct snapshot *snapshot = NULL;
    if (config_load_text(SPAN("rig"), buffer_span(&text), probe_settings(), 0, &report, &config))
        snapshot = snapshot_create(config, &probe_registry, false, &report);
    if (!snapshot) {
        struct buffer printed = {0};
        report_print(&report, &printed);
        print_error("%.*s\n%.*s", SPAN_ARG(buffer_span(&text)), SPAN_ARG(buffer_span(&printed)));
        buffer_finish(&printed);
    }
    buffer_finish(&text);
    report_finish(&report);
    assert_non_null(snapshot);
    return snapshot;
}

/* ---- time ---- */

static uint64_t activity(const struct rig *rig)
{
    return rig->progress + transport_pair_activity();
}

void rig_settle(struct rig *rig)
{
    uint64_t last = activity(rig);
    for (unsigned idle = 0; idle < IDLE_TURNS; idle++) {
        loop_turn(rig->worker->loop, false);
        uint64_t now = activity(rig);
        if (now != last)
            idle = 0;
        last = now;
    }
}

void rig_pass(struct rig *rig, uint64_t us)
{
    loop_advance(rig->worker->loop, us);
    rig_settle(rig);
}

/* ---- chance ---- */

size_t rig_random(struct rig *rig, size_t limit)
{
    return (size_t)(hash_random(&rig->random) % limit);
}

struct transport_pair_options rig_limits(struct rig *rig)
{
    static const size_t tiny[] = {1, 2, 7, 100, 5000}, big[] = {1000, 4096, 20000, 70000, 0};
    struct transport_pair_options options = {.capacity = rig->capacity};
    if (!rig->dribble)
        return options;
    const size_t *sizes = rig->large ? big : tiny;
    options.read_most = sizes[rig_random(rig, 5)];
    options.write_most = sizes[rig_random(rig, 5)];
    if (rig->capacity)
        return options;
    options.capacity = rig->large ? 100000 : 64 + rig_random(rig, 5000);
    return options;
}

bool rig_flush(struct rig *rig, struct transport *end, struct buffer *out)
{
    struct span bytes = buffer_span(out);
    if (bytes.len == 0 || !end)
        return true;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len};
    ssize_t taken = transport_write(end, &iov, 1);
    rig->progress++;
    if (taken < 0) {
        buffer_finish(out);
        return true;
    }
    buffer_consume(out, (size_t)taken);
    return buffer_len(out) == 0;
}

/* ---- life ---- */

static void start(struct rig *rig, const struct rig_setup *setup, uint64_t seed)
{
    memset(rig, 0, sizeof(*rig));
    rig->dribble = seed != 0;
    rig->large = setup->large;
    rig->capacity = setup->capacity;
    rig->random = seed;
    rig->transports_before = transport_count();
    rig->pendings_before = pending_count();
    arena_init(&rig->arena);
    clock_fake(1000 * CLOCK_SECOND, UINT64_C(1700000000) * CLOCK_SECOND);
    rig->snapshot = load(rig, setup);
    memcpy(rig->process.instance_id, "0123456789abcdef", 16);
    rig->process.metrics = metrics_hub_create();
    rig->worker = worker_create(&rig->process, 0, rig->snapshot);
    rig->process.workers = &rig->worker;
    rig->process.worker_count = 1;
    /* A listener without a socket: the rig accepts by itself. */
    struct worker_listener *listener = memory_zalloc(sizeof(*listener));
    listener->worker = rig->worker;
    listener->use = &rig->snapshot->listeners[0];
    rig->worker->listeners = listener;
    rig->listener = listener;
}

void rig_load(struct rig *rig, const struct rig_setup *setup)
{
    struct snapshot *before = rig->snapshot;
    rig->snapshot = load(rig, setup);
    worker_adopt(rig->worker, rig->snapshot);
    rig->listener->use = &rig->snapshot->listeners[0];
    snapshot_unref(before);
}

static void finish(struct rig *rig)
{
    for (unsigned i = 0; i < rig->client_count; i++)
        rig_leave(&rig->clients[i]);
    rig_settle(rig);
    assert_int_equal(rig->worker->exchange_count, 0);
    assert_int_equal(rig->worker->client_count, 0);
    assert_int_equal(flight_count(), 0);
    assert_int_equal(atomic_load(&rig->process.held), 0);
    assert_int_equal(pending_count(), rig->pendings_before);
    for (unsigned i = 0; i < rig->peer_count; i++)
        rig_peer_finish(&rig->peers[i]);
    rig_settle(rig);
    assert_int_equal(rig->worker->upstream_count, 0);
    worker_destroy(rig->worker);
    metrics_hub_destroy(rig->process.metrics);
    assert_int_equal(pending_count(), rig->pendings_before);
    assert_int_equal(transport_count(), rig->transports_before);
    assert_int_equal(atomic_load(&rig->snapshot->refs), 1);
    snapshot_unref(rig->snapshot);
    for (unsigned i = 0; i < rig->client_count; i++)
        rig_client_finish(&rig->clients[i]);
    for (unsigned i = 0; i < rig->request_count; i++)
        rig_message_finish(&rig->requests[i].message);
    buffer_finish(&rig->trace);
    arena_finish(&rig->arena);
    clock_real();
}

void rig_run(const struct rig_setup *setup, void (*body)(struct rig *rig))
{
    static struct rig rig; /* large, and reached by the replaced connector */
    const char *given = getenv("RIG_SEED");
    uint64_t first = given ? strtoull(given, NULL, 0) : 0, last = given ? first : DRIBBLES;
    hash_start();
    log_configure(getenv("RIG_LOG") ? LOG_DEBUG : LOG_ERROR, LOG_TEXT);
    for (uint64_t seed = first; seed <= last; seed++) {
        print_message("%s, seed %llu\n", seed ? "dribbled" : "plain", (unsigned long long)seed);
        start(&rig, setup, seed);
        rig_upstream_begin(&rig);
        body(&rig);
        finish(&rig);
    }
    memory_blocks_drop();
}

/* ---- assertions ---- */

void rig_message_finish(struct rig_message *message)
{
    buffer_finish(&message->body);
}

void rig_assert_body(const struct rig_message *message, const char *expected)
{
    struct span body = buffer_span(&message->body);
    if (!span_equal(body, span_str(expected)))
        fail_msg("body is\n%.*s\nwanted\n%s", SPAN_ARG(body), expected);
}

void rig_assert_field(const struct rig_message *message, const char *name, const char *expected)
{
    const struct field *field = fields_find_name(&message->head.fields, span_str(name));
    if (!expected) {
        if (field)
            fail_msg("there is %s: %.*s", name, SPAN_ARG(field->value));
        return;
    }
    if (!field || !span_equal(field->value, span_str(expected)))
        fail_msg("%s is \"%.*s\", wanted \"%s\"", name, field ? (int)field->value.len : 0,
                 field ? field->value.ptr : "", expected);
}

bool rig_body_has(const struct rig_message *message, const char *text)
{
    struct span body = buffer_span(&message->body);
    return span_search(body, span_str(text)) < body.len;
}
