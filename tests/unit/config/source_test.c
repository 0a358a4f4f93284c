/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and directories as configuration: a ConfigMap's mount with its symbolic links, merging, and what is refused.
 */
#include "unit/config/config_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/tree.h"

/* A directory of our own; removed with all in it by the teardown. */
static int make_directory(void **state)
{
    static char path[64];
    snprintf(path, sizeof(path), "/tmp/postern-config-XXXXXX");
    *state = mkdtemp(path);
    return *state ? 0 : -1;
}

static int remove_directory(void **state)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", (char *)*state);
    return system(command);
}

static void write_file(const char *directory, const char *name, struct span content)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content.ptr ? content.ptr : "", 1, content.len, file), content.len);
    assert_int_equal(fclose(file), 0);
}

/* Loads; what is said must be `expected` with $ for the directory. Returns the configuration or NULL. */
static struct config *load_path(const char *path, const char *directory, const char *expected)
{
    struct report report;
    struct buffer lines = {0}, wanted = {0};
    struct config *config = NULL;
    report_init(&report);
    bool good = config_load(path, &registry, 0, &report, &config);
    struct span rest = span_str(expected), part;
    for (bool first = true; span_split(&rest, '$', &part); first = false)
        buffer_format(&wanted, "%s%.*s", first ? "" : directory, SPAN_ARG(part));
    buffer_append(&wanted, span_of("", 1));
    assert_string_equal(printed(&report, &lines), buffer_span(&wanted).ptr);
    assert_int_equal(good, report.errors == 0);
    buffer_finish(&lines);
    buffer_finish(&wanted);
    report_finish(&report);
    return config;
}

static void paths_that_hold_nothing(void **state)
{
    char *directory = *state, path[256];
    assert_null(load_path("", directory, "no configuration is named; give a file or a directory\n"));
    assert_null(load_path("/nonexistent/x.yaml", directory,
                          "/nonexistent/x.yaml: cannot be read: No such file or directory\n"));
    assert_null(load_path("/dev/null", directory, "/dev/null: is not a file\n"));
    assert_null(load_path(directory, directory, "$: holds no *.yaml or *.yml file\n"));
    write_file(directory, "notes.txt", SPAN("x"));
    write_file(directory, ".hidden.yaml", SPAN(HEAD REST));
    assert_null(load_path(directory, directory, "$: holds no *.yaml or *.yml file\n"));
    write_file(directory, "a.yaml", SPAN(""));
    snprintf(path, sizeof(path), "%s/a.yaml", directory);
    assert_null(
        load_path(path, directory, "$/a.yaml: is empty; a configuration begins with \"apiVersion: postern/v1\"\n"));
}

/* The layout of kubelet's atomic writer: file -> ..data/file, ..data -> ..2026_11_22/. */
static void a_mounted_config_map(void **state)
{
    char *directory = *state, path[256], link[256];
    snprintf(path, sizeof(path), "%s/..2026_11_22", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(directory, "..2026_11_22/postern.yaml", SPAN(HEAD REST));
    snprintf(link, sizeof(link), "%s/..data", directory);
    assert_int_equal(symlink("..2026_11_22", link), 0);
    snprintf(link, sizeof(link), "%s/postern.yaml", directory);
    assert_int_equal(symlink("..data/postern.yaml", link), 0);
    struct config *config = load_path(directory, directory, "");
    assert_int_equal(config->model_count, 1);
    config_free(config);
}

static void files_are_merged(void **state)
{
    char *directory = *state;
    write_file(directory, "10-base.yaml", SPAN(HEAD "targets: [{name: m, mock: {}}]\nlog: {level: debug}\n"));
    write_file(directory, "20-models.yml",
               SPAN("apiVersion: postern/v1\nmodels: [{name: b, targets: [n]}]\ntargets: [{name: \"n\", mock: {}}]\n"));
    write_file(directory, "15-models.yaml", SPAN("models: [{name: a, targets: [m]}]\nlog: {format: json}\n"));
    struct config *config = load_path(directory, directory, "");
    assert_int_equal(config->model_count, 2);
    assert_true(span_equal(config->models[0].name, SPAN("a")));
    assert_int_equal(config->target_count, 2);
    assert_int_equal(config->log.level, LOG_DEBUG);
    assert_int_equal(config->log.format, LOG_JSON);
    config_free(config);
}

static void conflicts_name_both_places(void **state)
{
    char *directory = *state;
    write_file(directory, "a.yaml", SPAN(HEAD REST "log: {level: debug}\nworkers: 1\n"));
    write_file(directory, "b.yaml", SPAN("apiVersion: postern/v1.1\nworkers: 1\nlog: {level: debug}\nmodels: {}\n"));
    assert_null(load_path(directory, directory,
                          "$/b.yaml:1:1: \"apiVersion\" was already given at $/a.yaml:1:1\n"
                          "$/b.yaml:2:1: \"workers\" was already given at $/a.yaml:6:1\n"
                          "$/b.yaml:3:7: \"level\" was already given at $/a.yaml:5:7\n"
                          "$/b.yaml:4:1: \"models\" is a map here but a list at $/a.yaml:4:1\n"));
}

static void every_file_is_reported(void **state)
{
    char *directory = *state;
    write_file(directory, "a.yaml", SPAN("a: [\n"));
    write_file(directory, "b.yaml", SPAN(HEAD REST "worker: 1\n"));
    assert_null(load_path(
        directory, directory,
        "$/a.yaml:2:1: not valid YAML: did not find expected node content while parsing a flow node (begun in line 2)\n"
        "$/b.yaml:5:1: configuration has no setting \"worker\"; allowed: apiVersion, listeners, admin, filters, "
        "credentials, targets, models, passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, "
        "workers; did "
        "you mean "
        "\"workers\"?\n"));
}

static void sizes_are_limited(void **state)
{
    char *directory = *state;
    size_t half = TREE_BYTES / 2 + 100;
    char *text = malloc(half * 2);
    assert_non_null(text);
    memset(text, '#', half * 2);
    memcpy(text, HEAD REST, sizeof(HEAD REST) - 1);
    write_file(directory, "a.yaml", span_of(text, half));
    memset(text, '#', sizeof(HEAD REST));
    write_file(directory, "b.yaml", span_of(text, half));
    assert_null(load_path(directory, directory, "$/b.yaml: all files together are larger than 4 MiB\n"));
    write_file(directory, "a.yaml", span_of(text, half * 2));
    assert_null(load_path(directory, directory,
                          "$/a.yaml: larger than 4 MiB\n$/b.yaml: all files together are larger than 4 MiB\n"));
    free(text);
}

static void paths_start_from_the_file(void **state)
{
    char *directory = *state;
    write_file(directory, "key", SPAN("\n  s3cret \r\n"));
    write_file(directory, "c.yaml",
               SPAN(HEAD "targets: [{name: m, azure: {endpoint: \"https://h\"}, credential: {api_key: {file: key}}}]\n"
                         "models: [{name: a, targets: [m]}]\n"));
    struct config *config = load_path(directory, directory, "");
    assert_true(span_equal(config->targets[0].credential->api_key.value, SPAN("s3cret")));
    assert_true(span_ends_with(config->targets[0].credential->api_key.file, SPAN("/key")));
    config_free(config);
    write_file(directory, "key", SPAN(" \n"));
    assert_null(load_path(directory, directory, "$/c.yaml:3:82: \"api_key\": the file $/key is empty\n"));
    write_file(directory, "key", SPAN("a\nb"));
    assert_null(load_path(directory, directory,
                          "$/c.yaml:3:82: \"api_key\": the file $/key holds a line break or control character\n"));
}

int main(void)
{
#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(paths_that_hold_nothing),    IN_DIRECTORY(a_mounted_config_map),   IN_DIRECTORY(files_are_merged),
        IN_DIRECTORY(conflicts_name_both_places), IN_DIRECTORY(every_file_is_reported), IN_DIRECTORY(sizes_are_limited),
        IN_DIRECTORY(paths_start_from_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
