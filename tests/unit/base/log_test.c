/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static int saved_stderr, captured;

static void capture_start(void)
{
    captured = memfd_create("log", MFD_CLOEXEC);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(captured >= 0 && saved_stderr >= 0);
    assert_true(dup2(captured, STDERR_FILENO) >= 0);
}

/* What was written since capture_start, NUL-terminated. */
static const char *capture_stop(void)
{
    static char text[8192];
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    close(saved_stderr);
    ssize_t size = pread(captured, text, sizeof(text) - 1, 0);
    close(captured);
    assert_true(size >= 0);
    text[size] = '\0';
    return text;
}

static int set_clock(void **state)
{
    (void)state;
    clock_fake(0, UINT64_C(1763827200) * CLOCK_SECOND + 7 * CLOCK_MS + 999);
    return 0;
}

static int reset(void **state)
{
    (void)state;
    clock_real();
    log_configure(LOG_INFO, LOG_TEXT);
    return 0;
}

static void test_text(void **state)
{
    (void)state;
    log_configure(LOG_INFO, LOG_TEXT);
    capture_start();
    log_write(LOG_WARNING, "tls", "certificate %s not reloaded: %d", "a.pem", 7);
    assert_string_equal(capture_stop(), "2025-11-22T16:00:00.007Z warning tls: certificate a.pem not reloaded: 7\n");
}

static void test_json(void **state)
{
    (void)state;
    log_configure(LOG_DEBUG, LOG_JSON);
    capture_start();
    log_write(LOG_DEBUG, "pool", "a \"b\"\n");
    assert_string_equal(capture_stop(), "{\"time\":\"2025-11-22T16:00:00.007Z\",\"level\":\"debug\",\"area\":\"pool\","
                                        "\"message\":\"a \\\"b\\\"\\n\"}\n");
}

static void test_levels(void **state)
{
    (void)state;
    static const enum log_level levels[] = {LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    for (size_t set = 0; set < ARRAY_LEN(levels); set++) {
        log_configure(levels[set], LOG_TEXT);
        for (size_t asked = 0; asked < ARRAY_LEN(levels); asked++) {
            assert_int_equal(log_enabled(levels[asked]), asked <= set);
            capture_start();
            log_write(levels[asked], "x", "line");
            assert_int_equal(capture_stop()[0] != '\0', asked <= set);
        }
    }
}

/* A message made of what a peer sent must not be able to forge a second line or to move a terminal's cursor. */
static void test_one_event_is_one_line(void **state)
{
    (void)state;
    log_configure(LOG_INFO, LOG_TEXT);
    capture_start();
    log_write(LOG_ERROR, "tls", "bad name: %s", "x\r\n2025-11-22T16:00:00.000Z error   tls: forged\x1b[2J");
    const char *text = capture_stop();
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_null(strchr(text, '\r'));
    assert_null(strchr(text, '\x1b'));
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    static const enum log_format formats[] = {LOG_TEXT, LOG_JSON};
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        log_configure(LOG_INFO, formats[i]);
        capture_start();
        log_write(LOG_INFO, "x", "%*d", 100000, 1);
        const char *text = capture_stop();
        assert_in_range(strlen(text), 1024, 2048 + 200);
        assert_int_equal(text[strlen(text) - 1], '\n');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text, set_clock, reset),
        cmocka_unit_test_setup_teardown(test_json, set_clock, reset),
        cmocka_unit_test_setup_teardown(test_levels, set_clock, reset),
        cmocka_unit_test_setup_teardown(test_one_event_is_one_line, set_clock, reset),
        cmocka_unit_test_setup_teardown(test_long_lines_are_cut, set_clock, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
