/* SPDX-License-Identifier: Apache-2.0 */
/* The library's events, turned into ours. Any of our events may end any stream: look a stream up again after each. */
#include "http/h2_internal.h"

/* Takes the stream in; without an arena the owner refuses it. */
static void open_stream(struct h2_session *session, int32_t id)
{
    struct h2_stream *stream = h2_stream_create(session, id);
    (void)nghttp2_session_set_stream_user_data(session->ng, id, stream);
    stream->arena = session->events->on_open(session->owner, stream);
    if (stream->arena) {
        session->current = stream;
        return;
    }
    h2_stream_reset(stream, H2_REFUSED_STREAM);
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    (void)ng;
    struct h2_session *session = arg;
    session->current = NULL;
    if (session->role == H2_SERVER && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        open_stream(session, frame->hd.stream_id);
    else
        session->current = h2_stream_of(session, frame->hd.stream_id);
    if (session->current)
        h2_head_begin(session->current);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                     uint8_t flags, void *arg)
{
    (void)ng, (void)frame, (void)flags;
    struct h2_session *session = arg;
    if (!session->current)
        return 0;
    nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
    if (LIKELY(h2_head_field(session->current, span_of((const char *)n.base, n.len),
                             span_of((const char *)v.base, v.len))))
        return 0;
    session->fault = (struct h2_fault){.name = H2_LIMIT_HEADER_LIST, .code = H2_ENHANCE_YOUR_CALM};
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* By default the library drops fields with bad names or values and goes on; nothing may look different to us and to the
 * sender. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                             uint8_t flags, void *arg)
{
    (void)ng, (void)frame, (void)name, (void)value, (void)flags, (void)arg;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* The library resets the stream at once, but on_reset comes only when RST_STREAM is out: until then nothing more. */
static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *arg)
{
    (void)ng, (void)error;
    struct h2_session *session = arg;
    struct h2_stream *stream = frame->hd.stream_id > 0 ? h2_stream_of(session, frame->hd.stream_id) : NULL;
    if (stream)
        stream->mute = true;
    return 0;
}

static void refuse(struct h2_stream *stream)
{
    struct h2_session *session = stream->session;
    if (session->role == H2_CLIENT || !session->events->on_refuse) {
        h2_stream_break(stream, H2_ENHANCE_YOUR_CALM);
        return;
    }
    stream->mute = true;
    session->events->on_refuse(session->owner, stream, stream->message, stream->fault);
}

static void head_complete(struct h2_session *session, struct h2_stream *stream, bool end)
{
    if (!h2_head_finish(stream, end)) {
        h2_stream_break(stream, H2_PROTOCOL_ERROR);
        return;
    }
    stream->head_done = session->role == H2_SERVER || stream->message->status >= 200;
    if (stream->fault != FAULT_NONE)
        refuse(stream);
    else if (session->events->on_head)
        session->events->on_head(session->owner, stream, stream->message);
}

static void trailers_complete(struct h2_stream *stream)
{
    if (stream->fault != FAULT_NONE && !stream->mute)
        h2_stream_break(stream, H2_ENHANCE_YOUR_CALM);
}

static void on_headers_frame(struct h2_session *session, const nghttp2_frame *frame)
{
    struct h2_stream *stream = session->current;
    session->current = NULL;
    if (!stream || stream->mute)
        return;
    if (stream->trailers)
        trailers_complete(stream);
    else
        head_complete(session, stream, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
}

static void message_end(struct h2_session *session, int32_t id)
{
    struct h2_stream *stream = h2_stream_of(session, id);
    if (!stream)
        return;
    stream->remote_end = true;
    if (!stream->mute && session->events->on_end)
        session->events->on_end(session->owner, stream, stream->trailers);
}

static void on_pong(struct h2_session *session)
{
    if (!session->ping_out)
        return;
    session->ping_out = false;
    if (session->events->on_pong)
        session->events->on_pong(session->owner, session->now - session->ping_at);
}

static void count_empty_data(struct h2_session *session, const nghttp2_frame *frame)
{
    bool empty = frame->hd.length == frame->data.padlen && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    if (empty && !h2_guard_count(&session->guard, H2_RATE_EMPTY_DATA, session->now))
        h2_session_fail(session, H2_ENHANCE_YOUR_CALM, h2_rate_name(H2_RATE_EMPTY_DATA));
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    (void)ng;
    struct h2_session *session = arg;
    const struct h2_events *events = session->events;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        count_empty_data(session, frame);
        break;
    case NGHTTP2_HEADERS:
        on_headers_frame(session, frame);
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK) && events->on_settings)
            events->on_settings(session->owner);
        return 0;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            on_pong(session);
        return 0;
    case NGHTTP2_GOAWAY:
        session->draining = true;
        if (events->on_goaway)
            events->on_goaway(session->owner, (uint32_t)frame->goaway.last_stream_id, frame->goaway.error_code);
        return 0;
    default:
        return 0;
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        message_end(session, frame->hd.stream_id);
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg)
{
    (void)flags;
    struct h2_session *session = arg;
    (void)nghttp2_session_consume_connection(ng, len);
    struct h2_stream *stream = h2_stream_of(session, id);
    if (!stream || stream->mute || !session->events->on_body)
        (void)nghttp2_session_consume_stream(ng, id, len);
    else
        session->events->on_body(session->owner, stream, span_of((const char *)data, len));
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    (void)ng;
    struct h2_session *session = arg;
    struct h2_stream *stream = h2_stream_of(session, id);
    if (!stream)
        return 0;
    bool complete = session->role == H2_SERVER ? stream->local_end : stream->remote_end;
    bool done = complete && code == H2_NO_ERROR;
    h2_stream_end(stream, done, code, session->role == H2_CLIENT && code == H2_REFUSED_STREAM);
    return 0;
}

/* The response is complete and the request is not: the rest is not wanted (RFC 9113 section 8.1). */
static void own_end(struct h2_session *session, struct h2_stream *stream)
{
    stream->local_end = true;
    if (session->role == H2_CLIENT || stream->remote_end)
        return;
    stream->mute = true;
    (void)h2_guard_was_reset(&session->guard, (uint32_t)stream->id);
    (void)nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, stream->id, H2_NO_ERROR);
}

/* A reset that the owner did not ask for is the peer's doing. */
static void sent_reset(struct h2_session *session, uint32_t id)
{
    if (session->role == H2_CLIENT || h2_guard_was_reset(&session->guard, id))
        return;
    if (!h2_guard_count(&session->guard, H2_RATE_STREAM_ERRORS, session->now))
        h2_session_fail(session, H2_ENHANCE_YOUR_CALM, h2_rate_name(H2_RATE_STREAM_ERRORS));
}

static void sent_goaway(struct h2_session *session, uint32_t code)
{
    session->draining = true;
    if (code != H2_NO_ERROR && !session->own_goaway && !session->fault.name)
        session->fault = (struct h2_fault){.name = h2_fault_name(code), .code = code};
}

static int on_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    (void)ng;
    struct h2_session *session = arg;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        h2_guard_sent_data(&session->guard);
        break;
    case NGHTTP2_HEADERS:
        break;
    case NGHTTP2_RST_STREAM:
        sent_reset(session, (uint32_t)frame->hd.stream_id);
        return 0;
    case NGHTTP2_GOAWAY:
        sent_goaway(session, frame->goaway.error_code);
        return 0;
    default:
        return 0;
    }
    struct h2_stream *stream = h2_stream_of(session, frame->hd.stream_id);
    if (!stream)
        return 0;
    stream->head_sent = true;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        own_end(session, stream);
    return 0;
}

/* A request that was never sent has no stream in the library, so it is found by walking ours; this is rare. */
static struct h2_stream *unsent_stream(struct h2_session *session, int32_t id)
{
    LIST_EACH(&session->streams, link)
    {
        struct h2_stream *stream = CONTAINER_OF(link, struct h2_stream, link);
        if (stream->id == id)
            return stream;
    }
    return NULL;
}

static int on_not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *arg)
{
    (void)ng, (void)error;
    struct h2_session *session = arg;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct h2_stream *stream = unsent_stream(session, frame->hd.stream_id);
    if (!stream)
        return 0;
    if (session->role == H2_CLIENT && !stream->head_sent) {
        h2_stream_end(stream, false, H2_REFUSED_STREAM, true);
        return 0;
    }
    /* A head or trailers that cannot be packed: without them the stream would hang. */
    (void)h2_guard_was_reset(&session->guard, (uint32_t)stream->id);
    h2_stream_break(stream, H2_INTERNAL_ERROR);
    return 0;
}

void h2_incoming_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, h2_stream_send_data);
}
