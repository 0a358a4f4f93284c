/* SPDX-License-Identifier: Apache-2.0 */
#include "base/jwks.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/encoding.h"
#include "base/json_value.h"
#include "base/memory.h"

/* A string member, decoded. Absent: the empty span. False when it is there and no string, or there twice. */
static bool text_of(struct json_value key, struct span name, struct arena *arena, struct span *ret)
{
    struct json_value value;
    struct span member;
    size_t cursor = 0;
    unsigned seen = 0;
    *ret = (struct span){0};
    while (json_value_each(key, &cursor, &member, &value)) {
        if (!json_value_is((struct json_value){.kind = JSON_STRING, .raw = member}, name))
            continue;
        if (seen++ || !json_value_text(value, arena, ret))
            return false;
    }
    return true;
}

/* The bytes behind a base64url member; empty when it is not there or not well formed. */
static struct span bytes_of(struct json_value key, struct span name, struct arena *arena)
{
    struct span text, bytes = {0};
    struct buffer raw = {0};
    if (text_of(key, name, arena, &text) && decode_base64url(&raw, text))
        bytes = arena_copy(arena, buffer_span(&raw));
    buffer_finish(&raw);
    return bytes;
}

/* RFC 7517 4.2, 4.3: what the key says it is for. */
static bool for_signatures(struct json_value key, struct arena *arena)
{
    struct span use;
    struct json_value operations, one;
    if (!text_of(key, SPAN("use"), arena, &use) || (use.len && !span_equal(use, SPAN("sig"))))
        return false;
    if (!json_value_member(key, SPAN("key_ops"), &operations))
        return true;
    size_t cursor = 0;
    while (json_value_each(operations, &cursor, NULL, &one))
        if (json_value_is(one, SPAN("verify")))
            return true;
    return false;
}

static struct crypto_key *public_key(struct json_value key, struct arena *arena)
{
    struct span type, curve;
    if (!text_of(key, SPAN("kty"), arena, &type) || !text_of(key, SPAN("crv"), arena, &curve))
        return NULL;
    if (span_equal(type, SPAN("RSA")))
        return crypto_key_from_rsa(bytes_of(key, SPAN("n"), arena), bytes_of(key, SPAN("e"), arena));
    if (span_equal(type, SPAN("EC")))
        return crypto_key_from_ec(curve, bytes_of(key, SPAN("x"), arena), bytes_of(key, SPAN("y"), arena));
    if (span_equal(type, SPAN("OKP")))
        return crypto_key_from_okp(curve, bytes_of(key, SPAN("x"), arena));
    return NULL;
}

/* The algorithms the key may be used with; 0 when "alg" names one that it cannot be used with. */
static unsigned algorithms_of(struct json_value key, const struct crypto_key *made, struct arena *arena)
{
    struct span name;
    enum crypto_algorithm one;
    unsigned all = 0;
    if (!text_of(key, SPAN("alg"), arena, &name))
        return 0;
    if (name.len)
        return crypto_algorithm(name, &one) && crypto_key_suits(made, one) ? 1u << one : 0;
    for (unsigned i = 0; i < CRYPTO_ALGORITHM_COUNT; i++)
        if (crypto_key_suits(made, (enum crypto_algorithm)i))
            all |= 1u << i;
    return all;
}

/* False: the member of the set is left out. */
static bool take(struct json_value value, struct arena *arena, struct jwk *ret)
{
    struct span kid;
    if (value.kind != JSON_OBJECT_OPEN || !text_of(value, SPAN("kid"), arena, &kid) || kid.len > JWKS_KID_BYTES ||
        !for_signatures(value, arena))
        return false;
    struct crypto_key *key = public_key(value, arena);
    unsigned algorithms = key ? algorithms_of(value, key, arena) : 0;
    if (!algorithms) {
        crypto_key_free(key);
        return false;
    }
    *ret = (struct jwk){.algorithms = algorithms, .key = key};
    if (kid.len)
        ret->kid = span_of(memory_string(kid), kid.len);
    return true;
}

struct jwks *jwks_parse(struct span text, const char **ret_reason)
{
    struct json_value root, list, one;
    struct arena arena;
    size_t cursor = 0;
    if (text.len > JWKS_BYTES || !json_value_parse(text, &root) || root.kind != JSON_OBJECT_OPEN ||
        !json_value_member(root, SPAN("keys"), &list) || list.kind != JSON_ARRAY_OPEN) {
        *ret_reason = text.len > JWKS_BYTES ? "larger than 256 KiB" : "not a JSON Web Key Set";
        return NULL;
    }
    struct jwks *keys = memory_zalloc(sizeof(*keys) + JWKS_KEYS * sizeof(keys->keys[0]));
    arena_init(&arena);
    while (json_value_each(list, &cursor, NULL, &one)) {
        if (keys->count < JWKS_KEYS && take(one, &arena, &keys->keys[keys->count]))
            keys->count++;
        else
            keys->left_out++;
    }
    arena_finish(&arena);
    if (keys->count)
        return keys;
    *ret_reason = "no key in it can verify signatures";
    jwks_free(keys);
    return NULL;
}

void jwks_free(struct jwks *keys)
{
    for (size_t i = 0; keys && i < keys->count; i++) {
        free((void *)(uintptr_t)keys->keys[i].kid.ptr);
        crypto_key_free(keys->keys[i].key);
    }
    free(keys);
}

bool jwks_has(const struct jwks *keys, struct span kid)
{
    for (size_t i = 0; i < keys->count; i++)
        if (span_equal(keys->keys[i].kid, kid))
            return true;
    return false;
}

bool jwks_verify(const struct jwks *keys, struct span kid, enum crypto_algorithm algorithm, struct span message,
                 struct span signature)
{
    unsigned tries = 0;
    for (size_t i = 0; i < keys->count && tries < JWKS_TRIES; i++) {
        const struct jwk *key = &keys->keys[i];
        if (!(key->algorithms & 1u << algorithm) || (kid.len && !span_equal(key->kid, kid)))
            continue;
        tries++;
        if (crypto_verify(key->key, algorithm, message, signature))
            return true;
    }
    return false;
}
