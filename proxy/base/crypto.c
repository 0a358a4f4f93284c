/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crypto.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"

static NO_RETURN void broken(void)
{
    static const char line[] = "postern: OpenSSL does not work (no SHA-256, AES-256-GCM or random numbers)\n";
    if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
        _exit(70);
    abort();
}

/* Fetching an algorithm costs more than hashing a key with it, so it is done once per process. Never freed. */
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!sha256)
        broken();
}

void crypto_random(void *ret, size_t size)
{
    unsigned char *at = ret;
    while (size > 0) {
        int part = size < INT_MAX ? (int)size : INT_MAX;
        if (RAND_bytes(at, part) != 1)
            broken();
        at += part;
        size -= (size_t)part;
    }
}

void crypto_sha256(struct span bytes, uint8_t ret[CRYPTO_SHA256_BYTES])
{
    pthread_once(&fetch_once, fetch);
    if (EVP_Digest(bytes.ptr, bytes.len, ret, NULL, sha256, NULL) != 1)
        broken();
}

void crypto_sha1(struct span bytes, uint8_t ret[CRYPTO_SHA1_BYTES])
{
    if (EVP_Digest(bytes.ptr, bytes.len, ret, NULL, EVP_sha1(), NULL) != 1)
        broken();
}

/*
 * HMAC by hand over digest contexts: `inner` and `outer` have eaten the padded key, so a MAC copies them into `work`
 * instead of hashing the key again. EVP_MAC would do the same at several times the cost.
 */
#define MAC_BLOCK 64

struct crypto_mac {
    EVP_MD_CTX *inner, *outer, *work;
};

static EVP_MD_CTX *keyed_context(const uint8_t block[MAC_BLOCK], uint8_t pad)
{
    uint8_t padded[MAC_BLOCK];
    for (size_t i = 0; i < MAC_BLOCK; i++)
        padded[i] = block[i] ^ pad;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_DigestInit_ex(context, sha256, NULL) != 1 || EVP_DigestUpdate(context, padded, MAC_BLOCK) != 1)
        broken();
    memory_wipe(padded, sizeof(padded));
    return context;
}

struct crypto_mac *crypto_mac_create(struct span key)
{
    pthread_once(&fetch_once, fetch);
    uint8_t block[MAC_BLOCK] = {0};
    if (key.len > MAC_BLOCK)
        crypto_sha256(key, block);
    else if (key.len)
        memcpy(block, key.ptr, key.len);
    struct crypto_mac *mac = memory_alloc(sizeof(*mac));
    *mac = (struct crypto_mac){.inner = keyed_context(block, 0x36), .outer = keyed_context(block, 0x5c)};
    mac->work = EVP_MD_CTX_new();
    if (!mac->work)
        broken();
    memory_wipe(block, sizeof(block));
    return mac;
}

void crypto_mac_start(struct crypto_mac *mac)
{
    if (EVP_MD_CTX_copy_ex(mac->work, mac->inner) != 1)
        broken();
}

void crypto_mac_add(struct crypto_mac *mac, struct span piece)
{
    if (EVP_DigestUpdate(mac->work, piece.ptr, piece.len) != 1)
        broken();
}

void crypto_mac_end(struct crypto_mac *mac, uint8_t ret[CRYPTO_SHA256_BYTES])
{
    uint8_t digest[CRYPTO_SHA256_BYTES];
    bool done = EVP_DigestFinal_ex(mac->work, digest, NULL) == 1 && EVP_MD_CTX_copy_ex(mac->work, mac->outer) == 1 &&
                EVP_DigestUpdate(mac->work, digest, sizeof(digest)) == 1 &&
                EVP_DigestFinal_ex(mac->work, ret, NULL) == 1;
    if (!done)
        broken();
}

void crypto_mac(struct crypto_mac *mac, struct span message, uint8_t ret[CRYPTO_SHA256_BYTES])
{
    crypto_mac_start(mac);
    crypto_mac_add(mac, message);
    crypto_mac_end(mac, ret);
}

void crypto_mac_destroy(struct crypto_mac *mac)
{
    if (!mac)
        return;
    EVP_MD_CTX_free(mac->inner);
    EVP_MD_CTX_free(mac->outer);
    EVP_MD_CTX_free(mac->work);
    free(mac);
}

struct crypto_aead {
    EVP_CIPHER_CTX *seal, *open;
};

struct crypto_aead *crypto_aead_create(const uint8_t key[CRYPTO_AEAD_KEY])
{
    struct crypto_aead *aead = memory_alloc(sizeof(*aead));
    *aead = (struct crypto_aead){.seal = EVP_CIPHER_CTX_new(), .open = EVP_CIPHER_CTX_new()};
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (!cipher || !aead->seal || !aead->open || EVP_EncryptInit_ex2(aead->seal, cipher, key, NULL, NULL) != 1 ||
        EVP_DecryptInit_ex2(aead->open, cipher, key, NULL, NULL) != 1)
        broken();
    EVP_CIPHER_free(cipher); /* the contexts hold it */
    return aead;
}

/* EVP takes int lengths: longer input goes in parts. NULL `to` feeds authenticated data. */
static bool cipher_update(EVP_CIPHER_CTX *context, unsigned char *to, struct span from)
{
    const unsigned char *at = (const unsigned char *)from.ptr;
    while (from.len > 0) {
        int part = from.len < (1u << 30) ? (int)from.len : 1 << 30, written = 0;
        if (EVP_CipherUpdate(context, to, &written, at, part) != 1)
            return false;
        at += part;
        from.len -= (size_t)part;
        to = to ? to + written : NULL;
    }
    return true;
}

void crypto_aead_seal(struct crypto_aead *aead, const uint8_t nonce[CRYPTO_AEAD_NONCE], struct span extra,
                      struct span plain, struct buffer *out)
{
    unsigned char *to = (unsigned char *)buffer_reserve(out, plain.len + CRYPTO_AEAD_TAG), rest[CRYPTO_AEAD_TAG];
    int none = 0;
    if (EVP_EncryptInit_ex2(aead->seal, NULL, NULL, nonce, NULL) != 1 || !cipher_update(aead->seal, NULL, extra) ||
        !cipher_update(aead->seal, to, plain) || EVP_EncryptFinal_ex(aead->seal, rest, &none) != 1 ||
        EVP_CIPHER_CTX_ctrl(aead->seal, EVP_CTRL_AEAD_GET_TAG, CRYPTO_AEAD_TAG, to + plain.len) != 1)
        broken();
    buffer_commit(out, plain.len + CRYPTO_AEAD_TAG);
}

bool crypto_aead_open(struct crypto_aead *aead, const uint8_t nonce[CRYPTO_AEAD_NONCE], struct span extra,
                      struct span sealed, struct buffer *out)
{
    if (sealed.len < CRYPTO_AEAD_TAG)
        return false;
    struct span text = span_take(sealed, sealed.len - CRYPTO_AEAD_TAG);
    unsigned char tag[CRYPTO_AEAD_TAG], rest[CRYPTO_AEAD_TAG];
    memcpy(tag, sealed.ptr + text.len, sizeof(tag));
    /* One byte more than needed, so that an empty text does not reserve nothing. */
    unsigned char *to = (unsigned char *)buffer_reserve(out, text.len + 1);
    int none = 0;
    bool good = EVP_DecryptInit_ex2(aead->open, NULL, NULL, nonce, NULL) == 1 &&
                cipher_update(aead->open, NULL, extra) && cipher_update(aead->open, to, text) &&
                EVP_CIPHER_CTX_ctrl(aead->open, EVP_CTRL_AEAD_SET_TAG, CRYPTO_AEAD_TAG, tag) == 1 &&
                EVP_DecryptFinal_ex(aead->open, rest, &none) == 1;
    if (good)
        buffer_commit(out, text.len);
    else if (text.len) /* unauthenticated plain text must not be found in the buffer's free part */
        memory_wipe(to, text.len);
    return good;
}

void crypto_aead_destroy(struct crypto_aead *aead)
{
    if (!aead)
        return;
    EVP_CIPHER_CTX_free(aead->seal);
    EVP_CIPHER_CTX_free(aead->open);
    free(aead);
}
