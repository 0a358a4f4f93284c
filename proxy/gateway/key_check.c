/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/encoding.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gateway/keys.h"

#define KEY_PREFIX   "pk_"
#define SECRET_BYTES 32
#define SECRET_TEXT  43 /* of SECRET_BYTES in base64url */
#define ID_BYTES     8
/* Remembered texts per worker; a power of two. Two keys that fall on one place cost their digests, no more. */
#define RECENT 1024

/*
 * A text that was right. Two 64-bit hashes under secret keys of this process stand for it: to be taken for it, another
 * text would have to match 128 bits nobody outside has ever seen.
 */
struct recent {
    uint64_t first, second;
    const struct key_record *record;
};

struct key_checker {
    struct crypto_mac *mac;
    uint8_t hash_keys[2][16];
    uint64_t generation; /* of the keys of which `recent` speaks */
    struct recent recent[RECENT];
};

struct key_checker *key_checker_create(struct span pepper)
{
    struct key_checker *checker = memory_zalloc(sizeof(*checker));
    checker->mac = crypto_mac_create(pepper);
    crypto_random(checker->hash_keys, sizeof(checker->hash_keys));
    return checker;
}

void key_checker_destroy(struct key_checker *checker)
{
    if (!checker)
        return;
    crypto_mac_destroy(checker->mac);
    memory_wipe(checker, sizeof(*checker));
    free(checker);
}

/* pk_ID_SECRET. */
static bool parts_of(struct span text, struct span *ret_id)
{
    if (!span_starts_with(text, SPAN(KEY_PREFIX)))
        return false;
    struct span rest = span_skip(text, strlen(KEY_PREFIX));
    size_t end = span_find(rest, '_');
    if (end == 0 || end > KEY_ID_BYTES || end == rest.len || rest.len - end - 1 != SECRET_TEXT)
        return false;
    *ret_id = span_take(rest, end);
    return true;
}

/* The digest is made for unknown ids as well: how long a refusal takes must not say which ids exist. */
static const struct key_record *look_up(struct key_checker *checker, const struct keys *keys, struct span id,
                                        struct span text)
{
    static const uint8_t nobody[CRYPTO_SHA256_BYTES];
    uint8_t digest[CRYPTO_SHA256_BYTES];
    const struct key_record *record = keys_find(keys, id);
    crypto_mac(checker->mac, text, digest);
    bool same = span_equal_secret(span_of((const char *)digest, sizeof(digest)),
                                  span_of((const char *)(record ? record->digest : nobody), sizeof(nobody)));
    memory_wipe(digest, sizeof(digest));
    return same && record ? record : NULL;
}

enum key_result key_check(struct key_checker *checker, const struct keys *keys, struct span text, uint64_t now,
                          const struct key_record **ret)
{
    struct span id;
    if (!parts_of(text, &id))
        return KEY_FOREIGN;
    if (checker->generation != keys_generation(keys)) {
        memory_wipe(checker->recent, sizeof(checker->recent));
        checker->generation = keys_generation(keys);
    }
    uint64_t first = hash_bytes_keyed(checker->hash_keys[0], text);
    uint64_t second = hash_bytes_keyed(checker->hash_keys[1], text);
    struct recent *recent = &checker->recent[first & (RECENT - 1)];
    const struct key_record *record = recent->record;
    if (!record || ((recent->first ^ first) | (recent->second ^ second)) != 0) {
        record = look_up(checker, keys, id, text);
        if (!record)
            return KEY_UNKNOWN;
        *recent = (struct recent){.first = first, .second = second, .record = record};
    }
    if (record->expires && now >= record->expires)
        return KEY_EXPIRED;
    *ret = record;
    return KEY_GOOD;
}

void key_make(struct buffer *text, struct buffer *id)
{
    uint8_t secret[SECRET_BYTES], name[ID_BYTES];
    crypto_random(secret, sizeof(secret));
    crypto_random(name, sizeof(name));
    encode_hex(id, span_of((const char *)name, sizeof(name)));
    buffer_append(text, SPAN(KEY_PREFIX));
    buffer_append(text, buffer_span(id));
    buffer_append(text, SPAN("_"));
    encode_base64url(text, span_of((const char *)secret, sizeof(secret)));
    memory_wipe(secret, sizeof(secret));
}

void key_digest(struct span pepper, struct span text, struct buffer *out)
{
    uint8_t digest[CRYPTO_SHA256_BYTES];
    struct crypto_mac *mac = crypto_mac_create(pepper);
    crypto_mac(mac, text, digest);
    crypto_mac_destroy(mac);
    buffer_append(out, SPAN("hmac-sha256:"));
    encode_hex(out, span_of((const char *)digest, sizeof(digest)));
}
