/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdalign.h>

#include "base/arena.h"
#include "base/memory.h"

static void test_unused(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    assert_int_equal(arena.bytes, 0);
    arena_finish(&arena);
    arena_finish(&arena); /* leaves it usable */
}

/* Every size around the block's own: nothing overlaps, everything keeps its bytes, objects are aligned. */
static void test_sizes(void **state)
{
    (void)state;
    enum { COUNT = 3 * 64 };
    struct arena arena;
    arena_init(&arena);
    struct {
        unsigned char *at;
        size_t size;
    } made[COUNT * 2];
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = i < 64 ? i : i < 128 ? MEMORY_BLOCK / 4 - 32 + (i - 64) : MEMORY_BLOCK - 40 + (i - 128);
        made[count].at = arena_alloc(&arena, size);
        assert_int_equal((uintptr_t)made[count].at % alignof(max_align_t), 0);
        made[count++].size = size;
        made[count].at = (unsigned char *)arena_bytes(&arena, size);
        made[count++].size = size;
    }
    for (size_t i = 0; i < count; i++)
        memset(made[i].at, (int)(i & 255), made[i].size);
    for (size_t i = 0; i < count; i++)
        for (size_t at = 0; at < made[i].size; at++)
            assert_int_equal(made[i].at[at], i & 255);
    assert_true(arena.bytes > MEMORY_BLOCK);
    arena_finish(&arena);
    assert_int_equal(arena.bytes, 0);
}

static void test_zeroed(void **state)
{
    (void)state;
    struct arena arena;
    for (int round = 0; round < 2; round++) { /* the second round meets the first one's recycled block */
        arena_init(&arena);
        int *numbers = ARENA_ARRAY(&arena, int, 100);
        for (int i = 0; i < 100; i++) {
            assert_int_equal(numbers[i], 0);
            numbers[i] = -1;
        }
        struct pair {
            void *p;
            int i;
        } *pair = ARENA_NEW(&arena, struct pair);
        assert_null(pair->p);
        assert_int_equal(pair->i, 0);
        pair->i = -1;
        arena_finish(&arena);
    }
}

static void test_text(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct span copy = arena_copy(&arena, SPAN("a\0b"));
    assert_true(span_equal(copy, SPAN("a\0b")));
    assert_int_equal(copy.ptr[3], '\0');
    struct span empty = arena_copy(&arena, (struct span){NULL, 0});
    assert_int_equal(empty.len, 0);
    assert_string_equal(empty.ptr, "");
    assert_string_equal(arena_format(&arena, "%s-%d", "x", 7).ptr, "x-7");
    assert_int_equal(arena_format(&arena, "%s", "").len, 0);
    struct span longer = arena_format(&arena, "%*d", 3 * MEMORY_BLOCK, 5);
    assert_int_equal(longer.len, 3 * MEMORY_BLOCK);
    assert_int_equal(longer.ptr[longer.len - 1], '5');
    assert_int_equal(longer.ptr[longer.len], '\0');
    arena_finish(&arena);
}

struct witness {
    struct arena_cleanup record;
    int *order, *next;
    int name;
};

static void note(void *arg)
{
    struct witness *witness = arg;
    witness->order[(*witness->next)++] = witness->name;
}

static void note_and_defer(void *arg)
{
    struct arena *arena = arg;
    struct witness *late = ARENA_NEW(arena, struct witness);
    static int order[1], next;
    next = 0;
    late->order = order;
    late->next = &next;
    arena_defer(arena, &late->record, note, late);
}

static void test_cleanups(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    int order[3], next = 0;
    for (int i = 0; i < 3; i++) {
        struct witness *witness = ARENA_NEW(&arena, struct witness);
        witness->order = order;
        witness->next = &next;
        witness->name = i;
        arena_defer(&arena, &witness->record, note, witness);
    }
    arena_finish(&arena);
    assert_int_equal(next, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(order[i], 2 - i);
    arena_finish(&arena);
    assert_int_equal(next, 3); /* once each */

    struct arena_cleanup outside;
    arena_defer(&arena, &outside, note_and_defer, &arena); /* a clean-up may use the arena once more */
    arena_finish(&arena);
    assert_null(arena.cleanups);
    assert_null(arena.chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unused), cmocka_unit_test(test_sizes),    cmocka_unit_test(test_zeroed),
        cmocka_unit_test(test_text),   cmocka_unit_test(test_cleanups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
