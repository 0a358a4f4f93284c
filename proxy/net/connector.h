/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connector: makes one connection: resolve, race the addresses (RFC 8305: IPv6 first, families in turn, the next one
 * after 250 ms or at once when one fails), pass an HTTP CONNECT proxy if told to, TLS handshake with verification. Its
 * result is a transport ready for use, or a fault with a few words for the log.
 */
#ifndef POSTERN_NET_CONNECTOR_H
#define POSTERN_NET_CONNECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/fault.h"
#include "base/span.h"
#include "net/pending.h"
#include "net/resolver.h"
#include "net/tls.h"
#include "net/transport.h"

struct connector;

/* Where to. The spans are copied by connector_start. */
struct endpoint {
    struct span host; /* name or IP literal (brackets allowed); empty with unix_path */
    uint16_t port;
    struct span unix_path;   /* connects to this socket instead; host may still name the TLS peer */
    struct tls_context *tls; /* NULL: plain; a reference is held while connecting */
    struct span server_name; /* SNI and verification; empty: host */
    struct span alpn;        /* "h2,http/1.1", "http/1.1", or empty */
    struct span proxy_host;  /* HTTP CONNECT proxy; empty: none */
    uint16_t proxy_port;
    struct span proxy_authorization; /* value of Proxy-Authorization, or empty */
};

/*
 * Exactly one call, unless cancelled; never within connector_start. Success: transport (the receiver's, owner not yet
 * set, no interest), FAULT_NONE. Failure: NULL, one of UPSTREAM_RESOLVE, UPSTREAM_CONNECT, UPSTREAM_TLS,
 * CONNECT_TIMEOUT, and `detail`
 * ("10.0.0.4:443: Connection refused", "certificate verify failed: hostname mismatch"; valid during the call).
 */
typedef void connector_fn(void *arg, struct transport *transport, enum fault fault, const char *detail);

/*
 * Starts. `timeout` µs for everything together. `list`: where its pending is linked (NULL: nowhere). The connector
 * frees itself after calling `done` or being cancelled; the pointer must not be used after either.
 */
struct connector *connector_start(struct loop *loop, struct resolver *resolver, const struct endpoint *endpoint,
                                  uint64_t timeout, struct list *list, connector_fn *done, void *arg);
/* Gives up in whatever phase, without calling `done`. */
void connector_cancel(struct connector *connector);

/* Delay before the next address is tried beside the ones under way (RFC 8305 section 5), µs. */
#define CONNECTOR_STAGGER UINT64_C(250000)

/*
 * Whether NO_PROXY exempts this host: comma- or space-separated entries; "*" all; "example.com" and ".example.com" that
 * domain and what is below; "10.0.0.0/8" and addresses match IP literals; "host:port" for that port only. Loopback
 * (localhost, 127.0.0.0/8, ::1) is always exempt. ASCII case is ignored.
 */
bool no_proxy_matches(struct span no_proxy, struct span host, uint16_t port);

#endif
