/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Known abuse of HTTP/2: each must end the connection with a named limit and GOAWAY(ENHANCE_YOUR_CALM), and what the
 * session holds for the attacker must stay small. The same in moderation must not.
 */
#include "h2_bytes.h"

/* `n` counts up from 0: what the attacker sends each time. Odd stream ids are 2n+1. */
typedef void attack_step(struct peer *peer, uint32_t n);

static void rapid_reset(struct peer *peer, uint32_t n)
{
    put_headers(&peer->in, 0, 2 * n + 1, GET_ROOT);
    put_frame_u32(&peer->in, RST_STREAM, 2 * n + 1, H2_CANCEL);
}

static void pings(struct peer *peer, uint32_t n)
{
    (void)n;
    put_frame(&peer->in, PING, 0, 0, SPAN("12345678"));
}

static void settings(struct peer *peer, uint32_t n)
{
    put_frame(&peer->in, SETTINGS, 0, 0, n & 1 ? span_of("\0\4\0\1\0\0", 6) : (struct span){0});
}

static void empty_data(struct peer *peer, uint32_t n)
{
    if (n == 0)
        put_headers(&peer->in, 0, 1, POST_ROOT);
    put_frame(&peer->in, DATA, 0, 1, (struct span){0});
}

static void padded_data(struct peer *peer, uint32_t n)
{
    if (n == 0)
        put_headers(&peer->in, 0, 1, POST_ROOT);
    put_frame(&peer->in, DATA, PADDED, 1, span_of("\3\0\0\0", 4));
}

static void priorities(struct peer *peer, uint32_t n)
{
    put_frame(&peer->in, PRIORITY, 0, 2 * n + 1, span_of("\0\0\0\0\1", 5));
}

static void window_updates(struct peer *peer, uint32_t n)
{
    (void)n;
    put_frame_u32(&peer->in, WINDOW_UPDATE, 0, 1);
}

static void unknown_frames(struct peer *peer, uint32_t n)
{
    put_frame(&peer->in, 0x20 + n % 64, 0, 0, SPAN("what"));
}

/* MadeYouReset: the server resets, the client never does. Each way of making it do so. */
static void window_overflow(struct peer *peer, uint32_t n)
{
    put_headers(&peer->in, END_STREAM, 2 * n + 1, GET_ROOT);
    put_frame_u32(&peer->in, WINDOW_UPDATE, 2 * n + 1, 0x7fffffff);
}

static void false_lengths(struct peer *peer, uint32_t n)
{
    put_headers(&peer->in, 0, 2 * n + 1, POST_ROOT "|content-length=1");
    put_frame(&peer->in, DATA, 0, 2 * n + 1, SPAN("two bytes"));
}

static void bad_heads(struct peer *peer, uint32_t n)
{
    put_headers(&peer->in, END_STREAM, 2 * n + 1, GET_ROOT "|connection=close");
}

static void empty_names(struct peer *peer, uint32_t n)
{
    put_headers(&peer->in, END_STREAM, 2 * n + 1, GET_ROOT "|=|=|=");
}

static void data_after_reset(struct peer *peer, uint32_t n)
{
    rapid_reset(peer, n);
    put_frame(&peer->in, DATA, 0, 2 * n + 1, SPAN("x"));
}

static void one_continuation_after_another(struct peer *peer, uint32_t n)
{
    put_frame(&peer->in, n ? CONTINUATION : HEADERS, 0, 1, (struct span){0});
}

static void large_continuations(struct peer *peer, uint32_t n)
{
    static char junk[16384];
    memset(junk, 0x82, sizeof(junk));
    put_frame(&peer->in, n ? CONTINUATION : HEADERS, 0, 1, span_of(junk, sizeof(junk)));
}

/* One field of 4000 bytes enters the table; then a byte each brings it up again (RFC 7541 6.1). */
static void hpack_bomb(struct peer *peer, uint32_t n)
{
    struct buffer block = {0};
    char value[3900], again[4000];
    memset(value, 'a', sizeof(value));
    memset(again, 0xbe, sizeof(again));
    put_fields(&block, GET_ROOT);
    buffer_append(&block, span_of("\x40\1x", 3));
    put_length(&block, sizeof(value));
    buffer_append(&block, span_of(value, sizeof(value)));
    buffer_append(&block, span_of(again, sizeof(again)));
    put_frame(&peer->in, HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, buffer_span(&block));
    buffer_finish(&block);
}

static const struct attack {
    attack_step *step;
    unsigned harmless, deadly; /* steps that must be borne, and by which the end must have come */
    const char *name;
} attacks[] = {
    {rapid_reset, 100, 201, "h2_resets"},
    {pings, 200, 201, "h2_pings"},
    {settings, 31, 32, "h2_settings"},
    {empty_data, 100, 101, "h2_empty_data"},
    {padded_data, 100, 101, "h2_empty_data"},
    {priorities, 300, 301, "h2_priorities"},
    {window_updates, 1000, 1001, "h2_window_updates"},
    {unknown_frames, 100, 101, "h2_unknown_frames"},
    {window_overflow, 90, 201, "h2_stream_errors"},
    {false_lengths, 90, 201, "h2_stream_errors"},
    {bad_heads, 90, 201, "h2_stream_errors"},
    {empty_names, 90, 201, "h2_stream_errors"},
    {data_after_reset, 100, 201, "h2_resets"},
    {one_continuation_after_another, 9, 10, H2_LIMIT_CONTINUATIONS},
    {large_continuations, 8, 9, H2_LIMIT_HEADER_BLOCK},
    {hpack_bomb, 0, 1, H2_LIMIT_HEADER_LIST},
};

static const char *attack_turn(struct peer *peer)
{
    const char *name = peer_turn(peer);
    assert_true(buffer_len(&peer->out) < 64 * 1024);
    if (!name)
        buffer_finish(&peer->out);
    return name;
}

static void every_attack_ends_with_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(attacks); i++) {
        struct peer peer;
        peer_start(&peer, H2_SERVER, NULL);
        put_hello(&peer.in);
        const char *name = attack_turn(&peer);
        unsigned n = 0;
        for (; !name && n < attacks[i].deadly; n++) {
            attacks[i].step(&peer, n);
            name = attack_turn(&peer);
        }
        if (!name || n <= attacks[i].harmless)
            print_error("%s: %s after %u\n", attacks[i].name, name ? name : "lives", n);
        assert_non_null(name);
        assert_string_equal(name, attacks[i].name);
        assert_true(n > attacks[i].harmless);
        assert_int_equal(sent_code(&peer, 0), H2_ENHANCE_YOUR_CALM);
        assert_true(h2_session_over(peer.session));
        peer_stop(&peer);
    }
}

/* All in one read, none of it sent: what waits to be sent is bounded too. */
static void attacks_in_one_read_are_ended(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(attacks); i++) {
        struct peer peer;
        peer_start(&peer, H2_SERVER, NULL);
        put_hello(&peer.in);
        for (unsigned n = 0; n < 3000; n++)
            attacks[i].step(&peer, n);
        const char *name = peer_turn(&peer);
        assert_non_null(name);
        assert_int_equal(sent_code(&peer, 0), H2_ENHANCE_YOUR_CALM);
        assert_true(buffer_len(&peer.out) < 64 * 1024);
        assert_true(h2_session_streams(peer.session) <= 200);
        peer_stop(&peer);
    }
}

/* The same, slowly: the buckets refill. */
static void moderate_use_is_borne(void **state)
{
    (void)state;
    attack_step *const steps[] = {rapid_reset,    pings,          settings,  empty_data,      priorities,
                                  window_updates, unknown_frames, bad_heads, data_after_reset};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct peer peer;
        peer_start(&peer, H2_SERVER, NULL);
        put_hello(&peer.in);
        for (unsigned n = 0; n < 2000; n++) {
            steps[i](&peer, n);
            peer.now += 500000;
            const char *name = peer_turn(&peer);
            if (name)
                print_error("step %zu, after %u: %s\n", i, n, name);
            assert_null(name);
            buffer_finish(&peer.out);
        }
        peer_stop(&peer);
    }
}

/* The peer asks and never reads: h2_session_send is not called. */
static void answers_nobody_reads_do_not_pile_up(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    enum h2_status status = peer_receive(&peer);
    unsigned n = 0;
    for (; status == H2_OK && n < 10000; n++) {
        pings(&peer, n);
        peer.now += 100000;
        status = peer_receive(&peer);
    }
    assert_string_equal(h2_session_fault(peer.session).name, H2_LIMIT_OUTBOUND_FRAMES);
    assert_true(n < 600);
    peer_stop(&peer);
}

static void answer_head(void *owner, struct h2_stream *stream, struct message *m)
{
    static const char zeros[1000];
    (void)m;
    struct peer *peer = owner;
    (void)peer;
    respond(stream, 200, false);
    h2_stream_write(stream, span_of(zeros, sizeof(zeros)));
    h2_stream_finish(stream, NULL);
}

/* Windows stay shut and answers are hoarded: the streams a peer may have open bound it. */
static void hoarded_answers_are_bounded_by_the_streams(void **state)
{
    (void)state;
    struct peer peer = {.now = 1};
    struct h2_events events = note_events;
    events.on_head = answer_head;
    struct h2_limits limits;
    h2_limits_server(&limits);
    peer.session = h2_session_create(H2_SERVER, &limits, &events, &peer);
    buffer_append(&peer.in, PREFACE);
    put_frame(&peer.in, SETTINGS, 0, 0, span_of("\0\4\0\0\0\0", 6));
    put_frame(&peer.in, SETTINGS, ACK, 0, (struct span){0});
    for (uint32_t id = 1; id < 400 && !peer_turn(&peer); id += 2)
        put_headers(&peer.in, END_STREAM, id, GET_ROOT);
    assert_int_equal(h2_session_queued(peer.session), 100 * 1000);
    assert_int_equal(count_sent(&peer, DATA, 1, NULL), 0);
    assert_string_equal(h2_session_fault(peer.session).name, "h2_protocol");
    peer_stop(&peer);
}

/* A head that trickles in shows since when it does. */
static void trickled_heads_show_their_age(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_headers(&peer.in, END_STREAM, 1, GET_ROOT);
    struct buffer all = peer.in;
    peer.in = (struct buffer){0};
    for (size_t i = 0; i + 1 < buffer_len(&all); i++) {
        buffer_append(&peer.in, span_of(buffer_span(&all).ptr + i, 1));
        peer.now = 10 + i;
        assert_int_equal(peer_receive(&peer), H2_OK);
    }
    /* The preface, SETTINGS, and the frame header's last byte. */
    assert_int_equal(h2_session_head_since(peer.session), 10 + 24 + 9 + 8);
    buffer_finish(&all);
    peer_stop(&peer);
}

/* After a fault nothing that comes is looked at. */
static void a_dead_session_is_deaf(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    buffer_append(&peer.in, SPAN("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_int_equal(peer_receive(&peer), H2_FAULT);
    put_hello(&peer.in);
    put_headers(&peer.in, END_STREAM, 1, GET_ROOT);
    assert_string_equal(peer_turn(&peer), "h2_preface");
    assert_int_equal(sent_code(&peer, 0), H2_PROTOCOL_ERROR);
    assert_true(h2_session_over(peer.session));
    expect_log(&peer, "");
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_attack_ends_with_its_name),
        cmocka_unit_test(attacks_in_one_read_are_ended),
        cmocka_unit_test(moderate_use_is_borne),
        cmocka_unit_test(answers_nobody_reads_do_not_pile_up),
        cmocka_unit_test(hoarded_answers_are_bounded_by_the_streams),
        cmocka_unit_test(trickled_heads_show_their_age),
        cmocka_unit_test(a_dead_session_is_deaf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
