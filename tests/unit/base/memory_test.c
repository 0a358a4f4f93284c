/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"

static void test_never_null(void **state)
{
    (void)state;
    /* Not a constant: gcc 14 takes an allocation of 0 bytes for a slip. */
    volatile size_t nothing = 0;
    char *none = memory_alloc(nothing);
    char *zero = memory_zalloc(100);
    char *array = memory_array(0, 8);
    assert_non_null(none);
    assert_non_null(array);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zero[i], 0);
    zero[0] = 'a';
    zero = memory_realloc(zero, 100000);
    assert_int_equal(zero[0], 'a');
    free(none);
    free(zero);
    free(array);
}

static void test_string(void **state)
{
    (void)state;
    char *copy = memory_string(SPAN("abc"));
    assert_string_equal(copy, "abc");
    free(copy);
    copy = memory_string((struct span){NULL, 0});
    assert_string_equal(copy, "");
    free(copy);
}

static void test_wipe(void **state)
{
    (void)state;
    char secret[] = "secret";
    memory_wipe(secret, sizeof(secret) - 1);
    for (size_t i = 0; i < sizeof(secret); i++)
        assert_int_equal(secret[i], 0);
    memory_wipe(NULL, 0);
}

/* More than are kept, so that both ways back are taken; each is ours alone. */
static void test_blocks(void **state)
{
    (void)state;
    enum { COUNT = MEMORY_BLOCKS_KEPT * 2 };
    unsigned char *blocks[COUNT];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            blocks[i] = memory_block_get();
            memset(blocks[i], i, MEMORY_BLOCK);
        }
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(blocks[i][0], (unsigned char)i);
            assert_int_equal(blocks[i][MEMORY_BLOCK - 1], (unsigned char)i);
            memory_block_put(blocks[i]);
        }
    }
    memory_block_put(NULL);
    memory_blocks_drop();
    memory_blocks_drop();
}

/* ---- blocks that one thread takes and another gives back ---- */

enum { PASSED = 100, THREADS = 400 };

static void *take_blocks(void *arg)
{
    unsigned char **taken = arg;
    for (int i = 0; i < PASSED; i++) {
        taken[i] = memory_block_get();
        memset(taken[i], i, MEMORY_BLOCK);
    }
    memory_block_put(memory_block_get());
    memory_blocks_drop();
    return NULL;
}

static size_t address_space(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &pages), 1);
    assert_int_equal(fclose(file), 0);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* As a reload does, again and again: what comes back is used again, not forgotten. */
static void test_blocks_that_travel(void **state)
{
    (void)state;
    unsigned char *taken[PASSED];
    size_t before = 0;
    for (int round = 0; round < THREADS; round++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, take_blocks, taken), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        for (int i = 0; i < PASSED; i++) {
            assert_int_equal(taken[i][MEMORY_BLOCK - 1], (unsigned char)i);
            memory_block_put(taken[i]);
        }
        if (round == THREADS / 2)
            before = address_space();
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_in_range(address_space(), 0, before + (size_t)THREADS / 4 * PASSED * MEMORY_BLOCK);
#else
    assert_true(before > 0);
#endif
    memory_blocks_drop();
}

/* A size that overflows must end the process, not wrap to a small allocation. */
static void test_overflow_ends_the_process(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        void *p = memory_array(SIZE_MAX / 2, 3);
        _exit(p ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_null),
        cmocka_unit_test(test_string),
        cmocka_unit_test(test_wipe),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_blocks_that_travel),
        cmocka_unit_test(test_overflow_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
