/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/jwt: whatever is thrown at it, nothing without a signature of the one key gets through, and the claims of what
 * can be parsed can be looked at. The input is a token, or header and claims as plain JSON on two lines, which gets
 * further than random base64url.
 */
#include <stdlib.h>

#include "base/encoding.h"
#include "base/hash.h"
#include "base/jwt.h"

static const char set[] = "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"one\",\"crv\":\"P-256\","
                          "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                          "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
/* RFC 7515 appendix A.3: the only message whose signature under that key the world knows. */
static const char known[] =
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p"
    "c19yb290Ijp0cnVlfQ";

static void look_at_claims(const struct jwt *token, struct arena *arena)
{
    static const struct span audience = SPAN_INIT("us");
    static const struct span names[] = {SPAN_INIT("sub"), SPAN_INIT("roles"), SPAN_INIT("/a/b~1c"), SPAN_INIT("/")};
    const struct jwt_rules rules = {.issuer = SPAN("joe"), .audiences = &audience, .audience_count = 1, .skew = 60};
    uint64_t expires = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct span text, *words;
        size_t count;
        if (jwt_claim_text(token, names[i], arena, &text) && text.len == 0)
            abort();
        if (jwt_claim_words(token, names[i], arena, &words, &count))
            for (size_t k = 0; k < count; k++)
                (void)hash_bytes(words[k]);
    }
    if (jwt_check_claims(token, &rules, 1300000000, &expires) == JWT_NONE && expires <= 1300000000)
        abort();
}

static void check(struct span text, const struct jwks *keys)
{
    struct arena arena;
    struct jwt token;
    arena_init(&arena);
    if (jwt_parse(text, &arena, &token) == JWT_NONE) {
        look_at_claims(&token, &arena);
        if (jwt_verify(&token, keys, (1u << CRYPTO_ALGORITHM_COUNT) - 1) == JWT_NONE &&
            !span_equal(token.message, span_str(known)))
            abort();
    }
    arena_finish(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jwks *keys;
    const char *reason;
    if (!keys) {
        hash_start();
        keys = jwks_parse(span_str(set), &reason);
    }
    struct span text = span_of((const char *)data, size);
    check(text, keys);
    size_t cut = span_find(text, '\n');
    if (cut == text.len)
        return 0;
    struct buffer token = {0};
    encode_base64url(&token, span_take(text, cut));
    buffer_append(&token, SPAN("."));
    encode_base64url(&token, span_skip(text, cut + 1));
    buffer_append(&token, SPAN(".AAAA"));
    check(buffer_span(&token), keys);
    buffer_finish(&token);
    return 0;
}
