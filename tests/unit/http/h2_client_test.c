/* SPDX-License-Identifier: Apache-2.0 */
/* The client role: against bytes made by hand, and against our own server. */
#include "h2_bytes.h"

static void start_client(struct peer *peer)
{
    peer_start(peer, H2_CLIENT, NULL);
    put_frame(&peer->in, SETTINGS, 0, 0, (struct span){0});
    assert_null(peer_turn(peer));
}

static struct h2_stream *ask(struct peer *peer, bool end)
{
    struct held *held = hold_new(peer);
    struct message m = {.method_text = SPAN("POST"),
                        .scheme = SPAN("https"),
                        .authority = SPAN("up.example"),
                        .target = SPAN("/v1/chat?x=1")};
    fields_add(&m.fields, &held->arena, SPAN("content-type"), SPAN("application/json"));
    fields_add(&m.fields, &held->arena, SPAN("connection"), SPAN("close"));
    fields_add(&m.fields, &held->arena, SPAN("host"), SPAN("other.example"));
    fields_add(&m.fields, &held->arena, SPAN("transfer-encoding"), SPAN("chunked"));
    fields_add(&m.fields, &held->arena, SPAN("te"), SPAN("gzip"));
    fields_add(&m.fields, &held->arena, SPAN("authorization"), SPAN("Bearer secret"));
    struct h2_stream *stream = h2_submit_request(peer->session, &m, end, &held->arena, held);
    assert_non_null(stream);
    return stream;
}

static void hello_and_request(void **state)
{
    (void)state;
    struct peer peer;
    start_client(&peer);
    assert_true(span_starts_with(buffer_span(&peer.out), PREFACE));
    buffer_consume(&peer.out, PREFACE.len);
    struct sent frame;
    struct span rest = buffer_span(&peer.out);
    assert_true(next_sent(&rest, &frame));
    assert_int_equal(frame.type, SETTINGS);
    assert_int_not_equal(span_search(frame.payload, span_of("\0\2\0\0\0\0", 6)), frame.length); /* ENABLE_PUSH 0 */
    struct h2_stream *stream = ask(&peer, false);
    assert_int_equal(h2_stream_id(stream), 1);
    h2_stream_write(stream, SPAN("{}"));
    h2_stream_finish(stream, NULL);
    assert_null(peer_turn(&peer));
    assert_int_equal(count_sent(&peer, DATA, 1, &frame), 1);
    assert_int_equal(frame.flags, END_STREAM);
    put_headers(&peer.in, 0, 1, ":status=103|link=x");
    put_headers(&peer.in, 0, 1, ":status=200|content-length=4");
    put_frame(&peer.in, DATA, 0, 1, SPAN("four"));
    put_headers(&peer.in, END_STREAM, 1, "x-sum=1");
    assert_null(peer_turn(&peer));
    expect_log(&peer, "head:1:103 head:1:200 body:1:4 end:1:trailers done:1 ");
    peer_stop(&peer);
}

static void bad_responses_reset_the_stream(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x=y",
        ":status=20",
        ":status=2000",
        ":status=abc",
        ":status=200|:path=/",
        ":status=200|Upper=x",
        ":status=200|connection=close",
        ":status=200|transfer-encoding=chunked",
        ":status=200|content-length=x",
        ":status=200|content-length=5|content-length=5",
        ":status=200|x=a\nb",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct peer peer;
        start_client(&peer);
        (void)!ask(&peer, true);
        assert_null(peer_turn(&peer));
        put_headers(&peer.in, 0, 1, bad[i]);
        assert_null(peer_turn(&peer));
        expect_log(&peer, "reset:1:PROTOCOL_ERROR ");
        peer_stop(&peer);
    }
}

static void endless_interim_responses_are_cut(void **state)
{
    (void)state;
    struct peer peer;
    start_client(&peer);
    (void)!ask(&peer, true);
    assert_null(peer_turn(&peer));
    for (unsigned i = 0; i < 1000 && h2_session_streams(peer.session); i++) {
        put_headers(&peer.in, 0, 1, ":status=103");
        assert_null(peer_turn(&peer));
    }
    struct span log = buffer_span(&peer.log);
    assert_true(span_ends_with(log, SPAN("reset:1:ENHANCE_YOUR_CALM ")));
    assert_true(log.len < 5000);
    peer_stop(&peer);
}

static void refused_streams_are_safe_to_try_again(void **state)
{
    (void)state;
    static const struct {
        uint32_t code;
        const char *want;
    } cases[] = {{H2_REFUSED_STREAM, "reset:1:REFUSED_STREAM:safe "},
                 {H2_CANCEL, "reset:1:CANCEL "},
                 {H2_NO_ERROR, "reset:1:NO_ERROR "},
                 {H2_INTERNAL_ERROR, "reset:1:INTERNAL_ERROR "}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct peer peer;
        start_client(&peer);
        (void)!ask(&peer, true);
        assert_null(peer_turn(&peer));
        put_frame_u32(&peer.in, RST_STREAM, 1, cases[i].code);
        assert_null(peer_turn(&peer));
        expect_log(&peer, cases[i].want);
        peer_stop(&peer);
    }
}

static void goaway_spares_what_was_taken(void **state)
{
    (void)state;
    struct peer peer;
    start_client(&peer);
    (void)!ask(&peer, true);
    (void)!ask(&peer, true);
    assert_null(peer_turn(&peer));
    struct held *held = hold_new(&peer);
    put_frame(&peer.in, GOAWAY, 0, 0, span_of("\0\0\0\1\0\0\0\0", 8));
    assert_null(peer_turn(&peer));
    assert_true(h2_session_draining(peer.session));
    assert_false(h2_session_can_open(peer.session));
    struct message m = {.method_text = SPAN("GET")};
    assert_null(h2_submit_request(peer.session, &m, true, &held->arena, held));
    free(held);
    peer.live--;
    assert_false(h2_session_over(peer.session));
    put_headers(&peer.in, END_STREAM, 1, ":status=200");
    assert_null(peer_turn(&peer));
    struct span log = buffer_span(&peer.log);
    assert_true(span_search(log, SPAN("reset:3:REFUSED_STREAM:safe ")) < log.len);
    assert_true(span_search(log, SPAN("goaway:1:NO_ERROR ")) < log.len);
    assert_true(span_ends_with(log, SPAN("head:1:200 end:1 done:1 ")));
    assert_true(h2_session_over(peer.session));
    peer_stop(&peer);
}

/* Submitted but not sent when GOAWAY came: nobody has seen it. */
static void unsent_requests_are_safe(void **state)
{
    (void)state;
    struct peer peer;
    start_client(&peer);
    (void)!ask(&peer, false);
    put_frame(&peer.in, GOAWAY, 0, 0, span_of("\0\0\0\0\0\0\0\0", 8));
    assert_null(peer_turn(&peer));
    expect_log(&peer, "goaway:0:NO_ERROR reset:1:REFUSED_STREAM:safe ");
    peer_stop(&peer);

    start_client(&peer);
    (void)!ask(&peer, false);
    h2_session_lost(peer.session);
    expect_log(&peer, "reset:1:INTERNAL_ERROR:safe ");
    peer_stop(&peer);

    start_client(&peer);
    (void)!ask(&peer, false);
    assert_null(peer_turn(&peer));
    h2_session_lost(peer.session);
    expect_log(&peer, "reset:1:INTERNAL_ERROR ");
    peer_stop(&peer);
}

static void reset_before_anything_was_sent(void **state)
{
    (void)state;
    struct peer peer;
    start_client(&peer);
    struct h2_stream *stream = ask(&peer, false);
    h2_stream_write(stream, SPAN("body"));
    drop_stream(&peer, stream, H2_CANCEL);
    assert_null(peer_turn(&peer));
    buffer_consume(&peer.out, PREFACE.len);
    assert_int_equal(count_sent(&peer, DATA, 1, NULL), 0);
    expect_log(&peer, "");
    peer_stop(&peer);
}

static void the_peers_limit_of_streams_holds(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_CLIENT, NULL);
    assert_true(h2_session_can_open(peer.session));
    put_frame(&peer.in, SETTINGS, 0, 0, span_of("\0\3\0\0\0\2", 6));
    assert_null(peer_turn(&peer));
    struct h2_stream *first = ask(&peer, true);
    assert_true(h2_session_can_open(peer.session));
    (void)!ask(&peer, true);
    assert_false(h2_session_can_open(peer.session));
    assert_null(peer_turn(&peer));
    drop_stream(&peer, first, H2_CANCEL);
    assert_true(h2_session_can_open(peer.session));
    peer_stop(&peer);
}

/* Even before the peer has acknowledged our SETTINGS: they went out before the request. */
static void push_is_an_error(void **state)
{
    (void)state;
    for (unsigned acked = 0; acked < 2; acked++) {
        struct peer peer;
        start_client(&peer);
        (void)!ask(&peer, true);
        if (acked)
            put_frame(&peer.in, SETTINGS, ACK, 0, (struct span){0});
        assert_null(peer_turn(&peer));
        put_frame(&peer.in, PUSH_PROMISE, END_HEADERS, 1, span_of("\0\0\0\2\x82", 5));
        assert_string_equal(peer_turn(&peer), "h2_push_promise");
        expect_log(&peer, "");
        peer_stop(&peer);
    }
}

static void carry(struct peer *from, struct peer *to, size_t piece)
{
    h2_session_send(from->session, &from->out, 50000);
    while (buffer_len(&from->out)) {
        struct span some = span_take(buffer_span(&from->out), piece);
        assert_int_equal(h2_session_receive(to->session, some, to->now), H2_OK);
        buffer_consume(&from->out, some.len);
    }
}

/* Bodies of many sizes both ways, carried in pieces of many sizes. */
static void both_roles_together(void **state)
{
    (void)state;
    static char text[300000];
    static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 65535, 65536, 300000};
    static const size_t pieces[] = {1, 7, 4096, 100000};
    for (size_t i = 0; i < ARRAY_LEN(text); i++)
        text[i] = (char)i;
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
        for (size_t p = s > 4 ? 2 : 0; p < ARRAY_LEN(pieces); p++) {
            struct peer client, server;
            peer_start(&client, H2_CLIENT, NULL);
            peer_start(&server, H2_SERVER, NULL);
            client.quiet = server.quiet = true;
            struct h2_stream *stream = ask(&client, false);
            h2_stream_write(stream, span_of(text, sizes[s]));
            h2_stream_finish(stream, NULL);
            bool answered = false;
            for (unsigned turn = 0; turn < 100 && client.live; turn++) {
                carry(&client, &server, pieces[p]);
                if (!answered && server.last && server.body == sizes[s]) {
                    respond(server.last, 200, false);
                    h2_stream_write(server.last, span_of(text, sizes[s]));
                    h2_stream_finish(server.last, NULL);
                    answered = true;
                }
                carry(&server, &client, pieces[p]);
            }
            assert_int_equal(client.body, sizes[s]);
            expect_log(&client,
                       sizes[s] <= 256 * 1024 ? "head:1:200 end:1 done:1 " : "window:1 head:1:200 end:1 done:1 ");
            peer_stop(&client);
            peer_stop(&server);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_and_request),
        cmocka_unit_test(bad_responses_reset_the_stream),
        cmocka_unit_test(endless_interim_responses_are_cut),
        cmocka_unit_test(refused_streams_are_safe_to_try_again),
        cmocka_unit_test(goaway_spares_what_was_taken),
        cmocka_unit_test(unsent_requests_are_safe),
        cmocka_unit_test(reset_before_anything_was_sent),
        cmocka_unit_test(the_peers_limit_of_streams_holds),
        cmocka_unit_test(push_is_an_error),
        cmocka_unit_test(both_roles_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
