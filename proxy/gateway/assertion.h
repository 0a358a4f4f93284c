/* SPDX-License-Identifier: Apache-2.0 */
/*
 * assertion: the signed statement by which an application with a certificate asks for a token (RFC 7523 section 3; what
 * Entra ID wants in it: https://learn.microsoft.com/entra/identity-platform/certificate-credentials). Pure.
 */
#ifndef POSTERN_GATEWAY_ASSERTION_H
#define POSTERN_GATEWAY_ASSERTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/crypto_key.h"
#include "base/span.h"

/* Seconds an assertion is good for. */
#define ASSERTION_LIFE 600

struct assertion {
    struct span client_id;           /* issuer and subject */
    struct span audience;            /* the token endpoint */
    struct span certificate_pem;     /* its SHA-256 thumbprint says which key signed */
    struct span key_pem;             /* RSA */
    enum crypto_algorithm algorithm; /* PS256 or RS256 */
    uint64_t now;                    /* seconds since 1970 */
};

/*
 * Appends the compact JWS, good from `now` on, with an identifier of its own. False, and nothing appended: *ret_reason
 * (static) completes "the assertion cannot be signed: ...".
 */
MUST_CHECK bool assertion_write(const struct assertion *assertion, struct buffer *out, const char **ret_reason);

#endif
