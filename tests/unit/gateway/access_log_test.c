/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_value.h"
#include "base/memory.h"
#include "gateway/access_log.h"
#include "sample_exchange.h"

struct fixture {
    struct sample sample;
    char directory[64], path[80];
    struct config_log config;
    struct buffer read; /* what has been read so far */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    clock_fake(1000000, UINT64_C(1795366030123000)); /* 2026-11-22T16:47:10.123Z */
    sample_init(&f->sample);
    f->sample.worker.loop = loop_create();
    (void)snprintf(f->directory, sizeof(f->directory), "/tmp/postern-access-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    (void)snprintf(f->path, sizeof(f->path), "%s/log", f->directory);
    f->config.access = span_str(f->path);
    f->config.access_kind = ACCESS_LOG_FILE;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    access_log_destroy(f->sample.worker.log);
    loop_destroy(f->sample.worker.loop);
    sample_finish(&f->sample);
    buffer_finish(&f->read);
    (void)unlink(f->path);
    (void)rmdir(f->directory);
    free(f);
    memory_blocks_drop();
    clock_real();
    return 0;
}

static void start(struct fixture *f)
{
    f->sample.worker.log = access_log_create(&f->sample.worker, &f->config);
    loop_turn(f->sample.worker.loop, false);
}

static void write_line(struct fixture *f)
{
    f->sample.exchange.bytes_in++;
    access_log_write(&f->sample.exchange, OUTCOME_COMPLETED);
}

/* Reads what is there. */
static void read_on(struct fixture *f, int fd)
{
    ssize_t n;
    do {
        n = read(fd, buffer_reserve(&f->read, 8192), 8192);
        if (n > 0)
            buffer_commit(&f->read, (size_t)n);
    } while (n > 0);
}

/* All that was read is whole lines of JSON; returns how many. */
static unsigned lines_read(const struct fixture *f)
{
    struct span rest = buffer_span(&f->read), line;
    unsigned count = 0;
    if (rest.len == 0)
        return 0;
    assert_int_equal(rest.ptr[rest.len - 1], '\n');
    rest.len--;
    while (span_split(&rest, '\n', &line)) {
        struct json_value root;
        if (!json_value_parse(line, &root))
            fail_msg("torn: %.*s", SPAN_ARG(line));
        count++;
    }
    return count;
}

static unsigned lines_in_file(struct fixture *f, const char *path)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    buffer_finish(&f->read);
    read_on(f, fd);
    (void)close(fd);
    return lines_read(f);
}

/* ---- files ---- */

static void lines_gather_and_leave_by_time(void **state)
{
    struct fixture *f = *state;
    start(f);
    write_line(f);
    loop_advance(f->sample.worker.loop, 100 * CLOCK_MS);
    write_line(f);
    assert_int_equal(lines_in_file(f, f->path), 0);
    loop_advance(f->sample.worker.loop, 200 * CLOCK_MS);
    assert_int_equal(lines_in_file(f, f->path), 2);
    assert_true(span_starts_with(buffer_span(&f->read), SPAN("{\"time\":\"2026-11-22T16:47:10.123Z\",")));
    write_line(f);
    loop_advance(f->sample.worker.loop, 300 * CLOCK_MS);
    assert_int_equal(lines_in_file(f, f->path), 3);
    struct stat info;
    assert_int_equal(stat(f->path, &info), 0);
    assert_int_equal(info.st_mode & 0137, 0);
    assert_int_equal(access_log_lost(f->sample.worker.log), 0);
}

static void seconds_are_carried(void **state)
{
    struct fixture *f = *state;
    start(f);
    static const struct {
        uint64_t step;
        const char *time;
    } rows[] = {{0, "2026-11-22T16:47:10.123Z"},
                {876 * CLOCK_MS, "2026-11-22T16:47:10.999Z"},
                {1 * CLOCK_MS, "2026-11-22T16:47:11.000Z"},
                {48 * CLOCK_SECOND + 999 * CLOCK_MS, "2026-11-22T16:47:59.999Z"},
                {26000 * CLOCK_SECOND, "2026-11-23T00:01:19.999Z"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        loop_advance(f->sample.worker.loop, rows[i].step);
        write_line(f);
    }
    access_log_destroy(f->sample.worker.log);
    f->sample.worker.log = NULL;
    assert_int_equal(lines_in_file(f, f->path), ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char part[64];
        (void)snprintf(part, sizeof(part), "{\"time\":\"%s\"", rows[i].time);
        struct span all = buffer_span(&f->read);
        if (span_search(all, span_str(part)) == all.len)
            fail_msg("no line of %s", rows[i].time);
    }
}

static void many_lines_leave_at_once(void **state)
{
    struct fixture *f = *state;
    start(f);
    for (unsigned i = 0; i < 1000; i++)
        write_line(f);
    unsigned early = lines_in_file(f, f->path);
    assert_true(early > 800 && early < 1000);
    access_log_destroy(f->sample.worker.log); /* writes the rest */
    f->sample.worker.log = NULL;
    assert_int_equal(lines_in_file(f, f->path), 1000);
}

static void a_reload_opens_again(void **state)
{
    struct fixture *f = *state;
    char moved[96];
    (void)snprintf(moved, sizeof(moved), "%s.1", f->path);
    start(f);
    write_line(f);
    assert_int_equal(rename(f->path, moved), 0);
    access_log_adopt(f->sample.worker.log, &f->config);
    write_line(f);
    write_line(f);
    struct config_log off = {.access = SPAN("off"), .access_kind = ACCESS_LOG_OFF};
    access_log_adopt(f->sample.worker.log, &off);
    write_line(f);
    assert_int_equal(lines_in_file(f, moved), 1);
    assert_int_equal(lines_in_file(f, f->path), 2);
    assert_int_equal(access_log_lost(f->sample.worker.log), 0);
    (void)unlink(moved);
}

static void what_cannot_be_opened_loses_lines(void **state)
{
    struct fixture *f = *state;
    struct config_log nowhere = {.access = SPAN("/nonexistent/log"), .access_kind = ACCESS_LOG_FILE};
    log_configure(LOG_ERROR, LOG_TEXT);
    f->sample.worker.log = access_log_create(&f->sample.worker, &nowhere);
    write_line(f);
    write_line(f);
    assert_int_equal(access_log_lost(f->sample.worker.log), 2);
    access_log_adopt(f->sample.worker.log, &f->config);
    write_line(f);
    access_log_adopt(f->sample.worker.log, &f->config);
    assert_int_equal(lines_in_file(f, f->path), 1);
    assert_int_equal(access_log_lost(f->sample.worker.log), 2);
}

/* ---- pipes ---- */

/* Nobody reads: lines are lost and counted, the worker goes on; whole lines come out when somebody does. */
static void a_full_pipe_loses_whole_lines(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkfifo(f->path, 0600), 0);
    int reader = open(f->path, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    start(f);
    const unsigned written = 2000;
    for (unsigned i = 0; i < written; i++)
        write_line(f);
    uint64_t lost = access_log_lost(f->sample.worker.log);
    assert_true(lost > 0 && lost < written);
    for (unsigned i = 0; i < 20; i++) {
        read_on(f, reader);
        loop_advance(f->sample.worker.loop, 250 * CLOCK_MS);
    }
    read_on(f, reader);
    assert_int_equal(lines_read(f) + access_log_lost(f->sample.worker.log), written);
    write_line(f);
    loop_advance(f->sample.worker.loop, 250 * CLOCK_MS);
    read_on(f, reader);
    assert_int_equal(lines_read(f) + lost, written + 1);
    (void)close(reader);
}

/* Lines of several workers on one pipe do not mix. */
static void two_writers_do_not_tear_lines(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkfifo(f->path, 0600), 0);
    int reader = open(f->path, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    start(f);
    struct access_log *first = f->sample.worker.log;
    struct access_log *second = access_log_create(&f->sample.worker, &f->config);
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 60; i++) {
            write_line(f);
            f->sample.worker.log = f->sample.worker.log == first ? second : first;
        }
        if (round % 3 == 0)
            loop_advance(f->sample.worker.loop, 250 * CLOCK_MS);
        ssize_t n = read(reader, buffer_reserve(&f->read, 20000), 20000);
        if (n > 0)
            buffer_commit(&f->read, (size_t)n);
    }
    for (unsigned i = 0; i < 20; i++) {
        read_on(f, reader);
        loop_advance(f->sample.worker.loop, 250 * CLOCK_MS);
    }
    read_on(f, reader);
    uint64_t lost = access_log_lost(first) + access_log_lost(second);
    assert_int_equal(lines_read(f) + lost, 40 * 60);
    f->sample.worker.log = first;
    access_log_destroy(second);
    (void)close(reader);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_gather_and_leave_by_time),    TEST(seconds_are_carried),
        TEST(many_lines_leave_at_once),          TEST(a_reload_opens_again),
        TEST(what_cannot_be_opened_loses_lines), TEST(a_full_pipe_loses_whole_lines),
        TEST(two_writers_do_not_tear_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
