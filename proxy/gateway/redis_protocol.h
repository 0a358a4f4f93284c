/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_protocol: RESP2, and nothing but bytes: commands out, answers in by hiredis, errors told apart. No socket, no
 * clock.
 *
 * hiredis's reader is kept, though it knows no limits of its own, because each can be put around it before memory is
 * taken: arrays ask our create function before anything is allocated (REDIS_ELEMENTS in one answer), nesting ends at
 * seven by its own hand, and of a bulk string nothing is allocated but the bytes that have come (`most`, checked after
 * each feed). Values are made in an arena, so that an answer is freed at once whatever was in it. Numbers and flat
 * arrays of them, which is what scripts answer with, do not get that far when they are complete: they are read
 * beforehand, in a fifth of the time. Its writer is not used: it prints each length by sprintf, which was three
 * quarters of all a command costs.
 */
#ifndef POSTERN_GATEWAY_REDIS_PROTOCOL_H
#define POSTERN_GATEWAY_REDIS_PROTOCOL_H

#include "base/arena.h"
#include "gateway/redis.h"

/* Most elements in one answer, all arrays together: CLUSTER SLOTS of a much divided cluster is the largest we ask for.
 */
#define REDIS_ELEMENTS 65536

struct redis_reader;

enum redis_read {
    REDIS_READ_MORE,  /* no whole answer is there */
    REDIS_READ_VALUE, /* one is */
    REDIS_READ_BAD    /* not RESP2, or beyond a limit: close the connection */
};

/* `most`: bytes of one answer. Never NULL. */
MUST_CHECK struct redis_reader *redis_reader_create(size_t most);
/* NULL is allowed. */
void redis_reader_destroy(struct redis_reader *reader);
/* Takes bytes in; call redis_reader_next until it wants more before feeding again. False: out of the question. */
MUST_CHECK bool redis_reader_feed(struct redis_reader *reader, struct span bytes);
/* The next whole answer; it lives until the next call on this reader. */
MUST_CHECK enum redis_read redis_reader_next(struct redis_reader *reader, const struct redis_value **ret);
/* Why it was bad; "" while it is not. */
const char *redis_reader_error(const struct redis_reader *reader);

/* A command as it goes over the wire, zeroed at first, freed by redis_command_free. */
struct redis_command {
    char *bytes;
    size_t len, room;
};
/* In place of what was there; its memory is used again when there is enough of it. */
void redis_command_format(struct redis_command *command, const struct span *argv, unsigned argc);
/* Overwrites it first when it holds a secret. */
void redis_command_free(struct redis_command *command, bool secret);

/* What kind of error a FAILURE's text is. Inside of older "ERR Error running script ..." the script's own error counts.
 */
enum redis_error redis_error_of(struct span text);

#endif
