/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an authority answers, whatever it is: a token that is taken can be sent as a header field, an error is always
 * understood as something, and nothing is read beyond the body.
 */
#include <stdlib.h>

#include "gateway/token_reply.h"

#define WALL UINT64_C(1700000000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reply(const struct token_reply *reply)
{
    if (reply->token.len == 0 || reply->token.len > TOKEN_BYTES_MAX || reply->expires_in == 0 ||
        reply->refresh_in >= reply->expires_in)
        abort();
    for (size_t i = 0; i < reply->token.len; i++)
        if (reply->token.ptr[i] <= 0x20 || reply->token.ptr[i] >= 0x7f)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span body = span_of((const char *)data, size), oid;
    struct token_reply reply;
    struct token_refusal refusal;
    struct arena arena;
    const char *reason;
    arena_init(&arena);
    if (token_reply_read(body, WALL, &arena, &reply, &reason)) {
        check_reply(&reply);
        (void)!token_object_id(reply.token, &arena, &oid);
    }
    token_refusal_read(body, &arena, &refusal);
    if (refusal.error.len > 64 || !token_trouble(refusal.code, 400))
        abort();
    if (token_object_id(body, &arena, &oid) && oid.len == 0)
        abort();
    arena_finish(&arena);
    return 0;
}
