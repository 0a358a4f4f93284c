/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject: the hooks. A review takes milliseconds at most, so it is answered in the turn in which its body is complete.
 */
#include "filters/inject.h"

#include <stdlib.h>

#include "base/memory.h"
#include "gateway/exchange.h"
#include "gateway/filter.h"
#include "gateway/metrics.h"
#include "gateway/metrics_series.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"

static const struct span text_type = SPAN_INIT("text/plain; charset=utf-8");
static const struct span json_type = SPAN_INIT("application/json");

static const struct {
    struct span path, name;
} webhooks[] = {[INJECT_MUTATE] = {SPAN_INIT("/mutate"), SPAN_INIT("mutate")},
                [INJECT_VALIDATE] = {SPAN_INIT("/validate"), SPAN_INIT("validate")}};

static const struct span outcome_names[] = {
    [INJECT_MALFORMED] = SPAN_INIT("malformed"), [INJECT_UNTOUCHED] = SPAN_INIT("untouched"),
    [INJECT_PATCHED] = SPAN_INIT("patched"),     [INJECT_ALLOWED] = SPAN_INIT("allowed"),
    [INJECT_DENIED] = SPAN_INIT("denied"),
};
_Static_assert(ARRAY_LEN(outcome_names) == INJECT_DENIED + 1, "every outcome has a name");

/* ---- instances ---- */

static bool read_profiles(const struct inject_settings *settings, bool check, struct report *report,
                          struct inject_profile *profiles)
{
    bool good = true;
    for (size_t i = 0; i < settings->profile_count; i++)
        good = inject_profile_read(&settings->profiles[i], check, report, &profiles[i]) && good;
    return good;
}

static bool prepare(const void *settings, bool offline, struct report *report)
{
    (void)offline; /* profiles are for other machines, and always checked so */
    const struct inject_settings *inject = settings;
    struct inject_profile *profiles = memory_array(inject->profile_count, sizeof(*profiles));
    bool good = read_profiles(inject, true, report, profiles);
    free(profiles);
    return good;
}

/* Each configuration has an injector of its own: what it says of profiles are texts of that configuration. */
static void *attach(struct worker *worker, const void *settings, struct span name, void *previous)
{
    (void)worker, (void)name, (void)previous;
    const struct inject_settings *inject = settings;
    struct injector *injector = memory_zalloc(sizeof(*injector));
    struct inject_profile *profiles = memory_array(inject->profile_count, sizeof(*profiles));
    struct report report;
    report_init(&report);
    if (!read_profiles(inject, false, &report, profiles)) /* prepare has said why, and refused the configuration */
        abort();
    report_finish(&report);
    injector->settings = inject;
    injector->profiles = profiles;
    return injector;
}

static void detach(struct worker *worker, void *instance)
{
    (void)worker;
    struct injector *injector = instance;
    free((void *)(uintptr_t)injector->profiles);
    free(injector);
}

/* ---- the request ---- */

static bool find_webhook(struct span path, enum inject_path *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(webhooks); i++)
        if (span_equal(path, webhooks[i].path)) {
            *ret = (enum inject_path)i;
            return true;
        }
    return false;
}

static enum verdict refuse(struct filter *filter, unsigned status, const char *text)
{
    filter_answer(filter, status, text_type, span_str(text));
    return FILTER_ANSWERED;
}

static enum verdict on_request_head(struct filter *filter)
{
    const struct message *request = &filter->exchange->request;
    struct span type = fields_value(&request->fields, FIELD_CONTENT_TYPE);
    enum inject_path path;
    if (!find_webhook(request->path, &path))
        return refuse(filter, 404, "unknown path; there are POST /mutate (pods) and POST /validate (ConfigMaps)\n");
    if (request->method != HTTP_POST) {
        filter_answer_field(filter, SPAN("allow"), SPAN("POST"));
        return refuse(filter, 405, "an AdmissionReview comes by POST\n");
    }
    if (!span_equal_nocase(span_trim(span_take(type, span_find(type, ';'))), json_type))
        return refuse(filter, 415, "an AdmissionReview is application/json\n");
    return FILTER_PASS;
}

static void count(const struct filter *filter, enum inject_path path, const struct inject_verdict *verdict)
{
    const struct exchange *exchange = filter->exchange;
    struct metrics *metrics = exchange->worker->metrics;
    uint64_t generation = exchange->snapshot->generation;
    const struct span result[] = {webhooks[path].name, outcome_names[verdict->outcome]};
    metrics_add(metrics_series_find(metrics, generation, METRIC_INJECT_REVIEWS, result), 1);
    for (size_t i = 0; i < INJECT_WARNINGS; i++)
        if (verdict->warned[i])
            metrics_add(metrics_series_find(metrics, generation, METRIC_INJECT_WARNINGS, &inject_warning_names[i]),
                        verdict->warned[i]);
}

static void say(enum inject_path path, const struct inject_verdict *verdict)
{
    bool wrong = verdict->outcome == INJECT_DENIED || verdict->outcome == INJECT_MALFORMED;
    enum log_level level = wrong ? LOG_WARNING : verdict->outcome == INJECT_UNTOUCHED ? LOG_DEBUG : LOG_INFO;
    log_write(level, "inject", "%.*s: %.*s%s%.*s: %.*s", SPAN_ARG(webhooks[path].name),
              SPAN_ARG(outcome_names[verdict->outcome]), verdict->about.len ? " " : "", SPAN_ARG(verdict->about),
              SPAN_ARG(verdict->reason));
}

static enum verdict on_request(struct filter *filter)
{
    struct exchange *exchange = filter->exchange;
    struct inject_verdict verdict;
    struct buffer answer = {0};
    enum inject_path path = INJECT_MUTATE;
    (void)find_webhook(exchange->request.path, &path);
    inject_review(filter->instance, path, buffer_span(&exchange->body), &exchange->arena, &answer, &verdict);
    bool malformed = verdict.outcome == INJECT_MALFORMED;
    filter_answer(filter, malformed ? 400 : 200, malformed ? text_type : json_type, buffer_span(&answer));
    buffer_finish(&answer);
    count(filter, path, &verdict);
    say(path, &verdict);
    return FILTER_ANSWERED;
}

static void explain(const struct filter *filter, struct buffer *sentence)
{
    static const char *const does[] = {[INJECT_MUTATE] = "adds Postern to the pod under review, or says why not",
                                       [INJECT_VALIDATE] = "checks the ConfigMap under review"};
    const struct message *request = &filter->exchange->request;
    enum inject_path path;
    if (find_webhook(request->path, &path) && request->method == HTTP_POST)
        buffer_format(sentence, "It %s.", does[path]);
    else
        buffer_append(sentence, SPAN("It answers with an error: there are POST /mutate and POST /validate."));
}

const struct filter_type filter_inject = {
    .name = "inject",
    .settings = &inject_settings_spec,
    .serves = true,
    .prepare = prepare,
    .attach = attach,
    .detach = detach,
    .on_request_head = on_request_head,
    .on_request = on_request,
    .explain = explain,
};
