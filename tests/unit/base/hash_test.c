/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/hash.h"

/* SipHash-1-3 of the bytes 0, 1, 2, ... under the key 0, 1, ... 15, as the reference program's test has it. */
static void test_vectors(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        uint64_t hash;
    } vectors[] = {
        {0, 0xabac0158050fc4dc},  {1, 0xc9f49bf37d57ca93},  {7, 0xd3927d989bb11140},
        {8, 0x369095118d299a8e},  {9, 0x25a48eb36c063de4},  {15, 0xd320d86d2a519956},
        {16, 0xcc4fdd1a7d908b66}, {17, 0x9cf2689063dbd80c}, {63, 0x9d199062b7bbb3a8},
    };
    uint8_t key[16];
    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (uint8_t)i;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        /* Exactly as many bytes as it may read, at an odd address. */
        char *bytes = malloc(vectors[i].len + 1);
        assert_non_null(bytes);
        for (size_t at = 0; at < vectors[i].len; at++)
            bytes[at + 1] = (char)at;
        assert_true(hash_bytes_keyed(key, span_of(bytes + 1, vectors[i].len)) == vectors[i].hash);
        free(bytes);
    }
}

static void test_process_key(void **state)
{
    (void)state;
    hash_start();
    uint64_t first = hash_bytes(SPAN("gpt-4o"));
    assert_true(hash_bytes(SPAN("gpt-4o")) == first);
    assert_true(hash_bytes(SPAN("gpt-4p")) != first);
    hash_start(); /* another key: another hash */
    assert_true(hash_bytes(SPAN("gpt-4o")) != first);
}

/* Sequences published with the generator (Vigna, splitmix64.c). */
static void test_random(void **state)
{
    (void)state;
    uint64_t zero = 0, seeded = 1234567;
    assert_true(hash_random(&zero) == 0xe220a8397b1dcdafULL);
    assert_true(hash_random(&zero) == 0x6e789e6aa1b965f4ULL);
    assert_true(hash_random(&seeded) == 6457827717110365317ULL);
    assert_true(hash_random(&seeded) == 3203168211198807973ULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_process_key),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
