/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/jwks, and the discovery document that leads to it: what is taken can be used, and what is left out is counted.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/jwks.h"
#include "gateway/issuer_keys.h"

static void use(const struct jwks *keys)
{
    static const struct span message = SPAN_INIT("m"), signature = SPAN_INIT("not one");
    if (keys->count == 0 || keys->count > JWKS_KEYS)
        abort();
    for (size_t i = 0; i < keys->count; i++) {
        const struct jwk *key = &keys->keys[i];
        if (!key->algorithms || key->kid.len > JWKS_KID_BYTES || (key->kid.len && !jwks_has(keys, key->kid)))
            abort();
        for (unsigned a = 0; a < CRYPTO_ALGORITHM_COUNT; a++)
            if (jwks_verify(keys, key->kid, (enum crypto_algorithm)a, message, signature))
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;
    if (!started)
        hash_start();
    started = true;
    struct span text = span_of((const char *)data, size), url;
    const char *reason = NULL;
    struct arena arena;
    arena_init(&arena);
    struct jwks *keys = jwks_parse(text, &reason);
    if (keys)
        use(keys);
    else if (!reason)
        abort();
    jwks_free(keys);
    if (issuer_discovery(text, SPAN("https://issuer.example"), &arena, &url, &reason) &&
        !span_equal_nocase(span_take(url, 8), SPAN("https://")))
        abort();
    arena_finish(&arena);
    return 0;
}
