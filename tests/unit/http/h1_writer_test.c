/* SPDX-License-Identifier: Apache-2.0 */
/* Heads as written, what must not be written, and whatever is written read back by h1_reader. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "http/h1_reader.h"
#include "http/h1_writer.h"
#include "support/h1_drive.h"

static void expect_content(struct buffer *out, const char *text)
{
    if (!span_equal(buffer_span(out), span_str(text)))
        fail_msg("wrote:\n%.*s--- not:\n%s", SPAN_ARG(buffer_span(out)), text);
    buffer_finish(out);
}

static struct message request(struct arena *arena)
{
    struct message m = {.method = HTTP_POST, .target = SPAN("/v1?x"), .keep_alive = true, .version = HTTP_1_1};
    fields_add(&m.fields, arena, SPAN("host"), SPAN("old"));
    fields_add(&m.fields, arena, SPAN("content-length"), SPAN("999"));
    fields_add(&m.fields, arena, SPAN("transfer-encoding"), SPAN("chunked"));
    fields_add(&m.fields, arena, SPAN("connection"), SPAN("close"));
    fields_add(&m.fields, arena, SPAN("api-key"), SPAN("k"));
    fields_add(&m.fields, arena, SPAN("x-a-rather-long-name-of-no-id-at-all"), SPAN(""));
    return m;
}

#define REST "api-key: k\r\nx-a-rather-long-name-of-no-id-at-all: \r\n"

static void writes_requests(void **state)
{
    (void)state;
    struct arena arena;
    struct buffer out = {0};
    arena_init(&arena);
    struct message m = request(&arena);
    m.framing = BODY_LENGTH;
    m.body_length = UINT64_MAX;
    assert_true(h1_write_request(&out, &m, SPAN("new:81")));
    expect_content(&out, "POST /v1?x HTTP/1.1\r\nhost: new:81\r\n" REST "content-length: 18446744073709551615\r\n\r\n");
    m.framing = BODY_CHUNKED;
    m.keep_alive = false;
    assert_true(h1_write_request(&out, &m, SPAN("")));
    expect_content(&out,
                   "POST /v1?x HTTP/1.1\r\nhost: \r\n" REST "transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    m.framing = BODY_NONE;
    m.keep_alive = true;
    assert_true(h1_write_request(&out, &m, SPAN("a")));
    expect_content(&out, "POST /v1?x HTTP/1.1\r\nhost: a\r\n" REST "content-length: 0\r\n\r\n");
    m.method = HTTP_OTHER;
    m.method_text = SPAN("QUERY");
    assert_true(h1_write_request(&out, &m, SPAN("a")));
    expect_content(&out, "QUERY /v1?x HTTP/1.1\r\nhost: a\r\n" REST "\r\n");
    m.framing = BODY_CLOSE;
    assert_false(h1_write_request(&out, &m, SPAN("a")));
    assert_int_equal(buffer_len(&out), 0);
    arena_finish(&arena);
    buffer_finish(&out);
}

static void writes_answers(void **state)
{
    (void)state;
    static const struct {
        struct message message;
        const char *given; /* a content-length among the fields */
        const char *text;  /* NULL: refused */
    } rows[] = {
        {{.status = 200, .framing = BODY_LENGTH, .body_length = 7, .keep_alive = true},
         "9",
         "200 OK\r\nx: y\r\ndate: D\r\ncontent-length: 7\r\n\r\n"},
        {{.status = 200, .framing = BODY_CHUNKED, .keep_alive = true},
         NULL,
         "200 OK\r\nx: y\r\ndate: D\r\ntransfer-encoding: chunked\r\n\r\n"},
        {{.status = 200, .framing = BODY_CHUNKED},
         NULL,
         "200 OK\r\nx: y\r\ndate: D\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"},
        {{.status = 200, .framing = BODY_CLOSE, .keep_alive = true},
         NULL,
         "200 OK\r\nx: y\r\ndate: D\r\nconnection: close\r\n\r\n"},
        {{.status = 200, .framing = BODY_NONE, .keep_alive = true},
         NULL,
         "200 OK\r\nx: y\r\ndate: D\r\ncontent-length: 0\r\n\r\n"},
        {{.status = 200, .framing = BODY_NONE, .keep_alive = true, .method = HTTP_HEAD},
         "5",
         "200 OK\r\nx: y\r\ncontent-length: 5\r\ndate: D\r\n\r\n"},
        {{.status = 200, .framing = BODY_NONE, .keep_alive = true, .method = HTTP_HEAD},
         NULL,
         "200 OK\r\nx: y\r\ndate: D\r\n\r\n"},
        {{.status = 304, .framing = BODY_NONE, .keep_alive = true},
         "5",
         "304 Not Modified\r\nx: y\r\ncontent-length: 5\r\ndate: D\r\n\r\n"},
        {{.status = 204, .framing = BODY_NONE, .keep_alive = true, .method = HTTP_HEAD},
         "5",
         "204 No Content\r\nx: y\r\ndate: D\r\n\r\n"},
        {{.status = 103, .framing = BODY_NONE}, "5", "103 Early Hints\r\nx: y\r\ndate: D\r\n\r\n"},
        {{.status = 599, .framing = BODY_NONE, .keep_alive = true},
         NULL,
         "599 \r\nx: y\r\ndate: D\r\ncontent-length: 0\r\n\r\n"},
        {{.status = 200, .reason = SPAN_INIT("Fine \xc3\xa4"), .framing = BODY_NONE, .keep_alive = true},
         NULL,
         "200 Fine \xc3\xa4\r\nx: y\r\ndate: D\r\ncontent-length: 0\r\n\r\n"},
        {{.status = 200, .version = HTTP_1_0, .framing = BODY_LENGTH, .keep_alive = true},
         NULL,
         "200 OK\r\nx: y\r\ndate: D\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n"},
        {{.status = 200, .version = HTTP_1_0, .framing = BODY_CLOSE},
         NULL,
         "200 OK\r\nx: y\r\ndate: D\r\nconnection: close\r\n\r\n"},
        {{.status = 200, .version = HTTP_1_0, .framing = BODY_CHUNKED}, NULL, NULL},
        {{.status = 99}, NULL, NULL},
        {{.status = 600}, NULL, NULL},
        {{.status = 200, .reason = SPAN_INIT("a\rb")}, NULL, NULL},
        {{.status = 200, .reason = SPAN_INIT("a\nb")}, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena;
        struct buffer out = {0}, expected = {0};
        struct message m = rows[i].message;
        arena_init(&arena);
        fields_add(&m.fields, &arena, SPAN("x"), SPAN("y"));
        if (rows[i].given)
            fields_add(&m.fields, &arena, SPAN("content-length"), span_str(rows[i].given));
        fields_add(&m.fields, &arena, SPAN("connection"), SPAN("x"));
        assert_int_equal(h1_write_response(&out, &m, SPAN("D")), rows[i].text != NULL);
        if (rows[i].text)
            buffer_format(&expected, "HTTP/1.1 %s", rows[i].text);
        if (!span_equal(buffer_span(&out), buffer_span(&expected)))
            fail_msg("row %zu: %.*s", i, SPAN_ARG(buffer_span(&out)));
        buffer_finish(&out);
        buffer_finish(&expected);
        arena_finish(&arena);
    }
}

static void leaves_a_given_date(void **state)
{
    (void)state;
    struct arena arena;
    struct buffer out = {0};
    struct message m = {.status = 200, .keep_alive = true};
    arena_init(&arena);
    fields_add(&m.fields, &arena, SPAN("date"), SPAN("theirs"));
    assert_true(h1_write_response(&out, &m, SPAN("ours")));
    expect_content(&out, "HTTP/1.1 200 OK\r\ndate: theirs\r\ncontent-length: 0\r\n\r\n");
    arena_finish(&arena);
}

/* Each would become another message or field on the wire. */
static void refuses_to_split(void **state)
{
    (void)state;
    static const struct span names[] = {
        SPAN_INIT(""),       SPAN_INIT("a b"), SPAN_INIT("a\r\nb"),
        SPAN_INIT("a:"),     SPAN_INIT("a\0"), SPAN_INIT("\x80"),
        SPAN_INIT("a: b\n"), SPAN_INIT(" a"),  SPAN_INIT("a-name-longer-than-a-block\r")};
    static const struct span values[] = {
        SPAN_INIT("\r"),        SPAN_INIT("a\n"),
        SPAN_INIT("a\r\nb: c"), SPAN_INIT("\0"),
        SPAN_INIT("a\x01"),     SPAN_INIT("\r\n\r\nGET / HTTP/1.1"),
        SPAN_INIT("\x7f"),      SPAN_INIT("a value longer than a block, then a CR\r.")};
    static const struct span targets[] = {SPAN_INIT(""),     SPAN_INIT("/a b"), SPAN_INIT("/\r\n"),
                                          SPAN_INIT("/\0"),  SPAN_INIT("/#"),   SPAN_INIT("/ HTTP/1.1\r\nx: y\r\n\r\n"),
                                          SPAN_INIT("/\xff")};
    static const struct span methods[] = {SPAN_INIT("G T"), SPAN_INIT("GET\r\n"), SPAN_INIT("\0")};
    struct arena arena;
    struct buffer out = {0};
    arena_init(&arena);
    buffer_append(&out, SPAN("before"));
    for (size_t i = 0; i < ARRAY_LEN(names) + ARRAY_LEN(values); i++) {
        struct message m = {.method = HTTP_GET, .target = SPAN("/"), .status = 200};
        struct fields trailers = {0};
        bool name = i < ARRAY_LEN(names);
        struct span value = name ? SPAN("v") : values[i - ARRAY_LEN(names)];
        fields_add(&m.fields, &arena, name ? names[i] : SPAN("x"), value);
        fields_copy(&trailers, &arena, &m.fields);
        assert_false(h1_write_request(&out, &m, SPAN("a")));
        assert_false(h1_write_response(&out, &m, SPAN("d")));
        assert_false(h1_write_last_chunk(&out, &trailers));
        m.fields.count = 0;
        fields_add_id(&m.fields, &arena, FIELD_API_KEY, value);
        assert_int_equal(h1_write_response(&out, &m, SPAN("d")), name);
        buffer_consume(&out, 6);
        buffer_consume(&out, buffer_len(&out));
        buffer_append(&out, SPAN("before"));
    }
    struct message m = {.method = HTTP_GET, .target = SPAN("/"), .status = 200};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_false(h1_write_request(&out, &m, values[i]));
        assert_false(h1_write_response(&out, &m, values[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        m.target = targets[i];
        assert_false(h1_write_request(&out, &m, SPAN("a")));
    }
    m.target = SPAN("/");
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        m.method_text = methods[i];
        assert_false(h1_write_request(&out, &m, SPAN("a")));
    }
    m.method_text = SPAN("");
    m.method = HTTP_OTHER;
    assert_false(h1_write_request(&out, &m, SPAN("a")));
    expect_content(&out, "before");
    arena_finish(&arena);
}

static void writes_chunks(void **state)
{
    (void)state;
    struct arena arena;
    struct buffer out = {0};
    struct fields trailers = {0};
    char room[H1_CHUNK_HEAD_MAX];
    arena_init(&arena);
    fields_add(&trailers, &arena, SPAN("x-sum"), SPAN("1"));
    fields_add(&trailers, &arena, SPAN("content-length"), SPAN("1"));
    assert_int_equal(h1_chunk_head(room, UINT64_MAX), H1_CHUNK_HEAD_MAX);
    assert_memory_equal(room, "ffffffffffffffff\r\n", H1_CHUNK_HEAD_MAX);
    h1_write_continue(&out);
    h1_write_chunk_head(&out, 0x1a0);
    h1_write_chunk_end(&out);
    assert_true(h1_write_last_chunk(&out, NULL));
    assert_true(h1_write_last_chunk(&out, &trailers));
    expect_content(&out, "HTTP/1.1 100 Continue\r\n\r\n1a0\r\n\r\n0\r\n\r\n0\r\nx-sum: 1\r\n\r\n");
    arena_finish(&arena);
}

static unsigned pick(uint64_t *seed, unsigned below)
{
    return (unsigned)(hash_random(seed) % below);
}

/* Text of up to `max` bytes out of the alphabet. */
static struct span word(struct arena *arena, uint64_t *seed, struct span alphabet, unsigned min, unsigned max)
{
    size_t len = min + pick(seed, max - min + 1);
    char *text = arena_bytes(arena, len + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = alphabet.ptr[pick(seed, (unsigned)alphabet.len)];
    return span_of(text, len);
}

static void random_message(struct message *m, struct arena *arena, uint64_t *seed)
{
    *m = (struct message){.version = HTTP_1_1, .method = HTTP_POST, .method_text = SPAN("POST"), .status = 200};
    struct span rest = word(arena, seed, SPAN("ab/?=%._~!"), 0, 60);
    m->target = arena_format(arena, "/%.*s", SPAN_ARG(rest));
    m->reason = word(arena, seed, SPAN("OK fine"), 1, 20);
    m->keep_alive = pick(seed, 2);
    m->framing = pick(seed, 2) ? BODY_LENGTH : BODY_CHUNKED;
    for (unsigned i = pick(seed, 30); i > 0; i--) {
        struct span inner = word(arena, seed, SPAN("v \t,;=\"\x80\xff"), 0, 70);
        fields_add(&m->fields, arena, word(arena, seed, SPAN("xyz-_!#09"), 1, 40), span_trim(inner));
    }
}

static void append_body(struct buffer *wire, struct buffer *body, const struct message *m, uint64_t *seed)
{
    while (buffer_len(body) < m->body_length) {
        uint64_t left = m->body_length - buffer_len(body);
        uint64_t len = m->framing == BODY_LENGTH ? left : 1 + pick(seed, (unsigned)left);
        if (m->framing == BODY_CHUNKED)
            h1_write_chunk_head(wire, len);
        for (uint64_t i = 0; i < len; i++) {
            buffer_append(wire, SPAN("b"));
            buffer_append(body, SPAN("b"));
        }
        if (m->framing == BODY_CHUNKED)
            h1_write_chunk_end(wire);
    }
    if (m->framing == BODY_CHUNKED)
        assert_true(h1_write_last_chunk(wire, NULL));
}

static void check_same(const struct message *in, const struct message *out, bool request)
{
    assert_int_equal(in->keep_alive, out->keep_alive);
    assert_int_equal(in->framing, out->framing);
    if (request)
        assert_true(span_equal(in->target, out->target) && span_equal(out->authority, SPAN("h")));
    else
        assert_true(out->status == 200 && span_equal(in->reason, out->reason));
    unsigned own = request ? 1 : 0; /* Host comes first */
    for (unsigned i = 0; i < in->fields.count; i++) {
        assert_true(span_equal(in->fields.at[i].name, out->fields.at[i + own].name));
        assert_true(span_equal(in->fields.at[i].value, out->fields.at[i + own].value));
    }
    assert_int_equal(out->fields.count, in->fields.count + own + 1 + (in->keep_alive ? 0 : 1));
}

/* Reads what was written, in random pieces. */
static void read_back(struct span wire, enum h1_role role, struct message *ret, struct arena *arena,
                      struct buffer *body, uint64_t *seed)
{
    struct h1_reader reader;
    struct span piece = {NULL, 0}, part;
    enum h1_event event;
    h1_reader_init(&reader, role, &h1_limits_default);
    h1_reader_start(&reader, arena, ret, HTTP_POST);
    while ((event = h1_reader_next(&reader, &piece, &part)) != H1_END) {
        assert_int_not_equal(event, H1_BAD);
        if (event == H1_BODY)
            buffer_append(body, part);
        if (event == H1_MORE) {
            assert_true(wire.len > 0);
            piece = span_take(wire, 1 + pick(seed, 400));
            wire = span_skip(wire, piece.len);
        }
    }
    assert_int_equal(wire.len + piece.len, 0);
    h1_reader_finish(&reader);
}

static void reads_back_what_it_writes(void **state)
{
    (void)state;
    uint64_t seed = 4610;
    for (unsigned round = 0; round < 2000; round++) {
        struct arena arena;
        struct message in, out;
        struct buffer wire = {0}, body = {0}, got = {0};
        bool request = round % 2;
        arena_init(&arena);
        random_message(&in, &arena, &seed);
        in.body_length = pick(&seed, 300);
        assert_true(request ? h1_write_request(&wire, &in, SPAN("h")) : h1_write_response(&wire, &in, SPAN("")));
        append_body(&wire, &body, &in, &seed);
        read_back(buffer_span(&wire), request ? H1_SERVER : H1_CLIENT, &out, &arena, &got, &seed);
        check_same(&in, &out, request);
        assert_true(span_equal(buffer_span(&body), buffer_span(&got)));
        buffer_finish(&wire);
        buffer_finish(&body);
        buffer_finish(&got);
        arena_finish(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_requests),     cmocka_unit_test(writes_answers),
        cmocka_unit_test(leaves_a_given_date), cmocka_unit_test(refuses_to_split),
        cmocka_unit_test(writes_chunks),       cmocka_unit_test(reads_back_what_it_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
