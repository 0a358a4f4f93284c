/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_reply: what an authority (Entra ID, RFC 6749 section 5) or the instance metadata service answers when asked for
 * a token, and what its errors mean. Pure: bytes in, values out.
 *
 * Errors are told apart by `error_codes`, the numbers that Entra prints as AADSTS..., and by the HTTP status; never by
 * the words of a message, which change (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
 */
#ifndef POSTERN_GATEWAY_TOKEN_REPLY_H
#define POSTERN_GATEWAY_TOKEN_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/span.h"

/* Longest token that is taken, in bytes; Entra's have 1 to 4 KiB. */
#define TOKEN_BYTES_MAX ((size_t)16 * 1024)

struct token_reply {
    struct span token;   /* visible ASCII; in the body, or in the arena, which wipes it */
    uint64_t expires_in; /* seconds from when it was asked for; not 0, at most ten years */
    uint64_t refresh_in; /* after so many seconds a new one should be had; 0: not said */
};

/*
 * Reads the body of a 200. `wall`: µs since 1970, for replies that only have expires_on. Numbers may be spelled as
 * strings, as the metadata service does. False: *ret_reason (static) completes "the reply ..."; *ret is written on
 * success only.
 */
MUST_CHECK bool token_reply_read(struct span body, uint64_t wall, struct arena *arena, struct token_reply *ret,
                                 const char **ret_reason);

/* What an error asks of us. */
enum token_action {
    TOKEN_RETRY,     /* passes by itself: soon again, longer each time; who waits goes on waiting */
    TOKEN_PROPAGATE, /* somebody must set something up, or has just done so: again after 5 s and more */
    TOKEN_REREAD,    /* our assertion was too old or too new: read the file again, at once, once */
    TOKEN_CONFIGURE  /* somebody must change something: again after a minute and more */
};

struct token_trouble {
    uint64_t code; /* of error_codes; 0: any other */
    enum token_action action;
    const char *meaning; /* "no federated credential matches this service account" */
    const char *remedy;  /* what a person does about it, one sentence */
};

/* Never NULL: for a code that is not in the table what the HTTP status alone says. */
const struct token_trouble *token_trouble(uint64_t code, unsigned status);
/* The same for answers of the metadata service, which has no codes. */
const struct token_trouble *token_trouble_imds(unsigned status);
/* For those that have no answer at all. */
const struct token_trouble *token_trouble_unreachable(void);

/*
 * What the body of an error says: `code` is the first of error_codes that the table knows, else the first, else 0;
 * `error` is the OAuth word ("invalid_client"), printable, at most 64 bytes, in the arena, or empty. Bodies of any kind
 * are safe.
 */
struct token_refusal {
    uint64_t code;
    struct span error;
};
void token_refusal_read(struct span body, struct arena *arena, struct token_refusal *ret);

/*
 * The object (principal) id in an access token's `oid` claim, in the arena: the user name that Redis wants. The token
 * is not verified: it came from the authority itself. False when it is no JWT or has none.
 */
MUST_CHECK bool token_object_id(struct span token, struct arena *arena, struct span *ret);

#endif
