/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tables say to people, and that every table row is complete enough to be said.
 * POSTERN_UPDATE_REFERENCE=1 writes config/reference.md instead of comparing with it.
 */
#include "unit/config/config_support.h"

#include <stdio.h>
#include <stdlib.h>

#include "command/command.h"
#include "config/explain.h"

static void explains(const char *path, bool good, const char *expected)
{
    struct buffer out = {0};
    assert_int_equal(config_explain(&out, &registry, span_str(path)), good);
    buffer_append(&out, span_of("", 1));
    if (!strstr(buffer_span(&out).ptr, expected))
        print_error("%s\n", buffer_span(&out).ptr);
    assert_non_null(strstr(buffer_span(&out).ptr, expected));
    buffer_finish(&out);
}

static void settings_are_explained(void **state)
{
    (void)state;
    explains("targets.timeouts.connect", true,
             "SETTING:  targets.timeouts.connect <duration>\n"
             "DEFAULT:  5s\n"
             "LIMITS:   1ms to 5m\n"
             "RELOAD:   takes effect on reload\n"
             "SINCE:    1.0\n"
             "\n"
             "    For name resolution, TCP and TLS together; then the next target is tried.\n");
    explains("workers", true, "LIMITS:   at most 256 threads\nRELOAD:   needs a restart\n");
    explains("targets.http_version", true, "LIMITS:   one of auto, 1.1, 2\n");
    explains("targets.azure.endpoint", true, "DEFAULT:  required\nLIMITS:   https:// or http://\n");
    explains("targets.credential.api_key", true, "<secret: {file: PATH} or {env: NAME}>\n");
    explains("models.targets", true, "<list of model target>");
    explains("models.targets", true,
             "\nSETTINGS:\n    target <name in targets> (required)\n        The name of a target.\n");
    explains("filters", true, "\nTYPES:\n    edit\n        Edits fields.\n    gate\n");
    explains("filters.edit.delay", true, "SETTING:  filters.edit.delay <duration>\n");
    explains("filters.gate", true,
             "FILTER:   filters.gate\n\n    Lets in who has the key.\n\nSETTINGS:\n    key <secret");
    explains("", true, "SETTINGS:\n    apiVersion <text> (required)\n");
}

static void unknown_settings_are_near_others(void **state)
{
    (void)state;
    explains("listners", false, "there is no setting \"listners\"; allowed: apiVersion, listeners, ");
    explains("listners", false, "; did you mean \"listeners\"?\n");
    explains("targets.timeout.connect", false, "targets has no setting \"timeout\"; allowed: name, ");
    explains("filters.edits", false, "filters has no setting \"edits\"; allowed: edit, gate; did you mean \"edit\"?\n");
    explains("workers.x", false, "workers has no setting \"x\"\n");
    explains("gate", false, "there is no setting \"gate\"; did you mean \"filters.gate\"?\n");
    explains(".", false, "there is no setting \"\"");
}

static void an_ellipsis_ends_no_sentence(void **state)
{
    (void)state;
    struct buffer page = {0};
    assert_true(config_explain(&page, command_settings(), SPAN("filters.rate_limit")));
    struct span text = buffer_span(&page);
    assert_true(span_search(text, SPAN("each caller, model, ... and limit at a time.\n    fields")) < text.len);
    buffer_finish(&page);
}

static void check_rows(const struct settings_spec *spec, unsigned depth)
{
    assert_true(depth < 10 && spec->name && spec->help && spec->size >= sizeof(struct settings));
    for (size_t i = 0; i < spec->count; i++) {
        const struct setting *row = &spec->table[i];
        assert_true(row->name && row->help && strlen(row->help) > 10);
        assert_true(row->help[strlen(row->help) - 1] == '.');
        assert_true(row->offset + 1 <= spec->size);
        if (row->type == SETTING_ENUM || row->type == SETTING_ENUMS)
            assert_non_null(row->choices);
        if (row->type >= SETTING_OBJECT && row->type != SETTING_VARIANTS) {
            assert_non_null(row->sub);
            check_rows(row->sub, depth + 1);
        }
        /* Of two rows the names differ. */
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(row->name, spec->table[j].name);
    }
}

static void rows_are_complete(void **state)
{
    (void)state;
    check_rows(&config_spec, 0);
}

static void the_reference_is_current(void **state)
{
    (void)state;
    static const char path[] = "config/reference.md";
    struct buffer page = {0}, file = {0};
    config_reference(&page, command_settings());
    if (getenv("POSTERN_UPDATE_REFERENCE")) {
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        assert_int_equal(fwrite(page.ptr + page.start, 1, buffer_len(&page), out), buffer_len(&page));
        assert_int_equal(fclose(out), 0);
    }
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    size_t got;
    do {
        got = fread(buffer_reserve(&file, 65536), 1, 65536, in);
        buffer_commit(&file, got);
    } while (got);
    assert_int_equal(fclose(in), 0);
    if (!span_equal(buffer_span(&page), buffer_span(&file)))
        print_error("%s is not what the tables say; run this test with POSTERN_UPDATE_REFERENCE=1\n", path);
    assert_true(span_equal(buffer_span(&page), buffer_span(&file)));
    buffer_finish(&page);
    buffer_finish(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_are_explained),       cmocka_unit_test(unknown_settings_are_near_others),
        cmocka_unit_test(an_ellipsis_ends_no_sentence), cmocka_unit_test(rows_are_complete),
        cmocka_unit_test(the_reference_is_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
