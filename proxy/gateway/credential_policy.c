/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/credential_policy.h"

#include "base/clock.h"
#include "base/compiler.h"
#include "base/hash.h"

#define LEAD      (UINT64_C(300) * CLOCK_SECOND)
#define LONG_LIFE (UINT64_C(7200) * CLOCK_SECOND)
#define MARGIN    (10 * CLOCK_SECOND)
#define OBEYED    (UINT64_C(3600) * CLOCK_SECOND)
/* The metadata service is being updated and says so by 410: it takes a minute. */
#define IMDS_GONE (70 * CLOCK_SECOND)

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t between(uint64_t low, uint64_t high, uint64_t *random)
{
    return high > low ? low + hash_random(random) % (high - low) : low;
}

uint64_t credential_renew_after(const struct token_reply *reply, uint64_t *random)
{
    uint64_t life = reply->expires_in * CLOCK_SECOND;
    uint64_t lead = least(LEAD, life / 2);
    uint64_t due = life - lead;
    if (reply->refresh_in)
        due = reply->refresh_in * CLOCK_SECOND;
    else if (life >= LONG_LIFE)
        due = life / 2;
    uint64_t latest = life - lead / 4;
    return between(least(due - due / 10, latest), least(due + due / 10, latest), random);
}

uint64_t credential_use_for(const struct token_reply *reply)
{
    uint64_t life = reply->expires_in * CLOCK_SECOND;
    return life - least(MARGIN, life / 10);
}

static uint64_t doubled(uint64_t first, unsigned count, uint64_t most)
{
    uint64_t wait = first;
    for (unsigned i = 1; i < count && wait < most; i++)
        wait *= 2;
    return least(wait, most);
}

static uint64_t imds_wait(const struct credential_failure *failure)
{
    static const uint64_t seconds[] = {1, 2, 6, 14, 30};
    uint64_t wait = seconds[least(failure->count, ARRAY_LEN(seconds)) - 1] * CLOCK_SECOND;
    return failure->status == 410 && wait < IMDS_GONE ? IMDS_GONE : wait;
}

static uint64_t own_wait(const struct credential_failure *failure)
{
    unsigned count = failure->count;
    switch (failure->action) {
    case TOKEN_RETRY:
        return failure->imds ? imds_wait(failure) : doubled(CLOCK_SECOND, count, 60 * CLOCK_SECOND);
    case TOKEN_REREAD:
        return count == 1 ? 0 : doubled(5 * CLOCK_SECOND, count - 1, 120 * CLOCK_SECOND);
    case TOKEN_PROPAGATE:
        return doubled(5 * CLOCK_SECOND, count, 120 * CLOCK_SECOND);
    case TOKEN_CONFIGURE:
        break;
    }
    return doubled(60 * CLOCK_SECOND, count, 300 * CLOCK_SECOND);
}

uint64_t credential_retry_after(const struct credential_failure *failure, uint64_t *random)
{
    uint64_t wait = own_wait(failure), asked = least(failure->retry_after, OBEYED);
    wait = wait > asked ? wait : asked;
    return between(wait, wait + wait / 5, random);
}

bool credential_passes(const struct credential_failure *failure)
{
    return failure->action == TOKEN_RETRY || (failure->action == TOKEN_REREAD && failure->count == 1);
}
