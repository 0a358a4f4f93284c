/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "net/connector.h"
#include "net/listener.h"

static void literals_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *printed; /* NULL: refused */
    } rows[] = {
        {"127.0.0.1", "127.0.0.1"},
        {"::1", "::1"},
        {"[::1]", "::1"},
        {"::ffff:10.1.2.3", "10.1.2.3"},
        {"2001:DB8::1", "2001:db8::1"},
        {"0.0.0.0", "0.0.0.0"},
        {"", NULL},
        {"[]", NULL},
        {"[127.0.0.1]", NULL},
        {"1.2.3", NULL},
        {"1.2.3.4.5", NULL},
        {"256.1.1.1", NULL},
        {"1.2.3.4 ", NULL},
        {"::1%eth0", NULL},
        {"localhost", NULL},
        {"[::1", NULL},
        {"0x7f.1.1.1", NULL},
        {"12345:1::", NULL},
        {"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct address address;
        char text[ADDRESS_TEXT];
        bool good = address_parse(span_str(rows[i].text), &address);
        assert_int_equal(good, rows[i].printed != NULL);
        if (good)
            assert_string_equal(address_format(&address, text), rows[i].printed);
    }
    struct address address;
    assert_false(address_parse(span_of("1.1.1.1\0x", 9), &address));
}

static void ports_are_printed(void **state)
{
    (void)state;
    struct address address;
    char text[ADDRESS_TEXT];
    assert_true(address_parse(SPAN("fd00::5"), &address));
    address.port = 443;
    assert_string_equal(address_format_port(&address, text), "[fd00::5]:443");
    assert_true(address_parse(SPAN("10.0.0.4"), &address));
    address.port = 65535;
    assert_string_equal(address_format_port(&address, text), "10.0.0.4:65535");
    struct address none = {0}, local = {.family = ADDRESS_UNIX};
    assert_string_equal(address_format_port(&none, text), "-");
    assert_string_equal(address_format(&local, text), "unix");
}

static void ranges_hold_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *range, *address;
        bool inside;
    } rows[] = {
        {"10.0.0.0/8", "10.255.1.2", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "::ffff:10.0.0.1", true},
        {"0.0.0.0/0", "1.2.3.4", true},
        {"0.0.0.0/0", "::1", false},
        {"10.1.2.3", "10.1.2.3", true},
        {"10.1.2.3", "10.1.2.4", false},
        {"10.1.2.4/31", "10.1.2.5", true},
        {"10.1.2.4/31", "10.1.2.6", false},
        {"fd00::/9", "fd7f::1", true},
        {"fd00::/9", "fd80::1", false},
        {"::ffff:10.0.0.0/104", "10.200.0.1", true},
        {"2001:db8::/128", "2001:db8::", true},
        {"2001:db8::/127", "2001:db8::2", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct address_range range;
        struct address address;
        assert_true(address_range_parse(span_str(rows[i].range), &range));
        assert_true(address_parse(span_str(rows[i].address), &address));
        assert_int_equal(address_in_range(&address, &range), rows[i].inside);
    }
    static const char *const bad[] = {"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/",  "10.0.0.0/-1",       "::/129",
                                      "x/8",        "/8",          "fd00::1/64", "::ffff:10.0.0.0/95"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct address_range range;
        assert_false(address_range_parse(span_str(bad[i]), &range));
    }
}

static void loopback_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool loopback;
    } rows[] = {{"127.0.0.1", true},  {"127.9.9.9", true}, {"::1", true},     {"::ffff:127.0.0.1", true},
                {"128.0.0.1", false}, {"::2", false},      {"0.0.0.0", false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct address address;
        assert_true(address_parse(span_str(rows[i].text), &address));
        assert_int_equal(address_is_loopback(&address), rows[i].loopback);
    }
}

static void sockaddrs_go_there_and_back(void **state)
{
    (void)state;
    static const char *const texts[] = {"10.1.2.3", "2001:db8::9"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct address address, back;
        struct sockaddr_storage sa;
        assert_true(address_parse(span_str(texts[i]), &address));
        address.port = 4610;
        socklen_t len = address_to_sockaddr(&address, &sa);
        back = address_from_sockaddr((struct sockaddr *)&sa, len);
        assert_true(address_same_host(&address, &back));
        assert_int_equal(back.port, 4610);
        back = address_from_sockaddr((struct sockaddr *)&sa, 4);
        assert_int_equal(back.family, ADDRESS_NONE);
    }
}

static void listen_addresses_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int family; /* ADDRESS_NONE: refused */
        unsigned port;
    } rows[] = {
        {"127.0.0.1:4610", ADDRESS_IPV4, 4610},
        {"[::1]:4610", ADDRESS_IPV6, 4610},
        {"0.0.0.0:0", ADDRESS_IPV4, 0},
        {"[::]:65535", ADDRESS_IPV6, 65535},
        {"unix:/run/p.sock", ADDRESS_UNIX, 0},
        {"unix:run/p.sock", ADDRESS_NONE, 0},
        {"unix:", ADDRESS_NONE, 0},
        {"::1:4610", ADDRESS_NONE, 0},
        {"127.0.0.1", ADDRESS_NONE, 0},
        {"127.0.0.1:", ADDRESS_NONE, 0},
        {"127.0.0.1:65536", ADDRESS_NONE, 0},
        {":4610", ADDRESS_NONE, 0},
        {"*:4610", ADDRESS_NONE, 0},
        {"localhost:4610", ADDRESS_NONE, 0},
        {"", ADDRESS_NONE, 0},
        {"127.0.0.1:+80", ADDRESS_NONE, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct listen_address address;
        struct net_error error = {{0}};
        bool good = listen_address_parse(span_str(rows[i].text), &address, &error);
        assert_int_equal(good, rows[i].family != ADDRESS_NONE);
        assert_int_equal(error.text[0] == 0, good);
        if (good) {
            assert_int_equal(address.ip.family, rows[i].family);
            assert_int_equal(address.ip.port, rows[i].port);
        }
    }
}

static void no_proxy_exempts(void **state)
{
    (void)state;
    static const struct {
        const char *list, *host;
        uint16_t port;
        bool exempt;
    } rows[] = {
        {"", "localhost", 80, true},
        {"", "LOCALHOST.", 80, true},
        {"", "a.localhost", 80, true},
        {"", "127.0.0.2", 80, true},
        {"", "[::1]", 80, true},
        {"", "example.com", 80, false},
        {"*", "example.com", 80, true},
        {"example.com", "example.com", 443, true},
        {"example.com", "a.EXAMPLE.com", 443, true},
        {"example.com", "badexample.com", 443, false},
        {".example.com", "a.example.com", 443, true},
        {".example.com", "example.com", 443, true},
        {"*.example.com", "a.example.com", 443, true},
        {"example.com.", "example.com", 443, true},
        {"example.com:8443", "example.com", 8443, true},
        {"example.com:8443", "example.com", 443, false},
        {"a, b ,svc.cluster.local", "x.svc.cluster.local", 80, true},
        {"a\tb c", "c", 80, true},
        {",,", "c", 80, false},
        {"10.0.0.0/8", "10.2.3.4", 80, true},
        {"10.0.0.0/8", "11.2.3.4", 80, false},
        {"10.0.0.0/8", "10.example.com", 80, false},
        {"10.2.3.4", "10.2.3.4", 80, true},
        {"10.2.3.4:81", "10.2.3.4", 80, false},
        {"fd00::/8", "[fd00::1]", 80, true},
        {"[fd00::1]:80", "fd00::1", 80, true},
        {"[fd00::1]:81", "fd00::1", 80, false},
        {"fd00::1", "fd00::1", 80, true},
        {"4", "10.2.3.4", 80, false},
        {".", "a.", 80, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool exempt = no_proxy_matches(span_str(rows[i].list), span_str(rows[i].host), rows[i].port);
        if (exempt != rows[i].exempt)
            fail_msg("%s against %s", rows[i].host, rows[i].list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_are_read),
        cmocka_unit_test(ports_are_printed),
        cmocka_unit_test(ranges_hold_what_they_say),
        cmocka_unit_test(loopback_is_known),
        cmocka_unit_test(sockaddrs_go_there_and_back),
        cmocka_unit_test(listen_addresses_are_read),
        cmocka_unit_test(no_proxy_exempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
