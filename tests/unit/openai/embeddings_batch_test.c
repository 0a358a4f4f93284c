/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/memory.h"
#include "openai/embeddings_batch.h"
#include "openai/request.h"

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_finish(&arena);
    return 0;
}

/* Of a copy without a byte to spare behind it. */
static bool split(const char *input, struct embeddings_batch *ret)
{
    struct span value = arena_copy(&arena, span_str(input));
    return embeddings_split(value, 0, value.len, &arena, ret);
}

static void test_split(void **state)
{
    (void)state;
    static const struct {
        const char *input, *parts; /* parted by | */
        bool single, exact;
        uint64_t weights[3];
    } cases[] = {
        {"\"hello\"", "\"hello\"", true, false, {6}},
        {"\"\"", "\"\"", true, false, {1}},
        {"\"\\u00e4|\"", "\"\\u00e4|\"", true, false, {4}},
        {"[\"a\"]", "\"a\"", false, false, {2}},
        {" [ \"a\" , \"b,]\\\"\" ,\"\"]", "\"a\"|\"b,]\\\"\"|\"\"", false, false, {2, 5, 1}},
        {"[1]", "[1]", true, true, {1}},
        {"[1, 2,3]", "[1, 2,3]", true, true, {3}},
        {"[[1,2],[3],[4,5,6]]", "[1,2]|[3]|[4,5,6]", false, true, {2, 1, 3}},
        {"[ [ 1 ] ]", "[ 1 ]", false, true, {1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct embeddings_batch batch;
        assert_true(split(cases[i].input, &batch));
        assert_int_equal(batch.single, cases[i].single);
        assert_int_equal(batch.exact, cases[i].exact);
        struct buffer parts = {0};
        for (size_t k = 0; k < batch.count; k++) {
            buffer_append(&parts, k ? SPAN("|") : SPAN(""));
            buffer_append(&parts, batch.inputs[k].json);
            assert_int_equal(batch.inputs[k].weight, cases[i].weights[k]);
        }
        if (!span_equal(buffer_span(&parts), span_str(cases[i].parts)))
            fail_msg("%s: %.*s", cases[i].input, SPAN_ARG(buffer_span(&parts)));
        buffer_finish(&parts);
    }
    static const char *const refused[] = {
        "[]",      "[[]]",        "[\"a\",1]", "[1,\"a\"]",    "[\"a\",[1]]", "[[1],\"a\"]", "[[1],2]",
        "[1,[2]]", "[[1,\"a\"]]", "[[[1]]]",   "null",         "true",        "3",           "{}",
        "[{}]",    "[null]",      "[[1],[]]",  "[\"a\",null]", "[[null]]",    "[true]"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct embeddings_batch batch;
        if (split(refused[i], &batch))
            fail_msg("%s was taken", refused[i]);
    }
}

static void test_split_limit(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        struct buffer text = {0};
        struct embeddings_batch batch;
        for (size_t i = 0; i < EMBEDDINGS_INPUTS + over; i++)
            buffer_format(&text, "%s\"%zu\"", i ? "," : "[", i);
        buffer_append(&text, SPAN("]"));
        struct span value = buffer_span(&text);
        assert_int_equal(embeddings_split(value, 0, value.len, &arena, &batch), !over);
        if (!over)
            assert_true(span_equal(batch.inputs[4095].json, SPAN("\"4095\"")));
        buffer_finish(&text);
    }
}

/* As the filter does it: the request is read, and what it says of `input` is used. */
static void test_request(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        size_t wanted[3], count;
        const char *result;
    } cases[] = {
        {"{\"model\": \"e\", \"input\": [\"a\", \"b\",\"c\"] , \"x\":[1]}",
         {0, 2},
         2,
         "{\"model\": \"e\", \"input\": [\"a\",\"c\"] , \"x\":[1]}"},
        {"{\"input\":[\"a\",\"b\"],\"model\":\"e\"}", {1}, 1, "{\"input\":[\"b\"],\"model\":\"e\"}"},
        {"{\"input\":[[1,2],[3, 4]],\"model\":\"e\"}", {1}, 1, "{\"input\":[[3, 4]],\"model\":\"e\"}"},
        {"{\"inpu\\u0074\":\"a\",\"model\":\"e\"}", {0}, 1, "{\"inpu\\u0074\":\"a\",\"model\":\"e\"}"},
        {"{\"input\":[1,2],\"model\":\"e\"}", {0}, 1, "{\"input\":[1,2],\"model\":\"e\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct request_reader reader;
        struct request_info info;
        struct embeddings_batch batch;
        struct buffer out = {0};
        struct span body = span_str(cases[i].body);
        request_init(&reader, REQUEST_JSON, (struct span){0}, &arena, &info);
        assert_int_equal(request_feed(&reader, body), FAULT_NONE);
        assert_int_equal(request_finish(&reader), FAULT_NONE);
        const struct request_member *input = request_member(&info, SPAN("input"));
        assert_true(embeddings_split(body, input->value_start, input->value_end, &arena, &batch));
        embeddings_request_write(&batch, cases[i].wanted, cases[i].count, &out);
        if (!span_equal(buffer_span(&out), span_str(cases[i].result)))
            fail_msg("%.*s", SPAN_ARG(buffer_span(&out)));
        buffer_finish(&out);
    }
}

static void test_share(void **state)
{
    (void)state;
    struct embeddings_batch batch;
    uint64_t shares[4];
    /* Numbers are tokens: exact. */
    assert_true(split("[[1,2],[3],[4,5,6],[7]]", &batch));
    static const size_t some[] = {0, 2, 3}, all[] = {0, 1, 2, 3};
    embeddings_share(&batch, some, 3, 6, shares);
    assert_int_equal(shares[0], 2);
    assert_int_equal(shares[1], 3);
    assert_int_equal(shares[2], 1);
    /* Otherwise the sum is right whatever it is. */
    assert_true(split("[\"a\",\"four\",\"\",\"nine char\"]", &batch));
    static const uint64_t sums[] = {0, 1, 2, 3, 7, 1000, 999999999999, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(sums); i++) {
        uint64_t sum = 0;
        embeddings_share(&batch, all, 4, sums[i], shares);
        for (size_t k = 0; k < 4; k++)
            sum += shares[k];
        assert_int_equal(sum, sums[i]);
        assert_true(shares[3] >= shares[1] && shares[1] + 1 >= shares[0]);
    }
    embeddings_share(&batch, some + 1, 1, 17, shares);
    assert_int_equal(shares[0], 17);
}

/* ---- answers ---- */

#define ANSWER                                                                                                         \
    "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.1,-2e-3]},"                 \
    "{\"embedding\":[0.3],\"index\": 1 ,\"object\":\"embedding\"}],\"model\":\"text-embedding-3-small\","              \
    "\"usage\":{\"prompt_tokens\":12,\"total_tokens\":13}}\n"

static void test_answer(void **state)
{
    (void)state;
    struct embeddings_answer answer;
    assert_true(embeddings_answer_read(arena_copy(&arena, SPAN(ANSWER)), 2, &arena, &answer));
    assert_int_equal(answer.count, 2);
    assert_true(span_equal(answer.model, SPAN("\"text-embedding-3-small\"")));
    assert_int_equal(answer.prompt_tokens.value, 12);
    assert_int_equal(answer.total_tokens.value, 13);
    assert_true(
        span_equal(answer.items[0].json, SPAN("{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.1,-2e-3]}")));

    /* What to keep of the second, and from what was kept a whole again. */
    struct buffer kept[2] = {0}, joined = {0}, same = {0};
    struct embeddings_answer parts[2];
    embeddings_answer_write(&answer, &answer.items[0], 1, 5, 6, &kept[0]);
    embeddings_answer_write(&answer, &answer.items[1], 1, 7, 7, &kept[1]);
    assert_true(
        span_equal(buffer_span(&kept[1]),
                   SPAN("{\"object\":\"list\",\"data\":[{\"embedding\":[0.3],\"index\": 0 ,\"object\":\"embedding\"}],"
                        "\"model\":\"text-embedding-3-small\",\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}\n")));
    for (unsigned i = 0; i < 2; i++)
        assert_true(embeddings_answer_read(buffer_span(&kept[i]), 1, &arena, &parts[i]));
    const struct embeddings_item items[] = {parts[0].items[0], parts[1].items[0]};
    embeddings_answer_write(&parts[1], items, 2, 12, 13, &joined);
    assert_true(span_equal(buffer_span(&joined), SPAN(ANSWER)));
    embeddings_answer_write(&answer, answer.items, 2, 12, 13, &same);
    assert_true(span_equal(buffer_span(&same), SPAN(ANSWER)));
    for (unsigned i = 0; i < 2; i++)
        buffer_finish(&kept[i]);
    buffer_finish(&joined);
    buffer_finish(&same);
}

/* The members of the frame in any order, items out of order, strangers kept, no usage. */
static void test_answer_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t expected;
        const char *written; /* with items in order and usage 1, 2 */
    } cases[] = {
        {"{\"usage\":{\"total_tokens\":9,\"details\":{\"x\":[1]},\"prompt_tokens\":8},\"id\":\"e-1\",\"data\":["
         "{\"index\":1,\"embedding\":\"AAAA\"},{\"index\":0,\"embedding\":\"BBBB\",\"extra\":{\"index\":7}}]}",
         2,
         "{\"usage\":{\"total_tokens\":2,\"details\":{\"x\":[1]},\"prompt_tokens\":1},\"id\":\"e-1\",\"data\":["
         "{\"index\":0,\"embedding\":\"BBBB\",\"extra\":{\"index\":7}},{\"index\":1,\"embedding\":\"AAAA\"}]}"},
        {"{\"data\":[{\"index\":0,\"embedding\":[]}],\"error\":null}", 1,
         "{\"data\":[{\"index\":0,\"embedding\":[]}],\"error\":null}"},
        {"{ \"data\" : [ { \"index\" : 0 , \"embedding\" : \"\" } ] , \"usage\":null, \"error\":false }", 1,
         "{ \"data\" : [{ \"index\" : 0 , \"embedding\" : \"\" }] , \"usage\":null, \"error\":false }"},
        {"{\"d\\u0061ta\":[{\"inde\\u0078\":0,\"embedding\":[1]}]}", 1,
         "{\"d\\u0061ta\":[{\"inde\\u0078\":0,\"embedding\":[1]}]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct embeddings_answer answer;
        struct buffer out = {0};
        assert_true(
            embeddings_answer_read(arena_copy(&arena, span_str(cases[i].text)), cases[i].expected, &arena, &answer));
        embeddings_answer_write(&answer, answer.items, answer.count, 1, 2, &out);
        if (!span_equal(buffer_span(&out), span_str(cases[i].written)))
            fail_msg("%.*s", SPAN_ARG(buffer_span(&out)));
        buffer_finish(&out);
    }
}

static void test_answer_refused(void **state)
{
    (void)state;
#define ITEM(i) "{\"index\":" i ",\"embedding\":[1]}"
    static const char *const cases[] = {
        "",
        "[]",
        "{}",
        "{\"data\":[]}",
        "{\"data\":{}}",
        "{\"data\":[" ITEM("0") "]}",
        "{\"data\":[" ITEM("0") "," ITEM("1") "," ITEM("2") "]}",
        "{\"data\":[" ITEM("0") "," ITEM("0") "]}",
        "{\"data\":[" ITEM("1") "," ITEM("2") "]}",
        "{\"data\":[" ITEM("0") "," ITEM("-1") "]}",
        "{\"data\":[" ITEM("0") "," ITEM("1.0") "]}",
        "{\"data\":[" ITEM("0") "," ITEM("\"1\"") "]}",
        "{\"data\":[" ITEM("0") "," ITEM("18446744073709551617") "]}",
        "{\"data\":[" ITEM("0") ",7]}",
        "{\"data\":[" ITEM("0") ",{\"index\":1}]}",
        "{\"data\":[" ITEM("0") ",{\"embedding\":[1]}]}",
        "{\"data\":[" ITEM("0") ",{\"index\":1,\"embedding\":null}]}",
        "{\"data\":[" ITEM("0") ",{\"index\":1,\"embedding\":{}}]}",
        "{\"data\":[" ITEM("0") ",{\"index\":1,\"index\":1,\"embedding\":[1]}]}",
        "{\"data\":[" ITEM("0") ",{\"index\":1,\"embedding\":[1],\"embeddin\\u0067\":[2]}]}",
        "{\"data\":[" ITEM("0") "," ITEM("1") "],\"data\":[" ITEM("0") "," ITEM("1") "]}",
        "{\"data\":[" ITEM("0") "," ITEM("1") "],\"error\":{\"message\":\"no\"}}",
        "{\"data\":[" ITEM("0") "," ITEM("1") "],\"usage\":7}",
        "{\"data\":[" ITEM("0") "," ITEM("1") "],\"usage\":{},\"usage\":{}}",
        "{\"data\":[" ITEM("0") "," ITEM("1") "],\"usage\":{\"prompt_tokens\":1.5}}",
        "{\"data\":[" ITEM("0") "," ITEM("1") "],\"usage\":{\"prompt_tokens\":1,\"prompt_tokens\":1}}",
        "{\"data\":[" ITEM("0") "," ITEM("1") "]",
        "{\"data\":[" ITEM("0") "," ITEM("1") "]} x",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct embeddings_answer answer;
        if (embeddings_answer_read(arena_copy(&arena, span_str(cases[i])), 2, &arena, &answer))
            fail_msg("%s was taken", cases[i]);
    }
    struct embeddings_answer answer;
    assert_true(embeddings_answer_read(SPAN("{\"data\":[" ITEM("0") "," ITEM("1") "]}"), 2, &arena, &answer));
    assert_false(embeddings_answer_read(SPAN("{\"data\":[]}"), 0, &arena, &answer));
    assert_false(embeddings_answer_read(SPAN("{\"data\":[]}"), EMBEDDINGS_INPUTS + 1, &arena, &answer));
    /* No beginning of a good answer is one. */
    for (size_t len = 0; len < sizeof(ANSWER) - 2; len++)
        assert_false(embeddings_answer_read(arena_copy(&arena, span_of(ANSWER, len)), 2, &arena, &answer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_split_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_request, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answer_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answer_refused, set_up, tear_down),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
