/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/h1_server.h"

#include "gateway/client_conn.h"
#include "gateway/exchange.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "http/h1_writer.h"

/* The rest of a request that was answered early is read and dropped up to this size, to keep the connection. */
#define DISCARD_MAX ((uint64_t)64 * 1024)

static void input(struct h1_server *server, struct span in);

static struct wire *wire_of(struct h1_server *server)
{
    return &server->conn->wire;
}

/* Read while there is something to learn: a body that is wanted, the next request, or that the client has left. */
static void update_interest(struct h1_server *server)
{
    struct wire *wire = wire_of(server);
    if (!wire->transport)
        return;
    bool body = server->begun && server->head_read && !server->request_done && !server->response_done;
    transport_want(wire->transport,
                   buffer_len(&server->ahead) == 0 && !server->half_closed && (!body || server->wants));
}

/* ---- the request ---- */

static void begin(struct h1_server *server)
{
    struct client_conn *conn = server->conn;
    struct exchange *exchange = exchange_create(conn->worker, worker_listener_snapshot(conn->listener),
                                                conn->listener->use, &server->stream, conn->peer_text);
    server->begun = true;
    server->head_read = server->request_done = server->response_done = server->response_begun = false;
    server->wants = true;
    server->discards = server->continued = false;
    h1_reader_start(&server->reader, &exchange->arena, &exchange->request, HTTP_OTHER);
    client_conn_wait(conn, CLIENT_HEADER);
}

static void head_arrived(struct h1_server *server)
{
    struct exchange *exchange = server->stream.exchange;
    const struct message *request = &exchange->request;
    server->head_read = true;
    server->version = request->version;
    server->keep_alive = request->keep_alive;
    server->is_head = request->method == HTTP_HEAD;
    bool end = request->framing == BODY_NONE || (request->framing == BODY_LENGTH && request->body_length == 0);
    client_conn_wait(server->conn, end ? CLIENT_ANSWER : CLIENT_BODY);
    stream_arrived_head(&server->stream, &exchange->request, end);
    /* While a head hook waits, the client may well wait for its 100 Continue. */
    if (!end && server->stream.exchange && server->stream.exchange->state == EXCHANGE_HEAD)
        client_conn_wait(server->conn, CLIENT_ANSWER);
}

/* Both messages have ended: the connection is free for the next request, or done. */
static void turn_over(struct h1_server *server)
{
    struct client_conn *conn = server->conn;
    server->begun = false;
    conn->used = true;
    if (!server->keep_alive || server->half_closed) {
        client_conn_finish(conn);
        return;
    }
    client_conn_wait(conn, CLIENT_IDLE);
    if (buffer_len(&server->ahead))
        loop_post(conn->worker->loop, &server->task);
    update_interest(server);
}

static void end_arrived(struct h1_server *server)
{
    server->request_done = true;
    if (server->response_done) {
        turn_over(server);
        return;
    }
    client_conn_wait(server->conn, CLIENT_ANSWER);
    stream_arrived_end(&server->stream, &server->reader.trailers);
}

/* Not acceptable: one clear answer, then the connection ends, since where the next message begins is unknown. */
static void bad(struct h1_server *server)
{
    server->keep_alive = false;
    struct exchange *exchange = server->stream.exchange;
    if (exchange && !server->response_begun)
        exchange_request_bad(exchange, server->reader.fault, server->reader.reason);
    else
        client_conn_close(server->conn);
}

/* False: nothing more can be done with the input now. */
static bool step(struct h1_server *server, struct span *in)
{
    struct span body;
    switch (h1_reader_next(&server->reader, in, &body)) {
    case H1_MORE:
        return false;
    case H1_HEAD:
        head_arrived(server);
        return true;
    case H1_BODY:
        client_conn_wait(server->conn, CLIENT_BODY);
        stream_arrived_body(&server->stream, body);
        return true;
    case H1_END:
        end_arrived(server);
        return true;
    case H1_BAD:
        bad(server);
        return false;
    }
    return false;
}

static bool may_read(const struct h1_server *server)
{
    if (server->conn->closed)
        return false;
    if (!server->begun)
        return true;
    /* An answer that came first: a small rest is read and dropped, else the connection ends (run). */
    if (server->response_done)
        return server->discards && !server->request_done;
    return !server->request_done && (!server->head_read || server->wants);
}

static void input(struct h1_server *server, struct span in)
{
    bool more = true;
    while (more && may_read(server)) {
        if (!server->begun) {
            if (in.len == 0)
                break;
            begin(server);
        }
        more = step(server, &in);
    }
    if (server->conn->closed)
        return;
    if (in.len && !(server->begun && server->reader.state == H1_AT_BAD))
        buffer_append(&server->ahead, in);
    update_interest(server);
}

void h1_server_input(struct h1_server *server, struct span bytes)
{
    if (buffer_len(&server->ahead))
        buffer_append(&server->ahead, bytes);
    else
        input(server, bytes);
}

static void go_on(struct task *task)
{
    struct h1_server *server = CONTAINER_OF(task, struct h1_server, task);
    struct buffer ahead = server->ahead;
    server->ahead = (struct buffer){0};
    input(server, buffer_span(&ahead));
    buffer_finish(&ahead);
}

void h1_server_eof(struct h1_server *server)
{
    struct client_conn *conn = server->conn;
    bool answering = server->begun && server->request_done && !server->response_done;
    const struct config_listener *config = conn->listener->use->config;
    if (answering && config && !config->cancel_on_half_close) {
        server->half_closed = true;
        update_interest(server);
        return;
    }
    client_conn_close(conn);
}

void h1_server_overdue(struct h1_server *server)
{
    struct exchange *exchange = server->stream.exchange;
    server->keep_alive = false;
    if (exchange && !server->response_begun && server->conn->waits != CLIENT_ANSWER)
        exchange_request_bad(exchange, FAULT_REQUEST_TIMEOUT, "");
    else
        client_conn_close(server->conn);
}

/* ---- the answer: stream ops ---- */

static struct h1_server *server_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct h1_server, stream);
}

static void op_head(struct stream *stream, struct message *head, bool end)
{
    struct h1_server *server = server_of(stream);
    struct wire *wire = wire_of(server);
    if (server->conn->closed)
        return;
    if (head->status == 100) {
        if (!server->response_begun && !server->request_done) {
            h1_write_continue(&wire->out);
            server->continued = true;
        }
        wire_touch(wire);
        return;
    }
    server->response_begun = true;
    /* A body that is still to come is dropped if it is small; a large one is not waited for: the connection ends. */
    if (!server->request_done && server->head_read) {
        const struct message *request = &stream->exchange->request;
        server->discards =
            request->framing == BODY_NONE || (request->framing == BODY_LENGTH && request->body_length <= DISCARD_MAX);
        /* Told no before it sent the body, a client may leave it out: what follows could then not be told from it. */
        if (request->expect_continue && !server->continued)
            server->discards = false;
        if (!server->discards && stream->exchange->request_discard)
            server->keep_alive = false;
    }
    if (worker_listener_leaves(server->conn->listener) || !server->head_read)
        server->keep_alive = false;
    head->version = server->head_read ? server->version : HTTP_1_1;
    if (head->framing == BODY_CHUNKED && head->version == HTTP_1_0) {
        head->framing = BODY_CLOSE;
        server->keep_alive = false;
    }
    head->keep_alive = server->keep_alive;
    server->chunked = head->framing == BODY_CHUNKED && !end;
    if (!h1_write_response(&wire->out, head, worker_date(server->conn->worker))) {
        log_write(LOG_WARNING, "h1", "an answer has a header field that cannot be sent; connection closed");
        client_conn_close(server->conn);
        return;
    }
    wire_touch(wire);
    if (end)
        stream->ops->end(stream, NULL);
}

static void op_body(struct stream *stream, struct span bytes)
{
    struct h1_server *server = server_of(stream);
    struct wire *wire = wire_of(server);
    if (bytes.len == 0 || !wire->transport)
        return;
    if (server->chunked) {
        char room[H1_CHUNK_HEAD_MAX];
        struct span parts[3] = {span_of(room, h1_chunk_head(room, bytes.len)), bytes, SPAN("\r\n")};
        wire_send_parts(wire, parts, 3);
    } else {
        wire_send_parts(wire, &bytes, 1);
    }
    if (wire->transport)
        stream_queue_grew(stream, wire_pending(wire));
}

static void op_end(struct stream *stream, const struct fields *trailers)
{
    struct h1_server *server = server_of(stream);
    struct wire *wire = wire_of(server);
    if (server->response_done || server->conn->closed)
        return;
    if (server->chunked && !h1_write_last_chunk(&wire->out, trailers))
        server->keep_alive = false;
    server->chunked = false;
    wire_touch(wire);
    server->response_done = true;
    if (stream->exchange)
        stream->exchange->client = NULL;
    stream->exchange = NULL;
    stream->congested = false;
    /* From the run queue: the caller's stack may still hold this connection's input. */
    loop_post(server->conn->worker->loop, &server->task);
}

static void op_want(struct stream *stream, bool more)
{
    struct h1_server *server = server_of(stream);
    /* A client that we do not read cannot be late with its body. */
    if (server->begun && server->head_read && !server->request_done && !server->response_done)
        client_conn_wait(server->conn, more ? CLIENT_BODY : CLIENT_ANSWER);
    if (server->wants == more)
        return;
    server->wants = more;
    /* The last bytes may have been taken and the end not yet been told. */
    bool more_to_tell = buffer_len(&server->ahead) || (server->begun && server->reader.state == H1_AT_END);
    if (more && more_to_tell)
        loop_post(server->conn->worker->loop, &server->task);
    update_interest(server);
}

static void op_reset(struct stream *stream, enum fault why)
{
    (void)why;
    struct h1_server *server = server_of(stream);
    stream->exchange = NULL;
    client_conn_close(server->conn);
}

static const struct stream_ops server_ops = {
    .name = "h1", .head = op_head, .body = op_body, .end = op_end, .want = op_want, .reset = op_reset};

static void run(struct task *task)
{
    struct h1_server *server = CONTAINER_OF(task, struct h1_server, task);
    if (server->conn->closed)
        return;
    if (server->begun && server->response_done) {
        if (server->request_done) {
            turn_over(server);
            return;
        }
        if (!server->discards || !server->keep_alive) {
            client_conn_finish(server->conn);
            return;
        }
        /* The exchange's memory goes with this turn; the rest of a body of known length needs none. */
        server->reader.arena = NULL;
        server->reader.message = NULL;
        client_conn_wait(server->conn, CLIENT_BODY);
    }
    go_on(task);
}

static void sent(struct wire *wire)
{
    struct client_conn *conn = CONTAINER_OF(wire, struct client_conn, wire);
    stream_queue_shrank(&conn->h1.stream, wire_pending(wire));
}

/* ---- life ---- */

void h1_server_init(struct h1_server *server, struct client_conn *conn)
{
    server->conn = conn;
    server->stream.ops = &server_ops;
    server->stream.role = STREAM_SERVER;
    server->stream.peer_certificate = transport_tls_peer(conn->wire.transport);
    server->task.run = run;
    conn->wire.sent = sent;
    const struct config_limits *limits = &conn->worker->snapshot->config->limits;
    struct h1_limits own = h1_limits_default;
    own.head_bytes = (unsigned)limits->header_bytes;
    own.fields = limits->header_count;
    own.target_bytes = (unsigned)limits->target_bytes;
    h1_reader_init(&server->reader, H1_SERVER, &own);
}

void h1_server_finish(struct h1_server *server, const char *reason)
{
    task_cancel(&server->task);
    struct exchange *exchange = server->stream.exchange;
    if (exchange && exchange->state == EXCHANGE_OPEN) {
        exchange_discard(exchange);
    } else if (exchange) {
        stream_arrived_failure(&server->stream, FAULT_CLIENT_GONE, reason, false);
    }
    server->stream.exchange = NULL;
    h1_reader_finish(&server->reader);
    buffer_finish(&server->ahead);
}

bool h1_server_idle(const struct h1_server *server)
{
    return !server->begun && buffer_len(&server->ahead) == 0;
}
