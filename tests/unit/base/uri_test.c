/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/uri.h"

static void reads_urls(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum uri_scheme scheme;
        const char *host, *path, *field;
        unsigned port;
    } rows[] = {
        {"http://a", URI_HTTP, "a", "", "a", 80},
        {"HTTPS://Contoso.openai.azure.com/", URI_HTTPS, "Contoso.openai.azure.com", "/", "contoso.openai.azure.com",
         443},
        {"http://workspace-phi.default.svc/v1", URI_HTTP, "workspace-phi.default.svc", "/v1",
         "workspace-phi.default.svc", 80},
        {"https://a:80/x", URI_HTTPS, "a", "/x", "a:80", 80},
        {"http://a:80", URI_HTTP, "a", "", "a", 80},
        {"http://[FE80::1]:8000/v1", URI_HTTP, "FE80::1", "/v1", "[fe80::1]:8000", 8000},
        {"https://[::ffff:1.2.3.4]", URI_HTTPS, "::ffff:1.2.3.4", "", "[::ffff:1.2.3.4]", 443},
        {"http://10.0.0.1:65535//x:y@z", URI_HTTP, "10.0.0.1", "//x:y@z", "10.0.0.1:65535", 65535},
        {"unix:/run/a.sock", URI_UNIX, "", "/run/a.sock", "localhost", 0},
        {"unix:///run/a?b#c d", URI_UNIX, "", "/run/a?b#c d", "localhost", 0},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct uri uri;
        const char *reason = "";
        if (!uri_parse(span_str(rows[i].text), &uri, &reason))
            fail_msg("%s %s", rows[i].text, reason);
        assert_int_equal(uri.scheme, rows[i].scheme);
        assert_true(span_equal(uri.authority.host, span_str(rows[i].host)));
        assert_int_equal(uri.authority.ipv6, rows[i].field[0] == '[');
        assert_true(span_equal(uri.path, span_str(rows[i].path)));
        assert_int_equal(uri.authority.port, rows[i].port);
        assert_true(span_equal(uri_host_field(&uri, &arena), span_str(rows[i].field)));
    }
    arena_finish(&arena);
}

static void refuses_urls(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "must begin with http://, https:// or unix:/"},
        {"a", "must begin with http://, https:// or unix:/"},
        {"ftp://a", "must begin with http://, https:// or unix:/"},
        {"http:/a", "needs // after its scheme"},
        {"http:", "needs // after its scheme"},
        {"http://", "has no host"},
        {"http:///x", "has no host"},
        {"http://:80", "has no host"},
        {"http://key@a/", "must not hold a user name or password"},
        {"http://u:p@a/", "must not hold a user name or password"},
        {"http://a/?x", "must not have a query"},
        {"http://a?x", "must not have a query"},
        {"http://a/#x", "must not have a fragment"},
        {"http://a b/", "holds a blank, control or non-ASCII byte"},
        {"http://a/\xc3\xa4", "holds a blank, control or non-ASCII byte"},
        {"http://a/ ", "holds a blank, control or non-ASCII byte"},
        {"http://a!/", "has a byte in its host that cannot stand there"},
        {"http://a%2f/", "has a byte in its host that cannot stand there"},
        {"http://a:", "has a bad port"},
        {"http://a:0", "has a bad port"},
        {"http://a:65536", "has a bad port"},
        {"http://a:-1", "has a bad port"},
        {"http://a:x", "has a bad port"},
        {"http://::1/", "needs [ ] around its IPv6 address"},
        {"http://fe80::1/", "needs [ ] around its IPv6 address"},
        {"http://[::1", "has a malformed IPv6 address"},
        {"http://[]", "has a malformed IPv6 address"},
        {"http://[1.2.3.4]", "has a malformed IPv6 address"},
        {"http://[::1%25eth0]", "has a malformed IPv6 address"},
        {"http://[::1]x", "has a byte in its host that cannot stand there"},
        {"unix:", "needs an absolute file name after unix:"},
        {"unix:run", "needs an absolute file name after unix:"},
        {"unix:/", "needs an absolute file name after unix:"},
        {"unix://host/x", "needs an absolute file name after unix:"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct uri uri;
        const char *reason = "accepted";
        (void)!uri_parse(span_str(rows[i][0]), &uri, &reason);
        if (!span_equal(span_str(reason), span_str(rows[i][1])))
            fail_msg("%s: %s", rows[i][0], reason);
    }
}

static void reads_addresses(void **state)
{
    (void)state;
    struct uri_authority authority;
    const char *reason;
    assert_true(uri_parse_authority(SPAN("127.0.0.1:4610"), false, &authority, &reason));
    assert_true(authority.port_given && authority.port == 4610 && !authority.ipv6);
    assert_true(uri_parse_authority(SPAN("[::1]"), false, &authority, &reason));
    assert_true(!authority.port_given && authority.port == 0 && authority.ipv6);
    assert_true(uri_parse_authority(SPAN("localhost:0"), true, &authority, &reason));
    assert_true(authority.port_given && authority.port == 0);
    assert_false(uri_parse_authority(SPAN("localhost:0"), false, &authority, &reason));
    assert_false(uri_parse_authority(SPAN(""), true, &authority, &reason));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_urls),
        cmocka_unit_test(refuses_urls),
        cmocka_unit_test(reads_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
