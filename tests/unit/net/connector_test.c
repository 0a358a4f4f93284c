/* SPDX-License-Identifier: Apache-2.0 */
#include "net/connector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "net/listener.h"
#include "net/loop.h"
#include "support/certificates.h"
#include "support/fake_dns.h"

static struct certificates files;

/* What the connector reported. */
struct outcome {
    unsigned calls;
    struct transport *transport;
    enum fault fault;
    char detail[200];
};

static void report(void *arg, struct transport *transport, enum fault fault, const char *detail)
{
    struct outcome *outcome = arg;
    outcome->calls++;
    outcome->transport = transport;
    outcome->fault = fault;
    (void)snprintf(outcome->detail, sizeof(outcome->detail), "%s", detail);
}

/* A server on loopback: plain, TLS, or a proxy that answers CONNECT with fixed words. */
struct server {
    struct listener *listener;
    struct accept_limit limit;
    struct transport *guests[8];
    unsigned count;
    const char *proxy_answer;
    struct buffer got;
    uint16_t port;
};

struct world {
    struct loop *loop;
    struct fake_dns *dns;
    struct resolver *resolver;
    struct server server;
    struct list list;
};

static struct fake_dns_name names[] = {{.host = "api.example", .addresses = {"127.0.0.1"}, .ttl = 60},
                                       {.host = "both.test", .addresses = {"127.0.0.1", "::1"}, .ttl = 60},
                                       {.host = "second.test", .addresses = {"127.0.0.9", "127.0.0.1"}, .ttl = 60},
                                       {.host = "far.test", .addresses = {"192.0.2.1", "192.0.2.2"}, .ttl = 60},
                                       {.host = "silent.test", .mode = FAKE_DNS_SILENT},
                                       {.host = "broken.test", .mode = FAKE_DNS_FAIL},
                                       {.host = NULL}};

static void guest_event(struct transport *t, enum transport_event event)
{
    struct server *server = t->owner;
    if (event != TRANSPORT_READABLE)
        return;
    char *scratch = loop_scratch(t->loop);
    ssize_t got = transport_read(t, scratch, LOOP_SCRATCH);
    if (got > 0)
        buffer_append(&server->got, span_of(scratch, (size_t)got));
    struct span all = buffer_span(&server->got);
    if (server->proxy_answer && span_ends_with(all, SPAN("\r\n\r\n"))) {
        struct iovec iov = {.iov_base = (void *)(uintptr_t)server->proxy_answer,
                            .iov_len = strlen(server->proxy_answer)};
        assert_true(transport_write(t, &iov, 1) > 0);
        server->proxy_answer = NULL;
    }
}

static void accepted(void *owner, struct listener *listener, struct transport *transport)
{
    (void)listener;
    struct server *server = owner;
    assert_true(server->count < ARRAY_LEN(server->guests));
    server->guests[server->count++] = transport;
    transport_own(transport, server, guest_event);
    transport_want(transport, true);
}

static struct tls_context *server_tls(const char *certificate)
{
    struct net_error error;
    struct tls_options options = {
        .role = TLS_SERVER, .certificate = certificate, .key = files.server_key, .alpn = "h2,http/1.1"};
    struct tls_context *context = tls_context_create(&options, &error);
    assert_non_null(context);
    return context;
}

static struct tls_context *client_tls(void)
{
    struct net_error error;
    struct tls_options options = {.role = TLS_CLIENT, .ca = files.ca};
    struct tls_context *context = tls_context_create(&options, &error);
    assert_non_null(context);
    return context;
}

static void open_world(struct world *world, const char *listen, const char *certificate)
{
    struct net_error error;
    struct listen_address address;
    clock_fake(1000 * CLOCK_SECOND, 1000 * CLOCK_SECOND);
    *world = (struct world){.loop = loop_create()};
    list_init(&world->list);
    world->dns = fake_dns_create(world->loop, names);
    struct resolver_options options = {.servers = fake_dns_server(world->dns)};
    world->resolver = resolver_create(world->loop, &options);
    accept_limit_init(&world->server.limit, 100);
    assert_true(listen_address_parse(span_str(listen), &address, &error));
    int fd = listener_bind(&address, &error);
    assert_true(fd >= 0);
    struct tls_context *tls = certificate ? server_tls(certificate) : NULL;
    struct listener_options listener = {.limit = &world->server.limit, .tls = tls};
    world->server.listener = listener_create(world->loop, fd, &listener, accepted, &world->server);
    world->server.port = listener_address(world->server.listener).port;
    tls_context_unref(tls);
}

static void close_world(struct world *world)
{
    assert_true(list_empty(&world->list));
    for (unsigned i = 0; i < world->server.count; i++)
        transport_close(world->server.guests[i]);
    buffer_finish(&world->server.got);
    listener_close(world->server.listener, true);
    loop_turn(world->loop, false);
    resolver_destroy(world->resolver);
    fake_dns_destroy(world->dns);
    loop_destroy(world->loop);
    assert_int_equal(pending_count(), 0);
    assert_int_equal(transport_count(), 0);
    clock_real();
}

static struct connector *start(struct world *world, const struct endpoint *endpoint, struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    struct connector *connector =
        connector_start(world->loop, world->resolver, endpoint, 10 * CLOCK_SECOND, &world->list, report, outcome);
    assert_int_equal(outcome->calls, 0);
    return connector;
}

static struct outcome dial(struct world *world, const struct endpoint *endpoint)
{
    struct outcome outcome;
    (void)start(world, endpoint, &outcome);
    while (!outcome.calls)
        loop_turn(world->loop, true);
    loop_turn(world->loop, false);
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.transport == NULL, outcome.fault != FAULT_NONE);
    return outcome;
}

static void plain_connections_are_made(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "api.example", "second.test", "both.test"};
    struct world world;
    open_world(&world, "127.0.0.1:0", NULL);
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct endpoint endpoint = {.host = span_str(hosts[i]), .port = world.server.port};
        struct outcome outcome = dial(&world, &endpoint);
        assert_int_equal(outcome.fault, FAULT_NONE);
        char text[ADDRESS_TEXT];
        assert_string_equal(address_format(&outcome.transport->peer, text), "127.0.0.1");
        assert_int_equal(outcome.transport->peer.port, world.server.port);
        transport_close(outcome.transport);
    }
    close_world(&world);
}

static void failures_are_named(void **state)
{
    (void)state;
    struct world world;
    open_world(&world, "127.0.0.1:0", NULL);
    char expected[100];
    (void)snprintf(expected, sizeof(expected), "127.0.0.9:%u: Connection refused", world.server.port);
    struct endpoint refused = {.host = SPAN("127.0.0.9"), .port = world.server.port};
    struct outcome outcome = dial(&world, &refused);
    assert_int_equal(outcome.fault, FAULT_UPSTREAM_CONNECT);
    assert_string_equal(outcome.detail, expected);
    struct endpoint nobody = {.host = SPAN("nobody.test"), .port = 1};
    outcome = dial(&world, &nobody);
    assert_int_equal(outcome.fault, FAULT_UPSTREAM_RESOLVE);
    assert_string_equal(outcome.detail, "nobody.test: no such host");
    struct endpoint broken = {.host = SPAN("broken.test"), .port = 1};
    assert_int_equal(dial(&world, &broken).fault, FAULT_UPSTREAM_RESOLVE);
    struct endpoint no_socket = {.unix_path = SPAN("/nowhere/s")};
    outcome = dial(&world, &no_socket);
    assert_int_equal(outcome.fault, FAULT_UPSTREAM_CONNECT);
    assert_string_equal(outcome.detail, "/nowhere/s: No such file or directory");
    close_world(&world);
}

static void tls_is_verified_by_name(void **state)
{
    (void)state;
    struct world world;
    open_world(&world, "127.0.0.1:0", files.server);
    struct tls_context *tls = client_tls();
    struct endpoint endpoint = {
        .host = SPAN("api.example"), .port = world.server.port, .tls = tls, .alpn = SPAN("h2,http/1.1")};
    struct outcome outcome = dial(&world, &endpoint);
    assert_int_equal(outcome.fault, FAULT_NONE);
    assert_true(span_equal(transport_alpn(outcome.transport), SPAN("h2")));
    assert_true(outcome.transport->secure);
    transport_close(outcome.transport);
    endpoint.host = SPAN("both.test"); /* not in the certificate */
    outcome = dial(&world, &endpoint);
    assert_int_equal(outcome.fault, FAULT_UPSTREAM_TLS);
    assert_string_equal(outcome.detail, "certificate verify failed: hostname mismatch");
    endpoint.server_name = SPAN("localhost"); /* unless told so */
    outcome = dial(&world, &endpoint);
    assert_int_equal(outcome.fault, FAULT_NONE);
    transport_close(outcome.transport);
    tls_context_unref(tls);
    close_world(&world);
}

static void the_socket_of_a_path_is_reached(void **state)
{
    (void)state;
    char directory[] = "/tmp/postern-test-XXXXXX", text[64];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(text, sizeof(text), "unix:%s/s", directory);
    struct world world;
    open_world(&world, text, NULL);
    struct endpoint endpoint = {.host = SPAN("x"), .port = 80, .unix_path = span_str(text + 5)};
    struct outcome outcome = dial(&world, &endpoint);
    assert_int_equal(outcome.fault, FAULT_NONE);
    assert_int_equal(outcome.transport->peer.family, ADDRESS_UNIX);
    transport_close(outcome.transport);
    close_world(&world);
    assert_int_equal(rmdir(directory), 0);
}

static void a_proxy_opens_a_tunnel_or_says_why_not(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *detail;
    } rows[] = {
        {"HTTP/1.1 200 Connection established\r\n\r\n", NULL},
        {"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "proxy: answered CONNECT with status 407"},
        {"HTTP/1.1 200 ok\r\n\r\nearly", "proxy: it sent bytes after its reply"},
        {"SSH-2.0-x\r\n", "proxy: its reply is not HTTP"},
    };
    struct world world;
    open_world(&world, "127.0.0.1:0", NULL);
    struct endpoint endpoint = {.host = SPAN("far.test"),
                                .port = 443,
                                .proxy_host = SPAN("api.example"),
                                .proxy_port = world.server.port,
                                .proxy_authorization = SPAN("Basic eA==")};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        world.server.proxy_answer = rows[i].answer;
        struct outcome outcome = dial(&world, &endpoint);
        assert_true(
            span_equal(buffer_span(&world.server.got), SPAN("CONNECT far.test:443 HTTP/1.1\r\nHost: far.test:443\r\n"
                                                            "Proxy-Authorization: Basic eA==\r\n\r\n")));
        buffer_finish(&world.server.got);
        assert_int_equal(outcome.fault, rows[i].detail ? FAULT_UPSTREAM_CONNECT : FAULT_NONE);
        if (rows[i].detail)
            assert_string_equal(outcome.detail, rows[i].detail);
        transport_close(outcome.transport);
    }
    close_world(&world);
}

/* 192.0.2.0/24 leads nowhere: at best the connection stays under way, at worst there is no route. */
static void time_runs_out_in_every_phase(void **state)
{
    (void)state;
    struct world world;
    open_world(&world, "127.0.0.1:0", NULL);
    resolver_adopt(world.resolver, 0, 0, 60 * CLOCK_SECOND); /* the connector's own time is the shorter one */
    struct tls_context *tls = client_tls();
    const struct {
        struct endpoint endpoint;
        const char *detail;
    } rows[] = {
        {{.host = SPAN("silent.test"), .port = 1}, "timed out while resolving"},
        {{.host = SPAN("127.0.0.1"), .port = world.server.port, .tls = tls, .server_name = SPAN("localhost")},
         "timed out during the TLS handshake"}, /* the server is not one of TLS and says nothing */
        {{.host = SPAN("x"), .port = 1, .proxy_host = SPAN("127.0.0.1"), .proxy_port = world.server.port},
         "timed out at the proxy"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct outcome outcome;
        (void)start(&world, &rows[i].endpoint, &outcome);
        for (unsigned turns = 0; turns < 20; turns++)
            loop_turn(world.loop, false);
        loop_advance(world.loop, 9 * CLOCK_SECOND);
        assert_int_equal(outcome.calls, 0);
        loop_advance(world.loop, 2 * CLOCK_SECOND);
        assert_int_equal(outcome.calls, 1);
        assert_int_equal(outcome.fault, FAULT_CONNECT_TIMEOUT);
        assert_string_equal(outcome.detail, rows[i].detail);
    }
    tls_context_unref(tls);
    close_world(&world);
}

static void it_can_be_cancelled_at_any_moment(void **state)
{
    (void)state;
    struct world world;
    open_world(&world, "127.0.0.1:0", files.server);
    struct tls_context *tls = client_tls();
    struct endpoint endpoint = {.host = SPAN("api.example"), .port = world.server.port, .tls = tls};
    unsigned cancelled = 0, done = 0;
    for (unsigned turns = 0; turns < 40 && !done; turns++) {
        struct outcome outcome;
        resolver_flush(world.resolver);
        struct connector *connector = start(&world, &endpoint, &outcome);
        for (unsigned i = 0; i < turns && !outcome.calls; i++)
            loop_turn(world.loop, false);
        if (outcome.calls) {
            done++;
            transport_close(outcome.transport);
            break;
        }
        if (turns % 2)
            connector_cancel(connector);
        else
            pending_cancel_all(&world.list);
        cancelled++;
        for (unsigned i = 0; i < 10; i++)
            loop_turn(world.loop, false);
        assert_int_equal(outcome.calls, 0);
    }
    assert_true(cancelled >= 2);
    assert_int_equal(done, 1);
    tls_context_unref(tls);
    close_world(&world);
}

static void the_next_address_starts_after_the_stagger(void **state)
{
    (void)state;
    struct world world;
    open_world(&world, "127.0.0.1:0", NULL);
    struct outcome outcome;
    struct endpoint endpoint = {.host = SPAN("far.test"), .port = 9};
    struct connector *connector = start(&world, &endpoint, &outcome);
    for (unsigned i = 0; i < 20; i++)
        loop_turn(world.loop, false);
    loop_advance(world.loop, CONNECTOR_STAGGER + TIMER_GRAIN);
    if (outcome.calls) { /* no route at all: both were tried at once and refused */
        assert_int_equal(outcome.fault, FAULT_UPSTREAM_CONNECT);
        assert_non_null(strstr(outcome.detail, "192.0.2."));
    } else {
        connector_cancel(connector);
    }
    loop_turn(world.loop, false);
    close_world(&world);
}

static int set_up(void **state)
{
    (void)state;
    hash_start();
    log_configure(LOG_ERROR, LOG_TEXT);
    certificates_create(&files);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    certificates_destroy(&files);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_connections_are_made),
        cmocka_unit_test(failures_are_named),
        cmocka_unit_test(tls_is_verified_by_name),
        cmocka_unit_test(the_socket_of_a_path_is_reached),
        cmocka_unit_test(a_proxy_opens_a_tunnel_or_says_why_not),
        cmocka_unit_test(time_runs_out_in_every_phase),
        cmocka_unit_test(it_can_be_cancelled_at_any_moment),
        cmocka_unit_test(the_next_address_starts_after_the_stagger),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
