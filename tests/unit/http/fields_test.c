/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "http/fields.h"
#include "http/message.h"

/* Every name has its id, and nothing near a name has. */
static void finds_every_id(void **state)
{
    (void)state;
    char near[40];
    for (unsigned id = FIELD_OTHER + 1; id < FIELD_ID_COUNT; id++) {
        struct span name = field_name((enum field_id)id);
        assert_true(name.len > 0 && name.len < sizeof(near));
        assert_int_equal(field_id(name), id);
        for (size_t i = 0; i < name.len; i++) {
            memcpy(near, name.ptr, name.len);
            near[i] = '#';
            assert_int_equal(field_id(span_of(near, name.len)), FIELD_OTHER);
        }
        memcpy(near, name.ptr, name.len);
        near[name.len] = 'x';
        assert_int_equal(field_id(span_of(near, name.len + 1)), FIELD_OTHER);
    }
    assert_int_equal(field_id(SPAN("")), FIELD_OTHER);
    assert_int_equal(field_name(FIELD_OTHER).len, 0);
    assert_int_equal(field_name((enum field_id)1000).len, 0);
}

static void edits_a_list(void **state)
{
    (void)state;
    struct arena arena;
    struct fields fields = {0}, copy;
    arena_init(&arena);
    assert_null(fields_find(&fields, FIELD_HOST));
    for (int i = 0; i < 40; i++) {
        fields_add(&fields, &arena, SPAN("x-a"), arena_format(&arena, "%d", i));
        fields_add(&fields, &arena, SPAN("cookie"), SPAN("c"));
        fields_add_id(&fields, &arena, FIELD_TE, SPAN("trailers"));
    }
    assert_int_equal(fields.count, 120);
    assert_true(span_equal(fields_find_name(&fields, SPAN("x-a"))->value, SPAN("0")));
    assert_true(span_equal(fields_find(&fields, FIELD_TE)->name, SPAN("te")));
    fields_copy(&copy, &arena, &fields);
    assert_int_equal(fields_remove(&fields, FIELD_COOKIE), 40);
    assert_int_equal(fields_remove(&fields, FIELD_COOKIE), 0);
    assert_int_equal(fields_remove_name(&fields, SPAN("te")), 40);
    fields_set(&fields, &arena, SPAN("x-a"), SPAN("new"));
    fields_set(&fields, &arena, SPAN("host"), SPAN("h"));
    assert_int_equal(fields.count, 2);
    assert_true(span_equal(fields_value(&fields, FIELD_HOST), SPAN("h")));
    assert_int_equal(fields_value(&fields, FIELD_AGE).len, 0);
    assert_null(fields_find_name(&fields, SPAN("x-b")));
    assert_int_equal(copy.count, 120);
    assert_true(span_equal(copy.at[117].value, SPAN("39")));
    arena_finish(&arena);
}

/* A clone lives on when all that it was made of has gone. */
static void clones(void **state)
{
    (void)state;
    struct arena first, second;
    struct fields fields = {0}, clone;
    arena_init(&first);
    arena_init(&second);
    fields_add(&fields, &first, arena_copy(&first, SPAN("host")), arena_copy(&first, SPAN("example")));
    fields_add(&fields, &first, arena_copy(&first, SPAN("x-own")), arena_copy(&first, SPAN("1")));
    fields_add(&fields, &first, arena_copy(&first, SPAN("x-empty")), (struct span){0});
    fields_clone(&clone, &second, &fields, 1);
    const struct field *room = clone.at;
    arena_finish(&first);
    fields_add(&clone, &second, SPAN("age"), SPAN("7"));
    assert_ptr_equal(clone.at, room);
    assert_int_equal(clone.count, 4);
    assert_true(span_equal(fields_value(&clone, FIELD_HOST), SPAN("example")));
    assert_true(span_equal(fields_find(&clone, FIELD_HOST)->name, SPAN("host")));
    assert_true(span_equal(fields_find_name(&clone, SPAN("x-own"))->value, SPAN("1")));
    assert_int_equal(fields_find_name(&clone, SPAN("x-empty"))->value.len, 0);
    assert_true(span_equal(fields_value(&clone, FIELD_AGE), SPAN("7")));
    fields_clone(&fields, &second, &(struct fields){0}, 0);
    assert_int_equal(fields.count, 0);
    arena_finish(&second);
}

static void finds_tokens(void **state)
{
    (void)state;
    struct arena arena;
    struct fields fields = {0};
    arena_init(&arena);
    fields_add(&fields, &arena, SPAN("connection"), SPAN("a ,\tB, ,closed"));
    fields_add(&fields, &arena, SPAN("connection"), SPAN("Upgrade"));
    assert_true(fields_has_token(&fields, FIELD_CONNECTION, SPAN("b")));
    assert_true(fields_has_token(&fields, FIELD_CONNECTION, SPAN("upgrade")));
    assert_false(fields_has_token(&fields, FIELD_CONNECTION, SPAN("close")));
    assert_false(fields_has_token(&fields, FIELD_TE, SPAN("a")));
    arena_finish(&arena);
}

static void removes_what_ends_at_this_hop(void **state)
{
    (void)state;
    static const char *const given[][2] = {
        {"connection", "close, X-Own, api-key"},
        {"x-own", "1"},
        {"x-stays", "1"},
        {"Connection2", "x"},
        {"api-key", "k"},
        {"keep-alive", "timeout=5"},
        {"te", "trailers"},
        {"trailer", "x"},
        {"transfer-encoding", "chunked"},
        {"upgrade", "h2c"},
        {"http2-settings", ""},
        {"proxy-authorization", "x"},
        {"proxy-authenticate", "x"},
        {"host", "a"},
        {"content-length", "1"},
        {"connection", "HOST, content-length,x-late"},
        {"x-late", "1"},
        {"proxy-connection", "x"},
        {"content-type", "t"},
    };
    static const char *const left[] = {"x-stays", "Connection2", "host", "content-length", "content-type"};
    struct arena arena;
    struct message message = {0};
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(given); i++)
        fields_add(&message.fields, &arena, span_str(given[i][0]), span_str(given[i][1]));
    message_remove_hop_by_hop(&message);
    assert_int_equal(message.fields.count, ARRAY_LEN(left));
    for (size_t i = 0; i < ARRAY_LEN(left); i++)
        assert_true(span_equal(message.fields.at[i].name, span_str(left[i])));
    arena_finish(&arena);
}

static void names_methods_and_reasons(void **state)
{
    (void)state;
    for (unsigned m = HTTP_GET; m <= HTTP_TRACE; m++)
        assert_int_equal(http_method(http_method_name((enum http_method)m)), m);
    assert_int_equal(http_method(SPAN("get")), HTTP_OTHER);
    assert_int_equal(http_method(SPAN("")), HTTP_OTHER);
    assert_int_equal(http_method(SPAN("POSTS")), HTTP_OTHER);
    assert_int_equal(http_method_name(HTTP_OTHER).len, 0);
    assert_true(span_equal(http_reason(200), SPAN("OK")));
    assert_true(span_equal(http_reason(429), SPAN("Too Many Requests")));
    assert_int_equal(http_reason(499).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_every_id),
        cmocka_unit_test(edits_a_list),
        cmocka_unit_test(clones),
        cmocka_unit_test(finds_tokens),
        cmocka_unit_test(removes_what_ends_at_this_hop),
        cmocka_unit_test(names_methods_and_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
