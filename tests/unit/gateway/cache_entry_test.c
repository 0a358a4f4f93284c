/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/memory.h"
#include "gateway/cache_entry.h"

#define KEY_A "a:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"
#define KEY_B "2027-01_b.x:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=\n"
#define MOST  ((size_t)1 << 20)

/* What stands before the rest in the plain form: magic, version, flags, checksum. */
#define PLAIN_HEAD (5 + 8)

static const uint8_t key[CACHE_KEY_BYTES] = "0123456789abcdefghijklmnopqrstu";
static struct cache_codec *codec;

static struct cache_keys *keys_of(const char *text)
{
    struct report report;
    report_init(&report);
    struct cache_keys *keys = cache_keys_parse(SPAN("keys"), span_str(text), &report);
    assert_non_null(keys);
    report_finish(&report);
    return keys;
}

static const struct cache_facts sample = {.operation = OPERATION_RESPONSES,
                                          .form = CACHE_FORM_EVENTS,
                                          .status = 200,
                                          .created = 1799999999123456,
                                          .fresh = 3600000000,
                                          .latency = 1234567,
                                          .usage_start = 11,
                                          .usage_end = 29,
                                          .usage = {.input = 1,
                                                    .output = 2,
                                                    .total = 3,
                                                    .cached = 4,
                                                    .reasoning = 5,
                                                    .audio_input = 6,
                                                    .audio_output = 7,
                                                    .audio_seconds = UINT64_MAX,
                                                    .reported = true},
                                          .type = SPAN_INIT("text/event-stream; charset=utf-8"),
                                          .served = SPAN_INIT("gpt-4o-2024-11-20"),
                                          .model = SPAN_INIT("gpt-4o"),
                                          .consumer = SPAN_INIT("search-team")};

static void assert_same(const struct cache_entry *a, const struct cache_entry *b)
{
    const struct cache_facts *f = &a->facts, *g = &b->facts;
    assert_int_equal(f->operation, g->operation);
    assert_int_equal(f->form, g->form);
    assert_int_equal(f->status, g->status);
    assert_int_equal(f->created, g->created);
    assert_int_equal(f->fresh, g->fresh);
    assert_int_equal(f->latency, g->latency);
    assert_int_equal(f->usage_start, g->usage_start);
    assert_int_equal(f->usage_end, g->usage_end);
    assert_memory_equal(&f->usage, &g->usage, offsetof(struct usage, reported));
    assert_int_equal(f->usage.reported, g->usage.reported);
    assert_true(span_equal(f->type, g->type) && span_equal(f->served, g->served));
    assert_true(span_equal(f->model, g->model) && span_equal(f->consumer, g->consumer));
    assert_true(span_equal(a->body, b->body));
    assert_int_equal(a->bytes, b->bytes);
}

/* Bodies: empty, short, such that compress and such that do not. */
static struct cache_entry *entry_of(size_t len, bool random)
{
    static const char phrase[] = "data: {\"choices\":[{\"delta\":{\"content\":\"the quick brown fox\"}}]}\n\n";
    char *body = memory_zalloc(len + 1);
    uint64_t seed = len;
    for (size_t i = 0; i < len; i++)
        body[i] = random ? (char)hash_random(&seed) : phrase[i % (sizeof(phrase) - 1)];
    struct cache_entry *entry = cache_entry_create(&sample, span_of(body, len));
    free(body);
    return entry;
}

static void write_to(struct buffer *wire, const struct cache_keys *keys, const struct cache_entry *entry)
{
    cache_entry_write(codec, keys, key, entry, wire);
}

/* From a copy of the exact size. */
static enum cache_read read_from(struct span wire, const struct cache_keys *keys, const uint8_t *under, size_t most,
                                 struct cache_entry **ret)
{
    char *tight = memory_alloc(wire.len ? wire.len : 1);
    if (wire.len)
        memcpy(tight, wire.ptr, wire.len);
    enum cache_read result = cache_entry_read(codec, keys, under, span_of(tight, wire.len), most, ret);
    free(tight);
    return result;
}

static void test_memory(void **state)
{
    (void)state;
    struct cache_entry *entry = entry_of(5000, false);
    assert_true(entry->bytes > 5000 && entry->bytes < 6000);
    assert_ptr_equal(cache_entry_ref(entry), entry);
    cache_entry_unref(entry);
    assert_int_equal(entry->body.len, 5000);
    cache_entry_unref(entry);
    cache_entry_unref(NULL);

    char *name = memory_zalloc(5000);
    memset(name, 'n', 5000);
    const struct cache_facts facts = {.model = span_of(name, 5000)};
    entry = cache_entry_create(&facts, (struct span){0});
    assert_int_equal(entry->facts.model.len, CACHE_TEXT_BYTES);
    assert_int_equal(entry->facts.consumer.len, 0);
    assert_int_equal(entry->body.len, 0);
    cache_entry_unref(entry);
    free(name);
}

static void test_there_and_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, CACHE_COMPRESS_ABOVE, CACHE_COMPRESS_ABOVE + 1, 3000, 200000};
    struct cache_keys *keys[] = {NULL, keys_of(KEY_A), keys_of(KEY_B KEY_A)};
    for (size_t k = 0; k < ARRAY_LEN(keys); k++)
        for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
            size_t len = sizes[i / 2];
            struct cache_entry *entry = entry_of(len, i % 2), *back;
            struct buffer wire = {0};
            buffer_append(&wire, SPAN("before"));
            write_to(&wire, keys[k], entry);
            struct span text = span_skip(buffer_span(&wire), 6);
            assert_int_equal(read_from(text, keys[k], key, MOST, &back), CACHE_READ_GOOD);
            assert_same(entry, back);
            bool packs = len > CACHE_COMPRESS_ABOVE && i % 2 == 0;
            assert_true(packs ? text.len < len / 2 + 300 : text.len >= len + 100 && text.len < len + 400);
            cache_entry_unref(back);
            cache_entry_unref(entry);
            buffer_finish(&wire);
        }
    for (size_t k = 0; k < ARRAY_LEN(keys); k++)
        cache_keys_destroy(keys[k]);
}

/* Each byte changed in several ways, each length, each byte of the cache key: nothing but a miss. */
static void tamper(const struct cache_keys *keys, size_t len)
{
    struct cache_entry *entry = entry_of(len, false), *back = NULL;
    struct buffer wire = {0};
    write_to(&wire, keys, entry);
    struct span text = buffer_span(&wire);
    char *bytes = memory_alloc(text.len + 1);
    memcpy(bytes, text.ptr, text.len);
    bytes[text.len] = 'x';
    static const unsigned char changes[] = {0x01, 0x20, 0x80, 0xFF};
    for (size_t i = 0; i < text.len; i++)
        for (size_t c = 0; c < ARRAY_LEN(changes); c++) {
            bytes[i] = (char)(bytes[i] ^ changes[c]);
            if (read_from(span_of(bytes, text.len), keys, key, MOST, &back) == CACHE_READ_GOOD)
                fail_msg("byte %zu changed by %02x was not noticed", i, changes[c]);
            bytes[i] = (char)(bytes[i] ^ changes[c]);
        }
    for (size_t i = 0; i < text.len; i++)
        assert_int_not_equal(read_from(span_of(bytes, i), keys, key, MOST, &back), CACHE_READ_GOOD);
    assert_int_equal(read_from(span_of(bytes, text.len + 1), keys, key, MOST, &back), CACHE_READ_BROKEN);
    uint8_t other[CACHE_KEY_BYTES];
    for (size_t i = 0; i < sizeof(other); i++) {
        memcpy(other, key, sizeof(other));
        other[i] ^= 1;
        assert_int_equal(read_from(text, keys, other, MOST, &back), CACHE_READ_BROKEN);
    }
    assert_null(back);
    assert_int_equal(read_from(text, keys, key, MOST, &back), CACHE_READ_GOOD);
    cache_entry_unref(back);
    cache_entry_unref(entry);
    buffer_finish(&wire);
    free(bytes);
}

static void test_tampering(void **state)
{
    (void)state;
    struct cache_keys *keys = keys_of(KEY_B);
    tamper(NULL, 50);
    tamper(NULL, 1500);
    tamper(keys, 50);
    tamper(keys, 1500);
    cache_keys_destroy(keys);
}

static void test_refused(void **state)
{
    (void)state;
    struct cache_keys *a = keys_of(KEY_A), *b = keys_of(KEY_B);
    struct cache_entry *entry = entry_of(5000, false), *back = NULL;
    struct buffer plain = {0}, sealed = {0};
    write_to(&plain, NULL, entry);
    write_to(&sealed, a, entry);
    assert_int_equal(read_from(buffer_span(&plain), a, key, MOST, &back), CACHE_READ_UNSEALED);
    assert_int_equal(read_from(buffer_span(&sealed), NULL, key, MOST, &back), CACHE_READ_UNSEALED);
    assert_int_equal(read_from(buffer_span(&sealed), b, key, MOST, &back), CACHE_READ_UNKNOWN_KEY);
    assert_int_equal(read_from(buffer_span(&plain), NULL, key, 4999, &back), CACHE_READ_TOO_LARGE);
    assert_int_equal(read_from(buffer_span(&sealed), a, key, 4999, &back), CACHE_READ_TOO_LARGE);
    assert_int_equal(read_from(SPAN(""), NULL, key, MOST, &back), CACHE_READ_FOREIGN);
    assert_int_equal(read_from(SPAN("something else"), a, key, MOST, &back), CACHE_READ_FOREIGN);
    plain.ptr[plain.start + 3] = 2;
    assert_int_equal(read_from(buffer_span(&plain), NULL, key, MOST, &back), CACHE_READ_FOREIGN);
    assert_null(back);
    assert_string_equal(cache_read_name(CACHE_READ_UNKNOWN_KEY), "unknown_key");
    cache_entry_unref(entry);
    buffer_finish(&plain);
    buffer_finish(&sealed);
    cache_keys_destroy(a);
    cache_keys_destroy(b);
}

/* Someone who may write to the store of unsealed entries can make the checksum; he gets no further. */
static void test_forged(void **state)
{
    (void)state;
    struct cache_entry *entry = entry_of(100000, false), *back = NULL;
    struct buffer wire = {0};
    write_to(&wire, NULL, entry);
    char *bytes = wire.ptr + wire.start;
    size_t frame = span_search(buffer_span(&wire), SPAN("\x28\xB5\x2F\xFD"));
    assert_true(frame < buffer_len(&wire));
    uint8_t folded[16];
    for (unsigned i = 0; i < sizeof(folded); i++)
        folded[i] = key[i] ^ key[i + sizeof(folded)];
    static const struct {
        size_t size; /* as declared */
        enum cache_read wanted;
    } cases[] = {{100000, CACHE_READ_GOOD},       {99999, CACHE_READ_BROKEN}, {100001, CACHE_READ_BROKEN},
                 {0, CACHE_READ_BROKEN},          {MOST, CACHE_READ_BROKEN},  {MOST + 1, CACHE_READ_TOO_LARGE},
                 {SIZE_MAX, CACHE_READ_TOO_LARGE}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (unsigned k = 0; k < 8; k++)
            bytes[frame - 8 + k] = (char)(cases[i].size >> 8 * k);
        uint64_t sum = hash_bytes_keyed(folded, span_skip(buffer_span(&wire), PLAIN_HEAD));
        for (unsigned k = 0; k < 8; k++)
            bytes[5 + k] = (char)(sum >> 8 * k);
        assert_int_equal(read_from(buffer_span(&wire), NULL, key, MOST, &back), cases[i].wanted);
        if (cases[i].wanted == CACHE_READ_GOOD) {
            assert_same(entry, back);
            cache_entry_unref(back);
        }
    }
    cache_entry_unref(entry);
    buffer_finish(&wire);
}

/* Neither the answer nor what it is about can be read, in any length of it. */
static void test_nothing_readable(void **state)
{
    (void)state;
    static const struct span words[] = {SPAN_INIT("quick brown"), SPAN_INIT("delta"),     SPAN_INIT("gpt-4o"),
                                        SPAN_INIT("search-team"), SPAN_INIT("responses"), SPAN_INIT("event-stream")};
    struct cache_keys *keys = keys_of(KEY_A);
    for (size_t len = 40; len < 4000; len = len * 3) {
        struct cache_entry *entry = entry_of(len, false);
        struct buffer sealed = {0}, again = {0};
        write_to(&sealed, keys, entry);
        write_to(&again, keys, entry);
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
            assert_int_equal(span_search(buffer_span(&sealed), words[i]), buffer_len(&sealed));
        assert_int_equal(buffer_len(&sealed), buffer_len(&again));
        assert_false(span_equal(buffer_span(&sealed), buffer_span(&again))); /* a nonce of its own */
        cache_entry_unref(entry);
        buffer_finish(&sealed);
        buffer_finish(&again);
    }
    cache_keys_destroy(keys);
}

/* A rotation: the new key comes first, the old one opens on; when it is gone, what it sealed is missed. */
static void test_rotation(void **state)
{
    (void)state;
    struct cache_keys *before = keys_of(KEY_A), *during = keys_of("# new\n" KEY_B "\n  \n" KEY_A),
                      *after = keys_of(KEY_B);
    struct cache_entry *entry = entry_of(100, false), *back;
    struct buffer old = {0}, new = {0};
    write_to(&old, before, entry);
    write_to(&new, during, entry);
    assert_int_equal(read_from(buffer_span(&old), during, key, MOST, &back), CACHE_READ_GOOD);
    cache_entry_unref(back);
    assert_int_equal(read_from(buffer_span(&new), during, key, MOST, &back), CACHE_READ_GOOD);
    cache_entry_unref(back);
    assert_int_equal(read_from(buffer_span(&new), before, key, MOST, &back), CACHE_READ_UNKNOWN_KEY);
    assert_int_equal(read_from(buffer_span(&old), after, key, MOST, &back), CACHE_READ_UNKNOWN_KEY);
    assert_int_equal(read_from(buffer_span(&new), after, key, MOST, &back), CACHE_READ_GOOD);
    cache_entry_unref(back);
    /* Names stay until the old key is gone. */
    assert_true(span_equal(cache_keys_naming(before), cache_keys_naming(during)));
    assert_false(span_equal(cache_keys_naming(before), cache_keys_naming(after)));
    assert_true(span_equal(cache_keys_first(during), SPAN("2027-01_b.x")));
    cache_entry_unref(entry);
    buffer_finish(&old);
    buffer_finish(&new);
    cache_keys_destroy(before);
    cache_keys_destroy(during);
    cache_keys_destroy(after);
}

/* Who made an entry has judged it, unless he put that off; what is found stays. */
static void test_judgement(void **state)
{
    (void)state;
    static const struct {
        struct span body;
        enum replay_flaw flaw;
    } cases[] = {
        {SPAN_INIT("{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"},"
                   "\"finish_reason\":\"stop\"}]}"),
         REPLAY_SOUND},
        {SPAN_INIT("{\"choices\":[]}"), REPLAY_UNFINISHED},
        {SPAN_INIT("{\"choices\":["), REPLAY_MALFORMED},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_facts facts = {.operation = OPERATION_CHAT, .form = CACHE_FORM_JSON};
        struct cache_entry *entry = cache_entry_create(&facts, cases[i].body);
        assert_int_equal(cache_entry_flaw(entry), REPLAY_SOUND);
        assert_false(cache_entry_was_judged(entry));
        cache_entry_put_off(entry);
        assert_false(cache_entry_was_judged(entry));
        for (unsigned again = 0; again < 2; again++) {
            assert_int_equal(cache_entry_flaw(entry), cases[i].flaw);
            assert_int_equal(cache_entry_was_judged(entry), cases[i].flaw == REPLAY_SOUND);
        }
        cache_entry_unref(entry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judgement),        cmocka_unit_test(test_memory),   cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_tampering),        cmocka_unit_test(test_refused),  cmocka_unit_test(test_forged),
        cmocka_unit_test(test_nothing_readable), cmocka_unit_test(test_rotation),
    };
    hash_start();
    codec = cache_codec_create();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cache_codec_destroy(codec);
    return failed;
}
