/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digest, MAC, authenticated encryption and random bytes, over OpenSSL 3 (EVP). Keys and signatures are in
 * crypto_key.h, text forms in encoding.h; secrets are compared with span_equal_secret. Apart from what is marked as
 * able to fail, a failure inside OpenSSL means that the installation is broken and ends the process with one line.
 */
#ifndef POSTERN_BASE_CRYPTO_H
#define POSTERN_BASE_CRYPTO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"

#define CRYPTO_SHA256_BYTES 32
#define CRYPTO_AEAD_KEY     32
#define CRYPTO_AEAD_NONCE   12
#define CRYPTO_AEAD_TAG     16

/* Fills `size` bytes from OpenSSL's generator: keys, nonces, identifiers that must not be guessed. Thread-safe. */
void crypto_random(void *ret, size_t size);

/* SHA-256 (FIPS 180-4) of the bytes. Thread-safe. */
void crypto_sha256(struct span bytes, uint8_t ret[CRYPTO_SHA256_BYTES]);
/* Only where a protocol names things by it (Redis scripts): it protects nothing. */
#define CRYPTO_SHA1_BYTES 20
void crypto_sha1(struct span bytes, uint8_t ret[CRYPTO_SHA1_BYTES]);

/*
 * HMAC-SHA-256 (RFC 2104) under one key, which may have any length. The key is set up once; each MAC after that costs
 * two copies of a context. Not thread-safe: one per worker.
 */
struct crypto_mac;
MUST_CHECK struct crypto_mac *crypto_mac_create(struct span key);
void crypto_mac(struct crypto_mac *mac, struct span message, uint8_t ret[CRYPTO_SHA256_BYTES]);
/* The same for a message in pieces: start, any number of adds, end. One message at a time, none other in between. */
void crypto_mac_start(struct crypto_mac *mac);
void crypto_mac_add(struct crypto_mac *mac, struct span piece);
void crypto_mac_end(struct crypto_mac *mac, uint8_t ret[CRYPTO_SHA256_BYTES]);
/* Wipes the key. NULL is allowed. */
void crypto_mac_destroy(struct crypto_mac *mac);

/*
 * AES-256-GCM (NIST SP 800-38D) under one key. Not thread-safe: one per worker. The caller sees to it that a nonce is
 * never used twice under one key; random nonces are safe for 2^32 messages.
 */
struct crypto_aead;
MUST_CHECK struct crypto_aead *crypto_aead_create(const uint8_t key[CRYPTO_AEAD_KEY]);
/* Appends the encrypted text (as long as `plain`) and the tag (16 bytes). `extra` is authenticated, not encrypted. */
void crypto_aead_seal(struct crypto_aead *aead, const uint8_t nonce[CRYPTO_AEAD_NONCE], struct span extra,
                      struct span plain, struct buffer *out);
/*
 * Appends the plain text of what crypto_aead_seal made. False when anything (text, tag, nonce, extra, key) differs;
 * then nothing is appended.
 */
MUST_CHECK bool crypto_aead_open(struct crypto_aead *aead, const uint8_t nonce[CRYPTO_AEAD_NONCE], struct span extra,
                                 struct span sealed, struct buffer *out);
/* Wipes the key. NULL is allowed. */
void crypto_aead_destroy(struct crypto_aead *aead);

#endif
