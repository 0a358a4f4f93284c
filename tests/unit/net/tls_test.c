/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "net/loop.h"
#include "support/certificates.h"
#include "support/transport_pair.h"

static struct certificates files;

/* One end of a TLS connection and what it was told. */
struct peer {
    struct transport *transport;
    unsigned secured, failed, closed, writable;
    bool eof, error;
    struct buffer got;
    struct span to_send;
};

struct session {
    struct loop *loop;
    struct tls_context *server_context, *client_context;
    struct transport *lower_server, *lower_client;
    struct peer server, client;
};

static void read_all(struct peer *peer)
{
    for (;;) {
        char *scratch = loop_scratch(peer->transport->loop);
        ssize_t got = transport_read(peer->transport, scratch, LOOP_SCRATCH);
        if (got > 0)
            buffer_append(&peer->got, span_of(scratch, (size_t)got));
        if (got < 0) {
            assert_false(peer->eof || peer->error); /* told once */
            peer->eof = got == TRANSPORT_EOF;
            peer->error = got == TRANSPORT_ERROR;
        }
        if (got < LOOP_SCRATCH)
            return;
    }
}

static void send_rest(struct peer *peer)
{
    while (peer->to_send.len) {
        /* in uneven pieces, one of them empty */
        struct iovec iov[4];
        size_t cut = peer->to_send.len / 3;
        char *at = (char *)(uintptr_t)peer->to_send.ptr;
        iov[0] = (struct iovec){.iov_base = at, .iov_len = cut};
        iov[1] = (struct iovec){.iov_base = NULL, .iov_len = 0};
        iov[2] = (struct iovec){.iov_base = at + cut, .iov_len = 1};
        iov[3] = (struct iovec){.iov_base = at + cut + 1, .iov_len = peer->to_send.len - cut - 1};
        ssize_t sent = transport_write(peer->transport, iov, 4);
        assert_true(sent >= 0);
        peer->to_send = span_skip(peer->to_send, (size_t)sent);
        if (peer->to_send.len)
            return; /* WRITABLE comes */
    }
}

static void peer_event(struct transport *t, enum transport_event event)
{
    struct peer *peer = t->owner;
    switch (event) {
    case TRANSPORT_SECURED:
        peer->secured++;
        break;
    case TRANSPORT_READABLE:
        read_all(peer);
        break;
    case TRANSPORT_WRITABLE:
        peer->writable++;
        send_rest(peer);
        break;
    case TRANSPORT_CLOSED:
        peer->closed++;
        break;
    case TRANSPORT_FAILED:
        peer->failed++;
        break;
    }
}

static struct tls_context *context(const struct tls_options *options)
{
    struct net_error error;
    struct tls_context *made = tls_context_create(options, &error);
    if (!made)
        fail_msg("%s", error.text);
    return made;
}

static struct tls_options server_options(void)
{
    return (struct tls_options){
        .role = TLS_SERVER, .certificate = files.server, .key = files.server_key, .alpn = "h2,http/1.1"};
}

static struct tls_options client_options(void)
{
    return (struct tls_options){.role = TLS_CLIENT, .ca = files.ca};
}

static void settle(struct loop *loop)
{
    for (unsigned i = 0; i < 4000; i++)
        loop_turn(loop, false);
}

static void begin(struct session *s, const struct transport_pair_options *limits, const char *name, const char *alpn)
{
    transport_pair(s->loop, limits, &s->lower_server, &s->lower_client);
    s->server = (struct peer){.transport = NULL};
    s->client = (struct peer){.transport = NULL};
    struct span none = {0};
    s->server.transport = tls_start(s->server_context, s->lower_server, none, none, &s->server, peer_event);
    s->client.transport =
        tls_start(s->client_context, s->lower_client, span_str(name), span_str(alpn), &s->client, peer_event);
    assert_int_equal(s->client.secured + s->client.failed, 0);
    settle(s->loop);
}

static void open_session(struct session *s, struct tls_options server, struct tls_options client)
{
    *s = (struct session){.loop = loop_create()};
    s->server_context = context(&server);
    s->client_context = context(&client);
}

static void end(struct session *s)
{
    transport_close(s->server.transport);
    transport_close(s->client.transport);
    buffer_finish(&s->server.got);
    buffer_finish(&s->client.got);
    loop_turn(s->loop, false);
    assert_int_equal(transport_count(), 0);
}

static void close_session(struct session *s)
{
    end(s);
    tls_context_unref(s->server_context);
    tls_context_unref(s->client_context);
    loop_destroy(s->loop);
}

static char *random_text(size_t size)
{
    char *text = malloc(size);
    assert_non_null(text);
    uint64_t seed = 42;
    for (size_t i = 0; i < size; i++)
        text[i] = (char)hash_random(&seed);
    return text;
}

static void exchange(struct session *s, size_t size)
{
    char *text = random_text(size);
    transport_want(s->server.transport, true);
    transport_want(s->client.transport, true);
    s->client.to_send = span_of(text, size);
    s->server.to_send = span_of(text, size);
    send_rest(&s->client);
    send_rest(&s->server);
    for (unsigned i = 0; i < 400000 && (buffer_len(&s->server.got) < size || buffer_len(&s->client.got) < size); i++)
        loop_turn(s->loop, false);
    assert_true(span_equal(buffer_span(&s->server.got), span_of(text, size)));
    assert_true(span_equal(buffer_span(&s->client.got), span_of(text, size)));
    buffer_finish(&s->server.got);
    buffer_finish(&s->client.got);
    free(text);
}

static void bytes_pass_however_they_are_cut(void **state)
{
    (void)state;
    static const struct transport_pair_options limits[] = {{0},
                                                           {.read_most = 1},
                                                           {.write_most = 7},
                                                           {.read_most = 13, .capacity = 100},
                                                           {.read_most = 5000, .write_most = 3000},
                                                           {.capacity = 20000}};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct session s;
        open_session(&s, server_options(), client_options());
        begin(&s, &limits[i], "localhost", "h2,http/1.1");
        assert_int_equal(s.client.secured, 1);
        assert_int_equal(s.server.secured, 1);
        assert_string_equal(tls_version(s.client.transport), "TLSv1.3");
        assert_true(span_equal(transport_alpn(s.server.transport), SPAN("h2")));
        assert_true(span_equal(transport_alpn(s.client.transport), SPAN("h2")));
        assert_null(transport_tls_peer(s.server.transport));
        exchange(&s, 1);
        exchange(&s, 20000);
        if (limits[i].read_most != 1 && limits[i].write_most != 7)
            exchange(&s, 300000);
        close_session(&s);
    }
}

static void system_calls_are_those_of_plain_text(void **state)
{
    (void)state;
    struct session s;
    open_session(&s, server_options(), client_options());
    begin(&s, NULL, "localhost", "");
    exchange(&s, 100);
    char *text = random_text(60000);
    unsigned writes = transport_pair_writes(s.lower_client), reads = transport_pair_reads(s.lower_server);
    s.client.to_send = span_of(text, 60000);
    send_rest(&s.client);
    settle(s.loop);
    assert_int_equal(buffer_len(&s.server.got), 60000);
    assert_int_equal(transport_pair_writes(s.lower_client) - writes, 1); /* four records */
    assert_int_equal(transport_pair_reads(s.lower_server) - reads, 1);
    free(text);
    close_session(&s);
}

static void verification_is_strict(void **state)
{
    (void)state;
    const struct {
        const char *ca, *certificate, *name, *error; /* error NULL: accepted */
    } rows[] = {
        {files.ca, files.server, "localhost", NULL},
        {files.ca, files.server, "LOCALHOST", NULL},
        {files.ca, files.server, "api.example.", NULL},
        {files.ca, files.server, "127.0.0.1", NULL},
        {files.ca, files.server, "[::1]", NULL},
        {files.ca, files.server, "127.0.0.2", "certificate verify failed: IP address mismatch"},
        {files.ca, files.server, "example", "certificate verify failed: hostname mismatch"},
        {files.ca, files.server, "x.api.example", "certificate verify failed: hostname mismatch"},
        {files.ca, files.server, "", "the server name or ALPN list is not valid"},
        {files.ca, files.expired, "localhost", "certificate verify failed: certificate has expired"},
        {files.other_ca, files.server, "localhost",
         "certificate verify failed: unable to get local issuer certificate"},
        {NULL, files.server, "localhost", "certificate verify failed: unable to get local issuer certificate"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct session s;
        struct tls_options server = server_options(), client = client_options();
        server.certificate = rows[i].certificate;
        client.ca = rows[i].ca;
        open_session(&s, server, client);
        begin(&s, NULL, rows[i].name, "");
        if (rows[i].error) {
            assert_string_equal(transport_error(s.client.transport), rows[i].error);
            assert_int_equal(s.client.failed, 1);
            assert_int_equal(s.client.secured, 0);
            assert_int_equal(s.server.secured, 0);
        } else {
            assert_int_equal(s.client.secured, 1);
        }
        close_session(&s);
    }
}

static void clients_prove_who_they_are(void **state)
{
    (void)state;
    struct tls_options server = server_options(), client = client_options();
    server.ca = files.ca;
    server.client_certificate_required = true;
    client.certificate = files.client;
    client.key = files.client_key;
    struct session s;
    open_session(&s, server, client);
    begin(&s, NULL, "localhost", "http/1.1");
    assert_int_equal(s.server.secured, 1);
    const struct tls_peer *peer = transport_tls_peer(s.server.transport);
    assert_non_null(peer);
    assert_true(span_equal(peer->subject, SPAN("CN=worker")));
    assert_int_equal(peer->uri_count, 1);
    assert_true(span_equal(peer->uris[0], SPAN("spiffe://cluster/ns/search/sa/worker")));
    assert_int_equal(peer->name_count, 1);
    assert_true(span_equal(peer->names[0], SPAN("worker.example")));
    assert_true(span_equal(transport_alpn(s.server.transport), SPAN("http/1.1")));
    close_session(&s);

    struct tls_options anonymous = client_options();
    open_session(&s, server, anonymous);
    begin(&s, NULL, "localhost", "");
    assert_int_equal(s.server.secured, 0);
    assert_int_equal(s.server.failed, 1);
    close_session(&s);

    server.client_certificate_required = false;
    open_session(&s, server, anonymous);
    begin(&s, NULL, "localhost", "");
    assert_int_equal(s.server.secured, 1);
    assert_null(transport_tls_peer(s.server.transport));
    close_session(&s);
}

static void no_common_protocol_ends_the_handshake(void **state)
{
    (void)state;
    struct session s;
    open_session(&s, server_options(), client_options());
    begin(&s, NULL, "localhost", "spdy/3");
    assert_int_equal(s.server.failed, 1);
    assert_int_equal(s.client.failed, 1);
    assert_int_equal(s.client.secured, 0);
    close_session(&s);
}

static void sessions_are_resumed_until_a_reload(void **state)
{
    (void)state;
    struct session s;
    open_session(&s, server_options(), client_options());
    begin(&s, NULL, "localhost", "");
    assert_false(tls_resumed(s.client.transport));
    exchange(&s, 10); /* the ticket comes with the first bytes */
    end(&s);
    begin(&s, NULL, "localhost", "");
    assert_true(tls_resumed(s.client.transport));
    exchange(&s, 10);
    end(&s);
    begin(&s, NULL, "api.example", ""); /* another name: nothing to resume */
    assert_false(tls_resumed(s.client.transport));
    exchange(&s, 10);
    end(&s);
    /* what other files verified opens no door after a reload */
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    struct net_error error;
    assert_int_equal(utimensat(AT_FDCWD, files.ca, times, 0), 0);
    assert_int_equal(tls_context_reload(s.client_context, &error), TLS_RELOADED);
    begin(&s, NULL, "localhost", "");
    assert_false(tls_resumed(s.client.transport));
    assert_int_equal(s.client.secured, 1);
    close_session(&s);
}

static void the_end_is_told_apart_from_a_cut(void **state)
{
    (void)state;
    struct session s;
    open_session(&s, server_options(), client_options());
    begin(&s, NULL, "localhost", "");
    transport_want(s.server.transport, true);
    s.client.to_send = SPAN("bye");
    send_rest(&s.client);
    transport_shutdown(s.client.transport);
    settle(s.loop);
    assert_true(span_equal(buffer_span(&s.server.got), SPAN("bye")));
    assert_true(s.server.eof);
    assert_int_equal(s.server.failed + s.server.closed, 0);
    s.server.to_send = SPAN("still here"); /* the other direction lives on */
    transport_want(s.client.transport, true);
    send_rest(&s.server);
    settle(s.loop);
    assert_true(span_equal(buffer_span(&s.client.got), SPAN("still here")));
    end(&s);

    begin(&s, NULL, "localhost", "");
    transport_want(s.server.transport, true);
    transport_shutdown(s.lower_client); /* TCP ends, TLS does not */
    settle(s.loop);
    assert_true(s.server.error);
    assert_string_equal(transport_error(s.server.transport), "connection closed without close_notify");
    end(&s);

    begin(&s, NULL, "localhost", "");
    transport_pair_reset(s.lower_server);
    settle(s.loop);
    assert_int_equal(s.server.failed, 1);
    assert_string_equal(transport_error(s.server.transport), "Connection reset by peer");
    close_session(&s);
}

static void garbage_is_refused(void **state)
{
    (void)state;
    struct session s;
    open_session(&s, server_options(), client_options());
    transport_pair(s.loop, NULL, &s.lower_server, &s.lower_client);
    struct span none = {0};
    s.server.transport = tls_start(s.server_context, s.lower_server, none, none, &s.server, peer_event);
    s.client.transport = s.lower_client;
    struct iovec iov = {.iov_base = (void *)(uintptr_t) "GET / HTTP/1.1\r\nHost: x\r\n\r\n", .iov_len = 27};
    assert_int_equal(transport_write(s.lower_client, &iov, 1), 27);
    settle(s.loop);
    assert_int_equal(s.server.failed, 1);
    assert_string_equal(transport_error(s.server.transport), "http request");
    close_session(&s);
}

static void closing_early_is_clean(void **state)
{
    (void)state;
    for (unsigned turns = 0; turns < 6; turns++) {
        struct session s;
        open_session(&s, server_options(), client_options());
        transport_pair(s.loop, NULL, &s.lower_server, &s.lower_client);
        struct span none = {0};
        s.server.transport = tls_start(s.server_context, s.lower_server, none, none, &s.server, peer_event);
        s.client.transport =
            tls_start(s.client_context, s.lower_client, SPAN("localhost"), none, &s.client, peer_event);
        for (unsigned i = 0; i < turns; i++)
            loop_turn(s.loop, false);
        transport_close(s.client.transport);
        s.client.transport = NULL;
        settle(s.loop);
        close_session(&s);
    }
}

static void files_are_read_again_when_they_change(void **state)
{
    (void)state;
    struct net_error error = {{0}};
    struct session s;
    open_session(&s, server_options(), client_options());
    int64_t expires = tls_context_expires(s.server_context);
    assert_true(expires > 0);
    assert_int_equal(tls_context_reload(s.server_context, &error), TLS_UNCHANGED);
    begin(&s, NULL, "localhost", "");
    certificates_write(files.server, "-----BEGIN CERTIFICATE-----\nbroken\n");
    assert_int_equal(tls_context_reload(s.server_context, &error), TLS_KEPT);
    assert_non_null(strstr(error.text, files.server));
    assert_int_equal(tls_context_reload(s.server_context, &error), TLS_UNCHANGED); /* said once */
    assert_true(tls_context_expires(s.server_context) == expires);
    exchange(&s, 100);
    certificates_renew_server(&files);
    assert_int_equal(tls_context_reload(s.server_context, &error), TLS_RELOADED);
    assert_true(tls_context_expires(s.server_context) > expires);
    exchange(&s, 100); /* the live connection never noticed */
    end(&s);
    begin(&s, NULL, "localhost", "");
    assert_int_equal(s.client.secured, 1);
    close_session(&s);
}

static void bad_options_are_refused_with_a_reason(void **state)
{
    (void)state;
    const struct {
        struct tls_options options;
        const char *why;
    } rows[] = {
        {{.role = TLS_SERVER}, "a TLS server needs a certificate"},
        {{.role = TLS_SERVER, .certificate = "/nowhere/tls.crt"},
         "certificate /nowhere/tls.crt: No such file or directory"},
        {{.role = TLS_CLIENT, .ca = "/nowhere/ca.crt"}, "CA /nowhere/ca.crt: No such file or directory"},
        {{.role = TLS_SERVER, .certificate = files.server, .key = files.client_key}, "key"},
        {{.role = TLS_SERVER, .certificate = files.server, .key = files.server_key, .alpn = "h2,,x"}, "ALPN"},
        {{.role = TLS_CLIENT, .ca = files.server_key}, "CA"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct net_error error = {{0}};
        assert_null(tls_context_create(&rows[i].options, &error));
        if (!strstr(error.text, rows[i].why))
            fail_msg("%zu: %s", i, error.text);
    }
}

static int make_files(void **state)
{
    (void)state;
    hash_start();
    certificates_create(&files);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    certificates_destroy(&files);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_pass_however_they_are_cut),
        cmocka_unit_test(system_calls_are_those_of_plain_text),
        cmocka_unit_test(verification_is_strict),
        cmocka_unit_test(clients_prove_who_they_are),
        cmocka_unit_test(no_common_protocol_ends_the_handshake),
        cmocka_unit_test(sessions_are_resumed_until_a_reload),
        cmocka_unit_test(the_end_is_told_apart_from_a_cut),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(closing_early_is_clean),
        cmocka_unit_test(files_are_read_again_when_they_change),
        cmocka_unit_test(bad_options_are_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
