/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "config/config.h"

static const char *const schemes[] = {"https", "http", NULL};

/* ---- Entra ID ---- */

#define DEFAULT_SCOPE "https://cognitiveservices.azure.com/.default"

#define AT(member) SETTING_AT(struct config_entra, member)
#define TENANT(flag, note)                                                                                             \
    {                                                                                                                  \
        .name = "tenant", .type = SETTING_STRING, .flags = (flag), AT(tenant), .max = 253, .fallback_note = (note),    \
        .help = "The directory (tenant) that issues the token: its id or one of its domains.",                         \
        .example = "72f988bf-86f1-41af-91ab-2d7cd011db47"                                                              \
    }
#define CLIENT_ID(flag, note)                                                                                          \
    {                                                                                                                  \
        .name = "client_id", .type = SETTING_STRING, .flags = (flag), AT(client_id), .max = 128,                       \
        .fallback_note = (note), .help = "The application's or managed identity's client id.",                         \
        .example = "6731de76-14a6-49ae-97bc-6eba6914391e"                                                              \
    }
#define AUTHORITY                                                                                                      \
    {                                                                                                                  \
        .name = "authority", .type = SETTING_URL, AT(authority), .choices = schemes,                                   \
        .fallback_note = "AZURE_AUTHORITY_HOST, else https://login.microsoftonline.com",                               \
        .help = "Who issues tokens. Differs in the clouds for governments and in China. Plain http only on loopback.", \
        .example = "https://login.microsoftonline.us"                                                                  \
    }
#define SCOPE                                                                                                          \
    {                                                                                                                  \
        .name = "scope", .type = SETTING_STRING, AT(scope), .fallback = DEFAULT_SCOPE, .max = 512,                     \
        .help = "What the token is for. All Azure OpenAI hosts take the default; newer pages name "                    \
                "https://ai.azure.com/.default. For another gateway it is api://ITS-CLIENT-ID/.default."               \
    }
#define CA                                                                                                             \
    {                                                                                                                  \
        .name = "ca", .type = SETTING_PATH, .flags = SETTING_MUST_EXIST, AT(ca),                                       \
        .fallback_note = "the system's authorities",                                                                   \
        .help = "The authorities that may have signed the certificate of whoever issues tokens, PEM, instead of the "  \
                "system's.",                                                                                           \
        .example = "/etc/postern/ca.crt"                                                                               \
    }

static const char *const token_proxies[] = {[TOKEN_PROXY_AUTO] = "auto", [TOKEN_PROXY_NONE] = "none", NULL};

static const struct setting workload_identity_table[] = {
    CLIENT_ID(0, "AZURE_CLIENT_ID"),
    TENANT(0, "AZURE_TENANT_ID"),
    {.name = "token_file",
     .type = SETTING_PATH,
     AT(token_file),
     .fallback_note = "AZURE_FEDERATED_TOKEN_FILE",
     .help =
         "The projected service account token that is exchanged, with the audience api://AzureADTokenExchange. Read "
         "again for every exchange, since Kubernetes rotates it.",
     .example = "/var/run/secrets/azure/wi/token/azure-identity-token"},
    AUTHORITY,
    {.name = "token_proxy",
     .type = SETTING_ENUM,
     AT(token_proxy),
     .fallback = "auto",
     .choices = token_proxies,
     .help =
         "auto: where AKS identity bindings have set AZURE_KUBERNETES_TOKEN_PROXY, tokens are asked for there (with "
         "AZURE_KUBERNETES_SNI_NAME and _CA_FILE or _CA_DATA); none: always at the authority itself."},
    SCOPE,
    CA,
};

static const struct setting client_secret_table[] = {
    CLIENT_ID(SETTING_REQUIRED, NULL),
    TENANT(SETTING_REQUIRED, NULL),
    {.name = "secret",
     .type = SETTING_SECRET,
     .flags = SETTING_REQUIRED,
     AT(secret),
     .help = "The application's secret. A file is read again for every token.",
     .example = "{file: /var/run/secrets/postern/client-secret}"},
    AUTHORITY,
    SCOPE,
    CA,
};

static const char *const assertions[] = {[ASSERTION_PS256] = "PS256", [ASSERTION_RS256] = "RS256", NULL};

static const struct setting client_certificate_table[] = {
    CLIENT_ID(SETTING_REQUIRED, NULL),
    TENANT(SETTING_REQUIRED, NULL),
    {.name = "certificate",
     .type = SETTING_PATH,
     .flags = SETTING_REQUIRED | SETTING_MUST_EXIST,
     AT(certificate),
     .help = "The certificate registered with the application, PEM. Read again for every token.",
     .example = "/var/run/secrets/postern/tls.crt"},
    {.name = "key",
     .type = SETTING_PATH,
     .flags = SETTING_MUST_EXIST,
     AT(key),
     .fallback_note = "in the certificate's file",
     .help = "Its private key, RSA, PEM, not encrypted.",
     .example = "/var/run/secrets/postern/tls.key"},
    {.name = "algorithm",
     .type = SETTING_ENUM,
     AT(assertion),
     .fallback = "PS256",
     .choices = assertions,
     .help = "How the assertion is signed. Entra ID asks for PS256; RS256 is for authorities that do not know it."},
    AUTHORITY,
    SCOPE,
    CA,
};
#undef AT

/* A secret or assertion that crosses the network in the clear is everybody's. */
static void check_entra(void *settings, struct report *report)
{
    const struct config_entra *entra = settings;
    if (entra->authority.text.len && !entra->authority.secure && !entra->authority.loopback)
        report_error(report, settings_place(&entra->settings, "authority"),
                     "\"authority\" must begin with https://: what is sent there opens the identity");
}

static const struct settings_spec workload_identity_spec =
    SETTINGS_SPEC("workload_identity", struct config_entra, workload_identity_table,
                  "Entra workload identity: the pod's own service account, without any key. Everything has its default "
                  "from the environment that the azure-workload-identity webhook makes.",
                  .check = check_entra);
static const struct settings_spec client_secret_spec =
    SETTINGS_SPEC("client_secret", struct config_entra, client_secret_table, "An Entra application and its secret.",
                  .check = check_entra);
static const struct settings_spec client_certificate_spec = SETTINGS_SPEC(
    "client_certificate", struct config_entra, client_certificate_table,
    "An Entra application and its certificate: each token is asked for with a signed assertion.", .check = check_entra);

/* ---- managed identity ---- */

#define AT(member) SETTING_AT(struct config_managed_identity, member)
static const struct setting managed_identity_table[] = {
    {.name = "client_id",
     .type = SETTING_STRING,
     AT(client_id),
     .max = 128,
     .help = "Which of the machine's identities, by client id. Without any of the three, its only one.",
     .example = "6731de76-14a6-49ae-97bc-6eba6914391e"},
    {.name = "object_id",
     .type = SETTING_STRING,
     AT(object_id),
     .max = 128,
     .help = "The same, by object (principal) id."},
    {.name = "resource_id",
     .type = SETTING_STRING,
     AT(resource_id),
     .max = 1024,
     .help = "The same, by Azure resource id.",
     .example = "/subscriptions/S/resourcegroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/N"},
    {.name = "endpoint",
     .type = SETTING_URL,
     AT(endpoint),
     .fallback = "http://169.254.169.254",
     .choices = schemes,
     .help = "The instance metadata service. Never reached through a proxy."},
    {.name = "scope",
     .type = SETTING_STRING,
     AT(scope),
     .fallback = DEFAULT_SCOPE,
     .max = 512,
     .help = "What the token is for; sent as resource, without /.default."},
};
#undef AT

static void check_managed_identity(void *settings, struct report *report)
{
    const struct config_managed_identity *identity = settings;
    int given = (identity->client_id.len > 0) + (identity->object_id.len > 0) + (identity->resource_id.len > 0);
    if (given > 1)
        report_error(report, settings_place(&identity->settings, NULL),
                     "\"client_id\", \"object_id\" and \"resource_id\" all name the identity; keep one of them");
}

static const struct settings_spec managed_identity_spec =
    SETTINGS_SPEC("managed_identity", struct config_managed_identity, managed_identity_table,
                  "The identity of the node or virtual machine, from its metadata service (IMDS). In pods prefer "
                  "workload_identity: every pod of the node can use this one.",
                  .check = check_managed_identity);

/* ---- the rest ---- */

static const struct setting token_file_table[] = {
    {.name = "file",
     .type = SETTING_PATH,
     .flags = SETTING_REQUIRED,
     SETTING_AT(struct config_token_file, file),
     .help = "The projected token, with an audience that the other side expects. Read again when it changes.",
     .example = "/var/run/secrets/postern/token"},
};
static const struct settings_spec token_file_spec = SETTINGS_SPEC(
    "service_account_token", struct config_token_file, token_file_table,
    "A Kubernetes service account token, sent as it is: from a sidecar to a central gateway.", .shorthand = "file");

static const struct settings_spec client_spec = {
    .name = "client",
    .help = "The application's own credential (authorization, api-key) goes on to the target, unchanged. For all "
            "targets that say so the host must be one and the same; nothing is sent anywhere else.",
    .size = sizeof(struct config_client_credential)};

#define AT(member) SETTING_AT(struct config_credential, member)
#define KINDS                                                                                                          \
    {.name = "api_key",                                                                                                \
     .type = SETTING_SECRET,                                                                                           \
     .flags = SETTING_ONE_OF,                                                                                          \
     AT(api_key),                                                                                                      \
     .help =                                                                                                           \
         "A key, sent as the target expects it: api-key to Azure, Authorization: Bearer to others. A file is read "    \
         "again when it changes.",                                                                                     \
     .example = "{file: /var/run/secrets/aoai/key}"},                                                                  \
        {.name = "workload_identity",                                                                                  \
         .type = SETTING_OPTIONAL,                                                                                     \
         .flags = SETTING_ONE_OF,                                                                                      \
         AT(workload_identity),                                                                                        \
         .sub = &workload_identity_spec,                                                                               \
         .help = "Entra workload identity of this pod.",                                                               \
         .example = "{}"},                                                                                             \
        {.name = "managed_identity",                                                                                   \
         .type = SETTING_OPTIONAL,                                                                                     \
         .flags = SETTING_ONE_OF,                                                                                      \
         AT(managed_identity),                                                                                         \
         .sub = &managed_identity_spec,                                                                                \
         .help = "Managed identity of the node or virtual machine.",                                                   \
         .example = "{client_id: 6731de76-14a6-49ae-97bc-6eba6914391e}"},                                              \
        {.name = "client_secret",                                                                                      \
         .type = SETTING_OPTIONAL,                                                                                     \
         .flags = SETTING_ONE_OF,                                                                                      \
         AT(client_secret),                                                                                            \
         .sub = &client_secret_spec,                                                                                   \
         .help = "An Entra application with a secret."},                                                               \
        {.name = "client_certificate",                                                                                 \
         .type = SETTING_OPTIONAL,                                                                                     \
         .flags = SETTING_ONE_OF,                                                                                      \
         AT(client_certificate),                                                                                       \
         .sub = &client_certificate_spec,                                                                              \
         .help = "An Entra application with a certificate."},                                                          \
        {.name = "service_account_token",                                                                              \
         .type = SETTING_OPTIONAL,                                                                                     \
         .flags = SETTING_ONE_OF,                                                                                      \
         AT(service_account_token),                                                                                    \
         .sub = &token_file_spec,                                                                                      \
         .help = "A projected Kubernetes token, for a central gateway.",                                               \
         .example = "/var/run/secrets/postern/token"},                                                                 \
    {                                                                                                                  \
        .name = "client", .type = SETTING_OPTIONAL, .flags = SETTING_ONE_OF, AT(client), .sub = &client_spec,          \
        .help = "Nothing of Postern's own: the application's credential is passed on. To begin by observing.",         \
        .example = "{}"                                                                                                \
    }

static const struct setting credential_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(name),
     .max = 63,
     .help = "What targets, logs and metrics call this credential.",
     .example = "entra"},
    KINDS,
};
const struct settings_spec config_credential_spec =
    SETTINGS_SPEC("credential", struct config_credential, credential_table, "One identity or key of Postern's.");

static const struct setting target_credential_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_ONE_OF,
     AT(name),
     .refers = "credentials",
     .help = "One of the credentials by its name; `credential: entra` is short for it.",
     .example = "entra"},
    KINDS,
};
#undef AT
const struct settings_spec config_target_credential_spec = SETTINGS_SPEC(
    "credential", struct config_credential, target_credential_table,
    "What opens the target. Whatever credential the client sent is removed, but for `client`.", .shorthand = "name");
