/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/hash.h"
#include "base/table.h"

static void test_empty(void **state)
{
    (void)state;
    struct table table;
    table_init(&table);
    size_t cursor = 0;
    assert_null(table_get(&table, SPAN("x")));
    assert_null(table_remove(&table, SPAN("x")));
    assert_null(table_next(&table, &cursor));
    table_finish(&table);
}

static void test_put_get_remove(void **state)
{
    (void)state;
    struct table table;
    table_init(&table);
    int a = 1, b = 2, c = 3;
    char key[] = "key";
    assert_null(table_put(&table, span_str(key), &a));
    assert_null(table_put(&table, SPAN(""), &b)); /* the empty key is a key */
    assert_null(table_put(&table, SPAN("k\0y"), &c));
    assert_ptr_equal(table_get(&table, SPAN("key")), &a);
    assert_ptr_equal(table_get(&table, SPAN("")), &b);
    assert_ptr_equal(table_get(&table, SPAN("k\0y")), &c);
    assert_null(table_get(&table, SPAN("k\0z")));
    assert_ptr_equal(table_put(&table, SPAN("key"), &b), &a);
    assert_int_equal(table.count, 3);
    key[0] = 'x'; /* the replaced entry's key bytes are no longer needed */
    assert_ptr_equal(table_get(&table, SPAN("key")), &b);
    assert_ptr_equal(table_remove(&table, SPAN("key")), &b);
    assert_null(table_remove(&table, SPAN("key")));
    assert_null(table_get(&table, SPAN("key")));
    assert_int_equal(table.count, 2);
    table_finish(&table);
    assert_int_equal(table.cap, 0);
}

/* Puts and removes by chance, compared with a plain array after every step; many hash keys, so many collision runs. */
static void test_against_a_model(void **state)
{
    (void)state;
    enum { KEYS = 96 };
    char keys[KEYS][16];
    bool there[KEYS];
    uint64_t seed = 7;
    for (int i = 0; i < KEYS; i++)
        (void)snprintf(keys[i], sizeof(keys[i]), "k%d", i);
    for (int round = 0; round < 40; round++) {
        hash_start();
        struct table table;
        table_init(&table);
        memset(there, 0, sizeof(there));
        size_t count = 0;
        for (int step = 0; step < 600; step++) {
            size_t i = hash_random(&seed) % KEYS;
            bool put = hash_random(&seed) % 2;
            void *before =
                put ? table_put(&table, span_str(keys[i]), keys[i]) : table_remove(&table, span_str(keys[i]));
            assert_ptr_equal(before, there[i] ? keys[i] : NULL);
            count = count + (put && !there[i]) - (!put && there[i]);
            there[i] = put;
            assert_int_equal(table.count, count);
        }
        for (int i = 0; i < KEYS; i++)
            assert_ptr_equal(table_get(&table, span_str(keys[i])), there[i] ? keys[i] : NULL);
        size_t cursor = 0, seen = 0;
        for (char *value; (value = table_next(&table, &cursor)) != NULL; seen++)
            assert_true(there[(value - keys[0]) / (ptrdiff_t)sizeof(keys[0])]);
        assert_int_equal(seen, count);
        assert_true(table.count * 4 <= table.cap * 3 + 4);
        table_finish(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_put_get_remove),
        cmocka_unit_test(test_against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
