/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/fault.h"

static void test_every_entry_is_whole(void **state)
{
    (void)state;
    for (int i = FAULT_NONE + 1; i < FAULT_COUNT; i++) {
        const struct fault_entry *entry = fault_entry((enum fault)i);
        assert_true(entry->word.len > 0);
        assert_in_range(entry->status, 400, 599);
        assert_true(entry->type.len > 0);
        assert_true(entry->code.len > 0);
        assert_true(entry->blame != BLAME_NOBODY);
        assert_true(entry->message.len > 0);
        /* A sentence, since applications show it. */
        assert_int_equal(entry->message.ptr[entry->message.len - 1], '.');
        /* Words are unique: they are labels. */
        for (int other = i + 1; other < FAULT_COUNT; other++)
            assert_false(span_equal(entry->word, fault_entry((enum fault)other)->word));
        /* The blame and the status class agree: 4xx is the client's; 504 to only-if-cached is RFC 9111 5.2.1.7's. */
        bool other_class = i == FAULT_VERSION || i == FAULT_NOT_IMPLEMENTED || i == FAULT_NOT_CACHED;
        assert_int_equal(entry->blame == BLAME_CLIENT && !other_class, entry->status < 500);
    }
}

static void test_known_entries(void **state)
{
    (void)state;
    assert_int_equal(fault_entry(FAULT_NONE)->status, 200);
    assert_int_equal(fault_entry(FAULT_MODEL_NOT_FOUND)->status, 404);
    assert_true(span_equal(fault_entry(FAULT_MODEL_NOT_FOUND)->code, SPAN("model_not_found")));
    assert_true(span_equal(fault_entry(FAULT_UPSTREAM_CLOSED)->word, SPAN("UPSTREAM_CLOSED")));
    /* The SDKs' own retry must stay possible on 429: fault table, issue "Errors". */
    assert_int_equal(fault_entry(FAULT_RATE_LIMITED)->retry, RETRY_KEEP);
    assert_int_equal(fault_entry(FAULT_QUOTA_EXCEEDED)->retry, RETRY_KEEP);
    assert_int_equal(fault_entry(FAULT_UPSTREAM_ERROR)->retry, RETRY_NO);
}

static void test_out_of_range(void **state)
{
    (void)state;
    assert_ptr_equal(fault_entry(FAULT_COUNT), fault_entry(FAULT_INTERNAL));
    assert_ptr_equal(fault_entry((enum fault) - 1), fault_entry(FAULT_INTERNAL));
}

static void test_blame_names(void **state)
{
    (void)state;
    assert_string_equal(fault_blame_name(BLAME_NOBODY), "none");
    assert_string_equal(fault_blame_name(BLAME_CLIENT), "client");
    assert_string_equal(fault_blame_name(BLAME_SELF), "postern");
    assert_string_equal(fault_blame_name(BLAME_UPSTREAM), "upstream");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_entry_is_whole),
        cmocka_unit_test(test_known_entries),
        cmocka_unit_test(test_out_of_range),
        cmocka_unit_test(test_blame_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
