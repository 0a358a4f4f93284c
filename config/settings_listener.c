/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "config/config.h"

static const char *const client_certificates[] = {
    [CLIENT_CERTIFICATE_OPTIONAL] = "optional", [CLIENT_CERTIFICATE_REQUIRED] = "required", NULL};
static const char *const tls_versions[] = {[TLS_VERSION_1_2] = "1.2", [TLS_VERSION_1_3] = "1.3", NULL};

#define AT(member) SETTING_AT(struct config_listener_tls, member)
static const struct setting tls_table[] = {
    {.name = "certificate",
     .type = SETTING_PATH,
     .flags = SETTING_REQUIRED | SETTING_MUST_EXIST,
     AT(certificate),
     .help = "The server's certificate and its chain, PEM. The file is read again when it changes; a broken one is "
             "reported and the last good one stays in use.",
     .example = "tls.crt"},
    {.name = "key",
     .type = SETTING_PATH,
     .flags = SETTING_REQUIRED | SETTING_MUST_EXIST,
     AT(key),
     .help = "The private key of the certificate, PEM, not encrypted.",
     .example = "tls.key"},
    {.name = "client_ca",
     .type = SETTING_PATH,
     .flags = SETTING_MUST_EXIST,
     AT(client_ca),
     .help = "The authorities whose client certificates are believed, PEM; during a rotation the old and the new one. "
             "Without it no client is asked for a certificate.",
     .example = "ca.crt"},
    {.name = "client_certificate",
     .type = SETTING_ENUM,
     AT(client_certificate),
     .fallback = "optional",
     .choices = client_certificates,
     .help = "Whether a client without a certificate of client_ca is turned away in the handshake (required) or "
             "served, so that a filter decides (optional)."},
    {.name = "min_version",
     .type = SETTING_ENUM,
     AT(min_version),
     .fallback = "1.2",
     .choices = tls_versions,
     .help = "The oldest TLS version spoken. 1.2 is the default because some SDKs' runtimes still lack 1.3."},
};
#undef AT

static void check_tls(void *settings, struct report *report)
{
    const struct config_listener_tls *tls = settings;
    if (settings_given(&tls->settings, "client_certificate") && tls->client_ca.len == 0)
        report_error(report, settings_place(&tls->settings, "client_certificate"),
                     "\"client_certificate\" has no effect without \"client_ca\"; name the authority or remove it");
}

static const struct settings_spec tls_spec =
    SETTINGS_SPEC("tls", struct config_listener_tls, tls_table,
                  "TLS towards clients. HTTP/2 is offered by ALPN if the listener allows it.", .check = check_tls);

#define AT(member) SETTING_AT(struct config_listener, member)
static const struct setting listener_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     AT(name),
     .fallback_note = "the address",
     .max = 63,
     .help = "What logs and metrics call this listener.",
     .example = "apps"},
    {.name = "address",
     .type = SETTING_ADDRESS,
     .flags = SETTING_REQUIRED | SETTING_UNIQUE,
     AT(address),
     .help = "Where clients connect: an IP address with a port, or unix: and a path. In a sidecar 127.0.0.1, which no "
             "other pod can reach; 0.0.0.0 serves everyone who can route here.",
     .example = "127.0.0.1:4610"},
    {.name = "tls",
     .type = SETTING_OPTIONAL,
     AT(tls),
     .sub = &tls_spec,
     .help = "Serve TLS. Without it the listener speaks plain HTTP."},
    {.name = "filters",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE,
     AT(filters),
     .max = 64,
     .refers = "filters",
     .help = "The filters every exchange of this listener passes, in this order on the way in and in reverse on the "
             "way back.",
     .example = "[headers]"},
    {.name = "anonymous",
     .type = SETTING_BOOL,
     AT(anonymous),
     .fallback = "false",
     .help = "Serve callers nobody has authenticated. Only needed where others than this pod can connect and no "
             "filter authenticates: a gateway with a model key must not stand open by accident."},
    {.name = "http2",
     .type = SETTING_BOOL,
     AT(http2),
     .fallback = "true",
     .help = "Speak HTTP/2: by ALPN over TLS, by prior knowledge without. Both versions share the port."},
    {.name = "proxy_protocol",
     .type = SETTING_BOOL,
     AT(proxy_protocol),
     .fallback = "false",
     .help = "Every connection begins with a PROXY protocol header (version 1 or 2), as a load balancer sends it. "
             "Connections from others than trusted_peers are refused."},
    {.name = "trusted_peers",
     .type = SETTING_NETWORKS,
     AT(trusted_peers),
     .max = 256,
     .help = "Networks whose PROXY header and X-Forwarded-For are believed. From anyone else these are ignored and "
             "replaced.",
     .example = "[10.240.0.0/16]"},
    {.name = "stateful_target",
     .type = SETTING_STRING,
     AT(stateful_target),
     .refers = "targets",
     .help = "Where operations go that keep state on one target (files, batches, stored responses) when no model "
             "names one and several targets could be meant. Without it such requests are answered with 400.",
     .example = "east"},
    {.name = "cancel_on_half_close",
     .type = SETTING_BOOL,
     AT(cancel_on_half_close),
     .fallback = "true",
     .help =
         "A client that closes its sending side after a complete request is taken as gone, and the upstream call "
         "is cancelled: that is how HTTP libraries leave. Set it to false for clients that half-close and read on."},
    {.name = "mode",
     .type = SETTING_STRING,
     AT(mode_text),
     .fallback = "0660",
     .max = 4,
     .help = "Permission bits of a unix socket, octal. 0666 lets containers with other user ids in.",
     .example = "0666"},
};
#undef AT

/* "0660" */
static bool parse_mode(struct span text, unsigned *ret)
{
    unsigned mode = 0;
    if (text.len != 4 || text.ptr[0] != '0')
        return false;
    for (size_t i = 1; i < 4; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '7')
            return false;
        mode = mode * 8 + (unsigned)(text.ptr[i] - '0');
    }
    *ret = mode;
    return true;
}

static void check_peers(const struct config_listener *listener, struct report *report)
{
    const struct settings *settings = &listener->settings;
    bool file = listener->address.path.len > 0;
    if (file && settings_given(settings, "trusted_peers"))
        report_error(report, settings_place(settings, "trusted_peers"),
                     "\"trusted_peers\" has no effect on a unix socket, whose peers have no address; remove it");
    else if (listener->proxy_protocol && !file && listener->trusted_peers.count == 0)
        report_error(report, settings_place(settings, "proxy_protocol"),
                     "\"proxy_protocol\" needs \"trusted_peers\": without it whoever connects could claim any address");
}

static void check_listener(void *settings, struct report *report)
{
    struct config_listener *listener = settings;
    if (listener->name.len == 0)
        listener->name = listener->address.text;
    if (settings_given(&listener->settings, "mode") && listener->address.path.len == 0)
        report_error(report, settings_place(&listener->settings, "mode"),
                     "\"mode\" has no effect on an IP address; it is for unix sockets");
    else if (!parse_mode(listener->mode_text, &listener->mode))
        report_error(report, settings_place(&listener->settings, "mode"),
                     "\"mode\" must be four octal digits such as 0660");
    check_peers(listener, report);
}

const struct settings_spec config_listener_spec =
    SETTINGS_SPEC("listener", struct config_listener, listener_table,
                  "A place where clients connect. HTTP/1.1 and HTTP/2 share it.", .check = check_listener);

#define AT(member) SETTING_AT(struct config_admin, member)
static const struct setting admin_table[] = {
    {.name = "address",
     .type = SETTING_ADDRESS,
     AT(address),
     .help = "Where /healthz, /readyz and /metrics are served, read-only. Kubelet probes and Prometheus reach the "
             "pod's address, not loopback, hence 0.0.0.0 in a cluster. Without it there is no such listener.",
     .example = "0.0.0.0:4611"},
    {.name = "control",
     .type = SETTING_ADDRESS,
     AT(control),
     .help = "A unix socket for what changes something (POST /drain) and for /status. Who may open the file may do it.",
     .example = "unix:/run/postern/control.sock"},
};
#undef AT

static void check_admin(void *settings, struct report *report)
{
    const struct config_admin *admin = settings;
    if (admin->control.text.len && admin->control.path.len == 0)
        report_error(report, settings_place(&admin->settings, "control"),
                     "\"control\" must be a unix socket such as unix:/run/postern/control.sock: it changes things, and "
                     "file permissions say who may");
}

const struct settings_spec config_admin_spec =
    SETTINGS_SPEC("admin", struct config_admin, admin_table,
                  "For operators: health, metrics and control, apart from the clients' traffic.", .check = check_admin);
