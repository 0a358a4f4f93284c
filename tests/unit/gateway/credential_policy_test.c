/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "gateway/credential_policy.h"

#define DRAWS 2000

/* Seconds; `low` and `high` are the ends of what is drawn. */
static const struct {
    uint64_t expires_in, refresh_in;
    double low, high;
} renewals[] = {
    {3599, 0, 2969.1, 3524},      /* five minutes before the end, and never in the last quarter of them */
    {86399, 43199, 38879, 47519}, /* refresh_in */
    {86399, 0, 38879, 47520},     /* half of a long life */
    {7200, 0, 3240, 3960},        {7199, 0, 6209, 7124}, {600, 0, 270, 330}, {60, 0, 27, 33},
    {1, 0, 0.45, 0.55},           {100, 99, 87.5, 87.5}, /* a refresh_in at the very end */
};

static void test_renewal(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (size_t i = 0; i < ARRAY_LEN(renewals); i++) {
        struct token_reply reply = {.expires_in = renewals[i].expires_in, .refresh_in = renewals[i].refresh_in};
        uint64_t least = UINT64_MAX, most = 0;
        for (unsigned draw = 0; draw < DRAWS; draw++) {
            uint64_t after = credential_renew_after(&reply, &random);
            least = after < least ? after : least;
            most = after > most ? after : most;
        }
        double second = (double)CLOCK_SECOND, width = renewals[i].high - renewals[i].low;
        assert_true((double)least >= renewals[i].low * second - 1 && (double)most <= renewals[i].high * second + 1);
        assert_true((double)(most - least) >= 0.9 * width * second);
        assert_true(most < credential_use_for(&reply));
    }
}

static void test_use(void **state)
{
    (void)state;
    struct token_reply hour = {.expires_in = 3600}, short_one = {.expires_in = 10};
    assert_int_equal(credential_use_for(&hour), 3590 * CLOCK_SECOND);
    assert_int_equal(credential_use_for(&short_one), 9 * CLOCK_SECOND);
}

/* Seconds; up to a fifth is added. */
static const struct {
    struct credential_failure failure;
    uint64_t wait;
    bool passes;
} retries[] = {
    {{.action = TOKEN_RETRY, .count = 1}, 1, true},
    {{.action = TOKEN_RETRY, .count = 3}, 4, true},
    {{.action = TOKEN_RETRY, .count = 7}, 60, true},
    {{.action = TOKEN_RETRY, .count = 4000000000}, 60, true},
    {{.action = TOKEN_RETRY, .count = 1, .retry_after = 30 * CLOCK_SECOND}, 30, true},
    {{.action = TOKEN_RETRY, .count = 7, .retry_after = 30 * CLOCK_SECOND}, 60, true},
    {{.action = TOKEN_RETRY, .count = 1, .retry_after = 86400 * CLOCK_SECOND}, 3600, true},
    {{.action = TOKEN_PROPAGATE, .count = 1}, 5, false},
    {{.action = TOKEN_PROPAGATE, .count = 9}, 120, false},
    {{.action = TOKEN_REREAD, .count = 1}, 0, true},
    {{.action = TOKEN_REREAD, .count = 2}, 5, false},
    {{.action = TOKEN_CONFIGURE, .count = 1}, 60, false},
    {{.action = TOKEN_CONFIGURE, .count = 4}, 300, false},
    {{.action = TOKEN_RETRY, .count = 1, .imds = true, .status = 404}, 1, true},
    {{.action = TOKEN_RETRY, .count = 3, .imds = true, .status = 503}, 6, true},
    {{.action = TOKEN_RETRY, .count = 9, .imds = true, .status = 503}, 30, true},
    {{.action = TOKEN_RETRY, .count = 1, .imds = true, .status = 410}, 70, true},
};

static void test_retries(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (size_t i = 0; i < ARRAY_LEN(retries); i++)
        for (unsigned draw = 0; draw < 100; draw++) {
            uint64_t wait = credential_retry_after(&retries[i].failure, &random), base = retries[i].wait * CLOCK_SECOND;
            assert_true(wait >= base && wait <= base + base / 5);
            assert_int_equal(credential_passes(&retries[i].failure), retries[i].passes);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_use),
        cmocka_unit_test(test_retries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
