/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits_redis_internal: what the files behind limits_redis.h share.
 *
 *     limits_redis.c          a call: asked by tag, put together, given back, settled, renewed
 *     limits_redis_words.c    parts as words for the scripts, and the scripts' answers as answers
 *     limits_redis_deliver.c  settlements and charges on their way, kept until the store takes them
 *     limits_redis_local.c    the slices of this process, and what it owes the store
 *     limits_redis_scripts.c  the scripts
 */
#ifndef POSTERN_GATEWAY_LIMITS_REDIS_INTERNAL_H
#define POSTERN_GATEWAY_LIMITS_REDIS_INTERNAL_H

#include "base/buffer.h"
#include "base/table.h"
#include "gateway/limits_memory.h"
#include "gateway/limits_redis.h"
#include "gateway/limits_redis_scripts.h"
#include "gateway/redis.h"

/* Parts asked in one script. */
#define LIMITS_GROUP_PARTS 24
/* How long a reservation is remembered that is not renewed, and a settlement that came before its reservation. µs. */
#define LIMITS_RECORD_LIFE (UINT64_C(3600) * 1000000)
#define LIMITS_STONE_LIFE  LIMITS_LEASE

/* A call that is asked or granted. */
struct limits_reservation;

struct limits_redis {
    struct limits_store store;
    struct worker *worker;
    struct redis_store *redis; /* NULL: none */
    char *name;
    struct limits_scripts scripts;
    struct limits_table *table;
    struct limits_memory memory; /* on the table */
    uint64_t id_prefix, id_count;
    struct buffer words; /* of the command that is being put together */
    struct timer timer;  /* the next beat, or look at what is kept */
    uint64_t beat_at;
    int64_t ahead; /* µs by which the server's clock is ahead of this host's */
    struct redis_call beat;
    bool well;                  /* the latest reservation or charge was answered */
    struct list open;           /* struct limits_reservation.link */
    struct list sent, kept;     /* struct limits_delivery.link */
    unsigned kept_count, tries; /* tries: under way although it was kept before */
    struct table owed;          /* key -> struct limits_owed */
    struct limits_redis_counts counts;
};

/* ---- limits_redis_words.c ---- */

/* One command as it is put together: `bytes` has room for all of it from the start. */
struct limits_words {
    char *bytes, *end;
    struct span key[LIMITS_GROUP_PARTS + 1];
    struct span arg[4 * LIMITS_GROUP_PARTS + 4];
    unsigned keys, args;
};
/* For a command about that many parts whose keys have so many bytes. Ends with the next one. */
void limits_words_begin(struct limits_redis *store, struct limits_words *words, size_t parts, size_t key_bytes);
void limits_words_number(struct limits_words *words, uint64_t number);
void limits_words_signed(struct limits_words *words, int64_t number);
void limits_words_text(struct limits_words *words, struct span text);
/* The key of a reservation's record in that tag, and (an argument) its id. `group` tells records of a call apart. */
void limits_words_record(struct limits_words *words, uint64_t tag, const uint8_t id[LIMITS_ID_BYTES], unsigned group);
/* The key of a limit in the same tag. */
void limits_words_key(struct limits_words *words, enum limit_kind kind, struct span key);
/* {kind, a, b, c} of a reservation; {kind, a} of a settlement. */
void limits_words_reserve(struct limits_words *words, const struct limits_part *part, uint64_t wall);
void limits_words_settle(struct limits_words *words, const struct limits_part *part);
/* {kind, a, c, window} of a charge. */
void limits_words_charge(struct limits_words *words, const struct limit_law *law, int64_t amount, uint64_t wall,
                         uint64_t window);
/* What a settlement changes: ticks of a RATE, places of a CONCURRENCY, units of the others. */
int64_t limits_difference(const struct limits_part *part);
/* The same in all processes. */
uint64_t limits_tag(const struct limits_part *part);
/* How many integers a reservation's answer holds for this part. */
unsigned limits_answer_width(const struct limits_part *part);
/* Fills part->answer. For a RATE *ret_backlog is what was yet to drain before, for a CALENDAR the count. */
void limits_answer_read(struct limits_part *part, const int64_t *numbers, uint64_t now, uint64_t *ret_stood);

/* ---- limits_redis_deliver.c ---- */

/* Sends the command, now and until the store has taken it. Copies it. */
void limits_deliver(struct limits_redis *store, enum limits_script script, const struct limits_words *words);
/* Sends what is kept, if the store can be asked; some of it at a time. */
void limits_deliver_kept(struct limits_redis *store);
/* Nothing more is sent. */
void limits_deliver_finish(struct limits_redis *store);

/* ---- limits_redis_local.c ---- */

struct limits_owed;

/* Instances reckoned with. */
unsigned limits_peers(const struct limits_redis *store);
/* Decides a part here, by its slice. `local` is what it is settled by; LIMITS_GRANTED: it must be. */
enum limits_result limits_local_take(struct limits_redis *store, struct limits_part *part, struct limits_part *local,
                                     uint64_t now, uint64_t wall);
/* A part that was granted here is part of a call that was granted: the store is owed it. */
void limits_local_owe(struct limits_redis *store, const struct limits_part *part, uint64_t wall);
/* It came to part->units. With `owed` the store hears of it. */
void limits_local_settle(struct limits_redis *store, const struct limits_part *part, struct limits_part *local,
                         bool owed, uint64_t now, uint64_t wall);
/*
 * The store has granted the part: limits that are measured by what this process uses count it, *local as above; true:
 * it must be settled.
 */
bool limits_local_note(struct limits_redis *store, const struct limits_part *part, struct limits_part *local,
                       uint64_t now, uint64_t wall);
/* What the store said stands in the part's limit, this call included if it was granted. */
void limits_local_know(struct limits_redis *store, const struct limits_part *part, uint64_t stood, uint64_t now,
                       uint64_t wall);
/* Sends what is owed of that many keys. */
void limits_owed_send(struct limits_redis *store, unsigned most);
void limits_owed_finish(struct limits_redis *store);

/* Whether the store can be asked for any key. */
bool limits_redis_is_up(const struct limits_redis *store);
/* What is kept or owed is looked at before long. */
void limits_redis_look_soon(struct limits_redis *store);
/* The server's time, as far as it is known from this loop's. */
uint64_t limits_redis_wall(const struct limits_redis *store);
/* An id that nobody else has. */
void limits_redis_id(struct limits_redis *store, uint8_t ret[LIMITS_ID_BYTES]);

#endif
