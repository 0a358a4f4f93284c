/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/assertion.h"

#include "base/crypto.h"
#include "base/encoding.h"

static void write_header(const struct assertion *assertion, const uint8_t thumbprint[32], struct buffer *out)
{
    struct buffer header = {0};
    buffer_format(&header, "{\"alg\":\"%.*s\",\"typ\":\"JWT\",\"x5t#S256\":\"",
                  SPAN_ARG(crypto_algorithm_name(assertion->algorithm)));
    encode_base64url(&header, span_of((const char *)thumbprint, 32));
    buffer_append(&header, SPAN("\"}"));
    encode_base64url(out, buffer_span(&header));
    buffer_finish(&header);
}

/* The identifier keeps an assertion from being taken twice. */
static void write_claims(const struct assertion *assertion, struct buffer *out)
{
    uint8_t id[16];
    struct buffer claims = {0};
    crypto_random(id, sizeof(id));
    buffer_append(&claims, SPAN("{\"aud\":\""));
    buffer_append_json(&claims, assertion->audience);
    buffer_append(&claims, SPAN("\",\"iss\":\""));
    buffer_append_json(&claims, assertion->client_id);
    buffer_append(&claims, SPAN("\",\"sub\":\""));
    buffer_append_json(&claims, assertion->client_id);
    buffer_append(&claims, SPAN("\",\"jti\":\""));
    encode_hex(&claims, span_of((const char *)id, sizeof(id)));
    unsigned long long now = assertion->now;
    buffer_format(&claims, "\",\"nbf\":%llu,\"iat\":%llu,\"exp\":%llu}", now, now, now + ASSERTION_LIFE);
    encode_base64url(out, buffer_span(&claims));
    buffer_finish(&claims);
}

bool assertion_write(const struct assertion *assertion, struct buffer *out, const char **ret_reason)
{
    uint8_t thumbprint[32];
    if (!crypto_thumbprint_sha256(assertion->certificate_pem, thumbprint)) {
        *ret_reason = "the certificate file holds no certificate";
        return false;
    }
    struct crypto_key *key = crypto_key_from_pem(assertion->key_pem);
    if (!key) {
        *ret_reason = "the key file holds no private key that can be used";
        return false;
    }
    struct buffer text = {0}, signature = {0};
    write_header(assertion, thumbprint, &text);
    buffer_append(&text, SPAN("."));
    write_claims(assertion, &text);
    bool signed_ = crypto_sign(key, assertion->algorithm, buffer_span(&text), &signature);
    if (signed_) {
        buffer_append(&text, SPAN("."));
        encode_base64url(&text, buffer_span(&signature));
        buffer_append(out, buffer_span(&text));
    } else {
        *ret_reason = "the key is not an RSA key";
    }
    crypto_key_free(key);
    buffer_wipe(&text);
    buffer_finish(&signature);
    return signed_;
}
