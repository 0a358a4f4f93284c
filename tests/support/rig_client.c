/* SPDX-License-Identifier: Apache-2.0 */
#include "support/rig.h"

#include "base/memory.h"
#include "gateway/client_conn.h"

static void start_answer(struct rig_client *client)
{
    assert_true(client->answer_count < RIG_MANY);
    struct rig_message *answer = &client->answers[client->answer_count];
    h1_reader_start(&client->reader, &client->rig->arena, &answer->head, client->asked[client->answer_count]);
}

static void take(struct rig_client *client, struct span in)
{
    for (;;) {
        struct rig_message *answer = &client->answers[client->answer_count];
        struct span body;
        switch (h1_reader_next(&client->reader, &in, &body)) {
        case H1_MORE:
            return;
        case H1_HEAD:
            if (answer->head.status < 200)
                client->continues++;
            else
                answer->has_head = true;
            break;
        case H1_BODY:
            buffer_append(&answer->body, body);
            break;
        case H1_END:
            answer->complete = true;
            client->answer_count++;
            start_answer(client);
            if (in.len == 0)
                return;
            break;
        case H1_BAD:
            print_error("client: %s at %.*s\n", client->reader.reason, SPAN_ARG(span_take(in, 80)));
            client->bad = true;
            return;
        }
    }
}

static void ended(struct rig_client *client)
{
    client->eof = true;
    struct rig_message *answer = &client->answers[client->answer_count];
    if (h1_reader_eof(&client->reader) == H1_END && answer->has_head && !answer->complete) {
        answer->complete = true;
        client->answer_count++;
    }
    /* As a real client does: nothing more will come. */
    transport_close(client->end);
    client->end = NULL;
}

static void readable(struct rig_client *client)
{
    static char room[65536];
    ssize_t got = transport_read(client->end, room, sizeof(room));
    if (got > 0 && !client->bad)
        take(client, span_of(room, (size_t)got));
    else if (got == TRANSPORT_EOF)
        ended(client);
    else if (got == TRANSPORT_ERROR)
        client->failed = true;
}

static void notify(struct transport *transport, enum transport_event event)
{
    struct rig_client *client = transport->owner;
    client->rig->progress++;
    if (event == TRANSPORT_READABLE)
        readable(client);
    else if (event == TRANSPORT_WRITABLE)
        (void)rig_flush(client->rig, client->end, &client->out);
    else if (event == TRANSPORT_CLOSED)
        ended(client);
    else
        client->failed = true;
}

struct rig_client *rig_client(struct rig *rig)
{
    assert_true(rig->client_count < ARRAY_LEN(rig->clients));
    struct rig_client *client = &rig->clients[rig->client_count++];
    client->rig = rig;
    struct transport_pair_options limits = rig_limits(rig);
    struct transport *theirs;
    transport_pair(rig->worker->loop, &limits, &client->end, &theirs);
    transport_own(client->end, client, notify);
    transport_want(client->end, true);
    struct h1_limits any = h1_limits_default;
    h1_reader_init(&client->reader, H1_CLIENT, &any);
    start_answer(client);
    client_conn_accept(rig->worker, rig->listener, theirs);
    return client;
}

void rig_send(struct rig_client *client, struct span bytes)
{
    bool waiting = buffer_len(&client->out) > 0;
    buffer_append(&client->out, bytes);
    if (!waiting)
        (void)rig_flush(client->rig, client->end, &client->out);
}

void rig_expect(struct rig_client *client, enum http_method method)
{
    client->asked[client->asked_count++] = method;
    if (client->asked_count - 1 == client->answer_count && h1_reader_untouched(&client->reader))
        start_answer(client);
}

void rig_ask(struct rig_client *client, const char *method, const char *path, const char *fields, struct span body)
{
    struct buffer text = {0};
    buffer_format(&text, "%s %s HTTP/1.1\r\nhost: rig\r\n%s", method, path, fields);
    if (body.len)
        buffer_format(&text, "content-type: application/json\r\ncontent-length: %zu\r\n", body.len);
    buffer_append(&text, SPAN("\r\n"));
    buffer_append(&text, body);
    rig_expect(client, http_method(span_str(method)));
    rig_send(client, buffer_span(&text));
    buffer_finish(&text);
}

void rig_post(struct rig_client *client, const char *path, const char *json)
{
    rig_ask(client, "POST", path, "", span_str(json));
}

void rig_leave(struct rig_client *client)
{
    buffer_finish(&client->out);
    transport_close(client->end);
    client->end = NULL;
}

void rig_read(struct rig_client *client, bool on)
{
    transport_want(client->end, on);
}

const struct rig_message *rig_answer(const struct rig_client *client, unsigned n)
{
    if (client->bad || n >= client->answer_count)
        fail_msg("answer %u is not there; %u are, eof %d, bad %d, the next has a head: %d", n, client->answer_count,
                 client->eof, client->bad, client->answers[client->answer_count].has_head);
    return &client->answers[n];
}

const struct rig_message *rig_partial(const struct rig_client *client)
{
    return &client->answers[client->answer_count];
}

void rig_client_finish(struct rig_client *client)
{
    h1_reader_finish(&client->reader);
    for (unsigned i = 0; i < RIG_MANY; i++)
        rig_message_finish(&client->answers[i]);
}
