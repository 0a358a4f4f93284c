/* SPDX-License-Identifier: Apache-2.0 */
/* base/json: every text is read whole, cut in two at every place, and byte by byte, in pieces that vanish. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/memory.h"

static const char *const event_names[] = {"MORE", "{",    "}",     "[",    "]",       "key",  "str",
                                          "num",  "true", "false", "null", "skipped", "done", "bad"};

enum ask { ASK_NOTHING, ASK_CAPTURE, ASK_SKIP_FIRST_MEMBER, ASK_LEAVE_AT_TWO, ASK_SEEK, ASK_SKIP_ALL };

struct session {
    struct json r;
    struct buffer log;
    char capture[32];
    enum ask ask;
    bool ended;
};

static void note(struct session *s, enum json_event event)
{
    struct json *r = &s->r;
    buffer_format(&s->log, "%s", event_names[event]);
    if (event == JSON_BAD) {
        struct json_error e = json_error(r);
        buffer_format(&s->log, "@%zu %zu:%zu %s", e.offset, e.line, e.column, e.reason);
    } else if (event != JSON_DONE) {
        buffer_format(&s->log, "@%zu-%zu/%u", r->token_start, r->token_end, r->depth);
    }
    if (r->text.ptr)
        buffer_format(&s->log, "=%.*s", SPAN_ARG(r->text));
    if (r->text_long)
        buffer_format(&s->log, "=long");
    if (event == JSON_STRING)
        buffer_format(&s->log, "#%zu", r->string_bytes);
    if (event == JSON_SKIPPED)
        buffer_format(&s->log, "~%s", event_names[r->kind]);
    buffer_append(&s->log, SPAN("\n"));
    s->ended = event == JSON_DONE || event == JSON_BAD;
}

static void react(struct session *s, enum json_event event)
{
    struct json *r = &s->r;
    if (s->ask == ASK_CAPTURE)
        json_capture(r, s->capture, sizeof(s->capture));
    else if (s->ask == ASK_SKIP_FIRST_MEMBER && event == JSON_KEY && r->depth == 1)
        json_skip(r);
    else if (s->ask == ASK_LEAVE_AT_TWO && r->depth == 2 && (event == JSON_OBJECT_OPEN || event == JSON_ARRAY_OPEN))
        json_leave(r);
    else if (s->ask == ASK_SEEK && r->depth == 1 && event != JSON_KEY)
        json_seek(r, 1u << 5);
    else if (s->ask == ASK_SKIP_ALL && event != JSON_SKIPPED && event != JSON_DONE)
        json_skip(r);
}

/* One piece, in memory of its own size that is gone afterwards. */
static void feed(struct session *s, struct span text, bool last)
{
    char *copy = memory_alloc(text.len + 1);
    memcpy(copy + 1, text.ptr, text.len);
    struct span piece = span_of(copy + 1, text.len);
    while (!s->ended) {
        enum json_event event = json_next(&s->r, &piece, last);
        if (event == JSON_MORE) {
            assert_int_equal(piece.len, 0);
            assert_false(last);
            break;
        }
        note(s, event);
        react(s, event);
    }
    free(copy);
}

static void start(struct session *s, enum ask ask, unsigned depth)
{
    *s = (struct session){.ask = ask};
    json_init(&s->r, depth);
    if (ask == ASK_CAPTURE || ask == ASK_SKIP_ALL)
        react(s, JSON_MORE);
}

/* The transcript of a reading in two pieces; the caller frees the buffer. */
static struct buffer read_cut(struct span text, size_t cut, enum ask ask, unsigned depth)
{
    struct session s;
    start(&s, ask, depth);
    feed(&s, span_take(text, cut), false);
    feed(&s, span_skip(text, cut), true);
    assert_true(s.ended);
    return s.log;
}

static struct buffer read_bytes(struct span text, enum ask ask, unsigned depth)
{
    struct session s;
    start(&s, ask, depth);
    for (size_t i = 0; i < text.len; i++)
        feed(&s, span_of(text.ptr + i, 1), false);
    feed(&s, SPAN(""), true);
    assert_true(s.ended);
    return s.log;
}

static void same(struct buffer *expected, struct buffer *got, struct span text, size_t cut)
{
    if (!span_equal(buffer_span(expected), buffer_span(got)))
        fail_msg("cut at %zu of %.*s\nwhole:\n%.*s\ncut:\n%.*s", cut, SPAN_ARG(text), SPAN_ARG(buffer_span(expected)),
                 SPAN_ARG(buffer_span(got)));
    buffer_finish(got);
}

/* Reads in every cut, checks that all transcripts agree, and returns the one. */
static struct buffer read_all_ways(struct span text, enum ask ask, unsigned depth)
{
    struct buffer whole = read_cut(text, text.len, ask, depth), other;
    for (size_t cut = 0; cut < text.len; cut++) {
        other = read_cut(text, cut, ask, depth);
        same(&whole, &other, text, cut);
    }
    other = read_bytes(text, ask, depth);
    same(&whole, &other, text, SIZE_MAX);
    return whole;
}

static void expect(struct span text, enum ask ask, const char *transcript)
{
    struct buffer got = read_all_ways(text, ask, 8);
    if (!span_equal(buffer_span(&got), span_str(transcript)))
        fail_msg("%.*s\nexpected:\n%s\ngot:\n%.*s", SPAN_ARG(text), transcript, SPAN_ARG(buffer_span(&got)));
    buffer_finish(&got);
}

struct refusal {
    struct span text;
    const char *transcript; /* the last line */
};

static void events(void **state)
{
    (void)state;
    expect(SPAN("{\"a\":[1,-2.5e+3,true,false,null,\"x\"]}"), ASK_NOTHING,
           "{@0-1/1\nkey@1-4/1=a\n[@5-6/2\nnum@6-7/2=1\nnum@8-15/2=-2.5e+3\ntrue@16-20/2\nfalse@21-26/2\n"
           "null@27-31/2\nstr@32-35/2#1\n]@35-36/1\n}@36-37/0\ndone\n");
    expect(SPAN(" [ ] \r\n\t"), ASK_NOTHING, "[@1-2/1\n]@3-4/0\ndone\n");
    expect(SPAN("-0"), ASK_NOTHING, "num@0-2/0=-0\ndone\n");
    expect(SPAN("\"\""), ASK_CAPTURE, "str@0-2/0=#0\ndone\n");
    expect(SPAN("{\"mo\\u0064el\" : \"gpt\\n\\u00e9\\ud83d\\ude00\\/\"}"), ASK_CAPTURE,
           "{@0-1/1\nkey@1-13/1=model\nstr@16-43/1=gpt\n\xC3\xA9\xF0\x9F\x98\x80/#11\n}@43-44/0\ndone\n");
}

static void doubtful_text(void **state)
{
    (void)state;
    /* lone halves become the three bytes of their code, and equal nothing that is UTF-8 */
    expect(SPAN("[\"\\ud800\",\"\\udc00x\",\"\\ud800\\n\",\"\\ud800\\ud83d\\ude00\",\"\\ud800\xC3\xA9\"]"), ASK_CAPTURE,
           "[@0-1/1\nstr@1-9/1=\xED\xA0\x80#3\nstr@10-19/1=\xED\xB0\x80x#4\nstr@20-30/1=\xED\xA0\x80\n#4\n"
           "str@31-51/1=\xED\xA0\x80\xF0\x9F\x98\x80#7\nstr@52-62/1=\xED\xA0\x80\xC3\xA9#5\n]@62-63/0\ndone\n");
    struct session s;
    start(&s, ASK_CAPTURE, 8);
    struct span text = SPAN("\"a\\u0000b\"");
    assert_int_equal(json_next(&s.r, &text, true), JSON_STRING);
    assert_true(json_is(&s.r, SPAN("a\0b")));
    buffer_finish(&s.log);
}

static void limits_of_text(void **state)
{
    (void)state;
    char text[400];
    for (size_t len = JSON_TEXT_LIMIT - 1; len <= JSON_TEXT_LIMIT + 1; len++) {
        (void)snprintf(text, sizeof(text), "{\"%0*d\":%0*d}", (int)len, 0, (int)len, 0);
        memset(strchr(text, ':') + 1, '7', len);
        struct buffer got = read_all_ways(span_str(text), ASK_NOTHING, 8);
        bool is_long = span_search(buffer_span(&got), SPAN("=long\nnum")) < buffer_len(&got);
        assert_int_equal(is_long, len > JSON_TEXT_LIMIT);
        assert_int_equal(span_ends_with(buffer_span(&got), SPAN("done\n")), true);
        buffer_finish(&got);
    }
    expect(SPAN("[\"0123456789abcdef0123456789abcdef\",\"0123456789abcdef0123456789abcdef+\"]"), ASK_CAPTURE,
           "[@0-1/1\nstr@1-35/1=0123456789abcdef0123456789abcdef#32\nstr@36-71/1=long#33\n]@71-72/0\ndone\n");
    expect(SPAN("[\"0123456789\",\"\"              ,\"x\",12]"), ASK_CAPTURE,
           "[@0-1/1\nstr@1-13/1=0123456789#10\nstr@14-16/1=#0\nstr@31-34/1=x#1\nnum@35-37/1=12\n]@37-38/0\ndone\n");
    expect(SPAN("[\"0123456789abcdef0123456789abcde\\u00e9\"]"), ASK_CAPTURE,
           "[@0-1/1\nstr@1-40/1=long#33\n]@40-41/0\ndone\n");
}

static void skipping(void **state)
{
    (void)state;
    struct span text = SPAN("{\"a\":{\"x\":[1,{\"y\":\"]}\"}]},\"b\":\"s\",\"c\":-1.5,\"d\":[],\"e\":null}");
    expect(text, ASK_SKIP_FIRST_MEMBER,
           "{@0-1/1\nkey@1-4/1=a\nskipped@5-25/1~{\nkey@26-29/1=b\nskipped@30-33/1~str\nkey@34-37/1=c\n"
           "skipped@38-42/1~num\nkey@43-46/1=d\nskipped@47-49/1~[\nkey@50-53/1=e\nskipped@54-58/1~null\n}@58-59/"
           "0\ndone\n");
    expect(text, ASK_LEAVE_AT_TWO,
           "{@0-1/1\nkey@1-4/1=a\n{@5-6/2\n}@24-25/1\nkey@26-29/1=b\nstr@30-33/1#1\nkey@34-37/1=c\nnum@38-42/1=-1.5\n"
           "key@43-46/1=d\n[@47-48/2\n]@48-49/1\nkey@50-53/1=e\nnull@54-58/1\n}@58-59/0\ndone\n");
    expect(text, ASK_SKIP_ALL, "skipped@0-59/0~{\ndone\n");
    expect(SPAN(" 12 "), ASK_SKIP_ALL, "skipped@1-3/0~num\ndone\n");
    expect(SPAN("12"), ASK_SKIP_ALL, "skipped@0-2/0~num\ndone\n");
    expect(SPAN("{\"a\":{\"k\":[\"x\" ,{ },[ ],\"\\n\u00e9\",{\"l\":{\n\"m\":\"\"}}]},\"b\":0}"), ASK_SKIP_FIRST_MEMBER,
           "{@0-1/1\nkey@1-4/1=a\nskipped@5-48/1~{\nkey@49-52/1=b\nskipped@53-54/1~num\n}@54-55/0\ndone\n");
    expect(SPAN("{\"a\":[1,}"), ASK_SKIP_ALL, "bad@8 1:9 expected a value\n");
}

static void skip_refuses(void **state)
{
    (void)state;
    static const struct refusal table[] = {
        {SPAN_INIT("{\"a\":{\"b\" \"c\"}}"), "bad@10 1:11 expected ':'\n"},
        {SPAN_INIT("{\"a\":{\"b\":\"c\",}}"), "bad@14 1:15 expected a name in quotes\n"},
        {SPAN_INIT("{\"a\":[\"b\":\"c\"]}"), "bad@9 1:10 expected ',' or ']'\n"},
        {SPAN_INIT("{\"a\":[\n{}{}]}"), "bad@9 2:3 expected ',' or ']'\n"},
        {SPAN_INIT("{\"a\":[[}]}"), "bad@7 1:8 expected a value or ']'\n"},
        {SPAN_INIT("{\"a\":[[]"), "bad@8 1:9 unexpected end\n"},
        {SPAN_INIT("{\"a\":[[]]"), "bad@9 1:10 unexpected end\n"},
        {SPAN_INIT("{\"a\":[[[[[[[[]]]]]]]]}"), "bad@12 1:13 nested too deeply\n"},
        {SPAN_INIT("{\"a\":[\"\t\"]}"), "bad@7 1:8 control byte in a string\n"},
        {SPAN_INIT("{\"a\":[\"\xC0\x80\"]}"), "bad@7 1:8 invalid UTF-8\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buffer got = read_all_ways(table[i].text, ASK_SKIP_ALL, 8);
        if (!span_equal(buffer_span(&got), span_str(table[i].transcript)))
            fail_msg("%.*s\nexpected %s\ngot %.*s", SPAN_ARG(table[i].text), table[i].transcript,
                     SPAN_ARG(buffer_span(&got)));
        buffer_finish(&got);
    }
}

/* Of the members of the outer object, only those with a name of five bytes are seen, however it is spelled. */
static void seeking(void **state)
{
    (void)state;
    expect(SPAN("{\"id\":\"a\",\"model\":\"b\",\"\\u0075sage\" : {\"model\":1},\"object\":2,\"\\u00e9\\u00e9x\":null}"),
           ASK_SEEK,
           "{@0-1/1\nkey@10-17/1=model\nstr@18-21/1#1\nkey@22-34/1=usage\n{@37-38/2\nkey@38-45/2=model\n"
           "num@46-47/2=1\n}@47-48/1\nkey@60-75/1=\xC3\xA9\xC3\xA9x\nnull@76-80/1\n}@80-81/0\ndone\n");
    expect(SPAN("{\"\u00e9\u00e9\":[{\"model\":1}],\"a\\nb\":[[]],\"\":{}}"), ASK_SEEK, "{@0-1/1\n}@39-40/0\ndone\n");
    expect(SPAN("{\"model\u00e9\":1                           }"), ASK_SEEK, "{@0-1/1\n}@39-40/0\ndone\n");
    expect(SPAN("{}"), ASK_SEEK, "{@0-1/1\n}@1-2/0\ndone\n");
    expect(SPAN("{\"ab\":1,}"), ASK_SEEK, "{@0-1/1\nbad@8 1:9 expected a name in quotes\n");
    expect(SPAN("{\"ab\":{]}"), ASK_SEEK, "{@0-1/1\nbad@7 1:8 expected a name in quotes or '}'\n");
    expect(SPAN("{\"a\\x\":1}"), ASK_SEEK, "{@0-1/1\nbad@4 1:5 invalid escape\n");
}

/* A skip that meets the close of the container is forgotten. */
static void skip_meets_close(void **state)
{
    (void)state;
    struct json r;
    struct span text = SPAN("[[1],2]");
    json_init(&r, 8);
    assert_int_equal(json_next(&r, &text, true), JSON_ARRAY_OPEN);
    assert_int_equal(json_next(&r, &text, true), JSON_ARRAY_OPEN);
    assert_int_equal(json_next(&r, &text, true), JSON_NUMBER);
    json_skip(&r);
    assert_int_equal(json_next(&r, &text, true), JSON_ARRAY_CLOSE);
    assert_int_equal(json_next(&r, &text, true), JSON_NUMBER);
    json_leave(&r);
    assert_int_equal(json_next(&r, &text, true), JSON_ARRAY_CLOSE);
    json_leave(&r); /* nothing is open: nothing happens */
    assert_int_equal(json_next(&r, &text, true), JSON_DONE);
    assert_int_equal(json_next(&r, &text, true), JSON_DONE);
}

static void refusals(void **state)
{
    (void)state;
    static const struct refusal table[] = {
        {SPAN_INIT(""), "bad@0 1:1 unexpected end\n"},
        {SPAN_INIT("  \n "), "bad@4 2:2 unexpected end\n"},
        {SPAN_INIT("\xEF\xBB\xBF{}"), "bad@0 1:1 a byte order mark is not allowed\n"},
        {SPAN_INIT("{\"a\":1,}"), "bad@7 1:8 expected a name in quotes\n"},
        {SPAN_INIT("{,}"), "bad@1 1:2 expected a name in quotes or '}'\n"},
        {SPAN_INIT("{a:1}"), "bad@1 1:2 expected a name in quotes or '}'\n"},
        {SPAN_INIT("{\"a\" 1}"), "bad@5 1:6 expected ':'\n"},
        {SPAN_INIT("{\"a\"}"), "bad@4 1:5 expected ':'\n"},
        {SPAN_INIT("{\"a\":}"), "bad@5 1:6 expected a value\n"},
        {SPAN_INIT("{\"a\":1 \"b\":2}"), "bad@7 1:8 expected ',' or '}'\n"},
        {SPAN_INIT("{\"a\":1]"), "bad@6 1:7 expected ',' or '}'\n"},
        {SPAN_INIT("[1}"), "bad@2 1:3 expected ',' or ']'\n"},
        {SPAN_INIT("[1,]"), "bad@3 1:4 expected a value\n"},
        {SPAN_INIT("[,1]"), "bad@1 1:2 expected a value or ']'\n"},
        {SPAN_INIT("[1\n,\n2\n3]"), "bad@7 4:1 expected ',' or ']'\n"},
        {SPAN_INIT("{} {}"), "bad@3 1:4 more text after the value\n"},
        {SPAN_INIT("1 2"), "bad@2 1:3 more text after the value\n"},
        {SPAN_INIT("[01]"), "bad@2 1:3 expected ',' or ']'\n"},
        {SPAN_INIT("[-]"), "bad@2 1:3 invalid number\n"},
        {SPAN_INIT("[-01]"), "bad@3 1:4 expected ',' or ']'\n"},
        {SPAN_INIT("[1.]"), "bad@3 1:4 invalid number\n"},
        {SPAN_INIT("[.5]"), "bad@1 1:2 expected a value or ']'\n"},
        {SPAN_INIT("[+1]"), "bad@1 1:2 expected a value or ']'\n"},
        {SPAN_INIT("[1e]"), "bad@3 1:4 invalid number\n"},
        {SPAN_INIT("[1e+]"), "bad@4 1:5 invalid number\n"},
        {SPAN_INIT("1.e1"), "bad@2 1:3 invalid number\n"},
        {SPAN_INIT("-"), "bad@1 1:2 invalid number\n"},
        {SPAN_INIT("[0x1]"), "bad@2 1:3 expected ',' or ']'\n"},
        {SPAN_INIT("[NaN]"), "bad@1 1:2 expected a value or ']'\n"},
        {SPAN_INIT("[Infinity]"), "bad@1 1:2 expected a value or ']'\n"},
        {SPAN_INIT("[nul]"), "bad@4 1:5 invalid word: only true, false and null are known\n"},
        {SPAN_INIT("[True]"), "bad@1 1:2 expected a value or ']'\n"},
        {SPAN_INIT("[truex]"), "bad@5 1:6 expected ',' or ']'\n"},
        {SPAN_INIT("tru"), "bad@3 1:4 unexpected end\n"},
        {SPAN_INIT("['a']"), "bad@1 1:2 expected a value or ']'\n"},
        {SPAN_INIT("[/*x*/1]"), "bad@1 1:2 expected a value or ']'\n"},
        {SPAN_INIT("[\"a"), "bad@3 1:4 unexpected end\n"},
        {SPAN_INIT("[\"a\nb\"]"), "bad@3 1:4 control byte in a string\n"},
        {SPAN_INIT("[\"a\0b\"]"), "bad@3 1:4 control byte in a string\n"},
        {SPAN_INIT("[\"0123456789abcdefghij\x1F\"]"), "bad@22 1:23 control byte in a string\n"},
        {SPAN_INIT("[1,\0 2]"), "bad@3 1:4 expected a value\n"},
        {SPAN_INIT("[1]\0"), "bad@3 1:4 more text after the value\n"},
        {SPAN_INIT("[1,\v2]"), "bad@3 1:4 expected a value\n"},
        {SPAN_INIT("[\"\\x41\"]"), "bad@3 1:4 invalid escape\n"},
        {SPAN_INIT("[\"\\u12g4\"]"), "bad@6 1:7 invalid escape\n"},
        {SPAN_INIT("[\"\\u12\"]"), "bad@6 1:7 invalid escape\n"},
        {SPAN_INIT("[\"\\"), "bad@3 1:4 unexpected end\n"},
        {SPAN_INIT("[\"\\\0\"]"), "bad@3 1:4 invalid escape\n"},
        {SPAN_INIT("[[[[[[[[[1]]]]]]]]]"), "bad@8 1:9 nested too deeply\n"},
        {SPAN_INIT("\xC3\xA9"), "bad@0 1:1 expected a value\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buffer got = read_all_ways(table[i].text, ASK_NOTHING, 8);
        if (!span_ends_with(buffer_span(&got), span_str(table[i].transcript)))
            fail_msg("%.*s\nexpected ...%s\ngot %.*s", SPAN_ARG(table[i].text), table[i].transcript,
                     SPAN_ARG(buffer_span(&got)));
        buffer_finish(&got);
    }
}

static bool accepted(struct span text)
{
    struct buffer got = read_all_ways(text, ASK_CAPTURE, 8);
    bool done = span_ends_with(buffer_span(&got), SPAN("done\n"));
    buffer_finish(&got);
    return done;
}

/* RFC 3629: every lead byte with edge followers, against a plain statement of the rule. */
static bool valid_utf8(const unsigned char *s, size_t len)
{
    if (len == 2)
        return s[0] >= 0xC2 && s[0] <= 0xDF && (s[1] & 0xC0) == 0x80;
    uint32_t code = len == 3 ? (uint32_t)(s[0] & 0x0F) : (uint32_t)(s[0] & 0x07);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return false;
        code = code << 6 | (s[i] & 0x3Fu);
    }
    if (len == 3)
        return (s[0] & 0xF0) == 0xE0 && code >= 0x800 && !(code >= 0xD800 && code <= 0xDFFF);
    return (s[0] & 0xF8) == 0xF0 && code >= 0x10000 && code <= 0x10FFFF;
}

static void utf8(void **state)
{
    (void)state;
    static const unsigned char followers[] = {'x', 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0};
    for (unsigned lead = 0x80; lead <= 0xFF; lead++)
        for (size_t a = 0; a < ARRAY_LEN(followers); a++)
            for (size_t len = 2; len <= 4; len++) {
                unsigned char text[] = {'"', (unsigned char)lead, followers[a], 0x80, 0xBF, '"', 0};
                bool valid = valid_utf8(text + 1, len);
                text[1 + len] = '"';
                if (accepted(span_of((const char *)text, len + 2)) != valid)
                    fail_msg("lead %02x follower %02x length %zu: expected %d", lead, followers[a], len, valid);
            }
}

/* Every byte at every place of a long run: the wide steps must see what the narrow ones see. */
static void wide_steps(void **state)
{
    (void)state;
    char text[44];
    for (size_t place = 1; place < sizeof(text) - 1; place++)
        for (unsigned byte = 0; byte < 256; byte++) {
            memset(text, 'a', sizeof(text));
            text[0] = text[sizeof(text) - 1] = '"';
            text[place] = (char)byte;
            struct json r;
            struct span input = span_of(text, sizeof(text));
            json_init(&r, 8);
            enum json_event event = json_next(&r, &input, true);
            if (byte == '"') {
                assert_int_equal(event, JSON_STRING);
                assert_int_equal(r.token_end, place + 1);
            } else {
                bool plain = byte >= 0x20 && byte < 0x80 && byte != '\\';
                assert_int_equal(event, plain ? JSON_STRING : JSON_BAD);
            }
        }
}

static void depth(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_LIMIT + 2];
    memset(text, '[', JSON_DEPTH_LIMIT);
    memset(text + JSON_DEPTH_LIMIT, ']', JSON_DEPTH_LIMIT);
    struct json r;
    struct span input = span_of(text, 2 * JSON_DEPTH_LIMIT);
    json_init(&r, JSON_DEPTH_LIMIT);
    json_skip(&r);
    assert_int_equal(json_next(&r, &input, true), JSON_SKIPPED);
    assert_int_equal(json_next(&r, &input, true), JSON_DONE);
    json_init(&r, JSON_DEPTH_LIMIT - 1);
    json_skip(&r);
    input = span_of(text, 2 * JSON_DEPTH_LIMIT);
    assert_int_equal(json_next(&r, &input, true), JSON_BAD);
    assert_int_equal(json_error(&r).offset, JSON_DEPTH_LIMIT - 1);
    assert_int_equal(json_next(&r, &input, true), JSON_BAD);
}

/* Objects and arrays mixed at each level, so that the record of kinds is exercised across its words. */
static void mixed_nesting(void **state)
{
    (void)state;
    struct buffer text = {0};
    for (unsigned i = 0; i < 150; i++)
        buffer_append(&text, i % 3 ? SPAN("{\"k\":") : SPAN("["));
    buffer_append(&text, SPAN("0"));
    for (unsigned i = 150; i-- > 0;)
        buffer_append(&text, i % 3 ? SPAN("}") : SPAN("]"));
    struct json r;
    struct span input = buffer_span(&text);
    enum json_event event;
    unsigned closes = 0;
    json_init(&r, JSON_DEPTH_LIMIT);
    while ((event = json_next(&r, &input, true)) != JSON_DONE) {
        assert_int_not_equal(event, JSON_BAD);
        if (event == JSON_OBJECT_CLOSE || event == JSON_ARRAY_CLOSE)
            assert_int_equal(event, (150 - ++closes) % 3 ? JSON_OBJECT_CLOSE : JSON_ARRAY_CLOSE);
    }
    assert_int_equal(closes, 150);
    buffer_finish(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events),   cmocka_unit_test(doubtful_text),    cmocka_unit_test(limits_of_text),
        cmocka_unit_test(skipping), cmocka_unit_test(skip_refuses),     cmocka_unit_test(refusals),
        cmocka_unit_test(utf8),     cmocka_unit_test(skip_meets_close), cmocka_unit_test(wide_steps),
        cmocka_unit_test(depth),    cmocka_unit_test(mixed_nesting),    cmocka_unit_test(seeking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
