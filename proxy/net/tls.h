/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls: certificates and trust (tls_context, shared by all workers) and the TLS transport above any other transport.
 * TLS 1.2 and 1.3. Peers are verified by the certificate chain and, for servers, by host name or IP address (RFC 9525);
 * there is no switch to turn that off. Sessions are resumed. Keys are never logged.
 */
#ifndef POSTERN_NET_TLS_H
#define POSTERN_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "net/transport.h"

struct tls_context;

enum tls_role { TLS_SERVER, TLS_CLIENT };

/* Why something was refused, one sentence without newline. */
struct net_error {
    char text[256];
};

/* Strings are copied. Paths are read again by tls_context_reload. */
struct tls_options {
    enum tls_role role;
    const char *certificate; /* PEM chain, leaf first. Server: required. Client: for mutual TLS, or NULL */
    const char *key;         /* PEM; NULL: in the certificate file */
    const char *ca; /* PEM file or directory. Server: who signs client certificates, NULL: none asked for. Client: NULL:
                       the system's */
    struct span ca_pem;               /* the authorities themselves, PEM, in place of `ca` */
    bool client_certificate_required; /* server with `ca`: refuse clients without; else a certificate is checked if
                                         given */
    bool tls13_only;                  /* refuse TLS 1.2 */
    const char *alpn; /* server: what it speaks, best first, "h2,http/1.1"; NULL: none. Clients say it per connection */
};

/* Loads and checks the files. NULL and *error on failure (file unreadable, key does not fit, bad ALPN list). One
 * reference. */
MUST_CHECK struct tls_context *tls_context_create(const struct tls_options *options, struct net_error *error);
struct tls_context *tls_context_ref(struct tls_context *context);
/* NULL is allowed. */
void tls_context_unref(struct tls_context *context);

enum tls_reload { TLS_UNCHANGED, TLS_RELOADED, TLS_KEPT };
/*
 * Looks whether the files changed and loads them if so; live connections keep what they have. TLS_KEPT: a file is
 * broken, the last good stays in force, *error says why; said once per broken version (then TLS_UNCHANGED until it
 * changes again). Costs a few stat calls; call it from a timer.
 */
enum tls_reload tls_context_reload(struct tls_context *context, struct net_error *error);
/* When the certificate in force ends, in seconds since 1970; 0 when there is none. For a metric and a warning. */
int64_t tls_context_expires(struct tls_context *context);
/* Loads the system's CA store now rather than in the first handshake; thread-safe, once. */
void tls_warm(void);

/* What a client's verified certificate says. Spans live as long as the transport. Names hold no NUL. */
struct tls_peer {
    struct span subject;             /* RFC 2253 form */
    const struct span *uris, *names; /* subject alternative names: URI (SPIFFE) and DNS */
    size_t uri_count, name_count;
    uint8_t sha256[32]; /* fingerprint of the certificate (RFC 8705 thumbprint) */
};

/*
 * Starts the handshake over `lower` (not TLS itself), which belongs to the new transport from here on, also on failure.
 * `server_name` (client): the host name or IP literal to ask for and to verify; `alpn` (client): "h2,http/1.1" or
 * empty. Then exactly one of TRANSPORT_SECURED and TRANSPORT_FAILED (transport_error: "certificate verify failed:
 * hostname mismatch") is told, never within this call; put a deadline on it. Until SECURED only transport_close may be
 * called.
 */
MUST_CHECK struct transport *tls_start(struct tls_context *context, struct transport *lower, struct span server_name,
                                       struct span alpn, void *owner, transport_fn *notify);
/* "TLSv1.3", or "" when not TLS. */
const char *tls_version(const struct transport *t);
/* Whether the handshake resumed an earlier session. */
bool tls_resumed(const struct transport *t);

#endif
