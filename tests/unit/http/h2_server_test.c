/* SPDX-License-Identifier: Apache-2.0 */
#include "h2_bytes.h"

static void request_and_response(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1, POST_ROOT "|expect=100-continue|content-length=5");
    put_frame(&peer.in, DATA, 0, 1, SPAN("he"));
    put_frame(&peer.in, DATA, END_STREAM, 1, SPAN("llo"));
    assert_null(peer_turn(&peer));
    expect_log(&peer, "head:1:POST:/:expect body:1:2 body:1:3 end:1 ");
    respond(peer.last, 200, false);
    h2_stream_write(peer.last, SPAN("good day"));
    assert_int_equal(h2_stream_queued(peer.last), 8);
    assert_int_equal(h2_session_queued(peer.session), 8);
    assert_true(h2_session_wants_write(peer.session));
    h2_stream_finish(peer.last, NULL);
    buffer_finish(&peer.out);
    assert_null(peer_turn(&peer));
    expect_log(&peer, "done:1 ");
    struct sent frame;
    assert_int_equal(count_sent(&peer, HEADERS, 1, &frame), 1);
    assert_int_equal(frame.flags, END_HEADERS);
    assert_int_equal(count_sent(&peer, DATA, 1, &frame), 1);
    assert_int_equal(frame.flags, END_STREAM);
    assert_true(span_equal(frame.payload, SPAN("good day")));
    assert_false(h2_session_wants_write(peer.session));
    peer_stop(&peer);
}

static struct message *seen;

static void keep_head(void *owner, struct h2_stream *stream, struct message *message)
{
    note_head(owner, stream, message);
    seen = message;
}

static void head_becomes_a_message(void **state)
{
    (void)state;
    struct peer peer = {.now = 1};
    struct h2_events events = note_events;
    events.on_head = keep_head;
    struct h2_limits limits;
    h2_limits_server(&limits);
    peer.session = h2_session_create(H2_SERVER, &limits, &events, &peer);
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1,
                ":path=/v1/x?a=b&c|:method=PATCH|:authority=h.example:80|:scheme=https|cookie=a=1|x-own=v |cookie=b=2|"
                "content-length=77|te=trailers" /* the space after v must not pass */);
    put_headers(&peer.in, 0, 3,
                ":path=/v1/x?a=b&c|:method=PATCH|:authority=h.example:80|:scheme=https|cookie=a|x-own=v|cookie=b|"
                "content-length=77|te=trailers|host=H.example:80");
    assert_null(peer_turn(&peer));
    expect_log(&peer, "head:3:PATCH:/v1/x?a=b&c reset:1:PROTOCOL_ERROR ");
    assert_int_equal(seen->version, HTTP_2);
    assert_int_equal(seen->method, HTTP_PATCH);
    assert_true(span_equal(seen->path, SPAN("/v1/x")));
    assert_true(span_equal(seen->query, SPAN("a=b&c")));
    assert_true(span_equal(seen->authority, SPAN("h.example:80")));
    assert_true(span_equal(seen->scheme, SPAN("https")));
    assert_int_equal(seen->framing, BODY_LENGTH);
    assert_int_equal(seen->body_length, 77);
    assert_int_equal(seen->fields.count, 5);
    assert_true(span_equal(fields_value(&seen->fields, FIELD_COOKIE), SPAN("a; b")));
    assert_true(span_equal(fields_find_name(&seen->fields, SPAN("x-own"))->value, SPAN("v")));
    peer_stop(&peer);
}

/* Each must be refused as a stream error; what stands before it is a sound request on stream 1, which goes on. */
static const char *const malformed[] = {
    ":method=GET|:scheme=http|:path=/",
    ":method=GET|:scheme=http|:authority=a.example",
    ":method=GET|:path=/|:authority=a.example",
    ":scheme=http|:path=/|:authority=a.example",
    GET_ROOT "|:path=/",
    ":method=GET|:scheme=http|x=y|:path=/|:authority=a.example",
    GET_ROOT "|:status=200",
    GET_ROOT "|:unknown=x",
    GET_ROOT "|Upper=x",
    GET_ROOT "|=x",
    GET_ROOT "|a b=x",
    GET_ROOT "|a:b=x",
    GET_ROOT "|connection=close",
    GET_ROOT "|keep-alive=5",
    GET_ROOT "|proxy-connection=x",
    GET_ROOT "|transfer-encoding=chunked",
    GET_ROOT "|upgrade=h2c",
    GET_ROOT "|te=gzip",
    GET_ROOT "|te=trailers, gzip",
    GET_ROOT "|x=a\rb",
    GET_ROOT "|x=a\nb",
    GET_ROOT "|x= a",
    GET_ROOT "|x=a\t",
    GET_ROOT "|x=\x7f",
    GET_ROOT "|host=b.example",
    GET_ROOT "|content-length=5|content-length=5",
    GET_ROOT "|content-length=+5",
    GET_ROOT "|content-length=5x",
    GET_ROOT "|content-length=",
    GET_ROOT "|content-length=99999999999999999999",
    ":method=GET|:scheme=http|:path=|:authority=a.example",
    ":method=GET|:scheme=http|:path=x|:authority=a.example",
    ":method=GET|:scheme=http|:path=*|:authority=a.example",
    ":method=GET|:scheme=http|:path=http://a.example/|:authority=a.example",
    ":method=GET|:scheme=http|:path=/a b|:authority=a.example",
    ":method=GET|:scheme=http|:path=/a#b|:authority=a.example",
    ":method=GET|:scheme=http|:path=/\xc3\xa4|:authority=a.example",
    ":method=GET|:scheme=ftp|:path=/|:authority=a.example",
    ":method=GET|:scheme=http|:path=/|:authority=u@a.example",
    ":method=GET|:scheme=http|:path=/|:authority=a b",
    ":method=GET|:scheme=http|:path=/|:authority=",
    ":method=G T|:scheme=http|:path=/|:authority=a.example",
    ":method=|:scheme=http|:path=/|:authority=a.example",
};

static void malformed_heads_cost_the_stream_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++) {
        struct peer peer;
        peer_start(&peer, H2_SERVER, NULL);
        put_hello(&peer.in);
        put_headers(&peer.in, 0, 1, POST_ROOT);
        put_headers(&peer.in, END_STREAM, 3, malformed[i]);
        put_headers(&peer.in, END_STREAM, 5, ":method=OPTIONS|:scheme=http|:path=*|:authority=a.example");
        const char *fault = peer_turn(&peer);
        if (fault || sent_code(&peer, 3) != H2_PROTOCOL_ERROR)
            print_error("%s: %s, code %d\n", malformed[i], fault ? fault : "no fault", sent_code(&peer, 3));
        assert_null(fault);
        assert_int_equal(sent_code(&peer, 3), H2_PROTOCOL_ERROR);
        assert_int_equal(sent_code(&peer, 0), -1);
        expect_log(&peer, "head:1:POST:/ head:5:OPTIONS:* end:5 reset:3:PROTOCOL_ERROR ");
        peer_stop(&peer);
    }
}

static void content_length_must_be_true(void **state)
{
    (void)state;
    static const struct {
        const char *length;
        struct span body;
        bool good;
    } cases[] = {{"4", SPAN_INIT("four"), true},
                 {"5", SPAN_INIT("four"), false},
                 {"3", SPAN_INIT("four"), false},
                 {"0", SPAN_INIT("four"), false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct peer peer;
        peer_start(&peer, H2_SERVER, NULL);
        put_hello(&peer.in);
        struct buffer block = {0};
        put_fields(&block, POST_ROOT);
        put_field(&block, SPAN("content-length"), span_str(cases[i].length));
        put_frame(&peer.in, HEADERS, END_HEADERS, 1, buffer_span(&block));
        put_frame(&peer.in, DATA, END_STREAM, 1, cases[i].body);
        buffer_finish(&block);
        assert_null(peer_turn(&peer));
        assert_int_equal(sent_code(&peer, 1), cases[i].good ? -1 : H2_PROTOCOL_ERROR);
        struct span log = buffer_span(&peer.log);
        assert_int_equal(span_search(log, SPAN("end:1")) < log.len, cases[i].good);
        peer_stop(&peer);
    }
}

static void trailers_both_ways(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1, POST_ROOT);
    put_headers(&peer.in, END_STREAM, 1, "x-sum=1");
    put_headers(&peer.in, 0, 3, POST_ROOT);
    put_headers(&peer.in, END_STREAM, 3, "x-sum=1|:path=/"); /* pseudo-fields have no place here */
    assert_null(peer_turn(&peer));
    expect_log(&peer, "head:1:POST:/ end:1:trailers head:3:POST:/ reset:3:PROTOCOL_ERROR ");
    peer_stop(&peer);

    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_headers(&peer.in, END_STREAM, 1, GET_ROOT);
    assert_null(peer_turn(&peer));
    char name[] = "x-checksum";
    struct field field = {.name = {name, sizeof(name) - 1}, .value = SPAN_INIT("abc")};
    struct fields trailers = {.at = &field, .count = 1, .cap = 1};
    respond(peer.last, 200, false);
    h2_stream_write(peer.last, SPAN("body"));
    h2_stream_finish(peer.last, &trailers);
    memset(name, '?', sizeof(name) - 1); /* they were copied */
    buffer_finish(&peer.out);
    assert_null(peer_turn(&peer));
    struct sent frame;
    assert_int_equal(count_sent(&peer, DATA, 1, &frame), 1);
    assert_int_equal(frame.flags, 0);
    assert_int_equal(count_sent(&peer, HEADERS, 1, &frame), 2);
    assert_int_equal(frame.flags, END_HEADERS | END_STREAM);
    peer_stop(&peer);
}

static void limits_of_a_head_refuse_the_request(void **state)
{
    (void)state;
    struct h2_limits limits;
    h2_limits_server(&limits);
    limits.header_bytes = 2000;
    limits.header_fields = 5;
    limits.target_bytes = 300;
    char text[2048];
    static const struct {
        const char *begin, *filler;
        unsigned repeat;
        const char *end, *want;
    } cases[] = {
        {GET_ROOT, "|x=y", 5, "", "head:1:GET:/ end:1 "},
        {GET_ROOT, "|x=y", 6, "", "refuse:1:431 "},
        {GET_ROOT "|x=", "long", 300, "", "head:1:GET:/ end:1 "},
        {GET_ROOT "|x=", "long", 480, "", "refuse:1:431 "},
        {":method=GET|:scheme=http|:authority=a|:path=/", "long", 80, "", "refuse:1:414 "},
        {":method=CONNECT|:authority=a.example:443", "", 0, "", "refuse:1:501 "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct peer peer;
        peer_start(&peer, H2_SERVER, &limits);
        struct buffer b = {0};
        buffer_append(&b, span_str(cases[i].begin));
        for (unsigned j = 0; j < cases[i].repeat; j++)
            buffer_append(&b, span_str(cases[i].filler));
        memcpy(text, buffer_span(&b).ptr, buffer_len(&b));
        text[buffer_len(&b)] = '\0';
        buffer_finish(&b);
        put_hello(&peer.in);
        put_headers(&peer.in, END_STREAM, 1, text);
        assert_null(peer_turn(&peer));
        expect_log(&peer, cases[i].want);
        peer_stop(&peer);
    }
}

static void a_refused_request_is_answered_and_its_body_dropped(void **state)
{
    (void)state;
    struct peer peer;
    struct h2_limits limits;
    h2_limits_server(&limits);
    limits.header_fields = 0;
    peer_start(&peer, H2_SERVER, &limits);
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1, POST_ROOT "|x=y");
    put_frame(&peer.in, DATA, 0, 1, SPAN("unseen"));
    assert_null(peer_turn(&peer));
    expect_log(&peer, "refuse:1:431 ");
    respond(peer.last, 431, true);
    assert_null(peer_turn(&peer));
    assert_int_equal(sent_code(&peer, 1), H2_NO_ERROR);
    expect_log(&peer, "done:1 ");
    peer_stop(&peer);
}

static void an_early_response_ends_the_request(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1, POST_ROOT);
    assert_null(peer_turn(&peer));
    respond(peer.last, 413, false);
    h2_stream_write(peer.last, SPAN("too much"));
    h2_stream_finish(peer.last, NULL);
    assert_null(peer_turn(&peer));
    assert_int_equal(sent_code(&peer, 1), H2_NO_ERROR);
    expect_log(&peer, "head:1:POST:/ done:1 ");
    /* What was under way is no fault. */
    for (unsigned i = 0; i < 10; i++)
        put_frame(&peer.in, DATA, i == 9 ? END_STREAM : 0, 1, SPAN("more"));
    assert_null(peer_turn(&peer));
    expect_log(&peer, "");
    peer_stop(&peer);
}

static void owner_resets_and_refuses(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1, POST_ROOT);
    assert_null(peer_turn(&peer));
    respond(peer.last, 200, false); /* its head is queued, and the arena goes before it is sent */
    h2_stream_write(peer.last, SPAN("never sent"));
    drop_stream(&peer, peer.last, H2_CANCEL);
    assert_int_equal(h2_session_queued(peer.session), 0);
    peer.refuse_all = true;
    put_headers(&peer.in, 0, 3, POST_ROOT);
    put_frame(&peer.in, DATA, END_STREAM, 3, SPAN("x"));
    put_frame(&peer.in, DATA, END_STREAM, 1, SPAN("x"));
    assert_null(peer_turn(&peer));
    assert_int_equal(sent_code(&peer, 1), H2_CANCEL);
    assert_int_equal(sent_code(&peer, 3), H2_REFUSED_STREAM);
    assert_int_equal(count_sent(&peer, DATA, 1, NULL), 0);
    expect_log(&peer, "head:1:POST:/ refused:3 ");
    peer_stop(&peer);
}

static void interim_comes_first(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1, POST_ROOT "|expect=100-continue");
    assert_null(peer_turn(&peer));
    h2_submit_interim(peer.last, 100);
    assert_null(peer_turn(&peer));
    assert_int_equal(count_sent(&peer, HEADERS, 1, NULL), 1);
    put_frame(&peer.in, DATA, END_STREAM, 1, SPAN("body"));
    assert_null(peer_turn(&peer));
    respond(peer.last, 204, true);
    h2_submit_interim(peer.last, 100);      /* too late: nothing */
    respond(peer.last, 200, true);          /* twice: nothing */
    h2_stream_write(peer.last, SPAN("no")); /* after the end: nothing */
    assert_null(peer_turn(&peer));
    assert_int_equal(count_sent(&peer, HEADERS, 1, NULL), 2);
    assert_int_equal(count_sent(&peer, DATA, 1, NULL), 0);
    expect_log(&peer, "head:1:POST:/:expect body:1:4 end:1 done:1 ");
    peer_stop(&peer);
}

static void the_peer_resets(void **state)
{
    (void)state;
    struct peer peer;
    peer_start(&peer, H2_SERVER, NULL);
    put_hello(&peer.in);
    put_headers(&peer.in, 0, 1, POST_ROOT);
    put_frame_u32(&peer.in, RST_STREAM, 1, H2_CANCEL);
    put_frame(&peer.in, DATA, 0, 1, SPAN("late"));
    assert_null(peer_turn(&peer));
    expect_log(&peer, "head:1:POST:/ reset:1:CANCEL ");
    assert_int_equal(sent_code(&peer, 1), H2_STREAM_CLOSED);
    assert_int_equal(sent_code(&peer, 0), -1);
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_and_response),
        cmocka_unit_test(head_becomes_a_message),
        cmocka_unit_test(malformed_heads_cost_the_stream_only),
        cmocka_unit_test(content_length_must_be_true),
        cmocka_unit_test(trailers_both_ways),
        cmocka_unit_test(limits_of_a_head_refuse_the_request),
        cmocka_unit_test(a_refused_request_is_answered_and_its_body_dropped),
        cmocka_unit_test(an_early_response_ends_the_request),
        cmocka_unit_test(owner_resets_and_refuses),
        cmocka_unit_test(interim_comes_first),
        cmocka_unit_test(the_peer_resets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
