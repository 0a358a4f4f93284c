/* SPDX-License-Identifier: Apache-2.0 */
/* openai/request: what bodies ask for, and which are refused; every body is also fed cut at each byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/memory.h"
#include "openai/request.h"

#define BOUNDARY SPAN("b0")

struct session {
    struct arena arena;
    struct request_reader reader;
    struct request_info info;
    enum fault fault;
};

static void feed(struct session *s, struct span text)
{
    char *copy = memory_alloc(text.len + 1);
    memcpy(copy, text.ptr, text.len);
    s->fault = request_feed(&s->reader, span_of(copy, text.len));
    free(copy);
}

/* `cut` beyond the length: byte by byte. End with done(). */
static void inspect(struct session *s, enum request_kind kind, struct span body, size_t cut)
{
    arena_init(&s->arena);
    request_init(&s->reader, kind, BOUNDARY, &s->arena, &s->info);
    if (cut > body.len) {
        for (size_t i = 0; i < body.len; i++)
            feed(s, span_of(body.ptr + i, 1));
    } else {
        feed(s, span_take(body, cut));
        feed(s, span_skip(body, cut));
    }
    s->fault = request_finish(&s->reader);
}

static void done(struct session *s)
{
    arena_finish(&s->arena);
}

static void show_count(struct buffer *out, const char *name, struct request_count count)
{
    if (count.present)
        buffer_format(out, " %s=%llu", name, (unsigned long long)count.value);
}

/* All that was found, as one line, without what is absent. */
static struct buffer shown(const struct session *s)
{
    static const char *const tri[] = {"", "false", "true"};
    const struct request_info *i = &s->info;
    struct buffer out = {0};
    if (s->fault != FAULT_NONE) {
        buffer_format(&out, "%.*s [%.*s] %.*s", SPAN_ARG(fault_entry(s->fault)->word), SPAN_ARG(s->reader.param),
                      SPAN_ARG(s->reader.message));
        return out;
    }
    if (i->has_model)
        buffer_format(&out, "model=%.*s", SPAN_ARG(i->model));
    if (i->model_end)
        buffer_format(&out, "@%zu-%zu", i->model_start, i->model_end);
    if (i->stream)
        buffer_append(&out, SPAN(" stream"));
    if (i->has_stream_options)
        buffer_format(&out, " options@%zu/%d usage=%s@%zu-%zu", i->stream_options.open, i->stream_options.empty,
                      tri[i->include_usage], i->stream_options.usage_start, i->stream_options.usage_end);
    if (i->store)
        buffer_format(&out, " store=%s", tri[i->store]);
    if (i->background)
        buffer_format(&out, " background=%s", tri[i->background]);
    buffer_format(&out, "%s%s%s", i->previous_response_id ? " previous" : "", i->conversation ? " conversation" : "",
                  i->user ? " user" : "");
    show_count(&out, "n", i->n);
    show_count(&out, "max", i->max_tokens);
    show_count(&out, "maxc", i->max_completion_tokens);
    show_count(&out, "maxo", i->max_output_tokens);
    show_count(&out, "dim", i->dimensions);
    if (i->has_temperature)
        buffer_format(&out, " temperature=%g(%.*s)", i->temperature, SPAN_ARG(i->temperature_raw));
    if (i->response_format.len)
        buffer_format(&out, " format=%.*s", SPAN_ARG(i->response_format));
    return out;
}

static void expect_kind(enum request_kind kind, struct span body, struct span line)
{
    for (size_t cut = 0; cut <= body.len + 1; cut++) {
        struct session s;
        inspect(&s, kind, body, cut);
        struct buffer got = shown(&s);
        if (!span_equal(buffer_span(&got), line))
            fail_msg("cut %zu of %.*s\nexpected: %.*s\ngot:      %.*s", cut, SPAN_ARG(body), SPAN_ARG(line),
                     SPAN_ARG(buffer_span(&got)));
        buffer_finish(&got);
        done(&s);
    }
}

static void expect(const char *body, const char *line)
{
    expect_kind(REQUEST_JSON, span_str(body), span_str(line));
}

#define NOTHING ""

static void members(void **state)
{
    (void)state;
    expect("{}", NOTHING);
    expect(" { \"model\" : \"gpt-4o\" } ", "model=gpt-4o@13-21" NOTHING);
    expect("{\"mo\\u0064el\":\"gpt\\u002d4\"}", "model=gpt-4@14-26" NOTHING);
    expect("{\"model\":\"\"}", "@9-11" NOTHING);
    expect("{\"model\":null,\"stream\":null,\"user\":null,\"store\":null}", "@9-13" NOTHING);
    expect("{\"stream\":true,\"store\":false,\"background\":true}", " stream store=false background=true" NOTHING);
    expect("{\"previous_response_id\":\"r\",\"conversation\":{\"id\":\"c\"},\"user\":\"u\"}",
           " previous conversation user" NOTHING);
    expect("{\"n\":2,\"max_tokens\":1e2,\"max_completion_tokens\":5.0,\"max_output_tokens\":18446744073709551615,"
           "\"dimensions\":0}",
           " n=2 max=100 maxc=5 maxo=18446744073709551615 dim=0" NOTHING);
    expect(
        "{\"n\":-1,\"max_tokens\":\"5\",\"max_completion_tokens\":1.5,\"max_output_tokens\":1e30,\"dimensions\":[1]}",
        NOTHING);
    expect("{\"temperature\":-0.70}", " temperature=-0.7(-0.70)" NOTHING);
    expect("{\"temperature\":1e999,\"store\":{\"a\":[true]},\"n\":{\"n\":1}}", NOTHING);
}

static void stream_options(void **state)
{
    (void)state;
    expect("{\"stream_options\":{}}", " options@18/1 usage=@0-0" NOTHING);
    expect("{\"stream_options\":null}", NOTHING);
    expect("{\"stream_options\":{\"include_usage\":true}}", " options@18/0 usage=true@35-39" NOTHING);
    expect("{\"stream_options\":{\"x\":{\"include_usage\":true},\"include_usage\": false }}",
           " options@18/0 usage=false@63-68" NOTHING);
    expect("{\"stream_options\":{\"include_usage\":null}}", " options@18/0 usage=@35-39" NOTHING);
}

static void faults(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"", "MALFORMED_BODY [] invalid JSON at byte 0 (line 1, column 1): unexpected end"},
        {"[]", "MALFORMED_BODY [] the body must be a JSON object"},
        {"\"x\"", "MALFORMED_BODY [] the body must be a JSON object"},
        {"{\"a\":1,\n\"b\":2\n \"c\":3}",
         "MALFORMED_BODY [] invalid JSON at byte 15 (line 3, column 2): expected ',' or '}'"},
        {"{\"model\":\"a\"}x",
         "MALFORMED_BODY [] invalid JSON at byte 13 (line 1, column 14): more text after the value"},
        {"{\"messages\":[{]}",
         "MALFORMED_BODY [] invalid JSON at byte 14 (line 1, column 15): expected a name in quotes or '}'"},
        {"{\"model\":\"a\",\"model\":\"b\"}", "BAD_PARAMETER [model] duplicate member 'model'"},
        {"{\"model\":\"a\",\"mo\\u0064el\":\"b\"}", "BAD_PARAMETER [model] duplicate member 'model'"},
        {"{\"x\":1,\"y\":{\"x\":1,\"x\":2},\"x\":1}", "BAD_PARAMETER [x] duplicate member 'x'"},
        {"{\"\":1,\"\":2}", "BAD_PARAMETER [] duplicate member ''"},
        {"{\"\\ud800\":1,\"\\uD800\":2}", "BAD_PARAMETER [\xED\xA0\x80] duplicate member '\xED\xA0\x80'"},
        {"{\"model\":7}", "BAD_PARAMETER [model] 'model' must be a string"},
        {"{\"model\":[\"a\"]}", "BAD_PARAMETER [model] 'model' must be a string"},
        {"{\"model\":true}", "BAD_PARAMETER [model] 'model' must be a string"},
        {"{\"model\":\"a\\r\\nb\"}", "BAD_PARAMETER [model] 'model' must not contain control characters"},
        {"{\"model\":\"a\\u0000\"}", "BAD_PARAMETER [model] 'model' must not contain control characters"},
        {"{\"stream\":\"true\"}", "BAD_PARAMETER [stream] 'stream' must be a boolean"},
        {"{\"stream\":{}}", "BAD_PARAMETER [stream] 'stream' must be a boolean"},
        {"{\"stream\":1}", "BAD_PARAMETER [stream] 'stream' must be a boolean"},
        {"{\"stream_options\":true}", "BAD_PARAMETER [stream_options] 'stream_options' must be an object"},
        {"{\"stream_options\":[{}]}", "BAD_PARAMETER [stream_options] 'stream_options' must be an object"},
        {"{\"stream_options\":{\"include_usage\":1}}",
         "BAD_PARAMETER [stream_options.include_usage] 'stream_options.include_usage' must be a boolean"},
        {"{\"stream_options\":{\"include_usage\":[true]}}",
         "BAD_PARAMETER [stream_options.include_usage] 'stream_options.include_usage' must be a boolean"},
        {"{\"stream_options\":{\"a\":1,\"\\u0061\":2}}", "BAD_PARAMETER [a] duplicate member of stream_options: 'a'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        expect(table[i][0], table[i][1]);
}

/* `count` members named k0, k1, ...; the last one repeats the first when asked. */
static struct buffer many_members(unsigned count, bool repeat)
{
    struct buffer body = {0};
    for (unsigned i = 0; i < count; i++)
        buffer_format(&body, "%c\"k%u\":%u", i ? ',' : '{', repeat && i + 1 == count ? 0 : i, i);
    buffer_append(&body, SPAN("}"));
    return body;
}

static void crowds(void **state)
{
    (void)state;
    static const struct {
        unsigned count;
        bool repeat;
        enum fault fault;
    } table[] = {
        {2, true, FAULT_BAD_PARAMETER},     {33, true, FAULT_BAD_PARAMETER},      {34, true, FAULT_BAD_PARAMETER},
        {200, true, FAULT_BAD_PARAMETER},   {1024, true, FAULT_BAD_PARAMETER},    {1024, false, FAULT_NONE},
        {1025, false, FAULT_BAD_PARAMETER}, {100000, false, FAULT_BAD_PARAMETER},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buffer body = many_members(table[i].count, table[i].repeat);
        struct session s;
        inspect(&s, REQUEST_JSON, buffer_span(&body), 0);
        assert_int_equal(s.fault, table[i].fault);
        if (table[i].repeat)
            assert_true(span_equal(s.reader.param, SPAN("k0")));
        if (s.fault == FAULT_NONE)
            assert_non_null(request_member(&s.info, SPAN("k1023")));
        assert_null(request_member(&s.info, SPAN("k5000")));
        done(&s);
        buffer_finish(&body);
    }
}

static void limits(void **state)
{
    (void)state;
    struct buffer body = {0};
    for (int len = REQUEST_MODEL_LIMIT; len <= REQUEST_MODEL_LIMIT + 1; len++) {
        buffer_format(&body, "{\"model\":\"%0*d\"}", len, 0);
        struct session s;
        inspect(&s, REQUEST_JSON, buffer_span(&body), 100);
        assert_int_equal(s.fault, len == REQUEST_MODEL_LIMIT ? FAULT_NONE : FAULT_BAD_PARAMETER);
        assert_int_equal(s.info.has_model, len == REQUEST_MODEL_LIMIT);
        done(&s);
        buffer_finish(&body);
    }
    for (unsigned depth = REQUEST_DEPTH_LIMIT - 1; depth <= REQUEST_DEPTH_LIMIT; depth++) {
        buffer_append(&body, SPAN("{\"x\":"));
        for (unsigned i = 0; i < depth; i++)
            buffer_append(&body, SPAN("["));
        for (unsigned i = 0; i < depth; i++)
            buffer_append(&body, SPAN("]"));
        buffer_append(&body, SPAN("}"));
        struct session s;
        inspect(&s, REQUEST_JSON, buffer_span(&body), 7);
        assert_int_equal(s.fault, depth < REQUEST_DEPTH_LIMIT ? FAULT_NONE : FAULT_MALFORMED_BODY);
        done(&s);
        buffer_finish(&body);
    }
    buffer_format(&body, "{\"%0*d\":1}", JSON_TEXT_LIMIT + 1, 0);
    expect_kind(REQUEST_JSON, buffer_span(&body), SPAN("BAD_PARAMETER [] the name of a top-level member is too long"));
    buffer_finish(&body);
}

/* The fault found first stays, whatever is fed after it. */
static void faults_stay(void **state)
{
    (void)state;
    struct session s;
    arena_init(&s.arena);
    request_init(&s.reader, REQUEST_JSON, SPAN(""), &s.arena, &s.info);
    assert_int_equal(request_feed(&s.reader, SPAN("{\"stream\":1,")), FAULT_BAD_PARAMETER);
    assert_int_equal(request_feed(&s.reader, SPAN("}}}}")), FAULT_BAD_PARAMETER);
    assert_int_equal(request_finish(&s.reader), FAULT_BAD_PARAMETER);
    done(&s);
}

static void ranges(void **state)
{
    (void)state;
    static const char body[] = "{ \"a\\u0062\" : [1] ,\"n\":2,\"messages\":[{\"x\":[]}],\"stop\":\"s\" }";
    static const char *const expected[][3] = {{"ab", "\"a\\u0062\"", "[1]"},
                                              {"n", "\"n\"", "2"},
                                              {"messages", "\"messages\"", "[{\"x\":[]}]"},
                                              {"stop", "\"stop\"", "\"s\""}};
    static const enum json_event kinds[] = {JSON_ARRAY_OPEN, JSON_NUMBER, JSON_ARRAY_OPEN, JSON_STRING};
    for (size_t cut = 0; cut <= sizeof(body); cut++) {
        struct session s;
        inspect(&s, REQUEST_JSON, span_str(body), cut);
        assert_int_equal(s.fault, FAULT_NONE);
        assert_int_equal(s.info.member_count, ARRAY_LEN(expected));
        for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
            const struct request_member *m = &s.info.members[i];
            assert_true(span_equal(m->name, span_str(expected[i][0])));
            assert_true(
                span_equal(span_of(body + m->name_start, m->name_end - m->name_start), span_str(expected[i][1])));
            assert_true(
                span_equal(span_of(body + m->value_start, m->value_end - m->value_start), span_str(expected[i][2])));
            assert_int_equal(m->kind, kinds[i]);
        }
        assert_int_equal(body[s.info.object_open], '{');
        assert_int_equal(s.info.object_close, sizeof(body) - 2);
        done(&s);
    }
}

#define FIELD(name, value) "--b0\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

static void forms(void **state)
{
    (void)state;
    static const struct {
        struct span body, line;
    } table[] = {
        {SPAN_INIT(FIELD("model", "whisper-1") "--b0--\r\n"), SPAN_INIT("model=whisper-1@54-63" NOTHING)},
        {SPAN_INIT(FIELD("file\"; filename=\"a", "\r\n\r\n--b") FIELD("stream", "True") FIELD("response_format", "srt")
                       FIELD("model", "w") "--b0--"),
         SPAN_INIT("model=w@260-261 stream" NOTHING " format=srt")},
        {SPAN_INIT(FIELD("x", "1") FIELD("x", "2") FIELD("stream", "0") "--b0--"), SPAN_INIT(NOTHING)},
        {SPAN_INIT(FIELD("model", "a") FIELD("model", "a") "--b0--"),
         SPAN_INIT("BAD_PARAMETER [model] duplicate form field 'model'")},
        {SPAN_INIT(FIELD("stream", "yes") "--b0--"),
         SPAN_INIT("BAD_PARAMETER [stream] 'stream' must be true or false")},
        {SPAN_INIT(FIELD("model\"; filename=\"m", "a") "--b0--"),
         SPAN_INIT("BAD_PARAMETER [model] 'model' must be a plain text field")},
        {SPAN_INIT(
             "--b0\r\nContent-Disposition: form-data; name=model\r\nContent-Transfer-Encoding: base64\r\n\r\nYQ==\r\n"
             "--b0--"),
         SPAN_INIT("BAD_PARAMETER [model] 'model' must be a plain text field")},
        {SPAN_INIT(FIELD("model", "a\nb") "--b0--"),
         SPAN_INIT("BAD_PARAMETER [model] 'model' must not contain control characters")},
        {SPAN_INIT(
             FIELD("response_format", "0123456789012345678901234567890123456789012345678901234567890123+") "--b0--"),
         SPAN_INIT("BAD_PARAMETER [response_format] 'response_format' is too long")},
        {SPAN_INIT(FIELD("model", "a")),
         SPAN_INIT("MALFORMED_BODY [] invalid multipart body at byte 57: unexpected end")},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        expect_kind(REQUEST_MULTIPART, table[i].body, table[i].line);
    struct session s;
    arena_init(&s.arena);
    request_init(&s.reader, REQUEST_MULTIPART, SPAN("bad\""), &s.arena, &s.info);
    assert_int_equal(request_feed(&s.reader, SPAN("--")), FAULT_MALFORMED_BODY);
    done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members), cmocka_unit_test(stream_options), cmocka_unit_test(faults),
        cmocka_unit_test(crowds),  cmocka_unit_test(limits),         cmocka_unit_test(ranges),
        cmocka_unit_test(forms),   cmocka_unit_test(faults_stay),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
