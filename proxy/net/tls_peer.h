/* SPDX-License-Identifier: Apache-2.0 */
/* tls_peer: reads what a verified peer certificate says. Part of net's TLS; others use transport_tls_peer. */
#ifndef POSTERN_NET_TLS_PEER_H
#define POSTERN_NET_TLS_PEER_H

#include <openssl/ssl.h>

#include "base/arena.h"
#include "net/tls.h"

/* In the arena; NULL when the peer gave no certificate. Names with NUL or of absurd length are left out. */
struct tls_peer *tls_peer_read(SSL *ssl, struct arena *arena);

#endif
