/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "gateway/redis_protocol.h"

/* As `redis-cli cluster keyslot` says. */
static const struct {
    struct span key;
    unsigned slot;
} slots[] = {
    {SPAN_INIT("123456789"), 12739}, /* the specification's own: CRC 0x31c3 */
    {SPAN_INIT("foo"), 12182},       {SPAN_INIT("bar"), 5061},          {SPAN_INIT(""), 0},
    {SPAN_INIT("{foo}.x"), 12182},   {SPAN_INIT("a{foo}{bar}"), 12182}, {SPAN_INIT("{user1000}.following"), 3443},
};

static void keys_have_slots(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(slots); i++)
        assert_int_equal(redis_slot(slots[i].key), slots[i].slot);
    /* Nothing between the braces, or no end to them: the whole key counts. */
    assert_int_not_equal(redis_slot(SPAN("{}foo")), redis_slot(SPAN("{}bar")));
    assert_int_not_equal(redis_slot(SPAN("{foo")), redis_slot(SPAN("foo")));
    assert_int_equal(redis_slot(SPAN("x{{foo}}y")), redis_slot(SPAN("{foo")));
}

static const struct {
    const char *text;
    bool good, ask;
    unsigned slot;
    const char *host;
    unsigned port;
} redirects[] = {
    {"MOVED 3999 127.0.0.1:6381", true, false, 3999, "127.0.0.1", 6381},
    {"ASK 0 redis-1.example:6379", true, true, 0, "redis-1.example", 6379},
    {"MOVED 16383 :7000", true, false, 16383, "", 7000},
    {"MOVED 1 fd00::1:7000", true, false, 1, "fd00::1", 7000},
    {"MOVED 16384 a:1", false, false, 0, "", 0},
    {"MOVED -1 a:1", false, false, 0, "", 0},
    {"MOVED 1 a:0", false, false, 0, "", 0},
    {"MOVED 1 a:65536", false, false, 0, "", 0},
    {"MOVED 1 a", false, false, 0, "", 0},
    {"MOVED 1 a:", false, false, 0, "", 0},
    {"MOVED 1", false, false, 0, "", 0},
    {"MOVED", false, false, 0, "", 0},
    {"GONE 1 a:1", false, false, 0, "", 0},
    {"", false, false, 0, "", 0},
};

static void redirections_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(redirects); i++) {
        struct redis_redirect to;
        if (redis_redirect_parse(span_str(redirects[i].text), &to) != redirects[i].good)
            fail_msg("%s", redirects[i].text);
        if (!redirects[i].good)
            continue;
        assert_int_equal(to.ask, redirects[i].ask);
        assert_int_equal(to.slot, redirects[i].slot);
        assert_true(span_equal(to.address.host, span_str(redirects[i].host)));
        assert_int_equal(to.address.port, redirects[i].port);
    }
}

static const struct {
    const char *wire;
    bool good;
} maps[] = {
    {"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n", true},
    {"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$-1\r\n:1\r\n", true},
    {"*0\r\n", false},
    {"+OK\r\n", false},
    {"*1\r\n:1\r\n", false},
    {"*1\r\n*2\r\n:0\r\n:1\r\n", false},
    {"*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n", false},
    {"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n", false},
    {"*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n", false},
    {"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:0\r\n", false},
    {"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:70000\r\n", false},
    {"*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n", false},
    {"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:1\r\n", false},
    {"*1\r\n*3\r\n:0\r\n:1\r\n$1\r\na\r\n", false},
};

static void maps_are_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        struct redis_reader *reader = redis_reader_create((size_t)1 << 16);
        const struct redis_value *value = NULL;
        assert_true(redis_reader_feed(reader, span_str(maps[i].wire)));
        assert_int_equal(redis_reader_next(reader, &value), REDIS_READ_VALUE);
        if (redis_ranges_check(value) != maps[i].good)
            fail_msg("%zu", i);
        redis_reader_destroy(reader);
    }
}

static void ranges_name_their_nodes(void **state)
{
    (void)state;
    struct redis_reader *reader = redis_reader_create((size_t)1 << 16);
    const struct redis_value *value = NULL;
    assert_true(redis_reader_feed(reader, SPAN("*2\r\n*4\r\n:0\r\n:99\r\n*2\r\n$1\r\na\r\n:1\r\n*2\r\n$1\r\n?\r\n:2\r\n"
                                               "*3\r\n:100\r\n:100\r\n*2\r\n$-1\r\n:3\r\n")));
    assert_int_equal(redis_reader_next(reader, &value), REDIS_READ_VALUE);
    assert_true(redis_ranges_check(value));
    struct redis_range range = redis_range(value, 0);
    assert_int_equal(range.first, 0);
    assert_int_equal(range.last, 99);
    assert_int_equal(range.node_count, 2);
    assert_true(span_equal(redis_range_node(&range, 0).host, SPAN("a")));
    assert_int_equal(redis_range_node(&range, 1).host.len, 0);
    assert_int_equal(redis_range_node(&range, 1).port, 2);
    range = redis_range(value, 1);
    assert_int_equal(range.first, 100);
    assert_int_equal(redis_range_node(&range, 0).host.len, 0);
    redis_reader_destroy(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_slots),
        cmocka_unit_test(redirections_are_read),
        cmocka_unit_test(maps_are_checked),
        cmocka_unit_test(ranges_name_their_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
