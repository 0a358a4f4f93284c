/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/hash.h"
#include "config/config.h"
#include "gateway/exchange.h"

extern const struct filter_type filter_headers;

/* A configuration with one headers filter, `settings` in flow style; NULL when refused. The report's text goes to
 * `text`. */
static struct config *load(const char *settings, struct buffer *text)
{
    const struct settings_registry_entry entry = {.name = "headers", .spec = filter_headers.settings};
    const struct settings_registry registry = {.count = 1, .entries = &entry};
    struct buffer yaml = {0};
    struct config *config = NULL;
    struct report report;
    buffer_format(&yaml,
                  "apiVersion: postern/v1\n"
                  "listeners: [{address: \"127.0.0.1:1\", filters: [headers]}]\n"
                  "filters: {headers: %s}\n"
                  "targets: [{name: m, mock: {}}]\n"
                  "models: [{name: \"*\", targets: [{target: m}]}]\n",
                  settings);
    report_init(&report);
    if (!config_load_text(SPAN("t"), buffer_span(&yaml), &registry, CONFIG_CHECK, &report, &config))
        config = NULL;
    report_print(&report, text);
    report_finish(&report);
    buffer_finish(&yaml);
    return config;
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *settings, *message;
    } rows[] = {
        {"{}", "the filter changes nothing"},
        {"{request: {}}", "the filter changes nothing"},
        {"{request: {set: {}}}", "set"},
        {"{request: {set: {Content-Length: \"1\"}}}", "cannot hold \"content-length\""},
        {"{request: {set: {host: x}}}", "cannot hold \"host\""},
        {"{response: {set: {transfer-encoding: chunked}}}", "cannot hold \"transfer-encoding\""},
        {"{response: {remove: [Connection]}}", "cannot hold \"connection\""},
        {"{request: {set: {authorization: x}}}", "has no effect"},
        {"{request: {set: {API-Key: x}}}", "has no effect"},
        {"{request: {set: {x-request-id: x}}}", "has no effect"},
        {"{request: {set: {x-a: \"b\\r\\nevil: 1\"}}}", "control character"},
        {"{request: {set: {x-a: b}, remove: [x-a]}}", "both set and removed"},
        {"{request: {set: {\"x a\": b}}}", "x a"},
        {"{request: {add: {x-a: b}}}", "add"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buffer text = {0};
        struct config *config = load(rows[i].settings, &text);
        if (config)
            fail_msg("accepted: %s", rows[i].settings);
        struct span said = buffer_span(&text);
        if (span_search(said, span_str(rows[i].message)) == said.len)
            fail_msg("%s: \"%s\" is not in\n%.*s", rows[i].settings, rows[i].message, SPAN_ARG(said));
        buffer_finish(&text);
    }
}

struct run {
    struct config *config;
    struct exchange exchange;
    struct filter filter;
};

static void run_begin(struct run *run, const char *settings)
{
    struct buffer text = {0};
    *run = (struct run){.config = load(settings, &text)};
    if (!run->config)
        fail_msg("%.*s", SPAN_ARG(buffer_span(&text)));
    buffer_finish(&text);
    arena_init(&run->exchange.arena);
    run->filter =
        (struct filter){.type = &filter_headers, .settings = run->config->filters[0].value, .exchange = &run->exchange};
}

static void run_end(struct run *run)
{
    arena_finish(&run->exchange.arena);
    config_free(run->config);
}

static void add(struct run *run, struct message *message, const char *name, const char *value)
{
    fields_add(&message->fields, &run->exchange.arena, span_str(name), span_str(value));
}

static void assert_fields(const struct message *message, const char *wanted)
{
    struct buffer text = {0};
    for (unsigned i = 0; i < message->fields.count; i++)
        buffer_format(&text, "%.*s: %.*s\n", SPAN_ARG(message->fields.at[i].name),
                      SPAN_ARG(message->fields.at[i].value));
    struct span got = buffer_span(&text);
    if (!span_equal(got, span_str(wanted)))
        fail_msg("got\n%.*swanted\n%s", SPAN_ARG(got), wanted);
    buffer_finish(&text);
}

static void edits(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "{request: {set: {X-Team: search, user-agent: postern}, remove: [x-debug, authorization]},"
                    " response: {set: {x-by: postern}, remove: [server]}}");
    struct message *request = &run.exchange.request, *response = &run.exchange.response;
    add(&run, request, "x-debug", "1");
    add(&run, request, "x-team", "other");
    add(&run, request, "accept", "*/*");
    add(&run, request, "x-team", "third");
    add(&run, request, "authorization", "Bearer x");
    add(&run, request, "user-agent", "curl");
    add(&run, request, "x-debug", "2");
    add(&run, response, "server", "uvicorn");
    add(&run, response, "content-type", "application/json");
    assert_int_equal(filter_headers.on_request_head(&run.filter), FILTER_PASS);
    assert_fields(request, "accept: */*\nx-team: search\nuser-agent: postern\n");
    assert_fields(response, "server: uvicorn\ncontent-type: application/json\n");
    assert_int_equal(filter_headers.on_response_head(&run.filter), FILTER_PASS);
    assert_fields(response, "content-type: application/json\nx-by: postern\n");
    /* Known names keep their id: the rest of the gateway looks them up by it. */
    assert_true(span_equal(fields_value(&request->fields, FIELD_USER_AGENT), SPAN("postern")));
    run_end(&run);
}

static void explains(void **state)
{
    (void)state;
    static const struct {
        const char *settings, *sentence;
    } rows[] = {
        {"{request: {set: {x-a: secret, x-b: c}}}", "On the request it sets x-a, x-b."},
        {"{response: {remove: [server]}}", "On the answer it removes server."},
        {"{request: {remove: [x-c, x-d], set: {x-a: b}}, response: {set: {x-by: p}}}",
         "On the request it removes x-c, x-d and sets x-a; on the answer it sets x-by."},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct run run;
        struct buffer sentence = {0};
        run_begin(&run, rows[i].settings);
        filter_headers.explain(&run.filter, &sentence);
        if (!span_equal(buffer_span(&sentence), span_str(rows[i].sentence)))
            fail_msg("got %.*s", SPAN_ARG(buffer_span(&sentence)));
        buffer_finish(&sentence);
        run_end(&run);
    }
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused),
        cmocka_unit_test(edits),
        cmocka_unit_test(explains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
