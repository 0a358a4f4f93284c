/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line. Exit codes: 0, 1 (refused, with reasons on standard error), 2 (usage).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "command/command.h"

struct command_entry {
    const char *name;
    const char *usage;
    const char *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

static int command_help(int argc, char **argv);

static const struct command_entry commands[] = {
    {"run", "run --config PATH [--log-level LEVEL]", "serve the configuration in PATH, a file or a directory",
     command_run},
    {"inject", "inject --config PATH", "serve the admission webhook that PATH configures", command_inject},
    {"demo", "demo", "serve on 127.0.0.1:4610 with the embedded mock model, no configuration needed", command_demo},
    {"check", "check [--offline] PATH", "say everything that is wrong with a configuration", command_check},
    {"explain", "explain [SETTING]", "document a setting, e.g. postern explain targets.azure", command_explain},
    {"simulate", "simulate [--listener NAME] PATH REQUEST",
     "what the configuration in PATH would do with the HTTP request in the file REQUEST", command_simulate},
    {"mock", "mock --port N [OPTION...]", "serve the mock model alone, to test applications against", command_mock},
    {"key", "key new CONSUMER [OPTION...]", "make an API key, and the line that a keys file holds in its place",
     command_key},
    {"drain", "drain --control unix:PATH | --config PATH",
     "end a running Postern as SIGTERM does, by its control socket", command_drain},
    {"version", "version", "print the version", command_version},
    {"help", "help [COMMAND]", "this text, or that of one command", command_help},
};

static void print_help(FILE *to)
{
    (void)fprintf(to,
                  "Postern stands between an application and its OpenAI models: point the SDK at it, and it finds the\n"
                  "model's target, speaks its dialect with its credential, and streams the answer back.\n"
                  "\n"
                  "usage: postern COMMAND [ARGUMENT...]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        (void)fprintf(to, "  %-40s %s\n", commands[i].usage, commands[i].summary);
    (void)fprintf(
        to, "\nA first try:\n"
            "  postern demo\n"
            "  curl http://127.0.0.1:4610/v1/chat/completions -H 'content-type: application/json' \\\n"
            "    -d '{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n"
            "\n"
            "Exit codes: 0 done; 1 refused, the reasons are on standard error; 2 the command line is wrong.\n");
}

static const struct command_entry *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (span_equal(span_str(name), span_str(commands[i].name)))
            return &commands[i];
    return NULL;
}

int command_usage(const char *name, const char *problem)
{
    const struct command_entry *command = find(name);
    if (problem)
        (void)fprintf(stderr, "postern %s: %s\n", name, problem);
    (void)fprintf(stderr, "usage: postern %s\n", command ? command->usage : "COMMAND [ARGUMENT...]");
    return 2;
}

static int command_help(int argc, char **argv)
{
    const struct command_entry *command = argc > 1 ? find(argv[1]) : NULL;
    if (argc > 1 && !command) {
        (void)fprintf(stderr, "postern help: there is no command \"%s\"\n", argv[1]);
        return 2;
    }
    if (command)
        (void)printf("usage: postern %s\n  %s\n%s", command->usage, command->summary, command_details(command->name));
    else
        print_help(stdout);
    return 0;
}

static int unknown(const char *name)
{
    (void)fprintf(stderr, "postern: there is no command \"%s\"; there are:", name);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        (void)fprintf(stderr, " %s", commands[i].name);
    (void)fprintf(stderr, "\n");
    return 2;
}

int main(int argc, char **argv)
{
    hash_start();
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    struct span first = span_str(argv[1]);
    if (span_equal(first, SPAN("--help")) || span_equal(first, SPAN("-h"))) {
        print_help(stdout);
        return 0;
    }
    if (span_equal(first, SPAN("--version")))
        return command_version(1, argv + 1);
    const struct command_entry *command = find(argv[1]);
    if (!command)
        return unknown(argv[1]);
    if (argc > 2 && (span_equal(span_str(argv[2]), SPAN("--help")) || span_equal(span_str(argv[2]), SPAN("-h")))) {
        char *help[] = {"help", argv[1], NULL};
        return command_help(2, help);
    }
    int code = command->run(argc - 1, argv + 1);
    memory_blocks_drop();
    return code;
}
