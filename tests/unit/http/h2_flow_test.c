/* SPDX-License-Identifier: Apache-2.0 */
/* Windows, queues, turns, the end of a connection: the server role, and the two roles talking to each other. */
#include "h2_bytes.h"

static void request(struct peer *peer, uint32_t id)
{
    put_headers(&peer->in, END_STREAM, id, GET_ROOT);
    assert_null(peer_turn(peer));
    assert_non_null(peer->last);
}

static void connection_window_returns_at_once_the_stream_window_when_consumed(void **state)
{
    (void)state;
    static const char zeros[16384];
    struct peer peer;
    struct h2_limits limits;
    h2_limits_server(&limits);
    limits.connection_window = 65535;
    peer_start(&peer, H2_SERVER, &limits);
    peer.hold = true;
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1, POST_ROOT);
    for (unsigned i = 0; i < 3; i++)
        put_frame(&peer.in, DATA, 0, 1, span_of(zeros, sizeof(zeros)));
    assert_null(peer_turn(&peer));
    assert_int_not_equal(count_sent(&peer, WINDOW_UPDATE, 0, NULL), 0);
    assert_int_equal(count_sent(&peer, WINDOW_UPDATE, 1, NULL), 0);
    h2_stream_consume(peer.last, 3 * sizeof(zeros));
    assert_null(peer_turn(&peer));
    struct sent frame;
    assert_int_equal(count_sent(&peer, WINDOW_UPDATE, 1, &frame), 1);
    assert_int_equal(frame.first, 3 * sizeof(zeros));
    peer_stop(&peer);
}

/* What arrives for a stream we have reset is dropped, and must not eat the window of the others. */
static void dropped_bytes_return_to_the_connection(void **state)
{
    (void)state;
    static const char zeros[16384];
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1, POST_ROOT);
    assert_null(peer_turn(&peer));
    drop_stream(&peer, peer.last, H2_CANCEL);
    buffer_finish(&peer.out);
    size_t sent = 0, returned = 0;
    while (sent < 4u * 1024 * 1024) {
        sent += sizeof(zeros);
        put_frame(&peer.in, DATA, 0, 1, span_of(zeros, sizeof(zeros)));
        assert_null(peer_turn(&peer));
        struct sent frame;
        if (count_sent(&peer, WINDOW_UPDATE, 0, &frame))
            returned += frame.first;
        buffer_finish(&peer.out);
        assert_true(sent - returned < 1024 * 1024);
    }
    expect_log(&peer, "head:1:POST:/ ");
    peer_stop(&peer);
}

static void more_than_the_window_is_an_error(void **state)
{
    (void)state;
    static const char zeros[16384];
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    peer.hold = true;
    put_hello(&peer.in);
    put_frame(&peer.in, SETTINGS, ACK, 0, (struct span){0});
    put_headers(&peer.in, 0, 1, POST_ROOT);
    for (unsigned i = 0; i < 5; i++)
        put_frame(&peer.in, DATA, 0, 1, span_of(zeros, sizeof(zeros)));
    (void)peer_turn(&peer);
    int code = sent_code(&peer, 1) >= 0 ? sent_code(&peer, 1) : sent_code(&peer, 0);
    assert_int_equal(code, H2_FLOW_CONTROL_ERROR);
    peer_stop(&peer);
}

static void streams_take_turns(void **state)
{
    (void)state;
    static const char zeros[60000];
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_frame_u32(&peer.in, WINDOW_UPDATE, 0, 1000000);
    for (uint32_t id = 1; id <= 5; id += 2)
        request(&peer, id);
    for (unsigned i = 0; i < 3; i++) {
        respond(peer.opened[i], 200, false);
        h2_stream_write(peer.opened[i], span_of(zeros, sizeof(zeros)));
        h2_stream_finish(peer.opened[i], NULL);
    }
    buffer_finish(&peer.out);
    assert_null(peer_turn(&peer));
    struct span rest = buffer_span(&peer.out);
    struct sent frame;
    unsigned data = 0, seen[3] = {0};
    while (next_sent(&rest, &frame))
        if (frame.type == DATA) {
            seen[frame.id / 2]++;
            data++;
            for (unsigned i = 0; i < 3; i++)
                assert_true(seen[i] + 1 >= (data + 2) / 3 && seen[i] <= (data + 2) / 3);
        }
    assert_int_equal(data, 12);
    peer_stop(&peer);
}

static void sending_stops_at_the_bound(void **state)
{
    (void)state;
    static const char zeros[60000];
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    request(&peer, 1);
    respond(peer.last, 200, false);
    h2_stream_write(peer.last, span_of(zeros, sizeof(zeros)));
    h2_stream_finish(peer.last, NULL);
    size_t total = 0;
    unsigned turns = 0;
    bool more = true;
    while (more) {
        buffer_finish(&peer.out);
        more = h2_session_send(peer.session, &peer.out, 1000);
        assert_true(buffer_len(&peer.out) <= 1000 + 16393);
        total += buffer_len(&peer.out);
        turns++;
    }
    assert_true(turns >= 4);
    assert_true(total > sizeof(zeros));
    peer_stop(&peer);
}

static void a_closed_window_keeps_the_queue_and_marks_tell(void **state)
{
    (void)state;
    static const char zeros[65536];
    struct peer peer;
    struct h2_limits limits;
    h2_limits_server(&limits);
    limits.queue_high = 100000;
    limits.queue_low = 50000;
    peer_start(&peer, H2_SERVER, &limits);
    buffer_append(&peer.in, PREFACE);
    put_frame(&peer.in, SETTINGS, 0, 0, span_of("\0\4\0\0\0\0", 6)); /* initial window 0 */
    request(&peer, 1);
    respond(peer.last, 200, false);
    h2_stream_write(peer.last, span_of(zeros, 65536));
    h2_stream_write(peer.last, span_of(zeros, 65536));
    assert_null(peer_turn(&peer));
    assert_int_equal(count_sent(&peer, DATA, 1, NULL), 0);
    assert_int_equal(h2_stream_queued(peer.last), 131072);
    assert_false(h2_session_wants_write(peer.session));
    buffer_finish(&peer.log);
    put_frame_u32(&peer.in, WINDOW_UPDATE, 1, 60000);
    assert_null(peer_turn(&peer));
    assert_int_equal(h2_stream_queued(peer.last), 71072);
    expect_log(&peer, "");
    put_frame_u32(&peer.in, WINDOW_UPDATE, 1, 30000);
    put_frame_u32(&peer.in, WINDOW_UPDATE, 0, 90000);
    assert_null(peer_turn(&peer));
    assert_int_equal(h2_stream_queued(peer.last), 41072);
    expect_log(&peer, "window:1 ");
    peer_stop(&peer);
}

static void drains_in_two_steps(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    request(&peer, 1);
    struct h2_stream *first = peer.last;
    h2_session_shutdown_notice(peer.session);
    assert_null(peer_turn(&peer));
    struct sent frame;
    assert_int_equal(count_sent(&peer, GOAWAY, 0, &frame), 1);
    assert_int_equal(frame.first, 0x7fffffff);
    request(&peer, 3); /* was under way */
    struct h2_stream *second = peer.last;
    h2_session_goaway(peer.session, H2_NO_ERROR);
    assert_null(peer_turn(&peer));
    assert_int_equal(count_sent(&peer, GOAWAY, 0, &frame), 2);
    assert_int_equal(frame.first, 3);
    put_headers(&peer.in, END_STREAM, 5, GET_ROOT); /* too late: ignored, the client tries elsewhere */
    assert_null(peer_turn(&peer));
    assert_int_equal(h2_session_streams(peer.session), 2);
    assert_false(h2_session_over(peer.session));
    respond(first, 200, true);
    respond(second, 200, true);
    assert_null(peer_turn(&peer));
    assert_true(h2_session_over(peer.session));
    expect_log(&peer, "head:1:GET:/ end:1 head:3:GET:/ end:3 done:1 done:3 ");
    peer_stop(&peer);
}

static void ping_measures(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    assert_null(peer_turn(&peer));
    assert_true(h2_session_ping(peer.session, peer.now));
    assert_false(h2_session_ping(peer.session, peer.now + 1));
    assert_null(peer_turn(&peer));
    struct sent frame;
    assert_int_equal(count_sent(&peer, PING, 0, &frame), 1);
    peer.now += 1234;
    put_frame(&peer.in, PING, ACK, 0, frame.payload);
    put_frame(&peer.in, PING, ACK, 0, frame.payload); /* nobody asked */
    assert_null(peer_turn(&peer));
    expect_log(&peer, "pong:1234 ");
    assert_true(h2_session_ping(peer.session, peer.now));
    peer_stop(&peer);
}

static void too_many_streams_are_refused(void **state)
{
    (void)state;
    struct peer peer;
    struct h2_limits limits;
    h2_limits_server(&limits);
    limits.streams = 2;
    peer_start(&peer, H2_SERVER, &limits);
    put_hello(&peer.in);
    for (uint32_t id = 1; id <= 7; id += 2)
        put_headers(&peer.in, END_STREAM, id, GET_ROOT);
    assert_null(peer_turn(&peer));
    assert_int_equal(h2_session_streams(peer.session), 2);
    assert_int_equal(sent_code(&peer, 5), H2_REFUSED_STREAM);
    assert_int_equal(sent_code(&peer, 7), H2_REFUSED_STREAM);
    peer_stop(&peer);
}

/* Every split of a connection's bytes gives the same events and the same answer. */
static void splits_make_no_difference(void **state)
{
    (void)state;
    struct buffer all = {0};
    put_hello(&all);
    put_headers(&all, 0, 1, POST_ROOT "|content-length=3");
    put_frame(&all, DATA, PADDED, 1, span_of("\2ab\0\0", 5));
    put_frame(&all, PRIORITY, 0, 3, span_of("\0\0\0\1\0", 5));
    put_frame(&all, DATA, 0, 1, SPAN("c"));
    put_headers(&all, END_STREAM, 1, "x=y");
    put_headers(&all, END_STREAM, 3, GET_ROOT "|X=bad");
    put_frame(&all, PING, 0, 0, SPAN("12345678"));
    for (size_t cut = 0; cut <= buffer_len(&all); cut++) {
        struct peer peer;
        peer_start(&peer, H2_SERVER, NULL);
        peer.quiet = true;
        buffer_append(&peer.in, span_take(buffer_span(&all), cut));
        assert_int_equal(peer_receive(&peer), H2_OK);
        buffer_append(&peer.in, span_skip(buffer_span(&all), cut));
        assert_null(peer_turn(&peer));
        expect_log(&peer, "head:1:POST:/ end:1:trailers reset:3:PROTOCOL_ERROR ");
        assert_int_equal(peer.body, 3);
        assert_int_equal(count_sent(&peer, PING, 0, NULL), 1);
        peer_stop(&peer);
    }
    buffer_finish(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connection_window_returns_at_once_the_stream_window_when_consumed),
        cmocka_unit_test(dropped_bytes_return_to_the_connection),
        cmocka_unit_test(more_than_the_window_is_an_error),
        cmocka_unit_test(streams_take_turns),
        cmocka_unit_test(sending_stops_at_the_bound),
        cmocka_unit_test(a_closed_window_keeps_the_queue_and_marks_tell),
        cmocka_unit_test(drains_in_two_steps),
        cmocka_unit_test(ping_measures),
        cmocka_unit_test(too_many_streams_are_refused),
        cmocka_unit_test(splits_make_no_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
