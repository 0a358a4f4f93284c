/* SPDX-License-Identifier: Apache-2.0 */
/* What net/tls.c (contexts) and net/tls_transport.c (connections) share; nobody else includes it. */
#ifndef POSTERN_NET_TLS_INTERNAL_H
#define POSTERN_NET_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "net/tls.h"

/* A new SSL of the context in force, with whatever that holds; the client role verifies against `server_name`. NULL:
 * *why. */
SSL *tls_context_new_ssl(struct tls_context *context, struct span server_name, struct span alpn, const char **why);
enum tls_role tls_context_role(const struct tls_context *context);

/* Keeps a session for the next connection to the same server name, taking a reference of its own. */
void tls_session_keep(struct tls_context *context, const char *server_name, SSL_SESSION *session);
/* The context and name a connection's new sessions belong to; implemented by the transport, called by the session
 * callback. */
void tls_transport_session(SSL *ssl, SSL_SESSION *session);

/* "h2,http/1.1" to ALPN's wire form (RFC 7301: one length byte before each name). Bytes written, 0 when it does not
 * fit. */
size_t tls_alpn_wire(struct span names, unsigned char *into, size_t size);
/* Removes the newest OpenSSL error and returns its reason in words. */
const char *tls_take_error(void);

#endif
