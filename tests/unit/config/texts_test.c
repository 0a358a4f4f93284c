/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several texts in memory are read as the files of a directory are: the same ones, in the same order, with the same
 * complaints.
 */
#include "unit/config/config_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES 5

static const struct {
    const char *what;
    struct {
        const char *name, *text;
    } files[FILES];
} cases[] = {
    {"one file", {{"postern.yaml", HEAD REST}}},
    {"two that complete each other", {{"b.yml", REST}, {"a.yaml", HEAD}}},
    {"others lie beside them", {{"postern.yaml", HEAD REST}, {"ca.crt", "PEM"}, {".hidden.yaml", "["}, {"yaml", "["}}},
    {"none", {{"postern.txt", HEAD REST}}},
    {"an empty one", {{"a.yaml", ""}, {"b.yaml", HEAD REST}}},
    {"both say it", {{"a.yaml", HEAD REST "workers: 1\n"}, {"b.yaml", "workers: 2\n"}}},
    {"the order is by bytes",
     {{"b.yaml", "workers: 2\n"},
      {"B.yaml", HEAD REST "workers: 1\n"},
      {"a-.yaml", "workers: 3\n"},
      {"a.yaml", "workers: 4\n"}}},
    {"errors of several", {{"a.yaml", HEAD REST "nonsense: 1\n"}, {"c.yaml", "a: [\n"}, {"b.yaml", "workers: x\n"}}},
    {"not a map", {{"a.yaml", "- 1\n"}, {"b.yaml", HEAD REST}}},
};

/* Removes what stands before each file's name, so that both ways say the same. */
static void shorten(struct buffer *text, const char *directory)
{
    char prefix[128];
    (void)snprintf(prefix, sizeof(prefix), "%s/", directory);
    for (size_t at; (at = span_search(buffer_span(text), span_str(prefix))) < buffer_len(text);)
        buffer_splice(text, at, strlen(prefix), (struct span){0});
}

static bool load_directory(size_t index, struct buffer *said)
{
    char directory[] = "/tmp/postern-texts-XXXXXX", path[256];
    struct report report;
    struct config *config = NULL;
    assert_non_null(mkdtemp(directory));
    for (size_t i = 0; i < FILES && cases[index].files[i].name; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", directory, cases[index].files[i].name);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(cases[index].files[i].text, file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
    report_init(&report);
    bool good = config_load(directory, &registry, CONFIG_OFFLINE, &report, &config);
    report_print(&report, said);
    shorten(said, directory);
    report_finish(&report);
    config_free(config);
    for (size_t i = 0; i < FILES && cases[index].files[i].name; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", directory, cases[index].files[i].name);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(directory), 0);
    return good;
}

static bool load_texts(size_t index, struct buffer *said)
{
    struct config_text texts[FILES];
    struct report report;
    struct config *config = NULL;
    size_t count = 0;
    for (; count < FILES && cases[index].files[count].name; count++)
        texts[count] = (struct config_text){.name = span_str(cases[index].files[count].name),
                                            .text = span_str(cases[index].files[count].text)};
    report_init(&report);
    bool good = config_load_texts(texts, count, &registry, CONFIG_OFFLINE, &report, &config);
    report_print(&report, said);
    report_finish(&report);
    config_free(config);
    return good;
}

static void as_a_directory(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer of_files = {0}, of_texts = {0};
        bool files = load_directory(i, &of_files), texts = load_texts(i, &of_texts);
        if (span_equal(span_str(cases[i].what), SPAN("none"))) { /* here there is no directory to name */
            assert_false(files || texts);
            assert_true(span_search(buffer_span(&of_texts), SPAN("no *.yaml or *.yml file")) < buffer_len(&of_texts));
        } else if (files != texts || !span_equal(buffer_span(&of_files), buffer_span(&of_texts))) {
            fail_msg("%s:\n%.*s---\n%.*s", cases[i].what, SPAN_ARG(buffer_span(&of_files)),
                     SPAN_ARG(buffer_span(&of_texts)));
        }
        buffer_finish(&of_files);
        buffer_finish(&of_texts);
    }
}

static void too_much(void **state)
{
    (void)state;
    enum { HALF = 3 * 1024 * 1024 };
    char *filler = malloc(HALF);
    assert_non_null(filler);
    memset(filler, '#', HALF);
    const struct config_text texts[] = {{SPAN("a.yaml"), span_of(filler, HALF)},
                                        {SPAN("b.yaml"), span_of(filler, HALF)}};
    struct report report;
    struct config *config = NULL;
    struct buffer said = {0};
    report_init(&report);
    assert_false(config_load_texts(texts, ARRAY_LEN(texts), &registry, CONFIG_OFFLINE, &report, &config));
    report_print(&report, &said);
    assert_true(span_search(buffer_span(&said), SPAN("b.yaml: all files together are larger than 4 MiB")) <
                buffer_len(&said));
    buffer_finish(&said);
    report_finish(&report);
    free(filler);
}

static void too_many(void **state)
{
    (void)state;
    enum { MOST = 256 };
    struct config_text texts[MOST + 2] = {{SPAN("x.txt"), SPAN("[")}, {SPAN("a.yaml"), SPAN(HEAD REST)}};
    struct arena arena;
    arena_init(&arena);
    for (int i = 2; i < MOST + 2; i++)
        texts[i] = (struct config_text){arena_format(&arena, "b%03d.yaml", i), SPAN("log: {}\n")};
    for (size_t count = MOST + 1; count <= MOST + 2; count++) {
        struct report report;
        struct config *config = NULL;
        report_init(&report);
        assert_int_equal(config_load_texts(texts, count, &registry, CONFIG_OFFLINE, &report, &config),
                         count == MOST + 1);
        assert_int_equal(report.errors, count == MOST + 1 ? 0 : 1);
        report_finish(&report);
        config_free(config);
    }
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_a_directory), cmocka_unit_test(too_much),
                                       cmocka_unit_test(too_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
