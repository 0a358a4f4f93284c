/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_entry: one stored answer. In memory one immutable block with a reference count, shared by all workers and by
 * everyone who replays it; in a shared store a text of bytes that only its own key opens.
 *
 * The text of bytes ("wire form"), numbers little-endian:
 *
 *     "PCE" version | flags | length of the key's id, id | 12 bytes nonce | sealed: AES-256-GCM of the rest and its tag
 *     "PCE" version | flags | 8 bytes checksum | plain: the rest
 *
 * The rest: facts, texts, sizes, and the body, compressed with zstd (RFC 8878) above CACHE_COMPRESS_ABOVE if that makes
 * it smaller. What is authenticated with it: the cache key and everything before the nonce, so that an entry cannot be
 * put under another key, nor its head be changed. The checksum of the plain form finds accidents; it also covers the
 * cache key; against malice the plain form has nothing, which is what `seal: off` means.
 *
 * Reading trusts nothing: each length is checked, decompression is bounded by the size that the caller allows, and what
 * is not exactly what was written is a miss with a reason.
 */
#ifndef POSTERN_GATEWAY_CACHE_ENTRY_H
#define POSTERN_GATEWAY_CACHE_ENTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"
#include "gateway/cache_keys.h"
#include "openai/answer_scan.h"
#include "openai/operations.h"
#include "openai/replay.h"

/* A keyed digest of everything that can change the answer; what an entry is found by. */
#define CACHE_KEY_BYTES 32

/* What the stored body is. */
enum cache_form {
    CACHE_FORM_JSON,  /* one JSON text */
    CACHE_FORM_EVENTS /* an event stream, as it came, with everything that was hidden from its first client */
};

/* What is known of an answer beside its bytes. Texts are at most CACHE_TEXT_BYTES long each. */
struct cache_facts {
    enum operation_id operation;
    enum cache_form form;
    unsigned status;    /* of HTTP: 200 */
    uint64_t created;   /* µs since 1970: from when the answer's age counts */
    uint64_t fresh;     /* µs from `created` for which it may be served without asking */
    uint64_t latency;   /* µs that the upstream took for it, whole */
    struct usage usage; /* as the upstream reported */
    /* EVENTS: what of the body only clients that asked for include_usage get (replay_facts of openai/replay.h). */
    uint64_t usage_start, usage_end;
    struct span type;     /* Content-Type */
    struct span served;   /* the model as the upstream named it */
    struct span model;    /* the alias that was asked for: a tag to purge by */
    struct span consumer; /* whose scope it is in: a tag to purge by; empty: shared by all */
};
#define CACHE_TEXT_BYTES 1024

struct cache_entry {
    _Atomic unsigned refs;
    _Atomic unsigned char judgement; /* cache_entry.c's */
    size_t bytes;                    /* of memory that the entry takes, this struct included */
    struct cache_facts facts;
    struct span body;
};

/* Copies everything into one block; one reference. Texts are cut to CACHE_TEXT_BYTES. */
MUST_CHECK struct cache_entry *cache_entry_create(const struct cache_facts *facts, struct span body);
/*
 * Whether the body may be replayed. It may, as whoever made the entry has judged it (replay_scan of openai/replay.h),
 * unless he put that off: then the first who wants the answer judges it, and most answers are never wanted again.
 */
/* Before anybody else knows the entry, which must not go to a shared store. Of whole answers only. */
void cache_entry_put_off(struct cache_entry *entry);
/* REPLAY_SOUND, or why it may not. Any thread. */
MUST_CHECK enum replay_flaw cache_entry_flaw(struct cache_entry *entry);
/* Whether cache_entry_flaw has found it sound here, in this very process. Any thread. */
bool cache_entry_was_judged(const struct cache_entry *entry);

/* Any thread. */
struct cache_entry *cache_entry_ref(struct cache_entry *entry);
/* Any thread; the last one frees. NULL is allowed. */
void cache_entry_unref(struct cache_entry *entry);

/* ---- wire form ---- */

/*
 * Bodies above this are compressed. Text of 2 KB becomes half as long, but to read it takes some 50,000 instructions,
 * twice as many as all else that such an answer costs; event streams, which gain most, are longer.
 */
#define CACHE_COMPRESS_ABOVE ((size_t)4096)

/* Working memory for compression; one per worker. */
struct cache_codec;
MUST_CHECK struct cache_codec *cache_codec_create(void);
/* NULL is allowed. */
void cache_codec_destroy(struct cache_codec *codec);

/* Appends the wire form for that cache key: sealed under the first of `keys`, or plain without keys (NULL). */
void cache_entry_write(struct cache_codec *codec, const struct cache_keys *keys, const uint8_t key[CACHE_KEY_BYTES],
                       const struct cache_entry *entry, struct buffer *out);

/* name, the word for metrics */
#define CACHE_READ_LIST(X)                                                                                             \
    X(GOOD, "good")                                                                                                    \
    X(FOREIGN, "foreign")         /* not an entry, or of another version of it */                                      \
    X(BROKEN, "broken")           /* cut, changed, under another cache key, or put together by somebody else */        \
    X(UNKNOWN_KEY, "unknown_key") /* sealed with a key that is not in the ring */                                      \
    X(UNSEALED, "unsealed")       /* plain, where only sealed ones are taken, or the other way round */                \
    X(TOO_LARGE, "too_large")     /* its body would exceed what is allowed */

enum cache_read {
#define X(name, word) CACHE_READ_##name,
    CACHE_READ_LIST(X)
#undef X
        CACHE_READS
};
const char *cache_read_name(enum cache_read read);

/*
 * Reads what cache_entry_write made for that cache key. `keys` NULL: only plain entries are taken, otherwise only
 * sealed ones. Bodies above `body_most` bytes are refused before memory is taken for them. *ret, with one reference, is
 * set for GOOD.
 */
MUST_CHECK enum cache_read cache_entry_read(struct cache_codec *codec, const struct cache_keys *keys,
                                            const uint8_t key[CACHE_KEY_BYTES], struct span wire, size_t body_most,
                                            struct cache_entry **ret);

#endif
