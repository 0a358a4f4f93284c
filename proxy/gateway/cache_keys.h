/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_keys: the keys of a shared cache, from a file of a mounted Secret with one key to a line:
 *
 *     2027-01:q1Zr…=          an id (letters, digits, `-`, `_`, `.`; at most 32) and 32 random bytes in base64
 *     2026-07:8nWc…=          `echo "$(date +%Y-%m):$(openssl rand -base64 32)"` makes one
 *
 * The first line seals, each line opens; empty lines and lines that begin with `#` are skipped. The last line also
 * names entries: what they are found by is a digest under it. So a rotation puts a new line first (nothing is lost; a
 * pod that has not seen the file yet misses what others have sealed anew) and takes the old line away when its entries
 * have run out (then the cache begins anew). From a line's bytes two keys are derived, so that no key is used for two
 * ends.
 *
 * A sealing key is good for 2^32 entries (random nonces, NIST SP 800-38D 8.3); rotate before.
 */
#ifndef POSTERN_GATEWAY_CACHE_KEYS_H
#define POSTERN_GATEWAY_CACHE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/crypto.h"
#include "base/span.h"
#include "config/report.h"
#include "net/loop.h"

/* Keys in a file, bytes of an id. */
#define CACHE_KEYS_MOST    16
#define CACHE_KEY_ID_BYTES 32

/* A set of keys, immutable. Belongs to one worker's thread. */
struct cache_keys;

/* Reads a file's text; `file` names it in messages. NULL after at least one report_error. No message holds a key. */
MUST_CHECK struct cache_keys *cache_keys_parse(struct span file, struct span text, struct report *report);
/* Wipes. NULL is allowed. */
void cache_keys_destroy(struct cache_keys *keys);
size_t cache_keys_count(const struct cache_keys *keys);
/* The id of the key that seals. */
struct span cache_keys_first(const struct cache_keys *keys);
/* The context of the key of that id; NULL when there is none. */
struct crypto_aead *cache_keys_find(const struct cache_keys *keys, struct span id);
/* CRYPTO_SHA256_BYTES secret bytes under which entries are named (crypto_mac_create). */
struct span cache_keys_naming(const struct cache_keys *keys);

/* ---- the file, as it changes ---- */

/* One worker's; looked at each second. */
struct cache_key_file;

/*
 * Reads the file. NULL after a log line when that fails. Later a broken file is logged once and the last good keys
 * stay. `path` is copied.
 */
MUST_CHECK struct cache_key_file *cache_key_file_open(struct loop *loop, struct span path);
/* NULL is allowed. */
void cache_key_file_close(struct cache_key_file *file);
/* The keys in force; valid until the next turn of the loop. */
const struct cache_keys *cache_key_file_now(const struct cache_key_file *file);
/* Rises with every change of the keys: make anew what was derived from them. Begins at 1. */
uint64_t cache_key_file_generation(const struct cache_key_file *file);
struct span cache_key_file_path(const struct cache_key_file *file);

#endif
