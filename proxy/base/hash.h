/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keyed hashing (SipHash-1-3) for tables whose keys a peer may choose: without the key, drawn at process start,
 * nobody can make collisions. Not a MAC; for that see crypto.h.
 */
#ifndef POSTERN_BASE_HASH_H
#define POSTERN_BASE_HASH_H

#include <stdint.h>

#include "base/span.h"

/* Draws the process key from the kernel; call once before the first hash_bytes. */
void hash_start(void);
/* The hash of `bytes` under the process key. */
uint64_t hash_bytes(struct span bytes);
/* The same under a given 16-byte key, for tests and for hashes that must agree between processes. */
uint64_t hash_bytes_keyed(const uint8_t key[16], struct span bytes);
/* A cheap well-mixed pseudo-random 64-bit number (splitmix of *state): jitter, sampling, weighted choice; not secrets.
 */
uint64_t hash_random(uint64_t *state);

#endif
