/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway/keys: what a keys file may say, what is refused with its line, and how keys are checked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "gateway/keys.h"

#define DIGEST        "hmac-sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY(id, more) "- {\"id\": \"" id "\", \"digest\": \"" DIGEST "\", \"consumer\": \"search\"" more "}"

static int setup(void **state)
{
    (void)state;
    hash_start();
    return 0;
}

static struct keys *parse(const char *text, char *said, size_t room)
{
    struct report report;
    struct buffer lines = {0};
    report_init(&report);
    struct keys *keys = keys_parse(SPAN("k"), span_str(text), &report);
    report_print(&report, &lines);
    (void)snprintf(said, room, "%.*s", SPAN_ARG(buffer_span(&lines)));
    assert_int_equal(keys == NULL, report.errors > 0);
    buffer_finish(&lines);
    report_finish(&report);
    return keys;
}

static void reads_keys(void **state)
{
    (void)state;
    static const char text[] = "# keys\r\n---\n\n" KEY(
        "a", ", \"groups\": [\"x\", \"y\\u0041\"]") "\r\n  "
                                                    "{\"consumer\":\"shop\",\"digest\":\"" DIGEST
                                                    "\",\"id\":\"B-2\",\"expires\":\"2027-01-31\","
                                                    "\"attributes\":{\"team\":\"42\"}}\n" KEY(
                                                        "c", ", \"expires\": \"2027-01-31T18:00:00Z\"");
    char said[512];
    struct keys *keys = parse(text, said, sizeof(said));
    assert_string_equal(said, "");
    assert_int_equal(keys_count(keys), 3);
    const struct key_record *a = keys_find(keys, SPAN("a")), *b = keys_find(keys, SPAN("B-2")),
                            *c = keys_find(keys, SPAN("c"));
    assert_true(a && b && c && !keys_find(keys, SPAN("b-2")) && !keys_find(keys, SPAN("")));
    assert_true(span_equal(a->consumer, SPAN("search")) && a->expires == 0 && a->digest[31] == 0x1f);
    assert_int_equal(a->group_count, 2);
    assert_true(span_equal(a->groups[1], SPAN("yA")));
    assert_true(span_equal(b->attributes[0].name, SPAN("team")) && span_equal(b->attributes[0].value, SPAN("42")));
    assert_int_equal(b->expires, 1801353600);
    assert_int_equal(c->expires, 1801353600 + 18 * 3600);
    keys_unref(keys);
}

static void refuses_with_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said; /* a part of it */
    } cases[] = {
        {"", "k: holds no key"},
        {"# nothing\n", "k: holds no key"},
        {"keys:\n" KEY("a", ""), "k:1:1: not a key"},
        {KEY("a", "") "\n- id: b\n", "k:2:1: not a key"},
        {"- []", "k:1:1: not a key"},
        {"- {\"id\": \"a\"", "k:1:1: not a key"},
        {"- {}", "k:1:1: \"id\" is missing"},
        {KEY("a", "") "\n" KEY("a", ""), "k:2:1: the id \"a\" is given twice"},
        {KEY("", ""), "k:1:1: \"id\" must be"},
        {KEY("a_b", ""), "k:1:1: \"id\" must be"},
        {KEY("a b", ""), "k:1:1: \"id\" must be"},
        {"- {\"id\": \"a\", \"digest\": \"sha256:00\", \"consumer\": \"x\"}", "\"digest\" must be"},
        {"- {\"id\": \"a\", \"digest\": \"hmac-sha256:00\", \"consumer\": \"x\"}", "\"digest\" must be"},
        {"- {\"id\": \"a\", \"digest\": \"" DIGEST "\", \"consumer\": \"\"}", "\"consumer\" must be"},
        {"- {\"id\": \"a\", \"digest\": \"" DIGEST "\", \"consumer\": \"a\\nb\"}", "\"consumer\" must be"},
        {KEY("a", ", \"id\": \"b\""), "\"id\" must be given once"},
        {KEY("a", ", \"groups\": \"x\""), "\"groups\" must be a list"},
        {KEY("a", ", \"groups\": [1]"), "\"groups\" must be a list"},
        {KEY("a", ", \"attributes\": [\"x\"]"), "\"attributes\" must be a map"},
        {KEY("a", ", \"attributes\": {\"x\": 1}"), "\"attributes\" must be a map"},
        {KEY("a", ", \"expires\": \"soon\""), "\"expires\" must be a day"},
        {KEY("a", ", \"expires\": \"2027-01-31T18:00:00\""), "\"expires\" must be a day"},
        {KEY("a", ", \"expires\": \"2027-13-31\""), "\"expires\" must be a day"},
        {KEY("a", ", \"expires\": 1801353600"), "\"expires\" must be a day"},
        {KEY("a", ", \"group\": []"), "and no \"group\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char said[1024];
        keys_unref(parse(cases[i].text, said, sizeof(said)));
        if (!strstr(said, cases[i].said))
            fail_msg("%s\n%s", cases[i].text, said);
    }
}

/* Every cut of a good file is either good or refused; nothing is read beyond it. */
static void survives_every_cut(void **state)
{
    (void)state;
    static const char text[] =
        KEY("a", ", \"groups\": [\"x\"], \"attributes\": {\"t\": \"1\"}, \"expires\": \"2027-01-31\"") "\n";
    for (size_t i = 0; i < sizeof(text); i++) {
        struct report report;
        char *cut = malloc(i + 1);
        memcpy(cut, text, i);
        report_init(&report);
        struct keys *keys = keys_parse(SPAN("k"), span_of(cut, i), &report);
        assert_int_equal(keys != NULL, i >= sizeof(text) - 2);
        keys_unref(keys);
        report_finish(&report);
        free(cut);
    }
}

struct made {
    struct buffer text, id, line;
};

static void make(struct made *made, struct span pepper, const char *more)
{
    struct buffer digest = {0};
    *made = (struct made){0};
    key_make(&made->text, &made->id);
    key_digest(pepper, buffer_span(&made->text), &digest);
    buffer_format(&made->line, "- {\"id\": \"%.*s\", \"digest\": \"%.*s\", \"consumer\": \"me\"%s}\n",
                  SPAN_ARG(buffer_span(&made->id)), SPAN_ARG(buffer_span(&digest)), more);
    buffer_finish(&digest);
}

static void made_finish(struct made *made)
{
    buffer_finish(&made->text);
    buffer_finish(&made->id);
    buffer_finish(&made->line);
}

static enum key_result check(struct key_checker *checker, const struct keys *keys, struct span text)
{
    const struct key_record *record = NULL;
    enum key_result result = key_check(checker, keys, text, 1800000000, &record);
    assert_int_equal(record != NULL, result == KEY_GOOD);
    return result;
}

static void checks_keys(void **state)
{
    (void)state;
    static const struct span pepper = SPAN_INIT("pepper");
    struct made good, old, foreign;
    char said[256];
    make(&good, pepper, "");
    make(&old, pepper, ", \"expires\": \"2027-01-14\""); /* 1800000000 is 2027-01-15 */
    make(&foreign, SPAN("salt"), "");
    struct buffer file = {0};
    buffer_append(&file, buffer_span(&good.line));
    buffer_append(&file, buffer_span(&old.line));
    buffer_append(&file, buffer_span(&foreign.line));
    buffer_append(&file, span_of("", 1));
    struct keys *keys = parse(buffer_span(&file).ptr, said, sizeof(said));
    assert_non_null(keys);
    struct key_checker *checker = key_checker_create(pepper);
    struct span text = buffer_span(&good.text);
    for (int round = 0; round < 3; round++) { /* by digest, then as remembered */
        assert_int_equal(check(checker, keys, text), KEY_GOOD);
        assert_int_equal(check(checker, keys, buffer_span(&old.text)), KEY_EXPIRED);
        assert_int_equal(check(checker, keys, buffer_span(&foreign.text)), KEY_UNKNOWN);
        /* no byte of it can be another */
        for (size_t i = 0; i < text.len; i++) {
            char changed[128];
            memcpy(changed, text.ptr, text.len);
            changed[i] = changed[i] == 'x' ? 'y' : 'x';
            assert_int_not_equal(check(checker, keys, span_of(changed, text.len)), KEY_GOOD);
            assert_int_equal(check(checker, keys, span_take(text, i)), KEY_FOREIGN);
        }
    }
    static const char *const foreigners[] = {"",
                                             "pk_",
                                             "pk__",
                                             "sk-abc",
                                             "pk_a_short",
                                             "Pk_a_0123456789012345678901234567890123456789012",
                                             "pk__0123456789012345678901234567890123456789012",
                                             "pk_a_01234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < ARRAY_LEN(foreigners); i++)
        assert_int_equal(check(checker, keys, span_str(foreigners[i])), KEY_FOREIGN);
    /* What was remembered of one set is not believed of the next, even one at the same address. */
    keys_unref(keys);
    keys = parse(KEY("a", ""), said, sizeof(said));
    assert_int_equal(check(checker, keys, text), KEY_UNKNOWN);
    keys_unref(keys);
    key_checker_destroy(checker);
    buffer_finish(&file);
    made_finish(&good);
    made_finish(&old);
    made_finish(&foreign);
}

/* Two keys that share a place in the memory of what was right lately push each other out and stay right. */
static void many_keys(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    struct made *made = calloc(COUNT, sizeof(*made));
    struct buffer file = {0};
    struct report report;
    report_init(&report);
    for (int i = 0; i < COUNT; i++) {
        make(&made[i], SPAN(""), "");
        buffer_append(&file, buffer_span(&made[i].line));
    }
    struct keys *keys = keys_parse(SPAN("k"), buffer_span(&file), &report);
    assert_non_null(keys);
    assert_int_equal(keys_count(keys), COUNT);
    struct key_checker *checker = key_checker_create(SPAN(""));
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < COUNT; i++) {
            const struct key_record *record = NULL;
            assert_int_equal(key_check(checker, keys, buffer_span(&made[i].text), 1, &record), KEY_GOOD);
            assert_true(span_equal(record->id, buffer_span(&made[i].id)));
        }
    key_checker_destroy(checker);
    keys_unref(keys);
    for (int i = 0; i < COUNT; i++)
        made_finish(&made[i]);
    buffer_finish(&file);
    report_finish(&report);
    free(made);
}

static void write_file(const char *path, const char *text)
{
    char next[64];
    (void)snprintf(next, sizeof(next), "%s.next", path);
    FILE *file = fopen(next, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(next, path), 0);
}

static void store_follows_the_file(void **state)
{
    (void)state;
    char path[] = "/tmp/postern-keys-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    write_file(path, KEY("a", ""));
    struct key_store *store = key_store_open(span_str(path)), *again = key_store_open(span_str(path));
    assert_non_null(store);
    assert_ptr_equal(store, again);
    struct keys *keys = key_store_renew(store, NULL);
    assert_non_null(keys_find(keys, SPAN("a")));
    key_store_poll(store);
    key_store_settle(store);
    assert_ptr_equal(key_store_renew(store, keys), keys); /* nothing has changed */
    write_file(path, KEY("b", ""));
    key_store_poll(store);
    key_store_poll(again); /* another worker, while it loads or after */
    key_store_settle(store);
    keys = key_store_renew(store, keys);
    assert_true(keys_find(keys, SPAN("b")) && !keys_find(keys, SPAN("a")));
    assert_int_equal(unlink(path), 0);
    key_store_poll(store); /* gone for a moment */
    key_store_settle(store);
    assert_ptr_equal(key_store_renew(store, keys), keys);
    write_file(path, KEY("c", ""));
    key_store_poll(store);
    key_store_close(again);
    key_store_close(store); /* with a load under way */
    assert_non_null(keys_find(keys, SPAN("b")));
    keys_unref(keys);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_keys),         cmocka_unit_test(refuses_with_the_line),
        cmocka_unit_test(survives_every_cut), cmocka_unit_test(checks_keys),
        cmocka_unit_test(many_keys),          cmocka_unit_test(store_follows_the_file),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
