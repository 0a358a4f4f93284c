/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/identity.h"

#include <stdlib.h>

#include "base/uri.h"
#include "config/report.h"
#include "gateway/snapshot.h"

#define PUBLIC_AUTHORITY "https://login.microsoftonline.com"
/* https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow */
#define TOKEN_PATH "/oauth2/v2.0/token"
/* https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token */
#define IMDS_PATH "/metadata/identity/oauth2/token"

struct maker {
    struct identity *identity;
    const struct config *config;
    bool offline;
    struct arena *arena;
    struct report *report;
};

struct span identity_kind_word(enum identity_kind kind)
{
    static const struct span words[] = {
#define X(id, word) [IDENTITY_##id] = SPAN_INIT(word),
        IDENTITY_KIND_LIST(X)
#undef X
    };
    _Static_assert(ARRAY_LEN(words) == IDENTITY_KIND_COUNT, "every kind has a word");
    return words[kind];
}

/* ---- the environment ---- */

/* A configured text, else the environment's; an empty variable counts as none. */
static struct span text_or_environment(const struct maker *m, struct span configured, const char *variable)
{
    if (configured.len || m->offline)
        return configured;
    return arena_copy(m->arena, span_trim(span_str(getenv(variable))));
}

static void require(const struct maker *m, const struct settings *place, struct span value, const char *key,
                    const char *variable)
{
    if (value.len == 0 && !m->offline)
        report_error(m->report, settings_place(place, NULL),
                     "\"%s\" is not given and %s is not set; does the pod carry the label "
                     "azure.workload.identity/use: \"true\", and its service account a client id?",
                     key, variable);
}

/* Base URLs of the environment, without a slash at the end. */
static struct span check_url(const struct maker *m, struct span text, const char *variable, bool loopback_plain)
{
    struct uri uri;
    const char *reason = "is not https://";
    while (span_ends_with(text, SPAN("/")))
        text.len--;
    bool good = uri_parse(text, &uri, &reason) && uri.scheme != URI_UNIX;
    bool plain = good && uri.scheme == URI_HTTP;
    if (plain) {
        bool local = span_equal(uri.authority.host, SPAN("127.0.0.1")) || span_equal(uri.authority.host, SPAN("::1")) ||
                     span_equal_nocase(uri.authority.host, SPAN("localhost"));
        good = loopback_plain && local;
        reason = "is not https://";
    }
    if (!good)
        report_error(m->report, PLACE_NONE, "the environment variable %s holds no usable URL: it %s", variable, reason);
    return text;
}

/* ---- Entra ID ---- */

/* It becomes a segment of a path: a directory's id or domain. */
static bool is_tenant(struct span tenant)
{
    for (size_t i = 0; i < tenant.len; i++) {
        char c = tenant.ptr[i];
        bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.';
        if (!good)
            return false;
    }
    return tenant.len && !span_equal(tenant, SPAN(".")) && !span_equal(tenant, SPAN(".."));
}

static struct span authority_of(const struct maker *m, const struct config_entra *entra)
{
    struct span text = entra->authority.text;
    if (text.len) {
        while (span_ends_with(text, SPAN("/")))
            text.len--;
        return text;
    }
    text = text_or_environment(m, text, "AZURE_AUTHORITY_HOST");
    return text.len ? check_url(m, text, "AZURE_AUTHORITY_HOST", true) : SPAN(PUBLIC_AUTHORITY);
}

static void load_trust(const struct maker *m, const struct settings *place, struct span file, struct span pem)
{
    struct net_error error;
    if (m->offline || (file.len == 0 && pem.len == 0))
        return;
    struct tls_options options = {.role = TLS_CLIENT, .ca = file.len ? file.ptr : NULL, .ca_pem = pem};
    m->identity->trust = tls_context_create(&options, &error);
    if (!m->identity->trust)
        report_error(m->report, settings_place(place, "ca"), "%s", error.text);
}

/*
 * AKS identity bindings: the authority's requests go to a proxy in the cluster, path and form unchanged. Their
 * combinations are refused as the Azure SDKs refuse them. True: *ret is the proxy's URL.
 */
static bool find_token_proxy(const struct maker *m, const struct config_entra *entra, struct span *ret)
{
    if (m->offline || entra->token_proxy == TOKEN_PROXY_NONE)
        return false;
    const struct span none = {0};
    struct span url = text_or_environment(m, none, "AZURE_KUBERNETES_TOKEN_PROXY");
    struct span server_name = text_or_environment(m, none, "AZURE_KUBERNETES_SNI_NAME");
    struct span file = text_or_environment(m, none, "AZURE_KUBERNETES_CA_FILE");
    struct span data = text_or_environment(m, none, "AZURE_KUBERNETES_CA_DATA");
    if (url.len == 0 && (server_name.len || file.len || data.len))
        report_error(m->report, settings_place(&entra->settings, "token_proxy"),
                     "AZURE_KUBERNETES_TOKEN_PROXY is not set, but other AZURE_KUBERNETES_ variables are; say "
                     "\"token_proxy: none\" to ask the authority itself");
    if (file.len && data.len)
        report_error(m->report, PLACE_NONE, "AZURE_KUBERNETES_CA_FILE and AZURE_KUBERNETES_CA_DATA are both set");
    if (url.len == 0)
        return false;
    *ret = check_url(m, url, "AZURE_KUBERNETES_TOKEN_PROXY", false);
    m->identity->server_name = server_name;
    load_trust(m, &entra->settings, file, file.len ? none : data);
    return true;
}

static void choose_proxy(const struct maker *m)
{
    struct identity *identity = m->identity;
    struct span url = identity->url;
    struct uri uri;
    const char *reason;
    if (!uri_parse(url, &uri, &reason))
        return; /* reported, or never used: offline */
    struct span host = uri.authority.host;
    if (!egress_find(m->config, host, uri.authority.port, uri.scheme == URI_HTTPS, m->offline, m->arena,
                     &identity->proxy))
        report_error(m->report, PLACE_NONE, "the environment variable HTTPS_PROXY is not an http:// URL");
}

static void make_entra(const struct maker *m, const struct config_entra *entra)
{
    struct identity *identity = m->identity;
    bool workload = identity->kind == IDENTITY_WORKLOAD;
    const struct settings *place = workload ? &identity->config->settings : &entra->settings;
    struct span tenant = entra->tenant;
    identity->client_id = entra->client_id;
    identity->scope = entra->scope;
    if (workload) {
        tenant = text_or_environment(m, tenant, "AZURE_TENANT_ID");
        identity->client_id = text_or_environment(m, entra->client_id, "AZURE_CLIENT_ID");
        identity->token_file = text_or_environment(m, entra->token_file, "AZURE_FEDERATED_TOKEN_FILE");
        require(m, place, tenant, "tenant", "AZURE_TENANT_ID");
        require(m, place, identity->client_id, "client_id", "AZURE_CLIENT_ID");
        require(m, place, identity->token_file, "token_file", "AZURE_FEDERATED_TOKEN_FILE");
    }
    if (tenant.len && !is_tenant(tenant))
        report_error(m->report, settings_place(place, NULL), "the tenant \"%.*s\" is neither an id nor a domain",
                     SPAN_ARG(span_take(tenant, 80)));
    struct span authority = authority_of(m, entra), base = authority;
    bool proxied = workload && find_token_proxy(m, entra, &base);
    if (!proxied)
        load_trust(m, &entra->settings, entra->ca, (struct span){0});
    identity->audience = arena_format(m->arena, "%.*s/%.*s" TOKEN_PATH, SPAN_ARG(authority), SPAN_ARG(tenant));
    identity->url = arena_format(m->arena, "%.*s/%.*s" TOKEN_PATH, SPAN_ARG(base), SPAN_ARG(tenant));
    choose_proxy(m);
}

/* ---- all kinds ---- */

static enum identity_kind kind_of(const struct config_credential *credential)
{
    if (credential->workload_identity)
        return IDENTITY_WORKLOAD;
    if (credential->managed_identity)
        return IDENTITY_MANAGED;
    if (credential->client_secret)
        return IDENTITY_CLIENT_SECRET;
    if (credential->client_certificate)
        return IDENTITY_CLIENT_CERTIFICATE;
    if (credential->service_account_token)
        return IDENTITY_TOKEN_FILE;
    return credential->client ? IDENTITY_CLIENT : IDENTITY_API_KEY;
}

/* The metadata service is on the machine: never by a proxy. */
static void make_managed(const struct maker *m, const struct config_managed_identity *managed)
{
    m->identity->scope = managed->scope;
    m->identity->client_id = managed->client_id;
    struct span base = managed->endpoint.text;
    while (span_ends_with(base, SPAN("/")))
        base.len--;
    m->identity->url = arena_format(m->arena, "%.*s" IMDS_PATH, SPAN_ARG(base));
}

/* Everything that makes a difference to the token; a line break parts what could run together. */
static struct span make_key(const struct maker *m)
{
    static const struct config_entra no_entra;
    static const struct config_managed_identity no_managed;
    const struct identity *identity = m->identity;
    const struct config_credential *config = identity->config;
    const struct config_entra *entra = config->client_secret        ? config->client_secret
                                       : config->client_certificate ? config->client_certificate
                                       : config->workload_identity  ? config->workload_identity
                                                                    : &no_entra;
    const struct config_managed_identity *managed = config->managed_identity ? config->managed_identity : &no_managed;
    struct span file = config->service_account_token ? config->service_account_token->file : config->api_key.file;
    const struct span parts[] = {identity_kind_word(identity->kind),
                                 file,
                                 config->api_key.env,
                                 identity->url,
                                 identity->client_id,
                                 identity->token_file,
                                 identity->server_name,
                                 entra->ca,
                                 entra->secret.file,
                                 entra->secret.env,
                                 entra->certificate,
                                 entra->key,
                                 managed->object_id,
                                 managed->resource_id};
    struct buffer key = {0};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        buffer_format(&key, "%.*s\n", SPAN_ARG(parts[i]));
    struct span copy = arena_copy(m->arena, buffer_span(&key));
    buffer_finish(&key);
    return copy;
}

void identity_init(struct identity *ret, const struct config *config, const struct config_credential *credential,
                   struct span name, bool offline, struct arena *arena, struct report *report)
{
    struct maker m = {.identity = ret, .config = config, .offline = offline, .arena = arena, .report = report};
    *ret = (struct identity){
        .config = credential, .kind = kind_of(credential), .name = credential->name.len ? credential->name : name};
    if (ret->kind == IDENTITY_WORKLOAD)
        make_entra(&m, credential->workload_identity);
    else if (ret->kind == IDENTITY_CLIENT_SECRET)
        make_entra(&m, credential->client_secret);
    else if (ret->kind == IDENTITY_CLIENT_CERTIFICATE)
        make_entra(&m, credential->client_certificate);
    else if (ret->kind == IDENTITY_MANAGED)
        make_managed(&m, credential->managed_identity);
    ret->key = make_key(&m);
}

void identity_finish(struct identity *identity)
{
    tls_context_unref(identity->trust);
    identity->trust = NULL;
}

const struct identity *identity_find(const struct snapshot *snapshot, struct span name)
{
    for (unsigned i = 0; i < snapshot->identity_count; i++)
        if (snapshot->identities[i].config->name.len && span_equal(snapshot->identities[i].name, name))
            return &snapshot->identities[i];
    return NULL;
}
