/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/h1_client.h"

#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/upstream_conn.h"
#include "http/h1_writer.h"

#define DRAIN_MAX ((size_t)64 * 1024)

static struct h1_client *client_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct h1_client, stream);
}

/* ---- the request: stream ops ---- */

static void op_head(struct stream *stream, struct message *head, bool end)
{
    struct h1_client *client = client_of(stream);
    struct wire *wire = &client->conn->wire;
    client->chunked = !end && head->framing == BODY_CHUNKED;
    if (end)
        head->framing = BODY_NONE;
    client->request_done = end;
    if (!h1_write_request(&wire->out, head, head->authority)) {
        upstream_conn_fail_later(client->conn, FAULT_MALFORMED_REQUEST, "a header field cannot be sent");
        return;
    }
    wire_touch(wire);
}

static void op_body(struct stream *stream, struct span bytes)
{
    struct h1_client *client = client_of(stream);
    struct wire *wire = &client->conn->wire;
    if (bytes.len == 0 || !wire->transport)
        return;
    if (client->chunked) {
        char room[H1_CHUNK_HEAD_MAX];
        struct span parts[3] = {span_of(room, h1_chunk_head(room, bytes.len)), bytes, SPAN("\r\n")};
        upstream_conn_send_parts(client->conn, parts, 3);
    } else {
        upstream_conn_send_parts(client->conn, &bytes, 1);
    }
    stream_queue_grew(stream, wire_pending(wire));
}

static void op_end(struct stream *stream, const struct fields *trailers)
{
    struct h1_client *client = client_of(stream);
    struct wire *wire = &client->conn->wire;
    if (client->chunked && !h1_write_last_chunk(&wire->out, trailers))
        client->keep_alive = false;
    client->chunked = false;
    client->request_done = true;
    wire_touch(wire);
}

static void op_want(struct stream *stream, bool more)
{
    struct h1_client *client = client_of(stream);
    if (client->conn->wire.transport)
        transport_want(client->conn->wire.transport, more);
}

static void op_reset(struct stream *stream, enum fault why)
{
    struct h1_client *client = client_of(stream);
    stream->attempt = NULL;
    stream->congested = false;
    if (why != FAULT_NONE || !client->head_read || !client->request_done || !client->keep_alive) {
        upstream_conn_close(client->conn);
        return;
    }
    /* The exchange's arena goes at the end of the turn; what is left of the message needs another. */
    client->draining = true;
    client->drained = 0;
    client->reader.arena = &client->drain_arena;
    client->reader.message = &client->drain_message;
    if (client->conn->wire.transport)
        transport_want(client->conn->wire.transport, true);
    upstream_conn_wait_drain(client->conn);
}

static const struct stream_ops client_ops = {
    .name = "h1", .head = op_head, .body = op_body, .end = op_end, .want = op_want, .reset = op_reset};

/* ---- the answer ---- */

/* False: not a head that an attempt is told of. */
static bool head_arrived(struct h1_client *client)
{
    const struct message *head = client->reader.message;
    if (head->status == 101) {
        upstream_conn_fail(client->conn, FAULT_UPSTREAM_PROTOCOL, "answered 101 to no upgrade");
        return false;
    }
    if (head->status < 200)
        return true;
    client->head_read = true;
    client->keep_alive = head->keep_alive;
    bool end = head->framing == BODY_NONE || (head->framing == BODY_LENGTH && head->body_length == 0);
    stream_arrived_head(&client->stream, client->reader.message, end);
    return true;
}

static void body_arrived(struct h1_client *client, struct span body)
{
    if (!client->draining) {
        stream_arrived_body(&client->stream, body);
        return;
    }
    client->drained += body.len;
    if (client->drained > DRAIN_MAX)
        upstream_conn_close(client->conn);
}

static void end_arrived(struct h1_client *client)
{
    bool reusable = client->keep_alive && client->request_done;
    client->busy = false;
    stream_arrived_end(&client->stream, &client->reader.trailers);
    client->stream.attempt = NULL;
    client->stream.congested = false;
    arena_finish(&client->drain_arena);
    if (client->conn->closed)
        return;
    if (reusable)
        upstream_conn_idle(client->conn);
    else
        upstream_conn_close(client->conn);
}

void h1_client_input(struct h1_client *client, struct span bytes)
{
    struct upstream_conn *conn = client->conn;
    if (!client->busy) { /* nobody asked */
        upstream_conn_close(conn);
        return;
    }
    while (!conn->closed && client->busy) {
        struct span body;
        switch (h1_reader_next(&client->reader, &bytes, &body)) {
        case H1_MORE:
            return;
        case H1_HEAD:
            if (!head_arrived(client))
                return;
            break;
        case H1_BODY:
            body_arrived(client, body);
            break;
        case H1_END:
            end_arrived(client);
            if (bytes.len && !conn->closed)
                upstream_conn_close(conn); /* an answer without a question: the connection is out of step */
            return;
        case H1_BAD:
            upstream_conn_fail(conn, client->reader.fault, client->reader.reason);
            return;
        }
    }
}

void h1_client_eof(struct h1_client *client)
{
    if (!client->busy) {
        upstream_conn_close(client->conn);
        return;
    }
    client->keep_alive = false;
    if (h1_reader_eof(&client->reader) == H1_END)
        end_arrived(client);
    else
        upstream_conn_fail(client->conn, FAULT_UPSTREAM_CLOSED, "connection closed by the target");
}

/* ---- life ---- */

void h1_client_init(struct h1_client *client, struct upstream_conn *conn)
{
    client->conn = conn;
    client->stream.ops = &client_ops;
    client->stream.role = STREAM_CLIENT;
    struct h1_limits limits = h1_limits_default;
    h1_reader_init(&client->reader, H1_CLIENT, &limits);
}

struct stream *h1_client_start(struct h1_client *client, struct attempt *attempt)
{
    client->busy = true;
    client->head_read = client->request_done = client->draining = client->chunked = false;
    client->keep_alive = true;
    client->stream.attempt = attempt;
    client->stream.queued = 0;
    client->stream.congested = false;
    h1_reader_start(&client->reader, &attempt->exchange->arena, &attempt->response, attempt->exchange->request.method);
    transport_want(client->conn->wire.transport, true);
    return &client->stream;
}

void h1_client_finish(struct h1_client *client, enum fault why, const char *reason)
{
    if (client->stream.attempt) {
        bool untouched = h1_reader_untouched(&client->reader);
        stream_arrived_failure(&client->stream, why, reason, client->stream.reused && untouched);
    }
    client->stream.attempt = NULL;
    h1_reader_finish(&client->reader);
    arena_finish(&client->drain_arena);
}
