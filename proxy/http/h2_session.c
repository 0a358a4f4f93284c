/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h2_session.h"

#include <stdlib.h>

#include "base/memory.h"
#include "http/h2_internal.h"

/* Heads we forward have passed limits of their own; this only has to be larger. */
#define SEND_HEAD_BYTES (1024 * 1024)
/* The protocol's initial connection window (RFC 9113 6.9.2), which SETTINGS cannot change. */
#define INITIAL_WINDOW 65535

static const char *const code_names[] = {
    [H2_NO_ERROR] = "NO_ERROR",
    [H2_PROTOCOL_ERROR] = "PROTOCOL_ERROR",
    [H2_INTERNAL_ERROR] = "INTERNAL_ERROR",
    [H2_FLOW_CONTROL_ERROR] = "FLOW_CONTROL_ERROR",
    [H2_SETTINGS_TIMEOUT] = "SETTINGS_TIMEOUT",
    [H2_STREAM_CLOSED] = "STREAM_CLOSED",
    [H2_FRAME_SIZE_ERROR] = "FRAME_SIZE_ERROR",
    [H2_REFUSED_STREAM] = "REFUSED_STREAM",
    [H2_CANCEL] = "CANCEL",
    [H2_COMPRESSION_ERROR] = "COMPRESSION_ERROR",
    [H2_CONNECT_ERROR] = "CONNECT_ERROR",
    [H2_ENHANCE_YOUR_CALM] = "ENHANCE_YOUR_CALM",
    [H2_INADEQUATE_SECURITY] = "INADEQUATE_SECURITY",
    [H2_HTTP_1_1_REQUIRED] = "HTTP_1_1_REQUIRED",
};
_Static_assert(ARRAY_LEN(code_names) == H2_HTTP_1_1_REQUIRED + 1, "every code has a name");

const char *h2_code_name(uint32_t code)
{
    return code < ARRAY_LEN(code_names) ? code_names[code] : "UNKNOWN";
}

const char *h2_fault_name(uint32_t code)
{
    switch (code) {
    case H2_FLOW_CONTROL_ERROR:
        return "h2_flow_control";
    case H2_STREAM_CLOSED:
        return "h2_stream_closed";
    case H2_FRAME_SIZE_ERROR:
        return "h2_frame_size";
    case H2_COMPRESSION_ERROR:
        return "h2_compression";
    case H2_ENHANCE_YOUR_CALM:
        return "h2_excess";
    case H2_INTERNAL_ERROR:
        return "h2_internal";
    default:
        return "h2_protocol";
    }
}

/* The library's memory is ours: running out ends the process, so that its errors need no handling. */
static void *ng_malloc(size_t size, void *arg)
{
    (void)arg;
    return memory_alloc(size);
}

static void *ng_calloc(size_t count, size_t size, void *arg)
{
    (void)arg;
    return memory_array(count, size);
}

static void *ng_realloc(void *old, size_t size, void *arg)
{
    (void)arg;
    return memory_realloc(old, size);
}

static void ng_free(void *ptr, void *arg)
{
    (void)arg;
    free(ptr);
}

/*
 * Newer libraries count RST_STREAM themselves, by the real clock and with an INTERNAL_ERROR; distributions carry that
 * back into older versions, so that neither version nor header tells. The guard's rate holds instead.
 */
__attribute__((weak)) void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *option, uint64_t burst,
                                                                      uint64_t rate);
#define NO_LIMIT ((uint64_t)1 << 40)

static nghttp2_option *make_options(void)
{
    nghttp2_option *option = NULL;
    if (nghttp2_option_new(&option) != 0)
        abort();
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, SEND_HEAD_BYTES);
    if (nghttp2_option_set_stream_reset_rate_limit)
        nghttp2_option_set_stream_reset_rate_limit(option, NO_LIMIT, NO_LIMIT);
    return option;
}

static void make_library_session(struct h2_session *session)
{
    nghttp2_mem memory = {.malloc = ng_malloc, .calloc = ng_calloc, .realloc = ng_realloc, .free = ng_free};
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        abort();
    h2_incoming_callbacks(callbacks);
    nghttp2_option *option = make_options();
    int error = session->role == H2_SERVER
                    ? nghttp2_session_server_new3(&session->ng, callbacks, session, option, &memory)
                    : nghttp2_session_client_new3(&session->ng, callbacks, session, option, &memory);
    if (error != 0)
        abort();
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
}

/*
 * Priorities of RFC 7540 are switched off: they are deprecated, a well of attacks, and an LLM gateway's streams are
 * alike. The library then keeps no tree, and streams take turns (h2_stream_read).
 */
static void queue_settings(struct h2_session *session)
{
    const struct h2_limits *limits = &session->limits;
    nghttp2_settings_entry server[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits->stream_window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->header_bytes},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    nghttp2_settings_entry client[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits->stream_window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->header_bytes},
    };
    if (session->role == H2_SERVER)
        (void)nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, server, ARRAY_LEN(server));
    else
        (void)nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, client, ARRAY_LEN(client));
    if (limits->connection_window > INITIAL_WINDOW)
        (void)nghttp2_session_set_local_window_size(session->ng, NGHTTP2_FLAG_NONE, 0,
                                                    (int32_t)limits->connection_window);
}

struct h2_session *h2_session_create(enum h2_role role, const struct h2_limits *limits, const struct h2_events *events,
                                     void *owner)
{
    struct h2_session *session = memory_zalloc(sizeof(*session));
    session->role = role;
    session->limits = *limits;
    session->events = events;
    session->owner = owner;
    list_init(&session->streams);
    list_init(&session->resting);
    list_init(&session->drained);
    h2_guard_init(&session->guard, &session->limits, role == H2_SERVER);
    make_library_session(session);
    queue_settings(session);
    return session;
}

void h2_session_destroy(struct h2_session *session)
{
    if (!session)
        return;
    while (!list_empty(&session->streams))
        h2_stream_destroy(LIST_FIRST(&session->streams, struct h2_stream, link));
    nghttp2_session_del(session->ng);
    free(session);
}

void h2_session_fail(struct h2_session *session, uint32_t code, const char *name)
{
    if (!session->fault.name)
        session->fault = (struct h2_fault){.name = name, .code = code};
    session->draining = true;
    (void)nghttp2_session_terminate_session(session->ng, code);
}

/* Hands bytes the guard has passed to the library; false when the connection must end. */
static bool feed(struct h2_session *session, struct span bytes)
{
    if (bytes.len == 0)
        return true;
    ssize_t taken = nghttp2_session_mem_recv(session->ng, (const uint8_t *)bytes.ptr, bytes.len);
    if (taken < 0) {
        uint32_t code = session->fault.name                     ? session->fault.code
                        : taken == NGHTTP2_ERR_FLOODED          ? H2_ENHANCE_YOUR_CALM
                        : taken == NGHTTP2_ERR_CALLBACK_FAILURE ? H2_INTERNAL_ERROR
                                                                : H2_PROTOCOL_ERROR;
        h2_session_fail(session, code, h2_fault_name(code));
    }
    return !session->fault.name;
}

enum h2_status h2_session_receive(struct h2_session *session, struct span in, uint64_t now)
{
    session->now = now;
    if (session->fault.name)
        return H2_FAULT;
    while (in.len) {
        struct span rest = in;
        struct h2_guard_result result = h2_guard_scan(&session->guard, &rest, now);
        if (!feed(session, span_take(in, in.len - rest.len)))
            return H2_FAULT;
        in = rest;
        if (result.verdict == H2_GUARD_CONNECTION) {
            h2_session_fail(session, result.code, result.name);
            return H2_FAULT;
        }
        if (result.verdict == H2_GUARD_RESET)
            (void)nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, (int32_t)result.stream_id, result.code);
    }
    if (nghttp2_session_get_outbound_queue_size(session->ng) >
        session->limits.outbound_frames + session->stream_count) {
        h2_session_fail(session, H2_ENHANCE_YOUR_CALM, H2_LIMIT_OUTBOUND_FRAMES);
        return H2_FAULT;
    }
    return H2_OK;
}

/* A new round: streams that stood back may send again. False when there were none. */
static bool next_round(struct h2_session *session)
{
    if (list_empty(&session->resting))
        return false;
    session->round++;
    while (!list_empty(&session->resting)) {
        struct h2_stream *stream = LIST_FIRST(&session->resting, struct h2_stream, turn);
        list_remove(&stream->turn);
        (void)nghttp2_session_resume_data(session->ng, stream->id);
    }
    return true;
}

/* Tells the owners of queues that have drained; false when there were none. */
static bool tell_drained(struct h2_session *session)
{
    if (list_empty(&session->drained))
        return false;
    while (!list_empty(&session->drained)) {
        struct h2_stream *stream = LIST_FIRST(&session->drained, struct h2_stream, room);
        list_remove(&stream->room);
        if (session->events->on_window)
            session->events->on_window(session->owner, stream);
    }
    return true;
}

bool h2_session_send(struct h2_session *session, struct buffer *out, size_t max)
{
    session->out = out;
    session->out_stop = buffer_len(out) + max;
    session->round++;
    while (buffer_len(out) < session->out_stop) {
        const uint8_t *bytes;
        ssize_t size = nghttp2_session_mem_send(session->ng, &bytes);
        if (size < 0) {
            h2_session_fail(session, H2_INTERNAL_ERROR, h2_fault_name(H2_INTERNAL_ERROR));
            break;
        }
        if (size > 0)
            buffer_append(out, span_of((const char *)bytes, (size_t)size));
        else if (buffer_len(out) < session->out_stop && !next_round(session) && !tell_drained(session))
            break;
    }
    (void)tell_drained(session);
    session->out = NULL;
    return h2_session_wants_write(session);
}

bool h2_session_wants_write(const struct h2_session *session)
{
    return nghttp2_session_want_write(session->ng) || !list_empty(&session->resting);
}

struct h2_fault h2_session_fault(const struct h2_session *session)
{
    return session->fault;
}

bool h2_session_over(const struct h2_session *session)
{
    return !h2_session_wants_write(session) && (session->fault.name || !nghttp2_session_want_read(session->ng));
}

void h2_session_lost(struct h2_session *session)
{
    session->draining = true;
    while (!list_empty(&session->streams)) {
        struct h2_stream *stream = LIST_FIRST(&session->streams, struct h2_stream, link);
        h2_stream_end(stream, false, H2_INTERNAL_ERROR, session->role == H2_CLIENT && !stream->head_sent);
    }
}

void h2_session_shutdown_notice(struct h2_session *session)
{
    if (session->role == H2_SERVER)
        (void)nghttp2_submit_shutdown_notice(session->ng);
}

void h2_session_goaway(struct h2_session *session, uint32_t code)
{
    session->own_goaway = true;
    session->draining = true;
    int32_t last = nghttp2_session_get_last_proc_stream_id(session->ng);
    (void)nghttp2_submit_goaway(session->ng, NGHTTP2_FLAG_NONE, last, code, NULL, 0);
}

bool h2_session_draining(const struct h2_session *session)
{
    return session->draining;
}

bool h2_session_ping(struct h2_session *session, uint64_t now)
{
    if (session->ping_out)
        return false;
    session->ping_out = true;
    session->ping_at = now;
    (void)nghttp2_submit_ping(session->ng, NGHTTP2_FLAG_NONE, NULL);
    return true;
}

unsigned h2_session_streams(const struct h2_session *session)
{
    return session->stream_count;
}

size_t h2_session_queued(const struct h2_session *session)
{
    return session->queued;
}

uint64_t h2_session_head_since(const struct h2_session *session)
{
    return session->guard.block_since;
}

bool h2_session_can_open(const struct h2_session *session)
{
    return session->role == H2_CLIENT && !session->draining && !session->fault.name &&
           nghttp2_session_check_request_allowed(session->ng) &&
           session->stream_count <
               nghttp2_session_get_remote_settings(session->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}
