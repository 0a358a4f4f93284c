/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys: the API keys of callers. A key is the text `pk_ID_SECRET`: ID finds it (no secret, may be logged), SECRET is 32
 * random bytes in base64url. What is stored is a digest of the whole text, HMAC-SHA-256 under a pepper that lies
 * elsewhere, so that a copy of the file opens nothing.
 *
 * The file is YAML of one form: a list with one key to a line, each a JSON object; `postern key new` prints such a
 * line. Empty lines and lines that begin with '#' are skipped. A line is read at a time, so a hundred thousand keys
 * take a moment and little memory.
 *
 *     - {"id": "4f0c9a1b2d3e4f50", "digest": "hmac-sha256:…64 hex digits…", "consumer": "search", "groups":
 * ["research"], "attributes": {"team": "42"}, "expires": "2027-01-31"}                                  (in one line)
 */
#ifndef POSTERN_GATEWAY_KEYS_H
#define POSTERN_GATEWAY_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/crypto.h"
#include "base/span.h"
#include "config/report.h"
#include "config/schema.h"

/* ---- a set of keys ---- */

#define KEYS_FILE_BYTES ((size_t)64 * 1024 * 1024)
#define KEY_LINE_BYTES  ((size_t)16 * 1024)
#define KEY_ID_BYTES    64 /* letters, digits and '-' */

struct key_record {
    struct span id;
    struct span consumer;
    const struct span *groups;
    unsigned group_count;
    const struct setting_pair *attributes;
    unsigned attribute_count;
    uint64_t expires; /* seconds since 1970; 0: never */
    uint8_t digest[CRYPTO_SHA256_BYTES];
};

/* Immutable; shared by all workers, counted atomically. */
struct keys;

/* Reads a file's text; `file` names it in messages. NULL after at least one report_error. One reference. */
MUST_CHECK struct keys *keys_parse(struct span file, struct span text, struct report *report);
/* The same from a file. */
MUST_CHECK struct keys *keys_load(const char *path, struct report *report);
struct keys *keys_ref(struct keys *keys);
/* NULL is allowed. */
void keys_unref(struct keys *keys);
size_t keys_count(const struct keys *keys);
/* Another for every set of the process: an address may come back, this does not. */
uint64_t keys_generation(const struct keys *keys);
/* NULL when there is none. Costs the same for ten keys and for a hundred thousand. */
const struct key_record *keys_find(const struct keys *keys, struct span id);

/* ---- checking ---- */

/* Thread-bound: a worker's own. Remembers, as keyed hashes, which texts were right lately, so that these cost no
 * digest. */
struct key_checker;

enum key_result {
    KEY_GOOD,
    KEY_FOREIGN, /* not the form of our keys: perhaps another method's */
    KEY_UNKNOWN, /* no such id, or the secret is wrong: not told apart, neither by the answer nor by the time it takes
                  */
    KEY_EXPIRED  /* the secret was right */
};

/* `pepper` may be empty. */
MUST_CHECK struct key_checker *key_checker_create(struct span pepper);
/* NULL is allowed. Wipes. */
void key_checker_destroy(struct key_checker *checker);
/* `now` in seconds since 1970. *ret is set for KEY_GOOD and lives as long as `keys`. */
MUST_CHECK enum key_result key_check(struct key_checker *checker, const struct keys *keys, struct span text,
                                     uint64_t now, const struct key_record **ret);

/* Makes a fresh key: its text (secret: show it once, wipe it) and the id in it. */
void key_make(struct buffer *text, struct buffer *id);
/* The stored form of a digest: "hmac-sha256:" and 64 hex digits. */
void key_digest(struct span pepper, struct span text, struct buffer *out);

/* ---- the file, as it changes ---- */

/*
 * One per file and process. A change (also the symlink swap of a mounted Secret) is seen by key_store_poll and read by
 * a thread of its own, so that no request waits for a long file; a file that is broken is reported once and the last
 * good keys stay.
 */
struct key_store;

/* Loads the file unless another worker has; NULL after a log line when that fails the first time. */
MUST_CHECK struct key_store *key_store_open(struct span path);
/* NULL is allowed. The last one frees the keys. */
void key_store_close(struct key_store *store);
/* Looks at the file; about once a second, from any worker. */
void key_store_poll(struct key_store *store);
/* The present keys: `held` itself while nothing has changed, else new ones, with a reference; that to `held` is given
 * back. */
struct keys *key_store_renew(struct key_store *store, struct keys *held);
/* Waits until a load under way is done. For tests. */
void key_store_settle(struct key_store *store);

#endif
