/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/memory.h"
#include "http/h2_internal.h"

struct h2_stream *h2_stream_create(struct h2_session *session, int32_t id)
{
    struct h2_stream *stream = memory_zalloc(sizeof(*stream));
    stream->session = session;
    stream->id = id;
    list_append(&session->streams, &stream->link);
    session->stream_count++;
    return stream;
}

static void drop_queue(struct h2_stream *stream)
{
    struct h2_session *session = stream->session;
    size_t queued = buffer_len(&stream->queue);
    if (queued) {
        session->busy--;
        session->queued -= queued;
    }
    buffer_finish(&stream->queue);
}

/* Trailers wait for the queue to empty, which may be after the owner's arena has gone: one block holds list and text.
 */
static struct fields *keep_trailers(const struct fields *trailers)
{
    size_t size = sizeof(struct fields) + trailers->count * sizeof(struct field);
    for (unsigned i = 0; i < trailers->count; i++)
        size += trailers->at[i].name.len + trailers->at[i].value.len;
    struct fields *copy = memory_alloc(size);
    *copy = (struct fields){.at = (struct field *)(void *)(copy + 1),
                            .count = trailers->count,
                            .cap = trailers->count,
                            .ids = trailers->ids};
    char *text = (char *)(copy->at + copy->count);
    for (unsigned i = 0; i < trailers->count; i++) {
        struct field from = trailers->at[i];
        copy->at[i] = (struct field){
            .name = {text, from.name.len}, .value = {text + from.name.len, from.value.len}, .id = from.id};
        memcpy(text, from.name.ptr, from.name.len);
        if (from.value.len)
            memcpy(text + from.name.len, from.value.ptr, from.value.len);
        text += from.name.len + from.value.len;
    }
    return copy;
}

void h2_stream_destroy(struct h2_stream *stream)
{
    struct h2_session *session = stream->session;
    (void)nghttp2_session_set_stream_user_data(session->ng, stream->id, NULL);
    if (session->current == stream)
        session->current = NULL;
    list_remove(&stream->link);
    list_remove(&stream->turn);
    list_remove(&stream->room);
    session->stream_count--;
    drop_queue(stream);
    free(stream->own_trailers);
    free(stream);
}

void h2_stream_end(struct h2_stream *stream, bool done, uint32_t code, bool retry_safe)
{
    struct h2_session *session = stream->session;
    stream->ending = true;
    if (done) {
        if (session->events->on_done)
            session->events->on_done(session->owner, stream);
    } else if (session->events->on_reset) {
        session->events->on_reset(session->owner, stream, code, retry_safe);
    }
    h2_stream_destroy(stream);
}

struct h2_stream *h2_stream_of(struct h2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session->ng, id);
}

void h2_stream_break(struct h2_stream *stream, uint32_t code)
{
    stream->mute = true;
    (void)nghttp2_submit_rst_stream(stream->session->ng, NGHTTP2_FLAG_NONE, stream->id, code);
}

static void send_trailers(struct h2_stream *stream)
{
    struct h2_list list;
    h2_list_init(&list, stream->own_trailers->count);
    h2_list_add_fields(&list, stream->own_trailers);
    (void)nghttp2_submit_trailer(stream->session->ng, stream->id, list.at, list.count);
    h2_list_finish(&list);
}

/*
 * One DATA frame per stream and round while others have bytes too: the library by itself would send one stream to its
 * end before the next (RFC 9218's default for streams that are not incremental).
 */
ssize_t h2_stream_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                       nghttp2_data_source *source, void *arg)
{
    (void)ng, (void)buf, (void)source;
    struct h2_session *session = arg;
    struct h2_stream *stream = h2_stream_of(session, id);
    if (!stream)
        return NGHTTP2_ERR_DEFERRED;
    size_t queued = buffer_len(&stream->queue);
    if (queued == 0 && !stream->finished) {
        stream->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (stream->round == session->round && session->busy > 1) {
        list_append(&session->resting, &stream->turn);
        return NGHTTP2_ERR_DEFERRED;
    }
    stream->round = session->round;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (stream->finished && queued <= len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->own_trailers) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            send_trailers(stream);
        }
    }
    return (ssize_t)(queued < len ? queued : len);
}

int h2_stream_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t len,
                        nghttp2_data_source *source, void *arg)
{
    (void)ng, (void)source;
    struct h2_session *session = arg;
    struct h2_stream *stream = h2_stream_of(session, frame->hd.stream_id);
    if (!stream)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    char *room = buffer_reserve(session->out, H2_FRAME_HEAD + len);
    memcpy(room, head, H2_FRAME_HEAD);
    if (len) {
        memcpy(room + H2_FRAME_HEAD, buffer_span(&stream->queue).ptr, len);
        buffer_consume(&stream->queue, len);
        session->queued -= len;
        if (buffer_len(&stream->queue) == 0)
            session->busy--;
    }
    buffer_commit(session->out, H2_FRAME_HEAD + len);
    if (stream->above_high && buffer_len(&stream->queue) <= session->limits.queue_low) {
        stream->above_high = false;
        list_append(&session->drained, &stream->room);
    }
    return buffer_len(session->out) >= session->out_stop ? NGHTTP2_ERR_PAUSE : 0;
}

static nghttp2_data_provider provider(void)
{
    return (nghttp2_data_provider){.source = {.ptr = NULL}, .read_callback = h2_stream_read};
}

struct h2_stream *h2_submit_request(struct h2_session *session, const struct message *message, bool end,
                                    struct arena *arena, void *user)
{
    if (session->draining || session->fault.name || session->role != H2_CLIENT)
        return NULL;
    struct h2_list list;
    h2_list_init(&list, message->fields.count + 4u);
    h2_list_add(&list, SPAN(":method"), message->method_text);
    h2_list_add(&list, SPAN(":scheme"), message->scheme);
    h2_list_add(&list, SPAN(":authority"), message->authority);
    h2_list_add(&list, SPAN(":path"), message->target);
    h2_list_add_fields(&list, &message->fields);
    struct h2_stream *stream = h2_stream_create(session, 0);
    nghttp2_data_provider body = provider();
    int32_t id = nghttp2_submit_request(session->ng, NULL, list.at, list.count, end ? NULL : &body, stream);
    h2_list_finish(&list);
    stream->id = id;
    stream->arena = arena;
    stream->user = user;
    stream->head_submitted = true;
    stream->finished = end;
    if (id < 0) {
        stream->id = 0;
        h2_stream_destroy(stream);
        return NULL;
    }
    return stream;
}

static struct span status_text(char text[3], unsigned status)
{
    text[0] = (char)('0' + status / 100 % 10);
    text[1] = (char)('0' + status / 10 % 10);
    text[2] = (char)('0' + status % 10);
    return span_of(text, 3);
}

void h2_submit_response(struct h2_stream *stream, const struct message *message, bool end)
{
    if (stream->head_submitted || stream->ending || stream->session->role != H2_SERVER)
        return;
    char status[3];
    struct h2_list list;
    h2_list_init(&list, message->fields.count + 1u);
    h2_list_add(&list, SPAN(":status"), status_text(status, message->status));
    h2_list_add_fields(&list, &message->fields);
    nghttp2_data_provider body = provider();
    (void)nghttp2_submit_response(stream->session->ng, stream->id, list.at, list.count, end ? NULL : &body);
    h2_list_finish(&list);
    stream->head_submitted = true;
    stream->finished = end;
}

void h2_submit_interim(struct h2_stream *stream, unsigned status)
{
    if (stream->head_submitted || stream->ending)
        return;
    char text[3];
    struct h2_list list;
    h2_list_init(&list, 1);
    h2_list_add(&list, SPAN(":status"), status_text(text, status));
    (void)nghttp2_submit_headers(stream->session->ng, NGHTTP2_FLAG_NONE, stream->id, NULL, list.at, list.count, NULL);
    h2_list_finish(&list);
}

static void wake(struct h2_stream *stream)
{
    if (!stream->deferred)
        return;
    stream->deferred = false;
    (void)nghttp2_session_resume_data(stream->session->ng, stream->id);
}

void h2_stream_write(struct h2_stream *stream, struct span bytes)
{
    struct h2_session *session = stream->session;
    if (!stream->head_submitted || stream->finished || stream->ending || bytes.len == 0)
        return;
    if (buffer_len(&stream->queue) == 0)
        session->busy++;
    buffer_append(&stream->queue, bytes);
    session->queued += bytes.len;
    if (buffer_len(&stream->queue) > session->limits.queue_high) {
        stream->above_high = true;
        list_remove(&stream->room);
    }
    wake(stream);
}

size_t h2_stream_queued(const struct h2_stream *stream)
{
    return buffer_len(&stream->queue);
}

void h2_stream_finish(struct h2_stream *stream, const struct fields *trailers)
{
    if (!stream->head_submitted || stream->finished || stream->ending)
        return;
    if (trailers && trailers->count)
        stream->own_trailers = keep_trailers(trailers);
    stream->finished = true;
    wake(stream);
}

void h2_stream_reset(struct h2_stream *stream, uint32_t code)
{
    if (stream->ending)
        return;
    struct h2_session *session = stream->session;
    if (session->role == H2_SERVER)
        (void)h2_guard_was_reset(&session->guard, (uint32_t)stream->id);
    (void)nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, stream->id, code);
    h2_stream_destroy(stream);
}

void h2_stream_consume(struct h2_stream *stream, size_t size)
{
    (void)nghttp2_session_consume_stream(stream->session->ng, stream->id, size);
}

void h2_stream_set_user(struct h2_stream *stream, void *user)
{
    stream->user = user;
}

void *h2_stream_user(const struct h2_stream *stream)
{
    return stream->user;
}

uint32_t h2_stream_id(const struct h2_stream *stream)
{
    return (uint32_t)stream->id;
}

struct h2_session *h2_stream_session(const struct h2_stream *stream)
{
    return stream->session;
}
