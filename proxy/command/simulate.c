/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simulate: what a configuration would do with a captured HTTP/1.1 request. The request goes through the same reader,
 * the same recognition and the same edits as one that is served; only filters are asked to explain instead of being
 * run.
 */
#include "command/simulate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "command/command.h"
#include "gateway/asked.h"
#include "gateway/snapshot.h"
#include "http/h1_reader.h"
#include "openai/dialect.h"
#include "openai/errors.h"

#define FILE_MAX ((size_t)64 * 1024 * 1024)

/* ---- output ---- */

void simulate_quote(struct buffer *out, struct span text)
{
    buffer_append(out, SPAN("\""));
    buffer_append_json(out, text);
    buffer_append(out, SPAN("\""));
}

/* What the client would get instead of an answer. Returns the exit code. */
static int refused(struct buffer *out, enum fault fault, struct span message, struct span param)
{
    const struct fault_entry *entry = fault_entry(fault);
    buffer_format(out, "\nrefused: Postern itself answers %u %.*s\n  ", entry->status,
                  SPAN_ARG(http_reason(entry->status)));
    error_body(out, fault, message, param);
    buffer_append(out, SPAN("\n"));
    return 1;
}

/* ---- the file ---- */

static bool read_all(const char *path, struct buffer *file)
{
    bool input = span_equal(span_str(path), SPAN("-"));
    FILE *from = input ? stdin : fopen(path, "rb");
    if (!from) {
        (void)fprintf(stderr, "postern simulate: %s: %s\n", path, strerror(errno));
        return false;
    }
    size_t got = 1;
    while (got > 0 && buffer_len(file) <= FILE_MAX) {
        got = fread(buffer_reserve(file, 65536), 1, 65536, from);
        buffer_commit(file, got);
    }
    bool failed = ferror(from) != 0;
    if (!input)
        (void)fclose(from);
    if (failed || buffer_len(file) == 0 || buffer_len(file) > FILE_MAX) {
        (void)fprintf(stderr, "postern simulate: %s: %s\n", path,
                      failed                  ? "cannot be read"
                      : buffer_len(file) == 0 ? "is empty; one HTTP/1.1 request is wanted"
                                              : "is larger than 64 MiB");
        return false;
    }
    return true;
}

/* Offset behind the empty line that ends a head whose lines end with LF alone; 0 when there is none. */
static size_t bare_head(struct span file)
{
    size_t end = span_search(file, SPAN("\n\n"));
    return end < file.len ? end + 2 : 0;
}

/*
 * Editors save with LF, which HTTP does not allow (RFC 9112 2.2). A file whose first line ends so is taken as meant,
 * its head given the line ends it should have; a body is never touched.
 */
static void repair_line_ends(struct buffer *out, struct buffer *file)
{
    struct span text = buffer_span(file);
    size_t first = span_find(text, '\n');
    if (first == text.len || (first > 0 && text.ptr[first - 1] == '\r'))
        return;
    size_t head = bare_head(text);
    struct buffer repaired = {0};
    for (size_t i = 0; i < (head ? head : text.len); i++) {
        if (text.ptr[i] == '\n')
            buffer_append(&repaired, SPAN("\r"));
        buffer_append(&repaired, span_of(text.ptr + i, 1));
    }
    buffer_append(&repaired, span_skip(text, head ? head : text.len));
    buffer_finish(file);
    *file = repaired;
    buffer_append(out, SPAN("note       the head's lines end with LF alone; read as CR LF, which HTTP/1.1 wants\n"));
}

/* ---- the request ---- */

/* Reads head and body into the exchange. False: *ret_code is the exit code. */
static bool read_request(struct buffer *out, struct exchange *exchange, struct span in, int *ret_code)
{
    const struct config_limits *limits = &exchange->snapshot->config->limits;
    struct h1_limits own = h1_limits_default;
    own.head_bytes = (unsigned)limits->header_bytes;
    own.fields = limits->header_count;
    own.target_bytes = (unsigned)limits->target_bytes;
    struct h1_reader reader;
    h1_reader_init(&reader, H1_SERVER, &own);
    h1_reader_start(&reader, &exchange->arena, &exchange->request, HTTP_OTHER);
    bool head = false;
    struct span body;
    enum h1_event event;
    while ((event = h1_reader_next(&reader, &in, &body)) == H1_HEAD || event == H1_BODY) {
        if (event == H1_BODY)
            buffer_append(&exchange->body, body);
        head = true;
    }
    enum fault fault = reader.fault;
    const char *reason = reader.reason;
    h1_reader_finish(&reader);
    if (event == H1_BAD) {
        *ret_code = refused(out, fault,
                            arena_format(&exchange->arena, "%.*s %s", SPAN_ARG(fault_entry(fault)->message), reason),
                            (struct span){0});
        return false;
    }
    if (event == H1_MORE) {
        if (!head)
            (void)fprintf(stderr, "postern simulate: the head has no end: an empty line must follow the last field\n");
        else if (exchange->request.framing == BODY_LENGTH)
            (void)fprintf(stderr, "postern simulate: Content-Length says %llu bytes of body, there are %zu\n",
                          (unsigned long long)exchange->request.body_length, buffer_len(&exchange->body));
        else
            (void)fprintf(stderr, "postern simulate: the body ends before its last chunk\n");
        *ret_code = 1;
        return false;
    }
    if (in.len)
        buffer_format(out, "note       %zu byte%s after the end of the request %s not looked at%s\n", in.len,
                      in.len == 1 ? "" : "s", in.len == 1 ? "is" : "are",
                      exchange->request.framing == BODY_NONE ? "; a body needs Content-Length or Transfer-Encoding"
                                                             : "");
    return true;
}

/* ---- what it asks for ---- */

static void show_request(struct buffer *out, const struct exchange *exchange)
{
    const struct message *request = &exchange->request;
    buffer_format(out, "listener   %.*s\nrequest    %.*s %.*s", SPAN_ARG(exchange->listener->name),
                  SPAN_ARG(request->method_text), SPAN_ARG(request->path));
    if (buffer_len(&exchange->body))
        buffer_format(out, ", %zu bytes of body", buffer_len(&exchange->body));
    buffer_append(out, SPAN("\n"));
}

static void show_operation(struct buffer *out, const struct exchange *exchange)
{
    const struct api_call *call = &exchange->call;
    if (exchange->passthrough) {
        buffer_format(out, "route      passthrough %.*s\n", SPAN_ARG(exchange->passthrough->path));
        return;
    }
    buffer_format(out, "operation  %.*s, asked in the %.*s dialect", SPAN_ARG(call->operation->name),
                  SPAN_ARG(dialect_name(call->dialect)));
    if (call->api_version.len) {
        buffer_append(out, SPAN(", api-version "));
        simulate_quote(out, call->api_version);
    }
    buffer_append(out, SPAN("\n"));
}

static void show_model(struct buffer *out, const struct exchange *exchange)
{
    if (exchange->model_asked.len) {
        buffer_append(out, SPAN("model      "));
        simulate_quote(out, exchange->model_asked);
        buffer_append(out, exchange->call.deployment.len ? SPAN(" from the path") : SPAN(""));
        if (exchange->model)
            buffer_format(out, ", served by the entry \"%.*s\"", SPAN_ARG(exchange->model->name));
        buffer_append(out, SPAN("\n"));
    }
    if (exchange->inspected && exchange->info.stream)
        buffer_format(out, "stream     yes; the client %s for usage\n",
                      exchange->info.include_usage == TRI_TRUE ? "asks" : "does not ask");
    if (exchange->stateful)
        buffer_append(out, SPAN("stateful   yes: what it names or leaves behind lives on one target\n"));
}

/* ---- filters ---- */

static void explain(struct buffer *out, struct exchange *exchange, const struct filter_use *use)
{
    const struct filter_type *type = use->type;
    struct filter filter = {.type = type, .settings = use->settings, .exchange = exchange, .name = use->name};
    if (type->state_size)
        filter.state = arena_zalloc(&exchange->arena, type->state_size);
    if (type->explain) {
        type->explain(&filter, out);
        return;
    }
    struct span help = span_str(type->settings->help);
    size_t end = span_search(help, SPAN(". "));
    buffer_append(out, span_take(help, end < help.len ? end + 1 : help.len));
}

static void show_filters(struct buffer *out, struct exchange *exchange, const struct filter_list *list,
                         const char *whose, unsigned *number)
{
    for (unsigned i = 0; list && i < list->count; i++) {
        const struct filter_use *use = &list->uses[i];
        if ((*number)++ == 0)
            buffer_append(out, SPAN("\nfilters\n"));
        buffer_format(out, "  %u. %.*s (%s, of the %s): ", *number, SPAN_ARG(use->name), use->type->name, whose);
        if (use->type->applies && !use->type->applies(use->settings, exchange))
            buffer_append(out, SPAN("does not apply to this request"));
        else
            explain(out, exchange, use);
        buffer_append(out, SPAN("\n"));
    }
}

/* ---- the whole ---- */

static int method_refused(struct buffer *out, struct exchange *exchange)
{
    struct span allow = operation_allow(&exchange->arena, exchange->request.path);
    buffer_format(out, "\nallowed here: %.*s\n", SPAN_ARG(allow));
    return refused(out, FAULT_METHOD_NOT_ALLOWED, (struct span){0}, (struct span){0});
}

/* What Postern answers by itself. True: *ret_code is the exit code. */
static bool answered_here(struct buffer *out, struct exchange *exchange, int *ret_code)
{
    const struct operation *operation = exchange->call.operation;
    if (exchange->call_fault == FAULT_METHOD_NOT_ALLOWED) {
        *ret_code = method_refused(out, exchange);
        return true;
    }
    if (exchange->call_fault != FAULT_NONE) {
        *ret_code = refused(out, exchange->call_fault, (struct span){0}, (struct span){0});
        return true;
    }
    bool get = exchange->request.method == HTTP_GET;
    if (operation && (operation->flags & OPERATION_WEBSOCKET) && get) {
        *ret_code = refused(out, FAULT_NOT_IMPLEMENTED, (struct span){0}, (struct span){0});
        return true;
    }
    if (!operation || (operation->id != OPERATION_MODELS && operation->id != OPERATION_MODEL) ||
        exchange->request.method == HTTP_DELETE)
        return false;
    buffer_append(out, SPAN("\nanswered by Postern itself: the models that the configuration offers\n"));
    *ret_code = 0;
    return true;
}

static int body_refused(struct buffer *out, const struct exchange *exchange)
{
    const struct request_reader *reader = exchange->reader;
    return refused(out, reader->fault, reader->message, reader->param);
}

static int model_refused(struct buffer *out, struct exchange *exchange, enum fault fault)
{
    struct span text = {0};
    if (fault == FAULT_MODEL_NOT_FOUND)
        text = arena_format(&exchange->arena, "The model `%.*s` does not exist or you do not have access to it.",
                            SPAN_ARG(exchange->model_asked));
    return refused(out, fault, text, SPAN("model"));
}

static int simulate(struct buffer *out, struct exchange *exchange)
{
    unsigned filters = 0;
    int code;
    exchange->id = fields_value(&exchange->request.fields, FIELD_X_REQUEST_ID);
    show_request(out, exchange);
    if (exchange->listener->serves) { /* no operation, no model: its filters are all there is */
        show_filters(out, exchange, &exchange->listener->filters, "listener", &filters);
        return 0;
    }
    asked_operation(exchange);
    if (exchange->call_fault == FAULT_NONE)
        show_operation(out, exchange);
    if (answered_here(out, exchange, &code))
        return code;
    struct span message;
    enum fault fault = asked_reader(exchange, &message);
    if (fault != FAULT_NONE)
        return refused(out, fault, message, (struct span){0});
    if (exchange->inspected) {
        if (buffer_len(&exchange->body) > exchange->snapshot->config->limits.body)
            return refused(out, FAULT_BODY_TOO_LARGE, (struct span){0}, (struct span){0});
        if (request_feed(exchange->reader, buffer_span(&exchange->body)) != FAULT_NONE ||
            request_finish(exchange->reader) != FAULT_NONE)
            return body_refused(out, exchange);
        exchange->operation_streams = exchange->info.stream;
    }
    if (!exchange->passthrough) {
        fault = asked_model(exchange);
        show_model(out, exchange);
    }
    show_filters(out, exchange, &exchange->listener->filters, "listener", &filters);
    if (fault != FAULT_NONE)
        return model_refused(out, exchange, fault);
    show_filters(out, exchange, asked_filters(exchange), exchange->passthrough ? "route" : "model", &filters);
    fault = simulate_targets(out, exchange);
    return fault == FAULT_NONE ? 0 : refused(out, fault, (struct span){0}, (struct span){0});
}

static int simulate_on(struct snapshot *snapshot, const struct listener_use *listener, const char *path)
{
    struct buffer file = {0}, out = {0};
    struct arena arena;
    arena_init(&arena);
    struct exchange *exchange = ARENA_NEW(&arena, struct exchange);
    exchange->arena = arena;
    arena_init(&exchange->scratch);
    exchange->snapshot = snapshot;
    exchange->listener = listener;
    int code = 1;
    if (read_all(path, &file)) {
        repair_line_ends(&out, &file);
        struct span bytes = buffer_span(&file);
        if (h1_looks_like_h2(bytes) == H1_PREFACE_YES)
            (void)fprintf(stderr, "postern simulate: %s is HTTP/2; capture the request as HTTP/1.1\n", path);
        else if (read_request(&out, exchange, bytes, &code))
            code = simulate(&out, exchange);
        if (buffer_len(&out))
            (void)fwrite(buffer_span(&out).ptr, 1, buffer_len(&out), stdout);
    }
    buffer_finish(&file);
    buffer_finish(&out);
    buffer_finish(&exchange->body);
    arena_finish(&exchange->scratch);
    arena = exchange->arena;
    arena_finish(&arena);
    return code;
}

static const struct listener_use *listener_named(const struct snapshot *snapshot, const char *name)
{
    for (unsigned i = 0; i < snapshot->listener_count; i++)
        if (!name || span_equal(snapshot->listeners[i].name, span_str(name)))
            return &snapshot->listeners[i];
    (void)fprintf(stderr, "postern simulate: no listener is named \"%s\"; there are:", name);
    for (unsigned i = 0; i < snapshot->listener_count; i++)
        (void)fprintf(stderr, " %.*s", SPAN_ARG(snapshot->listeners[i].name));
    (void)fprintf(stderr, "\n");
    return NULL;
}

int command_simulate(int argc, char **argv)
{
    const char *listener_name = NULL, *paths[2] = {NULL, NULL};
    int count = 0;
    for (int i = 1; i < argc; i++) {
        bool dash = span_equal(span_str(argv[i]), SPAN("-"));
        if (span_equal(span_str(argv[i]), SPAN("--listener")) && i + 1 < argc)
            listener_name = argv[++i];
        else if ((argv[i][0] == '-' && !dash) || count == 2)
            return command_usage("simulate", "a configuration and a file with one HTTP/1.1 request are wanted");
        else
            paths[count++] = argv[i];
    }
    if (count < 2)
        return command_usage("simulate", "a configuration and a file with one HTTP/1.1 request are wanted");
    struct snapshot *snapshot = command_load(paths[0], CONFIG_OFFLINE);
    if (!snapshot)
        return 1;
    const struct listener_use *listener = listener_named(snapshot, listener_name);
    int code = listener ? simulate_on(snapshot, listener, paths[1]) : 1;
    snapshot_unref(snapshot);
    return code;
}
