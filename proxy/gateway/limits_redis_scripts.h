/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits_redis_scripts: what limits_redis has the server do, in Lua 5.1 as Redis runs it (Redis 6.0 and later, Valkey).
 * Numbers there are doubles: whole up to 2^53. Times are microseconds since 1970; amounts of a RATE are ticks
 * (1/1024 µs), computed here, so the scripts add and compare and never divide them. What stands in the keys:
 *
 *   record        "-": settled. Else what the settlement must know of each part, parted by ';': RATE as the limit
 * below, CALENDAR and ROLLING the number of the window, CONCURRENCY nothing, "n" for what was not taken RATE "made
 * granted backlog returned": when the key was made and last granted, ticks that had yet to drain then, ticks given back
 * in all (modulo 2^53) CALENDAR      "window count" ROLLING       "window count*13", the oldest first CONCURRENCY   a
 * sorted set of ids by the time they expire
 *
 *     script   keys            arguments                           answer
 *     reserve  record, limits  id, record's life in ms,            [1 granted | 0 refused | 2 settled before, now in
 * µs, {kind, a, b, c} per limit            per limit: backlog | count | 13 counts | count] settle   record, limits  id,
 * life of "-" in ms,              1, or 0 when it was settled {kind, a} per limit charge   record, limit   life of "-"
 * in ms, kind, a, c,      1, or 0 when it was charged number of the window or "" renew    record, limits  id, record's
 * life in ms, {a}        1, or 0 when there is no such reservation beat     instances       id, life in µs how many
 * live
 *
 *   kind        a, reserve             a, settle and charge   b               c
 *   0 RATE      ticks, -1: too large   ticks more or less     ticks of burst  ""
 *   1 CALENDAR  units                  units more or less     amount          period in µs
 *   2 ROLLING   the same                                                      a twelfth of the period in µs
 *   3 CONCURR.  places                 places                 amount          lease in µs
 *   4 months    as CALENDAR                                                   "number start end" of a month near now
 *   8 + kind    the same in shadow; reserve only
 */
#ifndef POSTERN_GATEWAY_LIMITS_REDIS_SCRIPTS_H
#define POSTERN_GATEWAY_LIMITS_REDIS_SCRIPTS_H

#include "base/buffer.h"
#include "gateway/redis.h"

enum limits_script {
    LIMITS_SCRIPT_RESERVE,
    LIMITS_SCRIPT_SETTLE,
    LIMITS_SCRIPT_CHARGE,
    LIMITS_SCRIPT_RENEW,
    LIMITS_SCRIPT_BEAT,
    LIMITS_SCRIPTS
};

/* A month is a kind of its own there; shadow is added to the kind. */
#define LIMITS_SCRIPT_MONTH  4
#define LIMITS_SCRIPT_SHADOW 8
/* Larger costs count as this: 104 days of backlog. */
#define LIMITS_SCRIPT_TICKS (UINT64_C(1) << 53)

/* The clock of the server. */
extern const struct span limits_script_clock;

struct limits_scripts {
    struct redis_script script[LIMITS_SCRIPTS];
    struct buffer text[LIMITS_SCRIPTS];
};
/* `clock`: Lua that sets the local variable `now`; limits_script_clock but in tests. */
void limits_scripts_init(struct limits_scripts *scripts, struct span clock);
void limits_scripts_finish(struct limits_scripts *scripts);

#endif
