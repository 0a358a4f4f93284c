/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/authenticate.h"

#include "base/clock.h"
#include "base/crypto_key.h"
#include "base/uri.h"

#define AT(member) .offset = offsetof(struct api_keys_settings, member)
static const struct setting api_keys_table[] = {
    {.name = "file",
     .type = SETTING_PATH,
     .flags = SETTING_REQUIRED | SETTING_MUST_EXIST,
     AT(file),
     .help = "The keys, one to a line as `postern key new` prints it; meant to be mounted from a Secret. It is read "
             "again when it "
             "changes; a broken file is reported and the last good keys stay in force.",
     .example = "keys.yaml"},
    {.name = "pepper",
     .type = SETTING_SECRET,
     AT(pepper),
     .help = "What the stored digests are keyed with, kept apart from the file, so that a line added by someone who "
             "can write the "
             "file alone opens nothing. The same must be given to `postern key new`. Without it digests are not keyed, "
             "which "
             "still hides the keys, since these are random.",
     .example = "{file: pepper}"},
    {.name = "headers",
     .type = SETTING_LIST,
     .flags = SETTING_FIELD_NAME | SETTING_UNIQUE | SETTING_NOT_EMPTY,
     AT(headers),
     .max = 8,
     .help =
         "Header fields to look for a key in, before `api-key` and `Authorization: Bearer`. They are never forwarded.",
     .example = "[x-api-key]"},
};
#undef AT

static const struct settings_spec api_keys_spec = SETTINGS_SPEC(
    "api_keys", struct api_keys_settings, api_keys_table,
    "Keys that Postern gives out itself: `Authorization: Bearer pk_...`, or the field `api-key` as Azure's SDKs "
    "send it.",
    .shorthand = "file");

static const char *const schemes[] = {"https", "http", NULL};

/* In the order of CRYPTO_ALGORITHM_LIST, whose numbers the bits are. */
static const char *const algorithms[] = {
#define X(id, name) name,
    CRYPTO_ALGORITHM_LIST(X)
#undef X
        NULL};

#define AT(member) .offset = offsetof(struct jwt_settings, member)
static const struct setting jwt_table[] = {
    {.name = "issuer",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(issuer),
     .max = 1024,
     .help = "The exact `iss` of its tokens. Entra ID issues two forms, as the application asks "
             "(accessTokenAcceptedVersion): "
             "https://login.microsoftonline.com/TENANT/v2.0 and https://sts.windows.net/TENANT/ (with the slash); for "
             "both, "
             "use two methods. For AKS it is the cluster's OIDC issuer URL.",
     .example = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0"},
    {.name = "audience",
     .type = SETTING_LIST,
     .flags = SETTING_REQUIRED | SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(audience),
     .max = 32,
     .help = "One of these must be in `aud`: for Entra v2 tokens the application's client id, for v1 usually its URI "
             "(api://...), for "
             "service accounts the audience of the projected volume.",
     .example = "[api://postern]"},
    {.name = "jwks_url",
     .type = SETTING_URL,
     .choices = schemes,
     AT(jwks_url),
     .help = "Where the issuer's key set is. Without it (and jwks_file) it is found through the issuer's "
             "/.well-known/openid-configuration.",
     .example = "https://issuer.example/keys"},
    {.name = "jwks_file",
     .type = SETTING_PATH,
     .flags = SETTING_MUST_EXIST,
     AT(jwks_file),
     .help = "The key set as a file; it is read again when it changes.",
     .example = "jwks.json"},
    {.name = "ca",
     .type = SETTING_PATH,
     .flags = SETTING_MUST_EXIST,
     AT(ca),
     .help = "Authorities that may vouch for the issuer's host, PEM. Without it the system's.",
     .example = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"},
    {.name = "token_file",
     .type = SETTING_PATH,
     AT(token_file),
     .help =
         "A file with a bearer token for the issuer's own host, read at each fetch: Kubernetes' API server shows its "
         "key set to authenticated callers only.",
     .example = "/var/run/secrets/kubernetes.io/serviceaccount/token"},
    {.name = "consumer_claim",
     .type = SETTING_STRING,
     AT(consumer_claim),
     .fallback = "sub",
     .max = 256,
     .help = "The claim that names the caller. Entra: azp (v2) or appid (v1) for applications, oid for any principal; "
             "service accounts: "
             "sub (system:serviceaccount:NAMESPACE:NAME). What begins with / is a JSON pointer: "
             "/kubernetes.io/serviceaccount/name.",
     .example = "azp"},
    {.name = "groups_claim",
     .type = SETTING_STRING,
     AT(groups_claim),
     .max = 256,
     .help = "The claim with the caller's groups: a list of strings, or words separated by spaces (scp). A token "
             "without it "
             "belongs to no group.",
     .example = "roles"},
    {.name = "attributes",
     .type = SETTING_PAIRS,
     .flags = SETTING_NOT_EMPTY,
     AT(attributes),
     .max = 16,
     .help = "Further facts about the caller, each from the claim named; left out when the token has no such claim.",
     .example = "{tenant: tid}"},
    {.name = "algorithms",
     .type = SETTING_ENUMS,
     .flags = SETTING_NOT_EMPTY,
     AT(algorithms),
     .choices = algorithms,
     .fallback_note = "all of them",
     .help = "The signature algorithms accepted. There is no HMAC and no `none` to choose.",
     .example = "[RS256]"},
    {.name = "skew",
     .type = SETTING_DURATION,
     AT(skew),
     .fallback = "60s",
     .max = 300 * CLOCK_SECOND,
     .help = "How far the issuer's clock and ours may differ where exp, nbf and iat are compared."},
    {.name = "refresh",
     .type = SETTING_DURATION,
     AT(refresh),
     .fallback = "10m",
     .min = 10 * CLOCK_SECOND,
     .max = 24 * 3600 * CLOCK_SECOND,
     .help = "How often the key set is fetched anew. A key the issuer withdraws is accepted for so long at most, while "
             "the issuer "
             "can be reached; while it cannot, the known keys stay in use."},
    {.name = "floor",
     .type = SETTING_DURATION,
     AT(floor),
     .fallback = "30s",
     .min = 1 * CLOCK_SECOND,
     .max = 3600 * CLOCK_SECOND,
     .help = "The least time between two fetches that tokens with an unknown key bring about, so that nobody can make "
             "Postern "
             "flood the issuer."},
    {.name = "wait",
     .type = SETTING_DURATION,
     AT(wait),
     .fallback = "5s",
     .max = 60 * CLOCK_SECOND,
     .help =
         "How long a request waits for the key set: for the first one, or for a newer one when its key is unknown."},
};
#undef AT

static void check_jwt(void *settings, struct report *report)
{
    const struct jwt_settings *jwt = settings;
    struct uri uri;
    const char *reason = "";
    if (jwt->jwks_url.text.len && jwt->jwks_file.len)
        report_error(report, settings_place(&jwt->settings, "jwks_file"),
                     "\"jwks_url\" and \"jwks_file\" exclude each other; remove one");
    bool discovery = !jwt->jwks_url.text.len && !jwt->jwks_file.len;
    if (discovery && (!uri_parse(jwt->issuer, &uri, &reason) || uri.scheme == URI_UNIX))
        report_error(
            report, settings_place(&jwt->settings, "issuer"),
            "\"issuer\" is not a URL at which keys could be found; give \"jwks_url\" or \"jwks_file\" with it");
    if (jwt->jwks_file.len && (jwt->ca.len || jwt->token_file.len))
        report_error(report, settings_place(&jwt->settings, jwt->ca.len ? "ca" : "token_file"),
                     "with \"jwks_file\" nothing is fetched; remove this");
}

static const struct settings_spec jwt_spec = SETTINGS_SPEC(
    "jwt", struct jwt_settings, jwt_table,
    "Tokens of an identity provider, `Authorization: Bearer`: Entra ID, Kubernetes service accounts, any OpenID "
    "Connect issuer. Signature, issuer, audience and times are always checked.",
    .check = check_jwt);

static const char *const certificate_names[] = {
    [CERTIFICATE_SUBJECT] = "subject", [CERTIFICATE_SAN_URI] = "san_uri", [CERTIFICATE_SAN_DNS] = "san_dns", NULL};

#define AT(member) .offset = offsetof(struct certificate_settings, member)
static const struct setting certificate_table[] = {
    {.name = "consumer",
     .type = SETTING_ENUM,
     AT(consumer),
     .fallback = "san_uri",
     .choices = certificate_names,
     .help = "What names the caller: the URI in the subject alternative name (a SPIFFE ID), its DNS name, or the whole "
             "subject in RFC 2253 form."},
    {.name = "match",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(match),
     .max = 64,
     .help = "Patterns of the names accepted, * for any run of characters. Without it every certificate of the "
             "listener's client_ca "
             "will do.",
     .example = "[\"spiffe://cluster.local/ns/apps/*\"]"},
    {.name = "groups",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(groups),
     .max = 64,
     .help = "Groups of every caller known this way.",
     .example = "[mesh]"},
};
#undef AT

static const struct settings_spec certificate_spec =
    SETTINGS_SPEC("client_certificate", struct certificate_settings, certificate_table,
                  "The certificate of a TLS client, verified by the listener's client_ca. With several names the first "
                  "that matches counts.");

#define AT(member) .offset = offsetof(struct peer_settings, member)
static const struct setting peer_table[] = {
    {.name = "consumer",
     .type = SETTING_SECRET,
     .flags = SETTING_ONE_OF,
     AT(consumer),
     .help = "Where the caller's name stands: an environment variable that the pod's manifest fills from its own "
             "fields, or a file.",
     .example = "{env: POD_SERVICE_ACCOUNT}"},
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_ONE_OF,
     AT(name),
     .max = 512,
     .help = "The caller's name itself.",
     .example = "search"},
    {.name = "groups",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(groups),
     .max = 64,
     .help = "The caller's groups.",
     .example = "[research]"},
};
#undef AT

static const struct settings_spec peer_spec =
    SETTINGS_SPEC("peer", struct peer_settings, peer_table,
                  "A sidecar's caller is its own pod: whoever connects is taken for it, whatever credential it shows. "
                  "Refused on listeners "
                  "that others can reach.");

#define AT(member) .offset = offsetof(struct method_settings, member)
static const struct setting method_table[] = {
    {.name = "api_keys",
     .type = SETTING_OPTIONAL,
     .flags = SETTING_ONE_OF,
     AT(api_keys),
     .sub = &api_keys_spec,
     .help = "By a key of our own."},
    {.name = "jwt",
     .type = SETTING_OPTIONAL,
     .flags = SETTING_ONE_OF,
     AT(jwt),
     .sub = &jwt_spec,
     .help = "By a signed token."},
    {.name = "client_certificate",
     .type = SETTING_OPTIONAL,
     .flags = SETTING_ONE_OF,
     AT(client_certificate),
     .sub = &certificate_spec,
     .help = "By the client's certificate."},
    {.name = "peer",
     .type = SETTING_OPTIONAL,
     .flags = SETTING_ONE_OF,
     AT(peer),
     .sub = &peer_spec,
     .help = "By being in the same pod."},
};
#undef AT

static const struct settings_spec method_spec =
    SETTINGS_SPEC("method", struct method_settings, method_table, "One way to know a caller.");

static const struct setting authenticate_table[] = {
    {.name = "methods",
     .type = SETTING_OBJECTS,
     .flags = SETTING_REQUIRED | SETTING_NOT_EMPTY,
     .offset = offsetof(struct authenticate_settings, methods),
     .count = offsetof(struct authenticate_settings, method_count),
     .max = 16,
     .sub = &method_spec,
     .help = "Tried in this order until one knows the caller.",
     .example = "[{api_keys: {file: keys.yaml}}]"},
};

const struct settings_spec authenticate_spec =
    SETTINGS_SPEC("authenticate", struct authenticate_settings, authenticate_table,
                  "Finds out who calls, before a byte of the body is read, and turns away whom no method knows. The "
                  "credential that came "
                  "in is never forwarded.");
