/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/credential_ask.h"

#include <stdlib.h>

#include "base/clock.h"
#include "gateway/assertion.h"
#include "gateway/secret_file.h"
#include "openai/query.h"

/* Room for a form with an assertion: one that grows would leave copies behind. */
#define FORM_USUAL ((size_t)16 * 1024)
#define TIMEOUT    (10 * CLOCK_SECOND)

static void add_parameter(struct buffer *out, const char *name, struct span value)
{
    struct span so_far = buffer_span(out);
    if (so_far.len && so_far.ptr[so_far.len - 1] != '?')
        buffer_append(out, SPAN("&"));
    buffer_format(out, "%s=", name);
    percent_encode(out, value);
}

static struct span cannot_read(struct credential_ask *ask, const char *what, struct span path, const char *reason)
{
    return arena_format(&ask->arena, "the %s %.*s: %s", what, SPAN_ARG(path), reason);
}

/* ---- Entra ID ---- */

static void add_assertion(struct credential_ask *ask, struct span assertion)
{
    add_parameter(&ask->body, "client_assertion_type", SPAN("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
    add_parameter(&ask->body, "client_assertion", assertion);
}

static bool add_token_file(struct credential_ask *ask, struct span path, struct span *ret_reason)
{
    struct buffer token = {0};
    const char *reason;
    bool good = secret_file_read(path, false, &token, &reason);
    if (good)
        add_assertion(ask, buffer_span(&token));
    else
        *ret_reason = cannot_read(ask, "token file", path, reason);
    buffer_wipe(&token);
    return good;
}

static bool add_secret(struct credential_ask *ask, const struct setting_secret *secret, struct span *ret_reason)
{
    if (!secret->file.len) {
        add_parameter(&ask->body, "client_secret", secret->value);
        return true;
    }
    struct buffer text = {0};
    const char *reason;
    bool good = secret_file_read(secret->file, false, &text, &reason);
    if (good)
        add_parameter(&ask->body, "client_secret", buffer_span(&text));
    else
        *ret_reason = cannot_read(ask, "secret's file", secret->file, reason);
    buffer_wipe(&text);
    return good;
}

static bool add_signed(struct credential_ask *ask, const struct identity *identity, uint64_t wall,
                       struct span *ret_reason)
{
    static const enum crypto_algorithm algorithms[] = {
        [ASSERTION_PS256] = CRYPTO_PS256, [ASSERTION_RS256] = CRYPTO_RS256};
    const struct config_entra *entra = identity->config->client_certificate;
    struct span key_path = entra->key.len ? entra->key : entra->certificate;
    struct buffer certificate = {0}, key = {0}, text = {0};
    const char *reason;
    bool good = false;
    if (!secret_file_read(entra->certificate, true, &certificate, &reason))
        *ret_reason = cannot_read(ask, "certificate's file", entra->certificate, reason);
    else if (!secret_file_read(key_path, true, &key, &reason))
        *ret_reason = cannot_read(ask, "key's file", key_path, reason);
    else {
        struct assertion assertion = {.client_id = identity->client_id,
                                      .audience = identity->audience,
                                      .certificate_pem = buffer_span(&certificate),
                                      .key_pem = buffer_span(&key),
                                      .algorithm = algorithms[entra->assertion],
                                      .now = wall / CLOCK_SECOND};
        good = assertion_write(&assertion, &text, &reason);
        if (good)
            add_assertion(ask, buffer_span(&text));
        else
            *ret_reason = arena_format(&ask->arena, "the assertion cannot be signed: %s", reason);
    }
    buffer_finish(&certificate);
    buffer_wipe(&key);
    buffer_wipe(&text);
    return good;
}

static bool ask_entra(struct credential_ask *ask, const struct identity *identity, struct span scope, uint64_t wall,
                      struct span *ret_reason)
{
    const char *room = buffer_reserve(&ask->body, FORM_USUAL);
    (void)room;
    add_parameter(&ask->body, "grant_type", SPAN("client_credentials"));
    add_parameter(&ask->body, "client_id", identity->client_id);
    add_parameter(&ask->body, "scope", scope);
    bool good;
    if (identity->kind == IDENTITY_WORKLOAD)
        good = add_token_file(ask, identity->token_file, ret_reason);
    else if (identity->kind == IDENTITY_CLIENT_SECRET)
        good = add_secret(ask, &identity->config->client_secret->secret, ret_reason);
    else
        good = add_signed(ask, identity, wall, ret_reason);
    fields_add_id(&ask->fields, &ask->arena, FIELD_CONTENT_TYPE, SPAN("application/x-www-form-urlencoded"));
    ask->request.method = HTTP_POST;
    ask->request.url = identity->url;
    ask->request.body = buffer_span(&ask->body);
    return good;
}

/* ---- the metadata service ---- */

static void ask_imds(struct credential_ask *ask, const struct identity *identity, struct span scope)
{
    const struct config_managed_identity *managed = identity->config->managed_identity;
    static const struct span ending = SPAN_INIT("/.default");
    if (span_ends_with(scope, ending))
        scope.len -= ending.len;
    struct buffer url = {0};
    buffer_format(&url, "%.*s?api-version=2018-02-01", SPAN_ARG(identity->url));
    add_parameter(&url, "resource", scope);
    if (managed->client_id.len)
        add_parameter(&url, "client_id", managed->client_id);
    if (managed->object_id.len)
        add_parameter(&url, "object_id", managed->object_id);
    if (managed->resource_id.len)
        add_parameter(&url, "msi_res_id", managed->resource_id);
    ask->request.method = HTTP_GET;
    ask->request.url = arena_copy(&ask->arena, buffer_span(&url));
    buffer_finish(&url);
    fields_add(&ask->fields, &ask->arena, SPAN("metadata"), SPAN("true"));
}

bool credential_ask_init(struct credential_ask *ret, const struct identity *identity, struct span scope, uint64_t wall,
                         struct span *ret_reason)
{
    *ret = (struct credential_ask){0};
    arena_init(&ret->arena);
    ret->request.fields = &ret->fields;
    ret->request.timeout = TIMEOUT;
    ret->request.tls = identity->trust;
    ret->request.server_name = identity->server_name;
    ret->request.proxy = identity->proxy;
    if (identity->kind != IDENTITY_MANAGED)
        return ask_entra(ret, identity, scope, wall, ret_reason);
    ask_imds(ret, identity, scope);
    return true;
}

void credential_ask_finish(struct credential_ask *ask)
{
    buffer_wipe(&ask->body);
    arena_finish(&ask->arena);
}

static unsigned add_file(struct span path, struct span ret[CREDENTIAL_ASK_FILES], unsigned count)
{
    if (path.len)
        ret[count++] = path;
    return count;
}

unsigned credential_ask_files(const struct identity *identity, struct span ret[CREDENTIAL_ASK_FILES])
{
    if (identity->kind == IDENTITY_WORKLOAD)
        return add_file(identity->token_file, ret, 0);
    if (identity->kind == IDENTITY_CLIENT_SECRET)
        return add_file(identity->config->client_secret->secret.file, ret, 0);
    if (identity->kind != IDENTITY_CLIENT_CERTIFICATE)
        return 0;
    const struct config_entra *entra = identity->config->client_certificate;
    return add_file(entra->key, ret, add_file(entra->certificate, ret, 0));
}
