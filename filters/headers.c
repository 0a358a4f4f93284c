/* SPDX-License-Identifier: Apache-2.0 */
/*
 * headers: sets and removes header fields of requests before they are routed, and of answers before they reach the
 * client.
 */
#include "gateway/exchange.h"
#include "gateway/filter.h"

struct edit_settings {
    struct settings settings;
    struct setting_pairs set;
    struct setting_list remove;
};

struct headers_settings {
    struct settings settings;
    struct edit_settings request, response;
};

/* ---- settings ---- */

/* Fields by which a message is framed or led: who edits them breaks it. */
static const char *const framing[] = {
    "connection", "content-length",    "expect",        "host", "keep-alive", "proxy-connection", "te", "trailer",
    "upgrade",    "transfer-encoding", "http2-settings"};

/* Fields of a request that never go to a target, or that Postern writes after the filters: setting them has no effect.
 */
static const char *const not_sent[] = {"authorization", "api-key",         "proxy-authorization", "cookie",
                                       "forwarded",     "x-forwarded-for", "x-forwarded-proto",   "x-request-id"};

static const char *among(const char *const *names, size_t count, struct span name)
{
    for (size_t i = 0; i < count; i++)
        if (span_equal(name, span_str(names[i])))
            return names[i];
    return NULL;
}

static const char *framing_name(struct span name)
{
    return among(framing, ARRAY_LEN(framing), name);
}

static bool is_text(struct span value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] < 0x20 && value.ptr[i] != '\t')
            return false;
    return span_find(value, 0x7f) == value.len;
}

static bool is_set(const struct edit_settings *edit, struct span name)
{
    for (size_t i = 0; i < edit->set.count; i++)
        if (span_equal(edit->set.items[i].name, name))
            return true;
    return false;
}

static void check_edit(void *settings, struct report *report)
{
    const struct edit_settings *edit = settings;
    struct place set = settings_place(&edit->settings, "set");
    for (size_t i = 0; i < edit->set.count; i++) {
        const struct setting_pair *pair = &edit->set.items[i];
        if (framing_name(pair->name))
            report_error(report, set, "\"set\" cannot hold \"%s\": Postern writes it itself", framing_name(pair->name));
        if (!is_text(pair->value))
            report_error(report, set, "the value of \"%.*s\" holds a control character", SPAN_ARG(pair->name));
    }
    for (size_t i = 0; i < edit->remove.count; i++) {
        struct span name = edit->remove.items[i];
        struct place place = settings_place_at(&edit->settings, "remove", i);
        if (framing_name(name))
            report_error(report, place, "\"remove\" cannot hold \"%s\": Postern writes it itself", framing_name(name));
        if (is_set(edit, name))
            report_error(report, place, "\"%.*s\" is both set and removed; setting it replaces what is there",
                         SPAN_ARG(name));
    }
}

static void check_request(void *settings, struct report *report)
{
    const struct edit_settings *edit = settings;
    check_edit(settings, report);
    for (size_t i = 0; i < edit->set.count; i++) {
        const char *name = among(not_sent, ARRAY_LEN(not_sent), edit->set.items[i].name);
        if (name)
            report_error(report, settings_place(&edit->settings, "set"),
                         "\"set\" of \"%s\" has no effect: it does not reach a target; for credentials there is the "
                         "target's \"credential\"",
                         name);
    }
}

#define AT(member) .offset = offsetof(struct edit_settings, member)
static const struct setting edit_table[] = {
    {.name = "set",
     .type = SETTING_PAIRS,
     .flags = SETTING_FIELD_NAME | SETTING_NOT_EMPTY,
     AT(set),
     .max = 64,
     .help = "Fields to set, replacing what is there.",
     .example = "{x-team: search}"},
    {.name = "remove",
     .type = SETTING_LIST,
     .flags = SETTING_FIELD_NAME | SETTING_UNIQUE | SETTING_NOT_EMPTY,
     AT(remove),
     .max = 64,
     .help = "Fields to take out.",
     .example = "[x-internal]"},
};
#undef AT

static const struct settings_spec request_spec = SETTINGS_SPEC(
    "request", struct edit_settings, edit_table,
    "Edits of requests. They come before routing; the credential is added after them.", .check = check_request);
static const struct settings_spec response_spec =
    SETTINGS_SPEC("response", struct edit_settings, edit_table, "Edits of answers, Postern's own errors included.",
                  .check = check_edit);

static const struct setting headers_table[] = {
    {.name = "request",
     .type = SETTING_OBJECT,
     .offset = offsetof(struct headers_settings, request),
     .sub = &request_spec,
     .help = "What to change on requests.",
     .example = "{set: {x-team: search}}"},
    {.name = "response",
     .type = SETTING_OBJECT,
     .offset = offsetof(struct headers_settings, response),
     .sub = &response_spec,
     .help = "What to change on answers.",
     .example = "{remove: [server]}"},
};

static void check_headers(void *settings, struct report *report)
{
    const struct headers_settings *headers = settings;
    bool any = headers->request.set.count || headers->request.remove.count || headers->response.set.count ||
               headers->response.remove.count;
    if (!any)
        report_error(report, settings_place(&headers->settings, NULL),
                     "the filter changes nothing; give it \"request\" or \"response\" with \"set\" or \"remove\"");
}

static const struct settings_spec headers_spec = SETTINGS_SPEC(
    "headers", struct headers_settings, headers_table, "Sets and removes header fields.", .check = check_headers);

/* ---- hooks ---- */

static void apply(const struct edit_settings *edit, struct message *message, struct arena *arena)
{
    for (size_t i = 0; i < edit->remove.count; i++)
        (void)fields_remove_name(&message->fields, edit->remove.items[i]);
    for (size_t i = 0; i < edit->set.count; i++)
        fields_set(&message->fields, arena, edit->set.items[i].name, edit->set.items[i].value);
}

static enum verdict on_request_head(struct filter *filter)
{
    const struct headers_settings *settings = filter->settings;
    apply(&settings->request, &filter->exchange->request, &filter->exchange->arena);
    return FILTER_PASS;
}

static enum verdict on_response_head(struct filter *filter)
{
    const struct headers_settings *settings = filter->settings;
    apply(&settings->response, &filter->exchange->response, &filter->exchange->arena);
    return FILTER_PASS;
}

static void explain_edit(const struct edit_settings *edit, const char *where, struct buffer *sentence)
{
    const char *before = where;
    for (size_t i = 0; i < edit->remove.count; i++, before = ", ")
        buffer_format(sentence, "%s%s%.*s", before, i ? "" : "it removes ", SPAN_ARG(edit->remove.items[i]));
    if (edit->remove.count && edit->set.count)
        before = " and ";
    for (size_t i = 0; i < edit->set.count; i++, before = ", ") {
        const char *verb = i ? "" : edit->remove.count ? "sets " : "it sets ";
        buffer_format(sentence, "%s%s%.*s", before, verb, SPAN_ARG(edit->set.items[i].name));
    }
}

/* Names only: a value may be a secret of the deployment. */
static void explain(const struct filter *filter, struct buffer *sentence)
{
    const struct headers_settings *settings = filter->settings;
    bool request = settings->request.remove.count || settings->request.set.count;
    explain_edit(&settings->request, "On the request ", sentence);
    explain_edit(&settings->response, request ? "; on the answer " : "On the answer ", sentence);
    buffer_append(sentence, SPAN("."));
}

const struct filter_type filter_headers = {
    .name = "headers",
    .settings = &headers_spec,
    .on_request_head = on_request_head,
    .on_response_head = on_response_head,
    .explain = explain,
};
