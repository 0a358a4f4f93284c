/* SPDX-License-Identifier: Apache-2.0 */
/* Equal forms if and only if equal values: a table of what tempts, and random values spelled at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/hash.h"
#include "base/memory.h"
#include "openai/canonical.h"

static void append(void *arg, struct span bytes)
{
    buffer_append(arg, bytes);
}

static enum canonical_result form_of(struct span text, struct buffer *out)
{
    /* A copy of the exact size: what reads beyond it is found. */
    char *copy = memory_alloc(text.len + 1);
    memcpy(copy, text.ptr, text.len);
    char *tight = memory_realloc(copy, text.len ? text.len : 1);
    enum canonical_result result = canonical_feed(span_of(tight, text.len), NULL, 0, append, out);
    free(tight);
    return result;
}

static bool same(const char *a, const char *b)
{
    struct buffer left = {0}, right = {0};
    assert_int_equal(form_of(span_str(a), &left), CANONICAL_GOOD);
    assert_int_equal(form_of(span_str(b), &right), CANONICAL_GOOD);
    bool equal = span_equal(buffer_span(&left), buffer_span(&right));
    buffer_finish(&left);
    buffer_finish(&right);
    return equal;
}

/* ---- the table ---- */

static void test_equal(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"1", "1.0"},
        {"1", "1e0"},
        {"1", "10e-1"},
        {"1", "0.1E+1"},
        {"1", "1.000000000000000000000000000000"},
        {"1", "0.00000000001e11"},
        {"100", "1e2"},
        {"100", "1E+002"},
        {"100", "100.00e0000"},
        {"0", "-0"},
        {"0", "-0.0e-0"},
        {"0", "0e99999999999999999999999999"},
        {"0.1", "0.10"},
        {"0.1", "1e-1"},
        {"1e400", "10e399"},
        {"1e400", "0.0001e404"},
        {"-12.5", "-125e-1"},
        {"-12.5", "-0.125E2"},
        {"10.01", "1001e-2"},
        {"123456789012345678901234567890", "1.2345678901234567890123456789e29"},
        {"1e999999999999999999", "10e999999999999999998"},
        {"\"A\"", "\"\\u0041\""},
        {"\"/\"", "\"\\/\""},
        {"\"\\n\\t\\b\\f\\r\"", "\"\\u000a\\u0009\\u0008\\u000C\\u000D\""},
        {"\"\\\"\\\\\"", "\"\\u0022\\u005c\""},
        {"\"\xC3\xA4\"", "\"\\u00e4\""},
        {"\"\xE2\x82\xAC\"", "\"\\u20AC\""},
        {"\"\xF0\x9F\x98\x80\"", "\"\\ud83d\\ude00\""},
        {"\"x\xF0\x90\x80\x80y\"", "\"x\\uD800\\uDC00y\""},
        {"\"\xF4\x8F\xBF\xBF\"", "\"\\udbff\\udfff\""},
        {"\"\\ud800\"", "\"\\uD800\""},
        {"{\"a\":1,\"b\":2}", " {\n\"b\" : 2.0 , \"a\"\t: 1e0 }\r\n"},
        {"{\"a\":1,\"b\":2}", "{\"\\u0062\":2,\"\\u0061\":1}"},
        {"{\"a\":{\"x\":[1,{\"q\":null,\"p\":true}],\"y\":false}}",
         "{\"a\":{\"y\":false,\"x\":[1,{\"p\":true,\"q\":null}]}}"},
        {"{\"\":1,\"a\":2}", "{\"a\":2,\"\":1}"},
        {"[]", "[ ]"},
        {"{}", "{ }"},
        {"{\"\xF0\x9F\x98\x80\":1,\"z\":2}", "{\"z\":2,\"\\ud83d\\ude00\":1}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (!same(pairs[i][0], pairs[i][1]))
            fail_msg("%s and %s should be the same", pairs[i][0], pairs[i][1]);
}

static void test_different(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"1", "10"},
        {"1", "0.1"},
        {"1", "-1"},
        {"1", "\"1\""},
        {"1", "[1]"},
        {"1", "true"},
        {"0", "false"},
        {"0", "null"},
        {"0", "\"\""},
        {"0", "1e-400"},
        {"0", "[]"},
        {"1e400", "1e401"},
        {"1e400", "1e-400"},
        {"101", "11"},
        {"101", "1.01"},
        {"1001", "101"},
        {"0.1", "0.1000000000000000055511151231257827"}, /* one double */
        {"9007199254740993", "9007199254740992"},        /* one double */
        {"123456789012345678901234567890", "123456789012345678901234567891"},
        {"true", "false"},
        {"true", "null"},
        {"\"\"", "null"},
        {"\"a\"", "\"A\""},
        {"\"a\"", "\"a \""},
        {"\"a\"", "\"a\\u0000\""},
        {"\"\xC3\xA4\"", "\"a\xCC\x88\""}, /* not normalised */
        {"\"\xC3\xA4\"", "\"\\u00c3\\u00a4\""},
        {"\"\\ud800\"", "\"\\udc00\""},
        {"\"\\ud800\"", "\"\\ufffd\""},
        {"\"\\ud800\"", "\"?\""},
        {"\"\\udc00\\ud800\"", "\"\\ud800\\udc00\""},
        {"\"\\ud800x\\udc00\"", "\"\\ud800\\udc00x\""},
        {"\"\\ud800\\ud800\\udc00\"", "\"\\ud800\\udc00\\ud800\""},
        {"\"\\\\u0041\"", "\"\\u0041\""},
        {"[]", "{}"},
        {"[]", "[[]]"},
        {"[[],[]]", "[[[]]]"},
        {"[1,2]", "[2,1]"},
        {"[1,2]", "[12]"},
        {"[1,23]", "[12,3]"},
        {"[\"a\",\"b\"]", "[\"ab\"]"},
        {"[\"a\",\"b\"]", "[\"a\\\",\\\"b\"]"},
        {"[1]", "[1,null]"},
        {"[{},{}]", "[{}]"},
        {"{\"a\":1}", "{\"b\":1}"},
        {"{\"a\":1}", "{\"a\":1,\"b\":null}"},
        {"{\"a\":1}", "[\"a\",1]"},
        {"{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":1}"},
        {"{\"a\":\"b\",\"c\":\"d\"}", "{\"a\":\"d\",\"c\":\"b\"}"},
        {"{\"a\":{\"b\":1}}", "{\"a\":1,\"b\":{}}"},
        {"{\"a\":{},\"b\":1}", "{\"a\":{\"b\":1}}"},
        {"{\"\":{}}", "{}"},
        {"{\"ab\":\"c\"}", "{\"a\":\"bc\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (same(pairs[i][0], pairs[i][1]))
            fail_msg("%s and %s should differ", pairs[i][0], pairs[i][1]);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum canonical_result wanted;
    } cases[] = {
        {"", CANONICAL_NOT_JSON},
        {"{", CANONICAL_NOT_JSON},
        {"[", CANONICAL_NOT_JSON},
        {"[1", CANONICAL_NOT_JSON},
        {" ", CANONICAL_NOT_JSON},
        {"]", CANONICAL_NOT_JSON},
        {"{\"a\":[1]", CANONICAL_NOT_JSON},
        {"{\"a\":{}", CANONICAL_NOT_JSON},
        {"1 2", CANONICAL_NOT_JSON},
        {"1]", CANONICAL_NOT_JSON},
        {"\"a\"]", CANONICAL_NOT_JSON},
        {"\"a]", CANONICAL_NOT_JSON},
        {"{} {}", CANONICAL_NOT_JSON},
        {"[1,]", CANONICAL_NOT_JSON},
        {"[1 2]", CANONICAL_NOT_JSON},
        {"[1}", CANONICAL_NOT_JSON},
        {"{\"a\",1}", CANONICAL_NOT_JSON},
        {"{\"a\":}", CANONICAL_NOT_JSON},
        {"{1:1}", CANONICAL_NOT_JSON},
        {"{\"a\":1,}", CANONICAL_NOT_JSON},
        {"nul", CANONICAL_NOT_JSON},
        {"-", CANONICAL_NOT_JSON},
        {"1.", CANONICAL_NOT_JSON},
        {".1", CANONICAL_NOT_JSON},
        {"1e", CANONICAL_NOT_JSON},
        {"1e+", CANONICAL_NOT_JSON},
        {"1.2.3", CANONICAL_NOT_JSON},
        {"\"", CANONICAL_NOT_JSON},
        {"\"\\", CANONICAL_NOT_JSON},
        {"\"\\\"", CANONICAL_NOT_JSON},
        {"\"\\x\"", CANONICAL_NOT_JSON},
        {"\"\\u00g0\"", CANONICAL_NOT_JSON},
        {"\"0123456789abcdef", CANONICAL_NOT_JSON},
        {"\"\\u12\"", CANONICAL_NOT_JSON},
        {"{\"a\":1,\"a\":1}", CANONICAL_DUPLICATE},
        {"{\"a\":1,\"b\":2,\"\\u0061\":1}", CANONICAL_DUPLICATE},
        {"{\"\\u0061\":1,\"\\u0061\":1}", CANONICAL_DUPLICATE},
        {"{\"\":1,\"\":1}", CANONICAL_DUPLICATE},
        {"{\"x\":[{\"y\":{\"d\":1,\"c\":2,\"d\":3}}],\"a\":1}", CANONICAL_DUPLICATE},
        {"[{\"\xF0\x9F\x98\x80\":1,\"\\ud83d\\ude00\":1}]", CANONICAL_DUPLICATE},
        {"1e1000000000000000000", CANONICAL_EXTREME},
        {"[{\"a\":-1E-9999999999999999999999}]", CANONICAL_EXTREME},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer out = {0};
        if (form_of(span_str(cases[i].text), &out) != cases[i].wanted)
            fail_msg("%s should be %s", cases[i].text, canonical_result_name(cases[i].wanted));
        buffer_finish(&out);
    }
    for (int result = CANONICAL_GOOD; result <= CANONICAL_TOO_LARGE; result++)
        assert_non_null(canonical_result_name((enum canonical_result)result));
}

static void test_without(void **state)
{
    (void)state;
    static const struct span without[] = {SPAN_INIT("stream"), SPAN_INIT("stream_options")};
    static const struct {
        const char *text;
        const char *wanted; /* has the same form when nothing is left out; NULL: duplicate */
    } cases[] = {
        {"{\"stream\":true,\"model\":\"m\"}", "{\"model\":\"m\"}"},
        {"{\"model\":\"m\",\"stre\\u0061m\":{\"x\":[1,2]}}", "{\"model\":\"m\"}"},
        {"{\"stream_options\":{\"include_usage\":true},\"stream\":null}", "{}"},
        {"{\"streams\":1,\"strea\":2}", "{\"streams\":1,\"strea\":2}"},
        {"{\"a\":{\"stream\":true}}", "{\"a\":{\"stream\":true}}"},
        {"[{\"stream\":true}]", "[{\"stream\":true}]"},
        {"[\"stream\"]", "[\"stream\"]"},
        {"{\"stream\":1,\"stream\":1}", NULL},
        {"{\"stream\":1,\"a\":2,\"stre\\u0061m\":1}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer got = {0}, wanted = {0};
        enum canonical_result result =
            canonical_feed(span_str(cases[i].text), without, ARRAY_LEN(without), append, &got);
        if (cases[i].wanted) {
            assert_int_equal(result, CANONICAL_GOOD);
            assert_int_equal(form_of(span_str(cases[i].wanted), &wanted), CANONICAL_GOOD);
            if (!span_equal(buffer_span(&got), buffer_span(&wanted)))
                fail_msg("%s is not taken for %s", cases[i].text, cases[i].wanted);
        } else {
            assert_int_equal(result, CANONICAL_DUPLICATE);
        }
        buffer_finish(&got);
        buffer_finish(&wanted);
    }
    struct buffer out = {0}; /* what is left out has to have an end all the same */
    assert_int_equal(canonical_feed(SPAN("{\"stream\":[1,}"), without, 2, append, &out), CANONICAL_NOT_JSON);
    assert_int_equal(canonical_feed(SPAN("{\"stream\":\"}"), without, 2, append, &out), CANONICAL_NOT_JSON);
    assert_int_equal(canonical_feed(SPAN("{\"stream\":"), without, 2, append, &out), CANONICAL_NOT_JSON);
    assert_int_equal(canonical_feed(SPAN("{\"stream\""), without, 2, append, &out), CANONICAL_NOT_JSON);
    assert_int_equal(buffer_len(&out), 0);
    buffer_finish(&out);
}

/* ---- large ones ---- */

static void repeat(struct buffer *out, const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buffer_append(out, span_str(text));
}

static void test_limits(void **state)
{
    (void)state;
    struct buffer text = {0}, out = {0};
    repeat(&text, "[", CANONICAL_DEPTH_LIMIT);
    repeat(&text, "]", CANONICAL_DEPTH_LIMIT);
    assert_int_equal(form_of(buffer_span(&text), &out), CANONICAL_GOOD);
    assert_int_equal(buffer_len(&out), 2 * CANONICAL_DEPTH_LIMIT);
    buffer_finish(&text);
    repeat(&text, "{\"a\":", CANONICAL_DEPTH_LIMIT);
    repeat(&text, "{}", 1);
    repeat(&text, "}", CANONICAL_DEPTH_LIMIT);
    assert_int_equal(form_of(buffer_span(&text), &out), CANONICAL_NOT_JSON);
    buffer_finish(&text);
    /* Out of order on each level: copied too often. */
    repeat(&text, "{\"b\":0,\"a\":", CANONICAL_DEPTH_LIMIT - 1);
    repeat(&text, "{}", 1);
    repeat(&text, "}", CANONICAL_DEPTH_LIMIT - 1);
    assert_int_equal(form_of(buffer_span(&text), &out), CANONICAL_TOO_LARGE);
    buffer_finish(&text);
    repeat(&text, "[1", 1);
    repeat(&text, ",1", CANONICAL_TEXT_LIMIT / 2);
    repeat(&text, "]", 1);
    assert_int_equal(form_of(buffer_span(&text), &out), CANONICAL_TOO_LARGE);
    /* As much as there may be, of what grows most. */
    buffer_splice(&text, 0, 5, SPAN("["));
    buffer_finish(&out);
    assert_int_equal(form_of(buffer_span(&text), &out), CANONICAL_GOOD);
    buffer_finish(&text);
    buffer_finish(&out);
}

/* Many members in three orders; names with and without escapes; long strings that go to the sink whole. */
static void test_many_members(void **state)
{
    (void)state;
    enum { MEMBERS = 5000 };
    struct buffer forms[3] = {0};
    for (unsigned way = 0; way < 3; way++) {
        struct buffer text = {0};
        buffer_append(&text, SPAN("{"));
        for (unsigned i = 0; i < MEMBERS; i++) {
            unsigned n = way == 0 ? i : way == 1 ? MEMBERS - 1 - i : i * 3 % MEMBERS;
            buffer_format(&text, way == 2 ? "%s\"\\u006eame-%u\":\"" : "%s\"name-%u\":\"", i ? "," : "", n);
            for (unsigned k = 0; k < (n % 1000 == 0 ? 9000u : n % 7); k++)
                buffer_append(&text, SPAN("x"));
            buffer_append(&text, SPAN("\""));
        }
        buffer_append(&text, SPAN("}"));
        assert_int_equal(form_of(buffer_span(&text), &forms[way]), CANONICAL_GOOD);
        /* One more of a name that is there. */
        buffer_splice(&text, buffer_len(&text) - 1, 1, SPAN(",\"name-4711\":\"\"}"));
        struct buffer bad = {0};
        assert_int_equal(form_of(buffer_span(&text), &bad), CANONICAL_DUPLICATE);
        buffer_finish(&bad);
        buffer_finish(&text);
    }
    for (unsigned way = 1; way < 3; way++)
        assert_true(span_equal(buffer_span(&forms[0]), buffer_span(&forms[way])));
    for (unsigned way = 0; way < 3; way++)
        buffer_finish(&forms[way]);
}

/* ---- random values ---- */

enum { TRUE_VALUE, FALSE_VALUE, NULL_VALUE, NUMBER, STRING, ARRAY, OBJECT };

/* The model: equality is defined on it, without a look at any text. */
struct value {
    unsigned kind, count;
    bool negative;
    char digits[8]; /* NUMBER: no zero at either end; empty is zero */
    int power;
    uint32_t codes[6]; /* STRING, and the name of a member: never a high surrogate before a low one */
    unsigned name_count;
    uint32_t name[3];
    struct value *items[5];
};

static uint64_t seed;
static struct arena arena;

static unsigned below(unsigned n)
{
    return (unsigned)(hash_random(&seed) % n);
}

static unsigned random_codes(uint32_t *codes, unsigned most)
{
    static const uint32_t few[] = {'a',    'b',    '"',    '\\',   '/',     0,       '\n',     0x7F,   0xE4,
                                   0xD800, 0xDC00, 0xDFFF, 0xFFFD, 0x10000, 0x1F600, 0x10FFFF, 0x20AC, 'u'};
    unsigned count = below(most + 1);
    for (unsigned i = 0; i < count; i++) {
        codes[i] = few[below(ARRAY_LEN(few))];
        if (i && codes[i - 1] == 0xD800 && codes[i] >= 0xDC00 && codes[i] <= 0xDFFF)
            codes[i] = 'c';
    }
    return count;
}

static bool names_equal(const struct value *a, const struct value *b)
{
    return a->name_count == b->name_count && memcmp(a->name, b->name, a->name_count * sizeof(a->name[0])) == 0;
}

static struct value *random_value(unsigned depth)
{
    struct value *v = arena_zalloc(&arena, sizeof(*v));
    v->kind = below(depth ? 7 : 5);
    switch (v->kind) {
    case NUMBER:
        v->negative = below(2);
        v->power = (int)below(7) - 3;
        for (unsigned i = 0, count = below(4); i < count; i++)
            v->digits[i] = (char)((i == 0 || i == count - 1 ? '1' : '0') + below(3));
        if (!v->digits[0]) {
            v->power = 0;
            v->negative = false;
        }
        break;
    case STRING:
        v->count = random_codes(v->codes, 4);
        break;
    case ARRAY:
    case OBJECT:
        for (unsigned i = 0, count = below(5); i < count; i++) {
            struct value *item = random_value(depth - 1);
            item->name_count = v->kind == OBJECT ? random_codes(item->name, 2) : 0;
            bool taken = false;
            for (unsigned k = 0; v->kind == OBJECT && k < v->count; k++)
                taken |= names_equal(item, v->items[k]);
            if (!taken)
                v->items[v->count++] = item;
        }
    }
    return v;
}

static bool values_equal(const struct value *a, const struct value *b)
{
    if (a->kind != b->kind || a->count != b->count)
        return false;
    if (a->kind == NUMBER)
        return a->negative == b->negative && a->power == b->power && strcmp(a->digits, b->digits) == 0;
    if (a->kind == STRING)
        return memcmp(a->codes, b->codes, a->count * sizeof(a->codes[0])) == 0;
    for (unsigned i = 0; i < a->count; i++) {
        unsigned other = i;
        if (a->kind == OBJECT)
            for (other = 0; other < b->count && !names_equal(a->items[i], b->items[other]);)
                other++;
        if (other == b->count || !values_equal(a->items[i], b->items[other]))
            return false;
    }
    return true;
}

static void spell_blank(struct buffer *out)
{
    static const char *const blanks[] = {"", "", "", " ", "\n", "\t\r "};
    buffer_append(out, span_str(blanks[below(ARRAY_LEN(blanks))]));
}

static void spell_unit(struct buffer *out, unsigned unit)
{
    buffer_format(out, below(2) ? "\\u%04x" : "\\u%04X", unit);
}

static void spell_code(struct buffer *out, uint32_t code)
{
    bool surrogate = code >= 0xD800 && code < 0xE000;
    if (code == '/' && below(2))
        buffer_append(out, SPAN("\\/"));
    else if ((code == '"' || code == '\\') && below(2))
        buffer_format(out, "\\%c", (int)code);
    else if (code == '\n' && below(2))
        buffer_append(out, SPAN("\\n"));
    else if (code >= 0x10000 && below(2)) {
        spell_unit(out, 0xD800 + ((code - 0x10000) >> 10));
        spell_unit(out, 0xDC00 + ((code - 0x10000) & 0x3FF));
    } else if (code < 0x10000 && (surrogate || code < 0x20 || code == '"' || code == '\\' || below(3) == 0))
        spell_unit(out, code);
    else if (code < 0x80)
        buffer_format(out, "%c", (int)code);
    else if (code < 0x800)
        buffer_format(out, "%c%c", (int)(0xC0 | code >> 6), (int)(0x80 | (code & 0x3F)));
    else if (code < 0x10000)
        buffer_format(out, "%c%c%c", (int)(0xE0 | code >> 12), (int)(0x80 | (code >> 6 & 0x3F)),
                      (int)(0x80 | (code & 0x3F)));
    else
        buffer_format(out, "%c%c%c%c", (int)(0xF0 | code >> 18), (int)(0x80 | (code >> 12 & 0x3F)),
                      (int)(0x80 | (code >> 6 & 0x3F)), (int)(0x80 | (code & 0x3F)));
}

static void spell_codes(struct buffer *out, const uint32_t *codes, unsigned count)
{
    buffer_append(out, SPAN("\""));
    for (unsigned i = 0; i < count; i++)
        spell_code(out, codes[i]);
    buffer_append(out, SPAN("\""));
}

static void spell_exponent(struct buffer *out, int power)
{
    buffer_append(out, below(2) ? SPAN("e") : SPAN("E"));
    buffer_append(out, power < 0 ? SPAN("-") : below(2) ? SPAN("+") : SPAN(""));
    buffer_format(out, "%0*d", (int)below(4) + 1, abs(power));
}

/* digits * 10^power, with the point anywhere and zeros around. */
static void spell_number(struct buffer *out, const struct value *v)
{
    char digits[32] = "";
    size_t len = strlen(v->digits), more = below(4);
    memcpy(digits, v->digits, len);
    memset(digits + len, '0', more);
    len += more;
    int power = v->power - (int)more;
    bool negative = v->negative || (!v->digits[0] && below(2));
    buffer_append(out, negative ? SPAN("-") : SPAN(""));
    size_t whole = below((unsigned)len + 1);
    if (whole && digits[0] == '0')
        whole = 0;
    if (whole == 0)
        buffer_append(out, SPAN("0"));
    buffer_append(out, span_of(digits, whole));
    if (whole < len || below(2)) {
        buffer_append(out, SPAN("."));
        unsigned zeros = whole == 0 ? below(3) : 0; /* 0.00123 */
        for (unsigned i = 0; i < zeros; i++)
            buffer_append(out, SPAN("0"));
        power += (int)zeros;
        buffer_append(out, span_of(digits + whole, len - whole));
        power += (int)(len - whole);
        buffer_append(out, SPAN("0"));
    }
    if (power || below(2))
        spell_exponent(out, power);
}

static void spell(struct buffer *out, const struct value *v)
{
    static const char *const words[] = {"true", "false", "null"};
    unsigned turn = v->kind == OBJECT && v->count ? below(v->count) : 0;
    spell_blank(out);
    if (v->kind <= NULL_VALUE)
        buffer_append(out, span_str(words[v->kind]));
    else if (v->kind == NUMBER)
        spell_number(out, v);
    else if (v->kind == STRING)
        spell_codes(out, v->codes, v->count);
    else {
        buffer_append(out, v->kind == ARRAY ? SPAN("[") : SPAN("{"));
        spell_blank(out);
        for (unsigned i = 0; i < v->count; i++) {
            const struct value *item = v->items[(i + turn) % v->count];
            buffer_append(out, i ? SPAN(",") : SPAN(""));
            spell_blank(out);
            if (v->kind == OBJECT) {
                spell_codes(out, item->name, item->name_count);
                spell_blank(out);
                buffer_append(out, SPAN(":"));
            }
            spell(out, item);
        }
        buffer_append(out, v->kind == ARRAY ? SPAN("]") : SPAN("}"));
    }
    spell_blank(out);
}

static struct value *copied(const struct value *v)
{
    struct value *copy = arena_alloc(&arena, sizeof(*copy));
    *copy = *v;
    for (unsigned i = 0; v->kind >= ARRAY && i < v->count; i++)
        copy->items[i] = copied(v->items[i]);
    return copy;
}

/* Something about it or in it is perhaps another. */
static void disturb(struct value *v)
{
    if (v->kind >= ARRAY && v->count && below(4)) {
        disturb(v->items[below(v->count)]);
        return;
    }
    struct value *other = random_value(1);
    other->name_count = v->name_count;
    memcpy(other->name, v->name, sizeof(v->name));
    *v = *other;
}

static void test_random(void **state)
{
    (void)state;
    enum { ROUNDS = 60000 };
    unsigned equal = 0, different = 0;
    seed = 20270101;
    for (unsigned round = 0; round < ROUNDS; round++) {
        arena_init(&arena);
        struct buffer texts[2] = {0}, forms[2] = {0};
        struct value *a = random_value(3), *b = copied(a);
        if (below(2))
            disturb(b);
        spell(&texts[0], a);
        spell(&texts[1], b);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(form_of(buffer_span(&texts[i]), &forms[i]), CANONICAL_GOOD);
        bool wanted = values_equal(a, b);
        wanted ? equal++ : different++;
        if (span_equal(buffer_span(&forms[0]), buffer_span(&forms[1])) != wanted)
            fail_msg("round %u: %.*s and %.*s should %s", round, SPAN_ARG(buffer_span(&texts[0])),
                     SPAN_ARG(buffer_span(&texts[1])), wanted ? "be the same" : "differ");
        for (unsigned i = 0; i < 2; i++) {
            buffer_finish(&texts[i]);
            buffer_finish(&forms[i]);
        }
        arena_finish(&arena);
    }
    assert_true(equal > ROUNDS / 4 && different > ROUNDS / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),   cmocka_unit_test(test_different), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_without), cmocka_unit_test(test_limits),    cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_random),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
