/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of files, as the kernel tells of them and as a look finds them: kubelet's swap of a link, files written in
 * place, renamed over, removed and come back, links to links. Time is the fake clock's; what is waited for is the
 * kernel's event.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "net/changes.h"
#include "net/loop.h"

struct house {
    char folder[64];
    struct loop *loop;
    struct changes *changes;
    unsigned told;
    bool look_only;
};

static void changed(void *arg)
{
    struct house *house = arg;
    house->told++;
}

/* ---- files ---- */

static const char *at(const struct house *house, const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", house->folder, name);
    return path;
}

static void put(const struct house *house, const char *name, const char *content)
{
    FILE *file = fopen(at(house, name), "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void folder(const struct house *house, const char *name)
{
    assert_int_equal(mkdir(at(house, name), 0755), 0);
}

static void lead(const struct house *house, const char *name, const char *to)
{
    assert_int_equal(symlink(to, at(house, name)), 0);
}

static void move(const struct house *house, const char *from, const char *to)
{
    assert_int_equal(rename(at(house, from), at(house, to)), 0);
}

static void erase(const struct house *house, const char *name)
{
    assert_int_equal(remove(at(house, name)), 0);
}

/* As kubelet does: a new directory, a link to it renamed over ..data, the old directory removed. */
static void swap(const struct house *house, const char *from, const char *to, const char *content)
{
    char name[64];
    folder(house, to);
    (void)snprintf(name, sizeof(name), "%s/file.yaml", to);
    put(house, name, content);
    lead(house, "..data_tmp", to);
    move(house, "..data_tmp", "..data");
    if (!from)
        return;
    (void)snprintf(name, sizeof(name), "%s/file.yaml", from);
    erase(house, name);
    erase(house, from);
}

/* ---- the house ---- */

static void open_house(struct house *house, bool look_only)
{
    memset(house, 0, sizeof(*house));
    (void)snprintf(house->folder, sizeof(house->folder), "/tmp/postern-changes-XXXXXX");
    assert_non_null(mkdtemp(house->folder));
    clock_fake(1000 * CLOCK_SECOND, UINT64_C(1700000000) * CLOCK_SECOND);
    house->look_only = look_only;
    house->loop = loop_create();
    house->changes = changes_create(house->loop, look_only, changed, house);
    if (!look_only)
        assert_true(changes_told(house->changes));
    else
        assert_false(changes_told(house->changes));
}

static void close_house(struct house *house)
{
    char command[128];
    changes_destroy(house->changes);
    loop_destroy(house->loop);
    clock_real();
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", house->folder);
    assert_int_equal(system(command), 0);
    memory_blocks_drop();
}

static void pass(struct house *house, uint64_t us)
{
    loop_turn(house->loop, false);
    loop_advance(house->loop, us);
}

/* What is due for what has just been done. */
static unsigned told(struct house *house)
{
    unsigned before = house->told;
    pass(house, house->look_only ? 3 * CLOCK_SECOND : CHANGES_QUIET + 2 * TIMER_GRAIN);
    return house->told - before;
}

static void watch_one(struct house *house, const char *name)
{
    struct span path = span_str(at(house, name));
    changes_set(house->changes, &path, 1);
    assert_int_equal(told(house), 1); /* for what changed before */
    assert_int_equal(told(house), 0);
}

/* ---- cases, each with and without the kernel's help ---- */

static void swapped(struct house *house)
{
    swap(house, NULL, "..2026_1", "a");
    lead(house, "file.yaml", "..data/file.yaml");
    watch_one(house, "file.yaml");
    swap(house, "..2026_1", "..2026_2", "b");
    assert_int_equal(told(house), 1);
    assert_int_equal(told(house), 0);
    swap(house, "..2026_2", "..2026_3", "c");
    assert_int_equal(told(house), 1);
}

static void swapped_folder(struct house *house)
{
    swap(house, NULL, "..2026_1", "a");
    lead(house, "file.yaml", "..data/file.yaml");
    struct span paths[2] = {span_str(house->folder), span_str(at(house, "file.yaml"))};
    changes_set(house->changes, paths, 2);
    assert_int_equal(told(house), 1);
    swap(house, "..2026_1", "..2026_2", "b");
    assert_int_equal(told(house), 1);
}

static void written_in_place(struct house *house)
{
    put(house, "file", "a");
    watch_one(house, "file");
    put(house, "file", "other");
    assert_int_equal(told(house), 1);
}

static void renamed_over(struct house *house)
{
    put(house, "file", "a");
    watch_one(house, "file");
    put(house, "new", "b");
    move(house, "new", "file");
    assert_int_equal(told(house), 1);
}

static void comes_and_goes(struct house *house)
{
    watch_one(house, "sub/file");
    folder(house, "sub");
    (void)told(house);
    put(house, "sub/file", "a");
    assert_int_equal(told(house), 1);
    erase(house, "sub/file");
    assert_int_equal(told(house), 1);
    erase(house, "sub");
    (void)told(house);
    folder(house, "sub");
    (void)told(house);
    put(house, "sub/file", "b");
    assert_int_equal(told(house), 1);
}

static void behind_links(struct house *house)
{
    folder(house, "real");
    put(house, "real/file", "a");
    lead(house, "one", "two");
    lead(house, "two", at(house, "real"));
    lead(house, "start", "one/file");
    watch_one(house, "start");
    put(house, "real/file", "longer");
    assert_int_equal(told(house), 1);
    folder(house, "other");
    put(house, "other/file", "b");
    erase(house, "two");
    lead(house, "two", "other");
    assert_int_equal(told(house), 1);
    put(house, "other/file", "much longer");
    assert_int_equal(told(house), 1);
}

/* What lies beside is nobody's business. */
static void neighbours(struct house *house)
{
    put(house, "file", "a");
    watch_one(house, "file");
    put(house, "neighbour", "b");
    erase(house, "neighbour");
    assert_int_equal(told(house), 0);
}

/* A link that leads to itself, and a path too long to be one. */
static void nowhere(struct house *house)
{
    char *name = memory_alloc(9001);
    lead(house, "circle", "circle");
    memset(name, 'x', 9000);
    name[9000] = '\0';
    struct span paths[4] = {span_str(at(house, "circle")), span_of(name, 9000), SPAN("relative"), SPAN("/")};
    changes_set(house->changes, paths, 4);
    free(name);
    assert_int_equal(told(house), 1);
    erase(house, "circle");
    put(house, "circle", "a file now");
    assert_int_equal(told(house), 1);
}

/* The same paths again are no news; others are, once. */
static void set_again(struct house *house)
{
    put(house, "file", "a");
    put(house, "other", "b");
    watch_one(house, "file");
    watch_one(house, "other");
    struct span path = span_str(at(house, "other"));
    changes_set(house->changes, &path, 1);
    assert_int_equal(told(house), 0);
    put(house, "file", "no longer watched");
    assert_int_equal(told(house), 0);
    put(house, "other", "watched");
    assert_int_equal(told(house), 1);
}

#define CASE(name)                                                                                                     \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        struct house house;                                                                                            \
        open_house(&house, false);                                                                                     \
        name(&house);                                                                                                  \
        close_house(&house);                                                                                           \
        open_house(&house, true);                                                                                      \
        name(&house);                                                                                                  \
        close_house(&house);                                                                                           \
    }

CASE(swapped)
CASE(swapped_folder)
CASE(written_in_place)
CASE(renamed_over)
CASE(comes_and_goes)
CASE(behind_links)
CASE(neighbours)
CASE(nowhere)
CASE(set_again)

/* Many changes in a row are told once, but not put off for ever. */
static void test_quiet(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, false);
    put(&house, "file", "a");
    watch_one(&house, "file");
    for (unsigned i = 0; i < 10; i++) {
        put(&house, "file", i % 2 ? "odd" : "even");
        pass(&house, 1000);
    }
    assert_int_equal(told(&house), 1);
    unsigned before = house.told;
    for (unsigned i = 0; i < 100; i++) {
        put(&house, "file", i % 2 ? "odd" : "even");
        pass(&house, 10000);
    }
    assert_in_range(house.told - before, 3, 7);
    close_house(&house);
}

/* A file that is being written is not read before its writer has closed it. */
static void test_half_written(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, false);
    watch_one(&house, "file");
    FILE *file = fopen(at(&house, "file"), "w");
    assert_non_null(file);
    assert_true(fputs("half", file) >= 0 && fflush(file) == 0);
    assert_int_equal(told(&house), 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(told(&house), 1);
    close_house(&house);
}

/* Looking, a change is told when the next look finds no further one. */
static void test_look_settles(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, true);
    put(&house, "file", "a");
    watch_one(&house, "file");
    unsigned before = house.told;
    for (unsigned i = 0; i < 5; i++) {
        char text[16] = "xxxxxxxxxxxxxxx";
        text[i + 1] = '\0';
        put(&house, "file", text);
        pass(&house, CHANGES_MOST);
    }
    assert_int_equal(house.told, before);
    assert_int_equal(told(&house), 1);
    close_house(&house);
}

/* What the kernel says nothing of (a mount from elsewhere) is found all the same. */
static void test_looks_seldom(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, false);
    put(&house, "file", "a");
    watch_one(&house, "file");
    /* A directory on the way that is replaced stands for it: it holds no link and is not the end. */
    folder(&house, "deep");
    folder(&house, "deep/down");
    put(&house, "deep/down/file", "a");
    watch_one(&house, "deep/down/file");
    move(&house, "deep", "gone");
    folder(&house, "deep");
    folder(&house, "deep/down");
    put(&house, "deep/down/file", "longer");
    unsigned before = house.told;
    pass(&house, 2 * CHANGES_LOOK_SELDOM);
    assert_int_equal(house.told, before + 1);
    close_house(&house);
}

/* Who may enter a directory but not read it cannot watch it, as when watches have run out. */
static void test_unwatchable(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, false);
    folder(&house, "closed");
    put(&house, "closed/file", "a");
    assert_int_equal(chmod(house.folder, 0711), 0);
    assert_int_equal(chmod(at(&house, "closed"), geteuid() == 0 ? 0711 : 0300), 0);
    uid_t self = geteuid();
    assert_true(self != 0 || seteuid(54321) == 0);
    watch_one(&house, "closed/file");
    assert_false(changes_told(house.changes));
    assert_int_equal(seteuid(self), 0);
    put(&house, "closed/file", "longer");
    unsigned before = house.told;
    pass(&house, 2 * CHANGES_LOOK_OFTEN);
    assert_int_equal(house.told, before + 1);
    assert_int_equal(chmod(at(&house, "closed"), 0700), 0);
    watch_one(&house, "closed");
    assert_true(changes_told(house.changes));
    close_house(&house);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swapped),          cmocka_unit_test(test_swapped_folder),
        cmocka_unit_test(test_written_in_place), cmocka_unit_test(test_renamed_over),
        cmocka_unit_test(test_comes_and_goes),   cmocka_unit_test(test_behind_links),
        cmocka_unit_test(test_neighbours),       cmocka_unit_test(test_nowhere),
        cmocka_unit_test(test_set_again),        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_half_written),     cmocka_unit_test(test_look_settles),
        cmocka_unit_test(test_looks_seldom),     cmocka_unit_test(test_unwatchable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
