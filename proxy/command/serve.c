/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run, demo and mock: the commands that serve.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/log.h"
#include "command/command.h"
#include "filters/registry.h"
#include "gateway/lifecycle.h"

static int serve(struct snapshot *snapshot, const char *path, void (*ready)(const struct snapshot *, void *), void *arg)
{
    const struct config_log *log = &snapshot->config->log;
    log_configure(log->level, log->format);
    struct serve_options options = {
        .registry = &filter_registry, .settings = command_settings(), .config_path = path, .ready = ready, .arg = arg};
    return lifecycle_serve(snapshot, &options);
}

/* ---- run ---- */

static void say_ready(const struct snapshot *snapshot, void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < snapshot->listener_count; i++)
        log_write(LOG_INFO, "listener", "%.*s: serving%s", SPAN_ARG(snapshot->listeners[i].config->address.text),
                  snapshot->listeners[i].config->tls ? " with TLS" : "");
    const struct config_admin *admin = &snapshot->config->admin;
    if (admin->address.text.len)
        log_write(LOG_INFO, "listener", "%.*s: /healthz, /readyz, /metrics", SPAN_ARG(admin->address.text));
    log_write(LOG_INFO, "postern", "version " POSTERN_VERSION ", %u worker%s, %u model%s, %u target%s: ready",
              snapshot->config->workers, snapshot->config->workers == 1 ? "" : "s", snapshot->model_count,
              snapshot->model_count == 1 ? "" : "s", snapshot->target_count, snapshot->target_count == 1 ? "" : "s");
}

/* `run` and `inject` take the same options. NULL: they do not fit, *ret has the exit code. */
static const char *read_options(int argc, char **argv, int *ret)
{
    const char *path = NULL;
    enum log_level level;
    for (int i = 1; i < argc; i++) {
        struct span argument = span_str(argv[i]);
        if ((span_equal(argument, SPAN("--config")) || span_equal(argument, SPAN("-c"))) && i + 1 < argc) {
            path = argv[++i];
        } else if (span_starts_with(argument, SPAN("--config="))) {
            path = argv[i] + 9;
        } else if (span_equal(argument, SPAN("--log-level")) && i + 1 < argc && log_level_of(argv[i + 1], &level)) {
            log_pin(level);
            i++;
        } else {
            bool log = span_equal(argument, SPAN("--log-level"));
            *ret = command_usage(argv[0], log ? "--log-level wants error, warning, info or debug"
                                              : "one configuration is wanted, by --config PATH");
            return NULL;
        }
    }
    if (path && *path)
        return path;
    *ret = command_usage(argv[0], "a configuration is needed; for a try without one there is \"postern demo\"");
    return NULL;
}

int command_run(int argc, char **argv)
{
    int code;
    const char *path = read_options(argc, argv, &code);
    if (!path)
        return code;
    struct snapshot *snapshot = command_load(path, 0);
    return snapshot ? serve(snapshot, path, say_ready, NULL) : 1;
}

/* ---- inject ---- */

static bool has_injector(const struct snapshot *snapshot)
{
    for (unsigned i = 0; i < snapshot->listener_count; i++)
        if (snapshot->listeners[i].serves)
            return true;
    return false;
}

int command_inject(int argc, char **argv)
{
    int code;
    const char *path = read_options(argc, argv, &code);
    if (!path)
        return code;
    struct snapshot *snapshot = command_load(path, 0);
    if (!snapshot)
        return 1;
    if (has_injector(snapshot))
        return serve(snapshot, path, say_ready, NULL);
    (void)fprintf(stderr,
                  "postern inject: no listener of %s has the filter \"inject\"; see \"postern explain "
                  "filters.inject\"\n",
                  path);
    snapshot_unref(snapshot);
    return 1;
}

/* ---- demo ---- */

static const char demo_config[] = "apiVersion: postern/v1\n"
                                  "listeners:\n"
                                  "  - address: 127.0.0.1:4610\n"
                                  "admin: {address: 127.0.0.1:4611}\n"
                                  "drain: {delay: 0s, grace: 5s}\n"
                                  "targets:\n"
                                  "  - {name: mock, mock: {chunk_interval: 40ms}}\n"
                                  "models:\n"
                                  "  - {name: gpt-4o, targets: [{target: mock}]}\n"
                                  "  - {name: gpt-4o-mini, targets: [{target: mock}]}\n"
                                  "  - {name: text-embedding-3-small, targets: [{target: mock}]}\n"
                                  "  - {name: \"*\", targets: [{target: mock}]}\n";

static void demo_banner(const struct snapshot *snapshot, void *arg)
{
    (void)snapshot;
    (void)arg;
    (void)printf("Postern " POSTERN_VERSION ", demo: every model name is answered by the embedded mock model.\n"
                 "\n"
                 "  http://127.0.0.1:4610/v1   the API: OPENAI_BASE_URL for any OpenAI SDK, any key\n"
                 "  http://127.0.0.1:4610      AZURE_OPENAI_ENDPOINT for the Azure classes\n"
                 "  http://127.0.0.1:4611      /healthz /readyz /metrics\n"
                 "\n"
                 "Try this in another terminal:\n"
                 "\n"
                 "  curl -N http://127.0.0.1:4610/v1/chat/completions -H 'content-type: application/json' -d "
                 "'{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n"
                 "\n"
                 "Ctrl-C ends it. Below: one line per request.\n\n");
    (void)fflush(stdout);
}

int command_demo(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return command_usage("demo", "it takes no arguments");
    struct snapshot *snapshot = command_load_text("demo", span_str(demo_config));
    if (!snapshot)
        return 1;
    return serve(snapshot, NULL, demo_banner, NULL);
}

/* ---- mock ---- */

/* Options of `postern mock`: each is a member of a target's `mock` settings. */
static const struct mock_option {
    const char *option, *setting, *help;
} mock_options[] = {
    {"--latency", "latency", "time before an answer begins, e.g. 200ms"},
    {"--chunk-interval", "chunk_interval", "time between two events of a stream, e.g. 20ms"},
    {"--chunks", "chunks", "content events of a stream"},
    {"--words-per-chunk", "words_per_chunk", "how much text an event holds"},
    {"--tokens-per-second", "tokens_per_second", "pace answers by their tokens, as a model does"},
    {"--tokens", "tokens", "token rate beyond which it answers 429, e.g. 1000/minute"},
    {"--fault", "fault", "what goes wrong, as in the configuration, e.g. '{status: 429, every: 3, retry_after: 2s}'"},
};

static const char *mock_setting(struct span option)
{
    for (size_t i = 0; i < ARRAY_LEN(mock_options); i++)
        if (span_equal(option, span_str(mock_options[i].option)))
            return mock_options[i].setting;
    return NULL;
}

static void say_mock(const struct snapshot *snapshot, void *arg)
{
    (void)arg;
    (void)printf("mock model: http://%.*s/v1 (OpenAI) and http://%.*s (Azure)\n",
                 SPAN_ARG(snapshot->listeners[0].config->address.text),
                 SPAN_ARG(snapshot->listeners[0].config->address.text));
    (void)fflush(stdout);
}

static bool port_is_good(const char *text)
{
    uint64_t port;
    return text && span_to_u64(span_str(text), &port) && port > 0 && port < 65536;
}

int command_mock(int argc, char **argv)
{
    struct buffer settings = {0}, text = {0};
    const char *port = NULL, *host = "127.0.0.1", *problem = NULL;
    for (int i = 1; i < argc && !problem; i++) {
        struct span option = span_str(argv[i]);
        const char *setting = mock_setting(option);
        if (span_equal(option, SPAN("--azure")))
            buffer_append(&settings, SPAN("azure: true, "));
        else if (i + 1 >= argc)
            problem = "an option is unknown or lacks its value; see \"postern help mock\"";
        else if (span_equal(option, SPAN("--port")))
            port = argv[++i];
        else if (span_equal(option, SPAN("--host")))
            host = argv[++i];
        else if (setting)
            buffer_format(&settings, "%s: %s, ", setting, argv[++i]);
        else
            problem = "an option is unknown; see \"postern help mock\"";
    }
    if (!problem && !port_is_good(port))
        problem = "--port wants a number from 1 to 65535";
    struct snapshot *snapshot = NULL;
    if (!problem) {
        buffer_format(&text,
                      "apiVersion: postern/v1\n"
                      "listeners: [{address: \"%s:%s\", anonymous: true}]\n"
                      "drain: {delay: 0s, grace: 5s}\n"
                      "log: {access: \"off\"}\n"
                      "targets: [{name: mock, mock: {%.*s}}]\n"
                      "models: [{name: \"*\", targets: [{target: mock}]}]\n",
                      host, port, SPAN_ARG(buffer_span(&settings)));
        snapshot = command_load_text("mock options", buffer_span(&text));
    }
    buffer_finish(&settings);
    buffer_finish(&text);
    if (problem)
        return command_usage("mock", problem);
    return snapshot ? serve(snapshot, NULL, say_mock, NULL) : 1;
}

/* ---- help ---- */

const char *command_details(const char *name)
{
    static char text[2048];
    if (span_equal(span_str(name), SPAN("simulate")))
        return "\n"
               "REQUEST is a file with one HTTP/1.1 request as it goes over the wire, or - for standard input. A way "
               "to capture one:\n"
               "  nc -l 127.0.0.1 4600 > request.http     and point the application at http://127.0.0.1:4600/v1\n"
               "A head saved by an editor, with LF alone at the ends of its lines, is understood; Content-Length must "
               "fit.\n"
               "\n"
               "Options:\n"
               "  --listener NAME      the listener it comes in by; default: the first\n"
               "\n"
               "No target is asked, no secret is read, and nothing of the prompt is printed. Exit code 1: it would be "
               "refused.\n";
    if (span_equal(span_str(name), SPAN("key")))
        return "\n"
               "Prints a fresh key, once, and the line that a keys file (filters.authenticate, api_keys) holds in its "
               "place.\n"
               "\n"
               "Options:\n"
               "  --group NAME         a group of the consumer; may be given several times\n"
               "  --expires DAY        the last day it is valid, as 2027-01-31\n"
               "  --pepper-file PATH   the secret that digests are keyed with, as the filter's `pepper` names it\n"
               "  --pepper-env NAME    the same, from the environment\n";
    if (!span_equal(span_str(name), SPAN("mock")))
        return "";
    struct buffer out = {0};
    buffer_format(&out, "\nOptions:\n  %-20s %s\n  %-20s %s\n  %-20s %s\n", "--port", "required; where to listen",
                  "--host", "address to listen on, default 127.0.0.1", "--azure",
                  "speak Azure's flavour: content filter results");
    for (size_t i = 0; i < ARRAY_LEN(mock_options); i++)
        buffer_format(&out, "  %-20s %s\n", mock_options[i].option, mock_options[i].help);
    buffer_append(
        &out,
        SPAN("\nSingle requests steer it by x-mock-* header fields: x-mock-status, x-mock-latency-ms, x-mock-chunks,\n"
             "x-mock-chunk-interval-ms, x-mock-cut-after, x-mock-stall-after, x-mock-error-after,\n"
             "x-mock-retry-after-ms.\n"));
    struct span all = span_take(buffer_span(&out), sizeof(text) - 1);
    memcpy(text, all.ptr, all.len);
    text[all.len] = '\0';
    buffer_finish(&out);
    return text;
}
