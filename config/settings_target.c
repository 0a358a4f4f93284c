/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "base/clock.h"
#include "config/config.h"

static const char *const schemes[] = {"https", "http", NULL};

/* azure */

#define AT(member) SETTING_AT(struct config_azure, member)
static const struct setting azure_table[] = {
    {.name = "endpoint",
     .type = SETTING_URL,
     .flags = SETTING_REQUIRED,
     AT(endpoint),
     .choices = schemes,
     .help = "The resource's endpoint as the Azure portal shows it, without /openai. A path is kept in front of "
             "everything, for an API Management instance before the resource.",
     .example = "https://contoso-east.openai.azure.com"},
    {.name = "api",
     .type = SETTING_STRING,
     AT(api),
     .fallback = "v1",
     .max = 32,
     .help = "Which API the resource is called with: v1 (current, without api-version), a dated api-version such as "
             "2024-10-21, or as-client, which passes on the version the client asked for and uses v1 for clients that "
             "name none.",
     .example = "2024-10-21"},
};
#undef AT

/* YYYY-MM-DD with an optional -preview. */
static bool is_dated(struct span api)
{
    static const char form[] = "0000-00-00";
    if (api.len < sizeof(form) - 1)
        return false;
    for (size_t i = 0; i < sizeof(form) - 1; i++)
        if (form[i] == '-' ? api.ptr[i] != '-' : api.ptr[i] < '0' || api.ptr[i] > '9')
            return false;
    struct span rest = span_skip(api, sizeof(form) - 1);
    return rest.len == 0 || span_equal(rest, SPAN("-preview"));
}

static void check_endpoint(const struct config_azure *azure, struct report *report)
{
    struct span path = azure->endpoint.path;
    if (span_ends_with(path, SPAN("/openai")) || span_search(path, SPAN("/openai/")) < path.len)
        report_error(
            report, settings_place(&azure->settings, "endpoint"),
            "\"endpoint\" must end before /openai: operation, deployment and version are added; write %.*s://%.*s",
            SPAN_ARG(azure->endpoint.scheme), SPAN_ARG(azure->endpoint.authority));
}

static void check_azure(void *settings, struct report *report)
{
    struct config_azure *azure = settings;
    check_endpoint(azure, report);
    if (span_equal(azure->api, SPAN("v1")))
        azure->api_kind = AZURE_API_V1;
    else if (span_equal(azure->api, SPAN("as-client")))
        azure->api_kind = AZURE_API_AS_CLIENT;
    else if (is_dated(azure->api))
        azure->api_kind = AZURE_API_DATED;
    else
        report_error(report, settings_place(&azure->settings, "api"),
                     "\"api\" must be v1, as-client or a dated version such as 2024-10-21, not \"%.*s\"",
                     SPAN_ARG(azure->api));
}

static const struct settings_spec azure_spec = SETTINGS_SPEC(
    "azure", struct config_azure, azure_table, "An Azure OpenAI or Azure AI Foundry resource.", .check = check_azure);

/* openai */

static const struct setting openai_table[] = {
    {.name = "url",
     .type = SETTING_URL,
     .flags = SETTING_REQUIRED,
     SETTING_AT(struct config_openai, url),
     .choices = schemes,
     .help = "The base URL as an OpenAI SDK takes it, with /v1 where the server has it.",
     .example = "http://workspace-phi-4-mini.default.svc/v1"},
};

static void check_openai(void *settings, struct report *report)
{
    const struct config_openai *openai = settings;
    static const char *const operations[] = {"/chat/completions", "/completions", "/embeddings", "/responses",
                                             "/models"};
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        if (span_ends_with(openai->url.path, span_str(operations[i]))) {
            report_error(report, settings_place(&openai->settings, "url"),
                         "\"url\" must be the base URL, without the operation: remove %s", operations[i]);
            return;
        }
    if (openai->url.path.len == 0)
        report_warning(report, settings_place(&openai->settings, "url"),
                       "the URL has no path; most servers, vLLM and api.openai.com among them, expect /v1 at its end");
}

static const struct settings_spec openai_spec =
    SETTINGS_SPEC("openai", struct config_openai, openai_table,
                  "A server that speaks the OpenAI API: vLLM, KAITO, Ollama, another gateway, OpenAI itself.",
                  .shorthand = "url", .check = check_openai);

/* tls, headers, parameters */

static const struct setting tls_table[] = {
    {.name = "ca",
     .type = SETTING_PATH,
     .flags = SETTING_MUST_EXIST,
     SETTING_AT(struct config_target_tls, ca),
     .fallback_note = "the system's authorities",
     .help = "The authorities that may have signed the target's certificate, PEM, instead of the system's.",
     .example = "/etc/postern/cluster-ca.crt"},
    {.name = "server_name",
     .type = SETTING_STRING,
     SETTING_AT(struct config_target_tls, server_name),
     .max = 253,
     .fallback_note = "the host of the URL",
     .help = "The name that is sent (SNI) and must stand in the certificate. Needed when the URL is an IP address or "
             "goes through a private link. Verification cannot be turned off.",
     .example = "contoso-east.openai.azure.com"},
};
static const struct settings_spec target_tls_spec =
    SETTINGS_SPEC("tls", struct config_target_tls, tls_table, "TLS towards the target.");

static const struct setting headers_table[] = {
    {.name = "set",
     .type = SETTING_PAIRS,
     .flags = SETTING_FIELD_NAME,
     SETTING_AT(struct config_target_headers, set),
     .max = 64,
     .help = "Header fields to set on requests to this target, replacing what is there.",
     .example = "{x-ms-region: east}"},
    {.name = "remove",
     .type = SETTING_LIST,
     .flags = SETTING_FIELD_NAME | SETTING_UNIQUE,
     SETTING_AT(struct config_target_headers, remove),
     .max = 64,
     .help = "Header fields not to send to this target.",
     .example = "[x-internal]"},
};

/* Fields that belong to framing, connection or credential: edited here they would break the message or leak. */
static void check_headers(void *settings, struct report *report)
{
    const struct config_target_headers *headers = settings;
    static const char *const own[] = {
        "host",    "content-length", "transfer-encoding", "connection",    "upgrade", "te",
        "trailer", "expect",         "keep-alive",        "authorization", "api-key", "proxy-authorization"};
    for (size_t i = 0; i < headers->set.count; i++)
        for (size_t j = 0; j < ARRAY_LEN(own); j++)
            if (span_equal(headers->set.items[i].name, span_str(own[j])))
                report_error(report, settings_place(&headers->settings, "set"),
                             "\"set\" cannot hold \"%s\": Postern writes it itself; for credentials use \"credential\"",
                             own[j]);
}

static const struct settings_spec target_headers_spec =
    SETTINGS_SPEC("headers", struct config_target_headers, headers_table,
                  "Edits of header fields, for this target only.", .check = check_headers);

static const struct setting parameters_table[] = {
    {.name = "rename",
     .type = SETTING_PAIRS,
     SETTING_AT(struct config_parameters, rename),
     .max = 64,
     .help = "Body parameters this target knows by another name. If the body has the new name already, it stays and "
             "the old one is dropped.",
     .example = "{max_tokens: max_completion_tokens}"},
    {.name = "set",
     .type = SETTING_JSONS,
     SETTING_AT(struct config_parameters, set),
     .max = 64,
     .help = "Body parameters to set to a fixed value, any JSON value, replacing what is there.",
     .example = "{temperature: 1}"},
    {.name = "drop",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE,
     SETTING_AT(struct config_parameters, drop),
     .max = 64,
     .help = "Body parameters to leave out, because this target refuses them.",
     .example = "[logit_bias]"},
};

static void check_parameters(void *settings, struct report *report)
{
    const struct config_parameters *parameters = settings;
    static const char *const own[] = {"model", "stream", "stream_options"};
    for (size_t i = 0; i < parameters->set.count; i++) {
        struct span name = parameters->set.items[i].name;
        for (size_t j = 0; j < ARRAY_LEN(own); j++)
            if (span_equal(name, span_str(own[j])))
                report_error(
                    report, settings_place(&parameters->settings, "set"), "\"set\" cannot hold \"%s\": %s", own[j],
                    j == 0 ? "name a deployment in the model's targets" : "the client decides how it is answered");
        for (size_t j = 0; j < parameters->drop.count; j++)
            if (span_equal(name, parameters->drop.items[j]))
                report_error(report, settings_place_at(&parameters->settings, "drop", j),
                             "\"%.*s\" is both set and dropped", SPAN_ARG(name));
    }
}

static const struct settings_spec parameters_spec =
    SETTINGS_SPEC("parameters", struct config_parameters, parameters_table,
                  "Edits of the request body's top-level parameters. Everything else goes out byte for byte.",
                  .check = check_parameters);

/* timeouts */

#define AT(member) SETTING_AT(struct config_target_timeouts, member)
static const struct setting timeouts_table[] = {
    {.name = "connect",
     .type = SETTING_DURATION,
     AT(connect),
     .fallback = "5s",
     .min = CLOCK_MS,
     .max = 300 * CLOCK_SECOND,
     .help = "For name resolution, TCP and TLS together; then the next target is tried."},
    {.name = "first_byte",
     .type = SETTING_DURATION,
     AT(first_byte),
     .fallback = "10m",
     .min = CLOCK_MS,
     .max = 86400 * CLOCK_SECOND,
     .help =
         "From the request sent to the first byte of the answer. Ten minutes as the official SDKs: reasoning models "
         "are silent for long. A client that announces a shorter one (x-stainless-read-timeout) gets that."},
    {.name = "idle",
     .type = SETTING_DURATION,
     AT(idle),
     .fallback = "5m",
     .min = CLOCK_MS,
     .max = 86400 * CLOCK_SECOND,
     .help = "Between two pieces of an answer that has begun."},
    {.name = "total",
     .type = SETTING_DURATION,
     AT(total),
     .fallback = "0s",
     .max = 7 * 86400 * CLOCK_SECOND,
     .help = "For one attempt from beginning to end. 0s: none, since a long answer that still moves is no fault."},
    {.name = "pool_idle",
     .type = SETTING_DURATION,
     AT(pool_idle),
     .fallback_note = "60s for azure, 3s for openai",
     .max = 3600 * CLOCK_SECOND,
     .help = "How long an unused connection is kept. Must be less than the server's own limit: vLLM and other uvicorn "
             "servers close after 5 seconds, Azure after minutes."},
};
#undef AT

static void check_timeouts(void *settings, struct report *report)
{
    const struct config_target_timeouts *timeouts = settings;
    if (timeouts->total && settings_given(&timeouts->settings, "first_byte") && timeouts->first_byte > timeouts->total)
        report_error(report, settings_place(&timeouts->settings, "first_byte"),
                     "\"first_byte\" has no effect: it is longer than \"total\"");
}

static const struct settings_spec target_timeouts_spec =
    SETTINGS_SPEC("timeouts", struct config_target_timeouts, timeouts_table, "How long to wait for the target.",
                  .check = check_timeouts);

/* target */

static const char *const http_versions[] = {
    [HTTP_VERSION_AUTO] = "auto", [HTTP_VERSION_1_1] = "1.1", [HTTP_VERSION_2] = "2", NULL};
static const char *const proxies[] = {[TARGET_PROXY_AUTO] = "auto", [TARGET_PROXY_NONE] = "none", NULL};

#define AT(member) SETTING_AT(struct config_target, member)
static const struct setting target_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(name),
     .max = 63,
     .help = "What models, logs and metrics call this target.",
     .example = "east"},
    {.name = "azure",
     .type = SETTING_OPTIONAL,
     .flags = SETTING_ONE_OF,
     AT(azure),
     .sub = &azure_spec,
     .help = "The target is an Azure OpenAI resource."},
    {.name = "openai",
     .type = SETTING_OPTIONAL,
     .flags = SETTING_ONE_OF,
     AT(openai),
     .sub = &openai_spec,
     .help = "The target speaks the OpenAI API."},
    {.name = "mock",
     .type = SETTING_OPTIONAL,
     .flags = SETTING_ONE_OF,
     AT(mock),
     .sub = &config_mock_spec,
     .help = "The target is the embedded mock model: for tests, never by default."},
    {.name = "credential",
     .type = SETTING_OPTIONAL,
     AT(credential),
     .sub = &config_target_credential_spec,
     .help = "What opens the target: the name of an entry of credentials, or one written here. Without it requests go "
             "out without any credential.",
     .example = "entra"},
    {.name = "tls", .type = SETTING_OBJECT, AT(tls), .sub = &target_tls_spec, .help = "TLS towards the target."},
    {.name = "http_version",
     .type = SETTING_ENUM,
     AT(http_version),
     .fallback = "auto",
     .choices = http_versions,
     .help =
         "auto: HTTP/2 if the target agrees by ALPN, else HTTP/1.1; without TLS always HTTP/1.1. 1.1: never HTTP/2. "
         "2: HTTP/2 only; without TLS by prior knowledge (h2c)."},
    {.name = "timeouts",
     .type = SETTING_OBJECT,
     AT(timeouts),
     .sub = &target_timeouts_spec,
     .help = "How long to wait for the target."},
    {.name = "max_connections",
     .type = SETTING_INTEGER,
     AT(max_connections),
     .fallback = "1024",
     .min = 1,
     .max = 65536,
     .unit = "connections",
     .help = "At most this many connections per worker; further requests wait for one or go to the next target."},
    {.name = "limits",
     .type = SETTING_OPTIONAL,
     AT(limits),
     .sub = &config_target_limits_spec,
     .help = "How much may be sent to this target.",
     .example = "{requests: 300/minute, concurrency: 20}"},
    {.name = "parameters",
     .type = SETTING_OBJECT,
     AT(parameters),
     .sub = &parameters_spec,
     .help = "Edits of the request body for this target."},
    {.name = "headers",
     .type = SETTING_OBJECT,
     AT(headers),
     .sub = &target_headers_spec,
     .help = "Edits of the request's header fields for this target."},
    {.name = "proxy",
     .type = SETTING_ENUM,
     AT(proxy),
     .fallback = "auto",
     .choices = proxies,
     .help = "auto: through the proxy that egress names, except for loopback and no_proxy; none: always directly."},
};
#undef AT

/* Settings that only mean something when there is a server behind a URL. */
static void check_mock_target(const struct config_target *target, struct report *report)
{
    static const char *const keys[] = {"credential", "tls", "http_version", "max_connections", "proxy"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (settings_given(&target->settings, keys[i]))
            report_error(report, settings_place(&target->settings, keys[i]),
                         "\"%s\" has no effect with \"mock\"; remove it", keys[i]);
}

static void check_plain_target(const struct config_target *target, const struct setting_url *url, struct report *report)
{
    if (settings_given(&target->settings, "tls"))
        report_error(report, settings_place(&target->settings, "tls"),
                     "\"tls\" has no effect with an http:// URL; write https:// or remove it");
    if (target->credential && !url->loopback)
        report_warning(report, settings_place(&target->settings, "credential"),
                       "the credential crosses the network unencrypted: the URL is http://");
}

static void check_target(void *settings, struct report *report)
{
    struct config_target *target = settings;
    const struct setting_url *url = config_target_url(target);
    if (!url)
        check_mock_target(target, report);
    else if (!url->secure)
        check_plain_target(target, url, report);
    if (target->azure && !target->credential)
        report_warning(report, settings_place(&target->settings, "azure"),
                       "no credential: Azure refuses requests without one, and what clients send is not passed on");
    if (target->timeouts.pool_idle == SETTING_ABSENT_DURATION)
        target->timeouts.pool_idle = (target->azure ? 60 : 3) * CLOCK_SECOND;
}

const struct settings_spec config_target_spec = SETTINGS_SPEC(
    "target", struct config_target, target_table,
    "A place that can answer: an Azure OpenAI resource, a model server, the mock.", .check = check_target);

const struct setting_url *config_target_url(const struct config_target *target)
{
    return target->azure ? &target->azure->endpoint : target->openai ? &target->openai->url : NULL;
}
