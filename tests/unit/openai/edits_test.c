/* SPDX-License-Identifier: Apache-2.0 */
/* openai/edits: exact results of single edits, and a property test over random bodies and edits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/json_value.h"
#include "openai/edits.h"

struct session {
    struct arena arena;
    struct request_info info;
    struct edits edits;
    struct span body;
};

static void start(struct session *s, enum request_kind kind, struct span body)
{
    struct request_reader reader;
    arena_init(&s->arena);
    request_init(&reader, kind, SPAN("b0"), &s->arena, &s->info);
    assert_int_equal(request_feed(&reader, body), FAULT_NONE);
    if (request_finish(&reader) != FAULT_NONE)
        fail_msg("%.*s: %.*s", SPAN_ARG(body), SPAN_ARG(reader.message));
    s->body = body;
    edits_init(&s->edits, &s->arena, &s->info);
}

static struct buffer applied(struct session *s)
{
    struct buffer out = {0};
    struct edits_walk walk;
    struct span piece;
    size_t length = edits_length(&s->edits, s->body.len);
    edits_begin(&s->edits, s->body, &walk);
    while (edits_next(&walk, &piece)) {
        assert_true(piece.len > 0);
        buffer_append(&out, piece);
    }
    assert_false(edits_next(&walk, &piece));
    assert_int_equal(buffer_len(&out), length);
    return out;
}

/*
 * Applies a script: =NAME:JSON sets, -NAME drops, >OLD:NEW renames, !MODEL sets the model, ? asks for usage; steps are
 * separated by spaces.
 */
static void play(struct session *s, struct span script)
{
    struct span step;
    while (span_split(&script, ' ', &step)) {
        if (step.len == 0)
            continue;
        struct span rest = span_skip(step, 1), name = span_take(rest, span_find(rest, ':'));
        struct span value = span_skip(rest, name.len + 1);
        if (step.ptr[0] == '=')
            edits_set_member(&s->edits, name, value);
        else if (step.ptr[0] == '-')
            edits_drop_member(&s->edits, name);
        else if (step.ptr[0] == '>')
            edits_rename_member(&s->edits, name, value);
        else if (step.ptr[0] == '!')
            assert_true(edits_set_model(&s->edits, rest));
        else
            edits_include_usage(&s->edits);
    }
}

static void expect(const char *body, const char *script, const char *result)
{
    struct session s;
    start(&s, REQUEST_JSON, span_str(body));
    play(&s, span_str(script));
    bool any = edits_any(&s.edits);
    struct buffer out = applied(&s);
    if (!span_equal(buffer_span(&out), span_str(result)))
        fail_msg("%s  %s\nexpected: %s\ngot:      %.*s", body, script, result, SPAN_ARG(buffer_span(&out)));
    if (!any)
        assert_true(span_equal(buffer_span(&out), s.body));
    buffer_finish(&out);
    arena_finish(&s.arena);
}

static void members(void **state)
{
    (void)state;
    static const char *const table[][3] = {
        {"{}", "", "{}"},
        {"{}", "=a:1", "{\"a\":1}"},
        {" { \n} ", "=a:1 =b:[2]", " {\"a\":1,\"b\":[2] \n} "},
        {"{\"x\":1}", "=a:1", "{\"x\":1,\"a\":1}"},
        {"{ \"x\" : 1 , \"y\":\t2\n}", "=a:1", "{ \"x\" : 1 , \"y\":\t2,\"a\":1\n}"},
        {"{\"x\":1.50,\"y\":2}", "=x:\"z\"", "{\"x\":\"z\",\"y\":2}"},
        {"{\"x\":1.50,\"y\":2}", "=x:1 =x:3", "{\"x\":3,\"y\":2}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-x", "{\"y\":2,\"z\":3}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-y", "{\"x\":1,\"z\":3}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-z", "{\"x\":1,\"y\":2}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-x -y", "{\"z\":3}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-y -z", "{\"x\":1}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-x -z", "{\"y\":2}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-z -y -x", "{}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-x -y -z =a:1", "{\"a\":1}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-z =a:1", "{\"x\":1,\"y\":2,\"a\":1}"},
        {"{\"x\":1,\"y\":2,\"z\":3}", "-y =z:4 =a:1 -missing", "{\"x\":1,\"z\":4,\"a\":1}"},
        {"{ \"x\" : 1 ,\n \"y\" : 2 }", "-x", "{ \"y\" : 2 }"},
        {"{ \"x\" : 1 ,\n \"y\" : 2 }", "-y", "{ \"x\" : 1 }"},
        {"{ \"x\" : 1 }", "-x", "{  }"},
        {"{\"x\":1}", "=a:1 -a", "{\"x\":1}"},
        {"{\"x\":1}", "-x =x:2", "{\"x\":2}"},
        {"{\"\\u0078\":1}", "=x:2", "{\"\\u0078\":2}"},
        {"{\"x\":1e0,\"y\":2}", ">x:z", "{\"z\":1e0,\"y\":2}"},
        {"{\"x\":1,\"y\":2}", ">x:y", "{\"y\":2}"},
        {"{\"x\":1,\"y\":2}", "-y >x:y", "{\"y\":1}"},
        {"{\"x\":1,\"y\":2}", ">x:q\"uote", "{\"q\\\"uote\":1,\"y\":2}"},
        {"{\"x\":1,\"y\":2}", ">x:z =z:5 ->x:z", "{\"z\":5,\"y\":2}"},
        {"{\"x\":1}", ">x:x >missing:y", "{\"x\":1}"},
        {"{\"x\":1}", "=a:1 >a:b", "{\"x\":1,\"b\":1}"},
        {"{\"max_tokens\":5}", ">max_tokens:max_completion_tokens", "{\"max_completion_tokens\":5}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        expect(table[i][0], table[i][1], table[i][2]);
}

static void models(void **state)
{
    (void)state;
    expect("{\"model\":\"a\",\"x\":1}", "!b", "{\"model\":\"b\",\"x\":1}");
    expect("{\"mo\\u0064el\" :  \"a\" }", "!b", "{\"mo\\u0064el\" :  \"b\" }");
    expect("{\"model\":null}", "!b", "{\"model\":\"b\"}");
    expect("{\"x\":1}", "!b", "{\"x\":1,\"model\":\"b\"}");
    expect("{\"model\":\"a\"}", "!b\"\\", "{\"model\":\"b\\\"\\\\\"}");
    expect("{\"model\":\"\\u0061\"}", "!a", "{\"model\":\"\\u0061\"}");
    expect("{\"model\":\"a\"}", "!b !a", "{\"model\":\"a\"}");
    expect("{\"model\":\"a\",\"x\":1}", "-model", "{\"x\":1}");
    /* the model first, then its neighbours and itself, then the model again */
    expect("{\"a\":1,\"model\":\"m\",\"b\":2}", "!x !y", "{\"a\":1,\"model\":\"y\",\"b\":2}");
    expect("{\"a\":1,\"model\":\"m\",\"b\":2}", "!x !m", "{\"a\":1,\"model\":\"m\",\"b\":2}");
    expect("{\"a\":1,\"model\":\"m\",\"b\":2}", "!x -a", "{\"model\":\"x\",\"b\":2}");
    expect("{\"a\":1,\"model\":\"m\",\"b\":2}", "!x -model", "{\"a\":1,\"b\":2}");
    expect("{\"a\":1,\"model\":\"m\",\"b\":2}", "!x >model:n =b:3", "{\"a\":1,\"n\":\"x\",\"b\":3}");
    expect("{\"a\":1,\"model\":\"m\",\"b\":2}", "!x =model:null", "{\"a\":1,\"model\":null,\"b\":2}");
    expect("{\"a\":1,\"model\":\"m\",\"b\":2}", "!x -a !y", "{\"model\":\"y\",\"b\":2}");
    expect("{\"model\":null}", "!x", "{\"model\":\"x\"}");
    expect("{\"model\":\"m\"}", "!q\"\\", "{\"model\":\"q\\\"\\\\\"}");
}

#define USAGE "\"include_usage\":true"

static void usage(void **state)
{
    (void)state;
    static const char *const table[][3] = {
        {"{}", "?", "{\"stream_options\":{" USAGE "}}"},
        {"{\"stream\":true}", "? ?", "{\"stream\":true,\"stream_options\":{" USAGE "}}"},
        {"{\"stream_options\":null}", "?", "{\"stream_options\":{" USAGE "}}"},
        {"{\"stream_options\":{ }}", "?", "{\"stream_options\":{" USAGE " }}"},
        {"{\"stream_options\":{ \"a\":1.0 },\"x\":1}", "?", "{\"stream_options\":{" USAGE ", \"a\":1.0 },\"x\":1}"},
        {"{\"stream_options\":{\"a\":1,\"include_usage\" : false}}", "? ?",
         "{\"stream_options\":{\"a\":1,\"include_usage\" : true}}"},
        {"{\"stream_options\":{\"include_usage\":null}}", "?", "{\"stream_options\":{" USAGE "}}"},
        {"{\"stream_options\":{" USAGE " } }", "?", "{\"stream_options\":{" USAGE " } }"},
        {"{\"x\":1,\"stream_options\":{}}", "? -stream_options", "{\"x\":1}"},
        {"{\"x\":1,\"stream_options\":{}}", "-stream_options ?", "{\"x\":1,\"stream_options\":{" USAGE "}}"},
        {"{\"stream_options\":{}}", "? =stream_options:{}", "{\"stream_options\":{}}"},
        {"{\"stream_options\":{}}", "=stream_options:{\"b\":2} ?", "{\"stream_options\":{" USAGE ",\"b\":2}}"},
        {"{}", "=stream_options:{\"b\":2,\"include_usage\":false} ?", "{\"stream_options\":{\"b\":2," USAGE "}}"},
        {"{}", "=stream_options:{} ?", "{\"stream_options\":{" USAGE "}}"},
        {"{}", "=stream_options:null ?", "{\"stream_options\":{" USAGE "}}"},
        {"{\"stream_options\":{}}", "? >stream_options:so", "{\"so\":{" USAGE "}}"},
        {"{\"so\":{\"a\":1}}", ">so:stream_options ?", "{\"stream_options\":{" USAGE "}}"},
        {"{\"model\":\"a\",\"stream\":true}", "!b ? -stream", "{\"model\":\"b\",\"stream_options\":{" USAGE "}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        expect(table[i][0], table[i][1], table[i][2]);
}

#define FIELD(name, value) "--b0\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

static void forms(void **state)
{
    (void)state;
    static const struct {
        struct span body, model, result;
    } table[] = {
        {SPAN_INIT(FIELD("x", "1") FIELD("model", "a") "--b0--\r\n"), SPAN_INIT("deploy-2"),
         SPAN_INIT(FIELD("x", "1") FIELD("model", "deploy-2") "--b0--\r\n")},
        {SPAN_INIT(FIELD("model", "") "--b0--"), SPAN_INIT("b"), SPAN_INIT(FIELD("model", "b") "--b0--")},
        {SPAN_INIT(FIELD("x", "1") "--b0--"), SPAN_INIT("b"), SPAN_INIT(FIELD("model", "b") FIELD("x", "1") "--b0--")},
        {SPAN_INIT("--b0--"), SPAN_INIT("b"), SPAN_INIT(FIELD("model", "b") "--b0--")},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct session s;
        start(&s, REQUEST_MULTIPART, table[i].body);
        assert_true(edits_set_model(&s.edits, SPAN("first")));
        assert_true(edits_set_model(&s.edits, table[i].model));
        assert_false(edits_set_model(&s.edits, SPAN("a\r\nb")));
        play(&s, SPAN("=a:1 -x >x:y ?")); /* not for forms: nothing happens */
        struct buffer out = applied(&s);
        assert_true(span_equal(buffer_span(&out), table[i].result));
        buffer_finish(&out);
        arena_finish(&s.arena);
    }
}

static void replacing(void **state)
{
    (void)state;
    struct session s;
    start(&s, REQUEST_JSON, SPAN("{\"x\":\"abcdef\",\"y\":1}"));
    assert_true(edits_replace(&s.edits, 9, 11, SPAN("__")));
    assert_true(edits_replace(&s.edits, 6, 7, SPAN("")));
    assert_true(edits_replace(&s.edits, 11, 11, SPAN("!")));
    assert_false(edits_replace(&s.edits, 10, 12, SPAN("no")));
    assert_false(edits_replace(&s.edits, 10, 10, SPAN("no")));
    edits_set_member(&s.edits, SPAN("y"), SPAN("2"));
    assert_true(edits_any(&s.edits));
    struct buffer out = applied(&s), again = applied(&s);
    assert_true(span_equal(buffer_span(&out), SPAN("{\"x\":\"bc__!f\",\"y\":2}")));
    assert_true(span_equal(buffer_span(&out), buffer_span(&again)));
    buffer_finish(&out);
    buffer_finish(&again);
    arena_finish(&s.arena);
}

/* --- property: random bodies, random scripts, and a plain model of what must come out --- */

#define NAMES 6
static const char *const names[NAMES] = {"a", "model", "stream_options", "max_tokens", "b\\\"c", "\\u00e9"};
static const char *const decoded[NAMES] = {"a", "model", "stream_options", "max_tokens", "b\"c", "\xC3\xA9"};
static const char *const values[] = {"1.0", "\"m\"", "{\"include_usage\":false,\"k\":[1, 2]}", "{}", "null"};
static const char *const spaces[] = {"", " ", "\n\t", "  "};

/* For each name the JSON it should end up with, NULL when absent. */
struct expectation {
    struct span value[NAMES];
};

static const char *pick(uint64_t *seed, const char *const *from, size_t count)
{
    return from[hash_random(seed) % count];
}

static const char *value_for(uint64_t *seed, unsigned name)
{
    if (name == 1)
        return "\"m\"";
    return name == 2 ? values[2 + hash_random(seed) % 3] : pick(seed, values, ARRAY_LEN(values));
}

static struct buffer random_body(uint64_t *seed, struct expectation *e)
{
    struct buffer body = {0};
    unsigned first = (unsigned)hash_random(seed) % NAMES, mask = (unsigned)hash_random(seed) % (1u << NAMES);
    bool comma = false;
    buffer_format(&body, "%s{%s", pick(seed, spaces, 4), pick(seed, spaces, 4));
    for (unsigned k = 0; k < NAMES; k++) {
        unsigned name = (first + k) % NAMES;
        if (!(mask >> name & 1))
            continue;
        const char *value = value_for(seed, name);
        buffer_format(&body, "%s%s\"%s\"%s:%s%s%s", comma ? "," : "", pick(seed, spaces, 4), names[name],
                      pick(seed, spaces, 4), pick(seed, spaces, 4), value, pick(seed, spaces, 4));
        e->value[name] = span_str(value);
        comma = true;
    }
    buffer_append(&body, SPAN("}\n"));
    return body;
}

static void random_edit(struct session *s, uint64_t *seed, struct expectation *e)
{
    unsigned name = (unsigned)(hash_random(seed) % NAMES), other = (unsigned)(hash_random(seed) % NAMES);
    switch (hash_random(seed) % 3) {
    case 0:
        e->value[name] = span_str(value_for(seed, name));
        edits_set_member(&s->edits, span_str(decoded[name]), e->value[name]);
        break;
    case 1:
        e->value[name] = span_of(NULL, 0);
        edits_drop_member(&s->edits, span_str(decoded[name]));
        break;
    default:
        edits_rename_member(&s->edits, span_str(decoded[name]), span_str(decoded[other]));
        if (name != other && e->value[name].ptr) {
            e->value[other] = e->value[other].ptr ? e->value[other] : e->value[name];
            e->value[name] = span_of(NULL, 0);
        }
    }
}

static void check(struct span out, const struct expectation *e, bool usage_asked, uint64_t seed)
{
    struct json_value root, got;
    size_t present = 0, cursor = 0, counted = 0;
    if (!json_value_parse(out, &root))
        fail_msg("seed %llu: not JSON: %.*s", (unsigned long long)seed, SPAN_ARG(out));
    for (unsigned i = 0; i < NAMES; i++) {
        bool found = json_value_member(root, span_str(decoded[i]), &got);
        present += found;
        if (i == 2 && usage_asked) {
            assert_true(json_value_find(root, "stream_options.include_usage", &got));
            assert_int_equal(got.kind, JSON_TRUE);
        } else if (found != (e->value[i].ptr != NULL) || (found && !span_equal(got.raw, e->value[i]))) {
            fail_msg("seed %llu: %s in %.*s", (unsigned long long)seed, decoded[i], SPAN_ARG(out));
        }
    }
    while (json_value_each(root, &cursor, NULL, &got))
        counted++;
    assert_int_equal(counted, present);
}

static void random_edits(void **state)
{
    (void)state;
    for (uint64_t round = 1; round <= 20000; round++) {
        uint64_t seed = round;
        struct expectation e = {0};
        struct session s;
        struct buffer body = random_body(&seed, &e);
        start(&s, REQUEST_JSON, buffer_span(&body));
        for (uint64_t steps = hash_random(&seed) % 5; steps > 0; steps--)
            random_edit(&s, &seed, &e);
        bool usage_asked = hash_random(&seed) % 2;
        if (usage_asked)
            edits_include_usage(&s.edits);
        struct buffer out = applied(&s);
        check(buffer_span(&out), &e, usage_asked, round);
        buffer_finish(&out);
        buffer_finish(&body);
        arena_finish(&s.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(members),   cmocka_unit_test(models),
                                       cmocka_unit_test(usage),     cmocka_unit_test(forms),
                                       cmocka_unit_test(replacing), cmocka_unit_test(random_edits)};
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
