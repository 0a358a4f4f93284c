/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check, explain and version: the commands that only tell.
 */
#include <stdio.h>

#include "base/buffer.h"
#include "command/command.h"
#include "config/explain.h"

int command_check(int argc, char **argv)
{
    const char *path = NULL;
    unsigned flags = CONFIG_CHECK;
    for (int i = 1; i < argc; i++) {
        if (span_equal(span_str(argv[i]), SPAN("--offline")))
            flags |= CONFIG_OFFLINE;
        else if (argv[i][0] == '-' || path)
            return command_usage("check", "one file or directory is wanted");
        else
            path = argv[i];
    }
    if (!path)
        return command_usage("check", "a file or directory is wanted");
    struct snapshot *snapshot = command_load(path, flags);
    if (!snapshot)
        return 1;
    (void)printf("%s: good: %u listener%s, %u target%s, %u model%s\n", path, snapshot->listener_count,
                 snapshot->listener_count == 1 ? "" : "s", snapshot->target_count,
                 snapshot->target_count == 1 ? "" : "s", snapshot->model_count, snapshot->model_count == 1 ? "" : "s");
    snapshot_unref(snapshot);
    return 0;
}

static void print(const struct buffer *text, FILE *to)
{
    (void)fwrite(text->ptr + text->start, 1, buffer_len(text), to);
}

int command_explain(int argc, char **argv)
{
    if (argc > 2)
        return command_usage("explain", "one setting at a time, e.g. targets.timeouts");
    struct buffer text = {0};
    struct span path = argc > 1 ? span_str(argv[1]) : (struct span){0};
    bool all = span_equal(path, SPAN("--markdown"));
    bool found = true;
    if (all)
        config_reference(&text, command_settings());
    else
        found = config_explain(&text, command_settings(), path);
    print(&text, found ? stdout : stderr);
    buffer_finish(&text);
    return found ? 0 : 1;
}

int command_version(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return command_usage("version", "it takes no arguments");
    (void)printf("postern " POSTERN_VERSION "\n");
    return 0;
}
