/* SPDX-License-Identifier: Apache-2.0 */
/* Structured output: what the mock writes for a JSON schema. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "unit/openai/mock_call.h"

static const char *written(struct mock_call *call, const char *schema)
{
    struct span body = arena_format(&call->arena,
                                    "{\"messages\":[{}],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
                                    "{\"name\":\"x\",\"strict\":true,\"schema\":%s}}}",
                                    schema);
    struct json_value o = mock_json(mock_ask_for(call, OPERATION_CHAT, body));
    return mock_at(call, o, "choices.0.message.content");
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *value;
    } cases[] = {
        {"{\"type\":\"string\"}", "\"mock\""},
        {"{\"type\":\"string\",\"minLength\":6}", "\"mockkk\""},
        {"{\"type\":\"string\",\"maxLength\":2}", "\"mo\""},
        {"{\"type\":\"string\",\"format\":\"date-time\"}", "\"2025-01-01T00:00:00Z\""},
        {"{\"type\":\"string\",\"format\":\"uuid\"}", "\"00000000-0000-4000-8000-000000000000\""},
        {"{\"type\":\"string\",\"enum\":[\"b\",\"a\"]}", "\"b\""},
        {"{\"const\":{\"k\":[1]}}", "{\"k\":[1]}"},
        {"{\"enum\":[]}", "\"mock\""},
        {"{\"type\":\"integer\"}", "1"},
        {"{\"type\":\"integer\",\"minimum\":5}", "5"},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":5}", "6"},
        {"{\"type\":\"integer\",\"maximum\":-3}", "-3"},
        {"{\"type\":\"integer\",\"exclusiveMaximum\":0}", "-1"},
        {"{\"type\":\"integer\",\"minimum\":7,\"multipleOf\":5}", "10"},
        {"{\"type\":\"integer\",\"minimum\":1.5}", "2"},
        {"{\"type\":\"number\",\"minimum\":0,\"maximum\":0.5}", "0.5"},
        {"{\"type\":\"number\",\"exclusiveMinimum\":2,\"exclusiveMaximum\":2.5}", "2.25"},
        {"{\"type\":\"number\",\"minimum\":1e308,\"multipleOf\":1e-308}", "1"},
        {"{\"type\":\"boolean\"}", "true"},
        {"{\"type\":\"null\"}", "null"},
        {"{\"type\":[\"null\",\"integer\"]}", "1"},
        {"{\"type\":[\"null\"]}", "null"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}", "[1]"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":3}", "[1,1,1]"},
        {"{\"type\":\"array\",\"maxItems\":0}", "[]"},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"null\"}],\"minItems\":3}",
         "[1,null,\"mock\"]"},
        {"{\"type\":\"object\"}", "{}"},
        {"{\"properties\":{\"a\":{\"type\":\"null\"},\"b\\\"\":{\"type\":\"integer\"}},\"required\":[\"a\"]}",
         "{\"a\":null,\"b\\\"\":1}"},
        {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]}", "1"},
        {"{\"oneOf\":[{\"type\":\"null\"}]}", "null"},
        {"{\"allOf\":[{\"$ref\":\"#/$defs/c\"}],\"$defs\":{\"c\":{\"enum\":[7]}}}", "7"},
        {"{\"$ref\":\"#/definitions/c\",\"definitions\":{\"c\":{\"type\":\"boolean\"}}}", "true"},
        {"{\"$ref\":\"#/nowhere\"}", "null"},
        {"{\"$ref\":\"https://example.com/x\"}", "null"},
        {"{\"$ref\":7}", "null"},
        {"true", "\"mock\""},
        {"{}", "\"mock\""},
        {"{\"type\":7}", "null"},
        {"{\"type\":\"object\",\"properties\":[]}", "{}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mock_call call;
        mock_call_begin(&call);
        assert_string_equal(written(&call, cases[i].schema), cases[i].value);
        mock_call_end(&call);
    }
}

/* What pydantic makes of a tree: ends, and the required members are there all the way down. */
static void test_recursion_ends(void **state)
{
    (void)state;
    static const char *const schemas[] = {
        ("{\"$ref\":\"#/$defs/"
         "node\",\"$defs\":{\"node\":{\"type\":\"object\",\"required\":[\"name\",\"children\"],\"properties\":"
         "{\"name\":{\"type\":\"string\"},\"children\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/node\"}}}}}}"),
        ("{\"type\":\"object\",\"required\":[\"next\"],\"properties\":{\"next\":{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":"
         "\"null\"}]}}}"),
        "{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"#\"}}}",
        /* no instance of these exists: only that it ends, with JSON */
        "{\"$ref\":\"#\"}",
        "{\"type\":\"object\",\"required\":[\"next\"],\"properties\":{\"next\":{\"$ref\":\"#\"}}}",
        "{\"anyOf\":[{\"$ref\":\"#\"}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        struct mock_call call;
        mock_call_begin(&call);
        (void)mock_json(span_str(written(&call, schemas[i])));
        mock_call_end(&call);
    }
}

/* Schemas that ask for more than anyone wants: the output is bounded, and still JSON. */
static void test_amplification_is_bounded(void **state)
{
    (void)state;
    static const char *const schemas[] = {
        "{\"type\":\"array\",\"minItems\":1e9,\"items\":{\"type\":\"string\"}}",
        "{\"type\":\"string\",\"minLength\":1e15}",
        ("{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"type\":\"array\",\"minItems\":1000,\"items\":{\"$ref\":\"#/$defs/"
         "b\"}},"
         "\"b\":{\"type\":\"array\",\"minItems\":1000,\"items\":{\"$ref\":\"#/$defs/c\"}},"
         "\"c\":{\"type\":\"array\",\"minItems\":1000,\"items\":{\"type\":\"integer\"}}}}"),
        ("{\"type\":\"object\",\"required\":[\"a\",\"b\",\"c\",\"d\"],\"properties\":{\"a\":{\"$ref\":\"#\"},\"b\":{\"$"
         "ref\":\"#\"},"
         "\"c\":{\"$ref\":\"#\"},\"d\":{\"$ref\":\"#\"}}}"),
    };
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        struct mock_call call;
        mock_call_begin(&call);
        const char *value = written(&call, schemas[i]);
        assert_in_range(strlen(value), 1, 300 * 1024);
        if (i < 3) /* the last is deeper than the reader of this test goes */
            (void)mock_json(span_str(value));
        mock_call_end(&call);
    }
}

static void test_formats_of_an_answer(void **state)
{
    (void)state;
    static const struct {
        const char *format, *content;
    } cases[] = {
        {"{\"type\":\"text\"}", "This is the mock model. You said: h\"i"},
        {"{\"type\":\"json_object\"}", "{\"answer\":\"This is the mock model. You said: h\\\"i\"}"},
        {"{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\"}}", "{}"},
        {"{\"type\":\"json_schema\"}", "{}"},
        {"{}", "This is the mock model. You said: h\"i"},
        {"null", "This is the mock model. You said: h\"i"},
        {"\"json_object\"", "This is the mock model. You said: h\"i"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mock_call call;
        mock_call_begin(&call);
        struct span body = arena_format(
            &call.arena, "{\"messages\":[{\"role\":\"user\",\"content\":\"h\\\"i\"}],\"response_format\":%s}",
            cases[i].format);
        struct json_value o = mock_json(mock_ask_for(&call, OPERATION_CHAT, body));
        assert_string_equal(mock_at(&call, o, "choices.0.message.content"), cases[i].content);
        mock_call_end(&call);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_recursion_ends),
        cmocka_unit_test(test_amplification_is_bounded),
        cmocka_unit_test(test_formats_of_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
