/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/buffer.h"

#define MOST ((size_t)4096)

/* A value as text: strings in quotes, arrays in brackets. */
static void show(struct buffer *out, const struct redis_value *value)
{
    switch (value->kind) {
    case REDIS_NIL:
        buffer_append(out, SPAN("nil"));
        break;
    case REDIS_INTEGER:
        buffer_format(out, "%lld", (long long)value->integer);
        break;
    case REDIS_STATUS:
        buffer_format(out, "+%.*s", SPAN_ARG(value->text));
        break;
    case REDIS_FAILURE:
        buffer_format(out, "-%.*s", SPAN_ARG(value->text));
        break;
    case REDIS_STRING:
        buffer_append(out, SPAN("\""));
        buffer_append(out, value->text);
        buffer_append(out, SPAN("\""));
        break;
    case REDIS_ARRAY:
        buffer_append(out, SPAN("["));
        for (size_t i = 0; i < value->count; i++) {
            if (i)
                buffer_append(out, SPAN(" "));
            show(out, &value->items[i]);
        }
        buffer_append(out, SPAN("]"));
        break;
    }
}

/* Feeds in two pieces, cut at `cut`; every answer on a line, "bad" at the end when it was. */
static void read_cut(struct span wire, size_t cut, size_t most, struct buffer *out)
{
    struct redis_reader *reader = redis_reader_create(most);
    const struct span parts[] = {span_take(wire, cut), span_skip(wire, cut)};
    for (unsigned i = 0; i < 2; i++) {
        const struct redis_value *value = NULL;
        enum redis_read read = redis_reader_feed(reader, parts[i]) ? REDIS_READ_VALUE : REDIS_READ_BAD;
        while (read == REDIS_READ_VALUE && (read = redis_reader_next(reader, &value)) == REDIS_READ_VALUE) {
            show(out, value);
            buffer_append(out, SPAN("\n"));
        }
        if (read == REDIS_READ_BAD) {
            assert_true(redis_reader_error(reader)[0] != '\0');
            buffer_append(out, SPAN("bad"));
            break;
        }
        assert_string_equal(redis_reader_error(reader), "");
    }
    redis_reader_destroy(reader);
}

static const struct {
    struct span wire;
    const char *shown;
} readings[] = {
    {SPAN_INIT("+OK\r\n"), "+OK\n"},
    {SPAN_INIT(":0\r\n:-7\r\n:9223372036854775807\r\n"), "0\n-7\n9223372036854775807\n"},
    {SPAN_INIT("$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n"), "\"\"\nnil\nnil\n[]\n"},
    {SPAN_INIT("$5\r\na\r\nb:\r\n"), "\"a\r\nb:\"\n"},
    {SPAN_INIT("-NOAUTH Authentication required.\r\n"), "-NOAUTH Authentication required.\n"},
    {SPAN_INIT("*3\r\n:1\r\n*2\r\n$1\r\nx\r\n-ERR inside\r\n$-1\r\n+next\r\n"), "[1 [\"x\" -ERR inside] nil]\n+next\n"},
    {SPAN_INIT("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:5\r\n"), "[[[[[[5]]]]]]\n"},
    /* Not RESP2. */
    {SPAN_INIT("HTTP/1.1 400 Bad Request\r\n"), "bad"},
    {SPAN_INIT("+OK\r\n?\r\n"), "+OK\nbad"},
    {SPAN_INIT("$x\r\nabc\r\n"), "bad"},
    {SPAN_INIT("$-2\r\n"), "bad"},
    {SPAN_INIT("*-2\r\n"), "bad"},
    {SPAN_INIT(":1a\r\n"), "bad"},
    {SPAN_INIT("%1\r\n:1\r\n:2\r\n"), "bad"},
    {SPAN_INIT("#t\r\n"), "bad"},
    {SPAN_INIT(",1.5\r\n"), "bad"},
    {SPAN_INIT(">1\r\n+push\r\n"), "bad"},
    {SPAN_INIT("~1\r\n:1\r\n"), "bad"},
    /* Too large, or too deep, by what is announced: nothing of the kind is allocated. */
    {SPAN_INIT("*2147483647\r\n"), "bad"},
    {SPAN_INIT("*65537\r\n"), "bad"},
    {SPAN_INIT("*2\r\n*65000\r\n"), ""},
    {SPAN_INIT("*99999999999999999999\r\n"), "bad"},
    {SPAN_INIT("$99999999999999999999\r\n"), "bad"},
    {SPAN_INIT("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:5\r\n"), "bad"},
};

static void answers_are_read_wherever_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(readings); i++)
        for (size_t cut = 0; cut <= readings[i].wire.len; cut++) {
            struct buffer out = {0};
            read_cut(readings[i].wire, cut, (size_t)1 << 20, &out);
            if (!span_equal(buffer_span(&out), span_str(readings[i].shown)))
                fail_msg("%zu cut at %zu: %.*s", i, cut, SPAN_ARG(buffer_span(&out)));
            buffer_finish(&out);
        }
}

/* Numbers are read without hiredis unless it has something already: it makes no difference, good or bad. */
static void numbers_are_read_in_one_way(void **state)
{
    (void)state;
    static const char *const wires[] = {
        ":1\r\n",
        ":-1\r\n",
        ":-0\r\n",
        ":00\r\n",
        ":01\r\n",
        ":-01\r\n",
        ":-\r\n",
        ":\r\n",
        ":+1\r\n",
        ": 1\r\n",
        ":1\n",
        ":1\r:",
        ":999999999999999999\r\n",
        ":1000000000000000000\r\n",
        ":9223372036854775808\r\n",
        ":-9223372036854775808\r\n",
        "*1\r\n:5\r\n",
        "*0\r\n:5\r\n",
        "*01\r\n:5\r\n",
        "*-1\r\n:5\r\n",
        "*1\r\n$1\r\n5\r\n",
        "*2\r\n:1\r\n:2\r\n*2\r\n:3\r\n+x\r\n:4\r\n",
        "*2\r\n:1\r\n:2",
        "*2\r\n:1\r\n:2x\r\n",
        "*2\r\n:1\r\n*1\r\n:2\r\n:3\r\n",
        "*33\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:"
        "1\r\n:1\r\n:1\r\n"
        ":1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:2\r\n:3\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(wires); i++)
        for (size_t cut = 0; cut <= strlen(wires[i]); cut++) {
            struct buffer ours = {0}, theirs = {0}, behind = {0};
            buffer_append(&behind, SPAN("+first\r\n"));
            buffer_append(&behind, span_str(wires[i]));
            read_cut(span_str(wires[i]), cut, MOST, &ours);
            read_cut(buffer_span(&behind), buffer_len(&behind), MOST, &theirs);
            if (!span_equal(buffer_span(&ours), span_skip(buffer_span(&theirs), strlen("+first\n"))))
                fail_msg("%zu cut at %zu: %.*s, hiredis: %.*s", i, cut, SPAN_ARG(buffer_span(&ours)),
                         SPAN_ARG(buffer_span(&theirs)));
            buffer_finish(&ours);
            buffer_finish(&theirs);
            buffer_finish(&behind);
        }
}

/* A server that announces half a gigabyte gets no more of our memory than one answer may have. */
static void an_endless_string_is_refused(void **state)
{
    (void)state;
    static char much[1000];
    struct redis_reader *reader = redis_reader_create(MOST);
    const struct redis_value *value = NULL;
    assert_true(redis_reader_feed(reader, SPAN("$536870912\r\n")));
    assert_int_equal(redis_reader_next(reader, &value), REDIS_READ_MORE);
    size_t fed = 0;
    enum redis_read read = REDIS_READ_MORE;
    while (read == REDIS_READ_MORE && fed < 100 * MOST) {
        assert_true(redis_reader_feed(reader, span_of(much, sizeof(much))));
        fed += sizeof(much);
        read = redis_reader_next(reader, &value);
    }
    assert_int_equal(read, REDIS_READ_BAD);
    assert_in_range(fed, MOST - 100, MOST + sizeof(much));
    redis_reader_destroy(reader);
}

static void many_small_strings_in_one_answer_are_refused(void **state)
{
    (void)state;
    struct redis_reader *reader = redis_reader_create(MOST);
    const struct redis_value *value = NULL;
    assert_true(redis_reader_feed(reader, SPAN("*60000\r\n")));
    enum redis_read read = REDIS_READ_MORE;
    /* What one array takes is beyond a limit this small. */
    read = redis_reader_next(reader, &value);
    assert_int_equal(read, REDIS_READ_BAD);
    assert_non_null(strstr(redis_reader_error(reader), "large"));
    redis_reader_destroy(reader);
}

static void the_limit_counts_per_answer(void **state)
{
    (void)state;
    struct redis_reader *reader = redis_reader_create((size_t)1 << 20);
    const struct redis_value *value = NULL;
    for (unsigned round = 0; round < 3; round++) {
        struct buffer wire = {0};
        buffer_append(&wire, SPAN("*60000\r\n"));
        for (unsigned i = 0; i < 60000; i++)
            buffer_append(&wire, SPAN(":1\r\n"));
        assert_true(redis_reader_feed(reader, buffer_span(&wire)));
        assert_int_equal(redis_reader_next(reader, &value), REDIS_READ_VALUE);
        assert_int_equal(value->count, 60000);
        assert_int_equal(value->items[59999].integer, 1);
        assert_int_equal(redis_reader_next(reader, &value), REDIS_READ_MORE);
        buffer_finish(&wire);
    }
    redis_reader_destroy(reader);
}

static void commands_are_written(void **state)
{
    (void)state;
    const struct span argv[] = {SPAN("SET"), SPAN("a b\r\n"), SPAN(""), span_of("\0x", 2)};
    struct redis_command command = {0};
    redis_command_format(&command, argv, 4);
    const struct span wanted = SPAN("*4\r\n$3\r\nSET\r\n$5\r\na b\r\n\r\n$0\r\n\r\n$2\r\n\0x\r\n");
    assert_true(span_equal(span_of(command.bytes, command.len), wanted));
    redis_command_free(&command, true);
    assert_null(command.bytes);
}

static const struct {
    const char *text;
    enum redis_error error;
} errors[] = {
    {"READONLY You can't write against a read only replica.", REDIS_ERROR_READONLY},
    {"LOADING Redis is loading the dataset in memory", REDIS_ERROR_LOADING},
    {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", REDIS_ERROR_MASTERDOWN},
    {"CLUSTERDOWN The cluster is down", REDIS_ERROR_CLUSTERDOWN},
    {"MOVED 3999 127.0.0.1:6381", REDIS_ERROR_MOVED},
    {"ASK 3999 127.0.0.1:6381", REDIS_ERROR_MOVED},
    {"TRYAGAIN Multiple keys request during rehashing of slot", REDIS_ERROR_TRYAGAIN},
    {"CROSSSLOT Keys in request don't hash to the same slot", REDIS_ERROR_CROSSSLOT},
    {"OOM command not allowed when used memory > 'maxmemory'.", REDIS_ERROR_OOM},
    {"NOAUTH Authentication required.", REDIS_ERROR_NOAUTH},
    {"WRONGPASS invalid username-password pair or user is disabled.", REDIS_ERROR_NOAUTH},
    {"ERR invalid password", REDIS_ERROR_NOAUTH},
    {"ERR Client sent AUTH, but no password is set", REDIS_ERROR_NOAUTH},
    {"NOPERM this user has no permissions to run the 'get' command", REDIS_ERROR_NOPERM},
    {"NOSCRIPT No matching script. Please use EVAL.", REDIS_ERROR_NOSCRIPT},
    {"WRONGTYPE Operation against a key holding the wrong kind of value", REDIS_ERROR_WRONGTYPE},
    {"BUSY Redis is busy running a script.", REDIS_ERROR_BUSY},
    {"MISCONF Redis is configured to save RDB snapshots", REDIS_ERROR_BUSY},
    {"NOREPLICAS Not enough good replicas to write.", REDIS_ERROR_BUSY},
    {"ERR Error running script (call to f_ab): @user_script:1: -OOM command not allowed", REDIS_ERROR_OOM},
    {"ERR Error running script (call to f_ab): @user_script:1: WRONGTYPE Operation", REDIS_ERROR_WRONGTYPE},
    {"ERR Error running script (call to f_ab): @user_script:1: nil", REDIS_ERROR_OTHER},
    {"ERR unknown command", REDIS_ERROR_OTHER},
    {"MOVEDON 1 a:1", REDIS_ERROR_OTHER},
    {"", REDIS_ERROR_OTHER},
};

static void errors_are_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        if (redis_error_of(span_str(errors[i].text)) != errors[i].error)
            fail_msg("%s: %s", errors[i].text, redis_error_name(redis_error_of(span_str(errors[i].text))));
    assert_string_equal(redis_error_name(REDIS_ERROR_OOM), "oom");
    assert_string_equal(redis_error_name(REDIS_ERRORS), "other");
    assert_false(redis_error_is_refusal(REDIS_ERROR_NONE));
    assert_false(redis_error_is_refusal(REDIS_ERROR_LOST));
    assert_false(redis_error_is_refusal(REDIS_ERROR_TIMEOUT));
    assert_false(redis_error_is_refusal(REDIS_ERROR_PROTOCOL));
    assert_true(redis_error_is_refusal(REDIS_ERROR_FULL));
    assert_true(redis_error_is_refusal(REDIS_ERROR_READONLY));
}

static const struct {
    struct redis_value value;
    bool good;
    int64_t number;
} integers[] = {
    {{.kind = REDIS_INTEGER, .integer = -5}, true, -5},
    {{.kind = REDIS_STRING, .text = SPAN_INIT("42")}, true, 42},
    {{.kind = REDIS_STRING, .text = SPAN_INIT("-42")}, true, -42},
    {{.kind = REDIS_STRING, .text = SPAN_INIT("9223372036854775807")}, true, INT64_MAX},
    {{.kind = REDIS_STRING, .text = SPAN_INIT("9223372036854775808")}, false, 0},
    {{.kind = REDIS_STRING, .text = SPAN_INIT("-")}, false, 0},
    {{.kind = REDIS_STRING, .text = SPAN_INIT("")}, false, 0},
    {{.kind = REDIS_STRING, .text = SPAN_INIT("1.5")}, false, 0},
    {{.kind = REDIS_STATUS, .text = SPAN_INIT("1")}, false, 0},
    {{.kind = REDIS_NIL}, false, 0},
};

static void numbers_come_as_integers_or_as_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(integers); i++) {
        int64_t number = 77;
        assert_int_equal(redis_value_integer(&integers[i].value, &number), integers[i].good);
        assert_true(number == (integers[i].good ? integers[i].number : 77));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read_wherever_they_are_cut),
        cmocka_unit_test(numbers_are_read_in_one_way),
        cmocka_unit_test(an_endless_string_is_refused),
        cmocka_unit_test(many_small_strings_in_one_answer_are_refused),
        cmocka_unit_test(the_limit_counts_per_answer),
        cmocka_unit_test(commands_are_written),
        cmocka_unit_test(errors_are_told_apart),
        cmocka_unit_test(numbers_come_as_integers_or_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
