/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/token_reply.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/json_value.h"
#include "base/memory.h"

#define LIFE_MOST (UINT64_C(10) * 365 * 86400)

/* ---- a token ---- */

/* A number, or a string that spells one. */
static bool read_number(struct json_value root, struct span name, struct arena *arena, uint64_t *ret)
{
    struct json_value value;
    struct span text;
    if (!json_value_member(root, name, &value))
        return false;
    return json_value_u64(value, ret) || (json_value_text(value, arena, &text) && span_to_u64(text, ret));
}

struct wiped {
    struct arena_cleanup cleanup;
    struct span bytes;
};

static void wipe(void *arg)
{
    struct wiped *wiped = arg;
    memory_wipe((void *)(uintptr_t)wiped->bytes.ptr, wiped->bytes.len);
}

/* In place when nothing is escaped, which is always so but for authorities that write "\/". */
static bool read_token(struct json_value value, struct arena *arena, struct span *ret)
{
    if (value.kind != JSON_STRING)
        return false;
    *ret = span_of(value.raw.ptr + 1, value.raw.len - 2);
    if (span_find(*ret, '\\') == ret->len)
        return true;
    struct wiped *wiped = ARENA_NEW(arena, struct wiped);
    if (!json_value_text(value, arena, ret))
        return false;
    wiped->bytes = *ret;
    arena_defer(arena, &wiped->cleanup, wipe, wiped);
    return true;
}

/* It becomes the value of a header field and a parameter for Redis. */
static bool is_visible(struct span token)
{
    for (size_t i = 0; i < token.len; i++)
        if (token.ptr[i] <= 0x20 || token.ptr[i] >= 0x7f)
            return false;
    return token.len > 0;
}

static bool read_life(struct json_value root, uint64_t wall, struct arena *arena, uint64_t *ret)
{
    uint64_t seconds = wall / CLOCK_SECOND;
    if (!read_number(root, SPAN("expires_in"), arena, ret)) {
        if (!read_number(root, SPAN("expires_on"), arena, ret))
            return false;
        *ret = *ret > seconds ? *ret - seconds : 0;
    }
    *ret = *ret < LIFE_MOST ? *ret : LIFE_MOST;
    return true;
}

bool token_reply_read(struct span body, uint64_t wall, struct arena *arena, struct token_reply *ret,
                      const char **ret_reason)
{
    struct json_value root, value;
    struct span type;
    struct token_reply reply = {0};
    if (!json_value_parse(body, &root) || root.kind != JSON_OBJECT_OPEN)
        *ret_reason = "is no JSON object";
    else if (!json_value_member(root, SPAN("access_token"), &value) || !read_token(value, arena, &reply.token))
        *ret_reason = "has no access_token";
    else if (reply.token.len > TOKEN_BYTES_MAX)
        *ret_reason = "has a token of more than 16 KiB";
    else if (!is_visible(reply.token))
        *ret_reason = "has a token with bytes that no header field may have";
    else if (json_value_member(root, SPAN("token_type"), &value) &&
             !(json_value_text(value, arena, &type) && span_equal_nocase(type, SPAN("Bearer"))))
        *ret_reason = "has a token of another type than Bearer";
    else if (!read_life(root, wall, arena, &reply.expires_in))
        *ret_reason = "does not say when the token expires";
    else if (reply.expires_in == 0)
        *ret_reason = "has a token that has expired already";
    else {
        if (!read_number(root, SPAN("refresh_in"), arena, &reply.refresh_in) || reply.refresh_in >= reply.expires_in)
            reply.refresh_in = 0;
        *ret = reply;
        return true;
    }
    return false;
}

/* ---- errors ---- */

/* clang-format off */
static const struct token_trouble troubles[] = {
    {70011, TOKEN_CONFIGURE, "the scope is not valid",
     "set the credential's scope to a resource that exists, ending in /.default"},
    {70021, TOKEN_PROPAGATE, "no federated credential matches the service account",
     "create a federated identity credential for this cluster's issuer and the pod's service account"},
    {90061, TOKEN_RETRY, "the authority could not reach the cluster's OIDC issuer",
     "check that the cluster's OIDC issuer URL can be reached from outside"},
    {500011, TOKEN_CONFIGURE, "the resource of the scope is not known in the tenant",
     "check the credential's scope, and that the tenant is the right one"},
    {700016, TOKEN_CONFIGURE, "the application is not known in the tenant",
     "check client_id (AZURE_CLIENT_ID) and tenant (AZURE_TENANT_ID)"},
    {700024, TOKEN_REREAD, "the assertion is outside its time range",
     "check that the projected token is being rotated, and the node's clock"},
    {700027, TOKEN_CONFIGURE, "the assertion's signature is not accepted",
     "register this certificate with the application, or use the registered one"},
    {700211, TOKEN_PROPAGATE, "no federated credential has this cluster's issuer",
     "set the federated credential's issuer to the cluster's OIDC issuer URL"},
    {700212, TOKEN_CONFIGURE, "no federated credential has the token's audience",
     "set the federated credential's audience to api://AzureADTokenExchange, or token_proxy to what the pod's token is for"},
    {700213, TOKEN_PROPAGATE, "no federated credential has the pod's service account as its subject",
     "set the federated credential's subject to system:serviceaccount:NAMESPACE:NAME of the pod"},
    {7000215, TOKEN_CONFIGURE, "the client secret is wrong",
     "put the secret's value, not its id, into the file or variable"},
    {7000222, TOKEN_CONFIGURE, "the client secret has expired", "make a new secret for the application"},
    {7002138, TOKEN_PROPAGATE, "a federated credential matches but for upper and lower case",
     "write issuer, subject and audience of the federated credential in the token's own letter case"},
};

static const struct token_trouble by_status[] = {
    {0, TOKEN_RETRY, "the authority is busy", "nothing; it is asked again when it said so"},
    {0, TOKEN_RETRY, "the authority has an error of its own", "nothing, unless it lasts; see Azure's status page"},
    {0, TOKEN_CONFIGURE, "the authority refused", "look the error up under its code"},
    {0, TOKEN_CONFIGURE, "no authority answers there", "check authority (AZURE_AUTHORITY_HOST) and tenant"},
};

static const struct token_trouble imds[] = {
    {0, TOKEN_RETRY, "the metadata service is not ready", "nothing, unless it lasts"},
    {0, TOKEN_CONFIGURE, "the metadata service refused",
     "assign the identity to the node's virtual machine scale set, or check client_id"},
};

static const struct token_trouble unreachable = {
    0, TOKEN_RETRY, "no answer could be had",
    "check name resolution, network policies, the egress proxy and the clock of the node"};
/* clang-format on */

static const struct token_trouble *known(uint64_t code)
{
    for (size_t i = 0; i < ARRAY_LEN(troubles); i++)
        if (troubles[i].code == code)
            return &troubles[i];
    return NULL;
}

const struct token_trouble *token_trouble(uint64_t code, unsigned status)
{
    const struct token_trouble *trouble = code ? known(code) : NULL;
    /* A throttled or broken authority says so by its status, whatever else it says. */
    if (status == 429)
        return &by_status[0];
    if (trouble)
        return trouble;
    if (status == 408 || status >= 500)
        return &by_status[1];
    return status == 404 || (status >= 200 && status < 400) ? &by_status[3] : &by_status[2];
}

const struct token_trouble *token_trouble_imds(unsigned status)
{
    bool passes = status == 404 || status == 408 || status == 410 || status == 429 || status >= 500;
    return &imds[passes ? 0 : 1];
}

const struct token_trouble *token_trouble_unreachable(void)
{
    return &unreachable;
}

static uint64_t read_codes(struct json_value root)
{
    struct json_value codes, item;
    size_t cursor = 0;
    uint64_t first = 0, code;
    if (!json_value_member(root, SPAN("error_codes"), &codes) || codes.kind != JSON_ARRAY_OPEN)
        return 0;
    while (json_value_each(codes, &cursor, NULL, &item)) {
        if (!json_value_u64(item, &code))
            continue;
        if (known(code))
            return code;
        first = first ? first : code;
    }
    return first;
}

void token_refusal_read(struct span body, struct arena *arena, struct token_refusal *ret)
{
    struct json_value root, error;
    struct span word;
    *ret = (struct token_refusal){0};
    if (!json_value_parse(body, &root) || root.kind != JSON_OBJECT_OPEN)
        return;
    ret->code = read_codes(root);
    if (json_value_member(root, SPAN("error"), &error) && json_value_text(error, arena, &word) && word.len <= 64 &&
        is_visible(word))
        ret->error = word;
}

/* ---- claims ---- */

bool token_object_id(struct span token, struct arena *arena, struct span *ret)
{
    struct span rest = token, header, payload;
    struct buffer claims = {0};
    struct json_value root, oid;
    if (!span_split(&rest, '.', &header) || !span_split(&rest, '.', &payload))
        return false;
    bool found = decode_base64url(&claims, payload) && json_value_parse(buffer_span(&claims), &root) &&
                 json_value_member(root, SPAN("oid"), &oid) && json_value_text(oid, arena, ret) && is_visible(*ret);
    if (found)
        *ret = arena_copy(arena, *ret);
    buffer_wipe(&claims);
    return found;
}
