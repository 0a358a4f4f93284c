/* SPDX-License-Identifier: Apache-2.0 */
/* openai/request_size: what is counted as text, media, items and parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/hash.h"
#include "openai/request_size.h"

static void expect(const char *text, const char *line)
{
    struct arena arena;
    struct request_reader reader;
    struct request_info info;
    struct request_size size;
    struct span body = span_str(text);
    char got[160];
    arena_init(&arena);
    request_init(&reader, REQUEST_JSON, SPAN(""), &arena, &info);
    assert_int_equal(request_feed(&reader, body), FAULT_NONE);
    assert_int_equal(request_finish(&reader), FAULT_NONE);
    request_measure(&info, body, &size);
    (void)snprintf(got, sizeof(got), " text=%zu media=%zu ids=%zu items=%zu parts=%zu/%zu/%zu tools=%zu",
                   size.text_bytes, size.media_bytes, size.token_ids, size.items, size.image_parts, size.audio_parts,
                   size.file_parts, size.tools_bytes);
    assert_string_equal(got, line);
    arena_finish(&arena);
}

static void texts(void **state)
{
    (void)state;
    expect(
        "{\"messages\":[{\"role\":\"system\",\"content\":\"ab\\n\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":\"\\u00e9\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:xyz\",\"detail\":\"low\"}},"
        "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAA\",\"format\":\"wav\"}},{\"type\":\"file\",\"file\":"
        "{\"file_data\":\"QQ\"}}]}]}",
        " text=5 media=14 ids=0 items=2 parts=1/1/1 tools=0");
    expect("{\"input\":\"abc\",\"instructions\":\"de\"}", " text=5 media=0 ids=0 items=1 parts=0/0/0 tools=0");
    expect("{\"input\":[\"abc\",\"de\"]}", " text=5 media=0 ids=0 items=2 parts=0/0/0 tools=0");
    expect("{\"input\":[1,2,3]}", " text=0 media=0 ids=3 items=1 parts=0/0/0 tools=0");
    expect("{\"prompt\":[[1,2],[3],[]]}", " text=0 media=0 ids=3 items=3 parts=0/0/0 tools=0");
    expect("{\"prompt\":[[1],\"ab\"]}", " text=2 media=0 ids=1 items=2 parts=0/0/0 tools=0");
    expect("{\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":"
           "\"http\"},"
           "{\"type\":\"input_text\",\"text\":\"x\"}]}]}",
           " text=1 media=4 ids=0 items=1 parts=1/0/0 tools=0");
    expect("{\"messages\":[{\"tool_calls\":[{\"id\":\"call\",\"type\":\"function\",\"function\":{\"name\":\"f\","
           "\"arguments\":"
           "\"{}\"}}],\"content\":null}]}",
           " text=3 media=0 ids=0 items=1 parts=0/0/0 tools=0");
    expect("{\"messages\":[],\"input\":{\"a\":[1]},\"prompt\":7}", " text=0 media=0 ids=0 items=0 parts=0/0/0 tools=0");
}

static void tools(void **state)
{
    (void)state;
    expect("{\"tools\":[ {\"a\":1} ],\"functions\":[]}", " text=0 media=0 ids=0 items=0 parts=0/0/0 tools=13");
    expect("{\"x\":{\"messages\":[\"a\"]},\"tools\":null}", " text=0 media=0 ids=0 items=0 parts=0/0/0 tools=4");
    expect("{\"mess\\u0061ges\" : [ {\"content\":\"a\\u00e9\"} ] }",
           " text=3 media=0 ids=0 items=1 parts=0/0/0 tools=0");
}

static void forms_have_none(void **state)
{
    (void)state;
    struct request_info info = {.kind = REQUEST_MULTIPART};
    struct request_size size;
    request_measure(&info, SPAN("--b0\r\n"), &size);
    assert_int_equal(size.text_bytes + size.items + size.tools_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(tools),
        cmocka_unit_test(forms_have_none),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
