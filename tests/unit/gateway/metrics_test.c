/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#include "gateway/metrics.h"
#include "gateway/metrics_series.h"
#include "prometheus_text.h"
#include "sample_exchange.h"

struct fixture {
    struct sample sample;
    struct buffer page;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    sample_init(&f->sample);
    f->sample.process.metrics = metrics_hub_create();
    f->sample.worker.metrics = metrics_create(f->sample.process.metrics);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    buffer_finish(&f->page);
    metrics_hub_destroy(f->sample.process.metrics);
    sample_finish(&f->sample);
    free(f);
    return 0;
}

static void render(struct fixture *f)
{
    buffer_finish(&f->page);
    metrics_render(&f->sample.process, &f->page);
    (void)check_page(buffer_span(&f->page));
}

/* Whether the page has exactly this line. */
static bool shows(struct fixture *f, const char *wanted)
{
    struct span rest = buffer_span(&f->page), line;
    while (span_split(&rest, '\n', &line))
        if (span_equal(line, span_str(wanted)))
            return true;
    return false;
}

static void assert_shows(struct fixture *f, const char *wanted)
{
    if (!shows(f, wanted))
        fail_msg("missing: %s\nin:\n%.*s", wanted, SPAN_ARG(buffer_span(&f->page)));
}

static bool mentions(struct fixture *f, const char *text)
{
    struct span page = buffer_span(&f->page);
    return span_search(page, span_str(text)) < page.len;
}

/* ---- what one exchange says ---- */

#define WHO "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"azure.ai.openai\",gen_ai_request_model=\"gpt-4o\""

static void served_exchange_is_counted(void **state)
{
    struct fixture *f = *state;
    f->sample.exchange.facts.usage.cached = 5;
    metrics_exchange(&f->sample.exchange, OUTCOME_COMPLETED);
    render(f);
    static const char *const lines[] = {
        "postern_requests_total{listener=\"front\",operation=\"chat\",model=\"gpt-4o\",status=\"200\",outcome="
        "\"completed\"} 1",
        "postern_attempts_total{target=\"east\",deployment=\"gpt-4o-ptu\",result=\"ok\"} 1",
        "gen_ai_client_operation_duration_seconds_sum{" WHO ",error_type=\"\"} 0.00395",
        "gen_ai_client_operation_duration_seconds_count{" WHO ",error_type=\"\"} 1",
        "gen_ai_client_token_usage_bucket{" WHO ",gen_ai_token_type=\"input\",le=\"4\"} 0",
        "gen_ai_client_token_usage_bucket{" WHO ",gen_ai_token_type=\"input\",le=\"16\"} 1",
        "gen_ai_client_token_usage_sum{" WHO ",gen_ai_token_type=\"input\"} 12",
        "gen_ai_client_token_usage_sum{" WHO ",gen_ai_token_type=\"output\"} 34",
        "postern_tokens_total{model=\"gpt-4o\",target=\"east\",type=\"input\"} 12",
        "postern_tokens_total{model=\"gpt-4o\",target=\"east\",type=\"output\"} 34",
        "postern_tokens_total{model=\"gpt-4o\",target=\"east\",type=\"cached\"} 5",
        /* 1030 - 1000 + 5000 - 4950 = 80 µs */
        "postern_overhead_seconds_bucket{le=\"0.00005\"} 0",
        "postern_overhead_seconds_bucket{le=\"0.0001\"} 1",
        "postern_overhead_seconds_sum 0.00008",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_shows(f, lines[i]);
    assert_false(mentions(f, "reasoning\""));
    assert_false(mentions(f, "postern_faults_total"));
    assert_false(mentions(f, "first_chunk"));
}

static void stream_times_are_counted(void **state)
{
    struct fixture *f = *state;
    struct exchange *e = &f->sample.exchange;
    e->first_content_at = 31000; /* 30 ms after the body */
    e->content_events = 11;      /* ten gaps ... */
    e->answer_end_at = 531000;   /* ... in 500 ms */
    e->ended = 531100;
    metrics_exchange(e, OUTCOME_COMPLETED);
    render(f);
    assert_shows(f, "gen_ai_client_operation_time_to_first_chunk_seconds_bucket{" WHO ",le=\"0.02\"} 0");
    assert_shows(f, "gen_ai_client_operation_time_to_first_chunk_seconds_bucket{" WHO ",le=\"0.04\"} 1");
    assert_shows(f, "gen_ai_client_operation_time_per_output_chunk_seconds_bucket{" WHO ",le=\"0.04\"} 0");
    assert_shows(f, "gen_ai_client_operation_time_per_output_chunk_seconds_bucket{" WHO ",le=\"0.08\"} 10");
    assert_shows(f, "gen_ai_client_operation_time_per_output_chunk_seconds_sum{" WHO "} 0.5");
}

/* What goes wrong, and the lines that tell of it. */
static void break_connect(struct sample *s)
{
    s->exchange.fault = FAULT_UPSTREAM_CONNECT;
    s->exchange.response.status = 502;
    s->exchange.local_answer = true;
    s->exchange.answer_end_at = 0;
    s->exchange.facts.usage.reported = false;
    s->record.fault = FAULT_UPSTREAM_CONNECT;
    s->record.status = 0;
}

static void break_timeout(struct sample *s)
{
    break_connect(s);
    s->exchange.fault = s->record.fault = FAULT_FIRST_BYTE_TIMEOUT;
    s->exchange.response.status = 504;
}

static void break_refused(struct sample *s)
{
    s->exchange.response.status = s->record.status = 429;
    s->record.fault = FAULT_RATE_LIMITED;
    s->exchange.facts.usage.reported = false;
}

static void break_gone(struct sample *s)
{
    s->exchange.fault = FAULT_CLIENT_GONE;
    s->exchange.response_started = false;
    s->exchange.facts.usage.reported = false;
}

static void break_usage(struct sample *s)
{
    s->exchange.facts.usage.reported = false;
}

static void break_model(struct sample *s)
{
    s->exchange.fault = FAULT_MODEL_NOT_FOUND;
    s->exchange.response.status = 404;
    s->exchange.local_answer = true;
    s->exchange.model = NULL;
    s->exchange.attempts = NULL;
}

static void break_path(struct sample *s)
{
    break_model(s);
    s->exchange.call.operation = NULL;
    s->exchange.fault = FAULT_UNKNOWN_PATH;
}

static void break_status(struct sample *s)
{
    s->exchange.response.status = s->record.status = 799;
}

static const struct failure {
    void (*make)(struct sample *sample);
    enum outcome outcome;
    const char *lines[4];
    const char *absent;
} failures[] = {
    {break_connect,
     OUTCOME_FAILED,
     {"postern_requests_total{listener=\"front\",operation=\"chat\",model=\"gpt-4o\",status=\"502\",outcome=\"failed\"}"
      " 1",
      "postern_faults_total{fault=\"UPSTREAM_CONNECT\",blame=\"upstream\"} 1",
      "postern_attempts_total{target=\"east\",deployment=\"gpt-4o-ptu\",result=\"UPSTREAM_CONNECT\"} 1",
      "gen_ai_client_operation_duration_seconds_count{" WHO ",error_type=\"UPSTREAM_CONNECT\"} 1"},
     "usage_unknown"},
    {break_timeout,
     OUTCOME_FAILED,
     {"gen_ai_client_operation_duration_seconds_count{" WHO ",error_type=\"timeout\"} 1"},
     "overhead"},
    {break_refused,
     OUTCOME_COMPLETED,
     {"postern_attempts_total{target=\"east\",deployment=\"gpt-4o-ptu\",result=\"429\"} 1",
      "gen_ai_client_operation_duration_seconds_count{" WHO ",error_type=\"429\"} 1"},
     "usage_unknown"},
    {break_gone,
     OUTCOME_CANCELLED,
     {"postern_requests_total{listener=\"front\",operation=\"chat\",model=\"gpt-4o\",status=\"499\",outcome="
      "\"cancelled\"} 1",
      "postern_faults_total{fault=\"CLIENT_GONE\",blame=\"client\"} 1"},
     "usage_unknown"},
    {break_usage,
     OUTCOME_COMPLETED,
     {"postern_usage_unknown_total{model=\"gpt-4o\",target=\"east\"} 1"},
     "token_usage"},
    {break_model,
     OUTCOME_FAILED,
     {"postern_requests_total{listener=\"front\",operation=\"chat\",model=\"\",status=\"404\",outcome=\"failed\"} 1"},
     "attempts_total"},
    {break_path,
     OUTCOME_FAILED,
     {"postern_requests_total{listener=\"front\",operation=\"unknown\",model=\"\",status=\"404\",outcome=\"failed\"} "
      "1"},
     "gen_ai"},
    {break_status,
     OUTCOME_COMPLETED,
     {"postern_attempts_total{target=\"east\",deployment=\"gpt-4o-ptu\",result=\"0\"} 1"},
     "799"},
};

static void failures_are_counted(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        void *own;
        (void)setup(&own);
        struct fixture *f = own;
        failures[i].make(&f->sample);
        metrics_exchange(&f->sample.exchange, failures[i].outcome);
        render(f);
        for (size_t k = 0; k < ARRAY_LEN(failures[i].lines) && failures[i].lines[k]; k++)
            assert_shows(f, failures[i].lines[k]);
        if (mentions(f, failures[i].absent))
            fail_msg("row %zu: %s is there", i, failures[i].absent);
        (void)teardown(&own);
    }
}

/* ---- histograms ---- */

static void bounds_are_inclusive(void **state)
{
    struct fixture *f = *state;
    struct metrics *metrics = f->sample.worker.metrics;
    for (unsigned id = 0; id < METRIC_FAMILY_COUNT; id++) {
        const struct metrics_family *family = &metrics_families[id];
        if (family->kind != METRICS_HISTOGRAM)
            continue;
        struct span labels[METRICS_LABELS_MAX] = {0};
        struct metrics_series *series = metrics_series_get(metrics, (enum metrics_family_id)id, labels);
        for (unsigned b = 0; b < family->bound_count; b++) {
            uint64_t at = metrics_read(series, b), above = metrics_read(series, b + 1);
            metrics_observe(series, family->bounds[b], 1);
            metrics_observe(series, family->bounds[b] + 1, 2);
            assert_int_equal(metrics_read(series, b), at + 1);
            assert_int_equal(metrics_read(series, b + 1), above + 2);
        }
    }
    render(f);
}

/* ---- labels ---- */

/* Base units: what is counted in µs is shown in seconds. */
static void counted_time_is_shown_in_seconds(void **state)
{
    struct fixture *f = *state;
    const struct span labels[] = {SPAN_INIT("answers"), SPAN_INIT("gpt-4o")};
    metrics_add(metrics_series_get(f->sample.worker.metrics, METRIC_CACHE_TIME, labels), 2050300);
    render(f);
    assert_shows(f, "postern_cache_saved_seconds_total{filter=\"answers\",model=\"gpt-4o\"} 2.0503");
}

static void labels_are_escaped(void **state)
{
    struct fixture *f = *state;
    f->sample.model.name = SPAN("a\"b\\c\nd{},=");
    metrics_exchange(&f->sample.exchange, OUTCOME_COMPLETED);
    render(f);
    assert_shows(f, "postern_tokens_total{model=\"a\\\"b\\\\c\\nd{},=\",target=\"east\",type=\"input\"} 12");
}

static void workers_are_added_up(void **state)
{
    struct fixture *f = *state;
    struct worker *worker = &f->sample.worker;
    metrics_exchange(&f->sample.exchange, OUTCOME_COMPLETED);
    worker->metrics = metrics_create(f->sample.process.metrics);
    metrics_exchange(&f->sample.exchange, OUTCOME_COMPLETED);
    metrics_exchange(&f->sample.exchange, OUTCOME_FAILED);
    render(f);
    assert_shows(f, "postern_tokens_total{model=\"gpt-4o\",target=\"east\",type=\"input\"} 36");
    assert_shows(f, "gen_ai_client_token_usage_count{" WHO ",gen_ai_token_type=\"input\"} 3");
    assert_shows(f, "postern_requests_total{listener=\"front\",operation=\"chat\",model=\"gpt-4o\",status=\"200\","
                    "outcome=\"failed\"} 1");
}

/* A new snapshot may put another name at the address of an old one; an old exchange may end after that. */
static void names_of_another_snapshot_are_not_confused(void **state)
{
    struct fixture *f = *state;
    struct exchange *e = &f->sample.exchange;
    char name[] = "one";
    f->sample.model.name = span_of(name, 3);
    metrics_exchange(e, OUTCOME_COMPLETED);
    memcpy(name, "two", 3);
    f->sample.snapshot.generation = 2;
    metrics_exchange(e, OUTCOME_COMPLETED);
    metrics_exchange(e, OUTCOME_COMPLETED);
    memcpy(name, "one", 3);
    f->sample.snapshot.generation = 1;
    metrics_exchange(e, OUTCOME_COMPLETED);
    memcpy(name, "two", 3);
    f->sample.snapshot.generation = 2;
    metrics_exchange(e, OUTCOME_COMPLETED);
    render(f);
    assert_shows(f, "postern_tokens_total{model=\"one\",target=\"east\",type=\"input\"} 24");
    assert_shows(f, "postern_tokens_total{model=\"two\",target=\"east\",type=\"input\"} 36");
}

static void series_are_bounded(void **state)
{
    struct fixture *f = *state;
    char name[16];
    for (unsigned i = 0; i < METRICS_SERIES_MAX + 100; i++) {
        struct span label = span_of(name, (size_t)snprintf(name, sizeof(name), "t%u", i));
        metrics_add(metrics_series_get(f->sample.worker.metrics, METRIC_POOL_OPENED, &label), 1);
    }
    render(f);
    assert_shows(f, "postern_metrics_dropped_total 101"); /* itself is one of the series */
    metrics_exchange(&f->sample.exchange, OUTCOME_COMPLETED);
    render(f);
    assert_false(mentions(f, "gpt-4o"));
}

/* ---- what lives elsewhere ---- */

static void gauges_are_copied(void **state)
{
    struct fixture *f = *state;
    struct worker *worker = &f->sample.worker;
    worker->snapshot = &f->sample.snapshot;
    worker->client_count = 7;
    worker->exchange_count = 5;
    worker->flight_count = 2;
    struct span gone[] = {SPAN_INIT("old"), SPAN_INIT("idle")};
    metrics_add(metrics_series_get(worker->metrics, METRIC_POOL_CONNECTIONS, gone), 4);
    f->sample.process.worker_count = 1;
    atomic_store(&f->sample.process.held, 4096);
    render(f);
    assert_shows(f, "postern_pool_connections{target=\"old\",state=\"idle\"} 4");
    metrics_collect(worker);
    render(f);
    assert_shows(f, "postern_pool_connections{target=\"old\",state=\"idle\"} 0");
    assert_shows(f, "postern_client_connections 7");
    assert_shows(f, "postern_exchanges 3");
    assert_shows(f, "postern_flights 2");
    assert_shows(f, "postern_held_bytes 4096");
    assert_shows(f, "postern_ready 0");
    struct metrics_sum sum = metrics_sum(&f->sample.process);
    assert_int_equal(sum.clients, 7);
    assert_int_equal(sum.exchanges, 3);
}

/* ---- threads ---- */

#define ROUNDS 3000

static void *count_on(void *arg)
{
    struct fixture *f = arg;
    char name[16];
    for (unsigned i = 0; i < ROUNDS; i++) {
        f->sample.model.name = span_of(name, (size_t)snprintf(name, sizeof(name), "m%u", i % 50));
        f->sample.snapshot.generation++;
        metrics_exchange(&f->sample.exchange, OUTCOME_COMPLETED);
    }
    return NULL;
}

/* Every page that is rendered while another thread counts is a good page. */
static void rendering_beside_counting(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, count_on, f), 0);
    for (unsigned i = 0; i < 50; i++)
        render(f);
    (void)pthread_join(thread, NULL);
    render(f);
    char line[64];
    (void)snprintf(line, sizeof(line), "postern_overhead_seconds_count %d", ROUNDS);
    assert_shows(f, line);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(served_exchange_is_counted),
        TEST(stream_times_are_counted),
        TEST(failures_are_counted),
        TEST(bounds_are_inclusive),
        TEST(counted_time_is_shown_in_seconds),
        TEST(labels_are_escaped),
        TEST(workers_are_added_up),
        TEST(names_of_another_snapshot_are_not_confused),
        TEST(series_are_bounded),
        TEST(gauges_are_copied),
        TEST(rendering_beside_counting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
