/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners and socket transports over real loopback sockets. */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "net/loop.h"
#include "support/certificates.h"

struct guest {
    struct transport *transport;
    unsigned readable, writable, closed, failed;
    ssize_t last;
    struct buffer got;
};

struct house {
    struct loop *loop;
    struct listener *listener;
    struct accept_limit limit;
    struct address address;
    struct guest guests[8];
    unsigned count;
};

static void guest_event(struct transport *t, enum transport_event event)
{
    struct guest *guest = t->owner;
    if (event == TRANSPORT_READABLE) {
        char *scratch = loop_scratch(t->loop);
        guest->readable++;
        guest->last = transport_read(t, scratch, LOOP_SCRATCH);
        if (guest->last > 0)
            buffer_append(&guest->got, span_of(scratch, (size_t)guest->last));
    }
    guest->writable += event == TRANSPORT_WRITABLE;
    guest->closed += event == TRANSPORT_CLOSED;
    guest->failed += event == TRANSPORT_FAILED;
}

static void accepted(void *owner, struct listener *listener, struct transport *transport)
{
    struct house *house = owner;
    assert_ptr_equal(listener, house->listener);
    assert_false(transport->want_read);
    struct guest *guest = &house->guests[house->count++];
    *guest = (struct guest){.transport = transport};
    transport_own(transport, guest, guest_event);
}

static int bind_text(const char *text, struct net_error *error)
{
    struct listen_address address;
    assert_true(listen_address_parse(span_str(text), &address, error));
    address.mode = 0600;
    return listener_bind(&address, error);
}

static void open_house(struct house *house, const char *text, struct listener_options options, unsigned most)
{
    struct net_error error;
    *house = (struct house){.loop = loop_create()};
    accept_limit_init(&house->limit, most);
    options.limit = &house->limit;
    int fd = bind_text(text, &error);
    assert_true(fd >= 0);
    house->listener = listener_create(house->loop, fd, &options, accepted, house);
    house->address = listener_address(house->listener);
}

static void close_house(struct house *house)
{
    for (unsigned i = 0; i < house->count; i++) {
        transport_close(house->guests[i].transport);
        buffer_finish(&house->guests[i].got);
    }
    listener_close(house->listener, true);
    loop_turn(house->loop, false);
    assert_int_equal(house->limit.open, 0);
    assert_int_equal(transport_count(), 0);
    loop_destroy(house->loop);
}

/* A plain blocking client. */
static int call(const struct address *address)
{
    struct sockaddr_storage sa;
    socklen_t len = address_to_sockaddr(address, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    return fd;
}

static void say(int fd, const char *text, size_t len)
{
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void hang_up_hard(int fd)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    assert_int_equal(close(fd), 0);
}

static struct guest *next_guest(struct house *house)
{
    unsigned before = house->count;
    while (house->count == before)
        loop_turn(house->loop, true);
    return &house->guests[before];
}

/* A few turns without waiting: enough for what has already arrived on loopback. */
static void look(struct house *house)
{
    for (unsigned i = 0; i < 5; i++)
        loop_turn(house->loop, false);
}

static void bytes_and_ends_are_told_once(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, "127.0.0.1:0", (struct listener_options){0}, 10);
    int fd = call(&house.address);
    struct guest *guest = next_guest(&house);
    assert_true(address_is_loopback(&guest->transport->peer));
    assert_int_not_equal(guest->transport->peer.port, 0);
    transport_want(guest->transport, true);
    say(fd, "hello", 5);
    while (!guest->readable)
        loop_turn(house.loop, true);
    assert_true(span_equal(buffer_span(&guest->got), SPAN("hello")));
    struct iovec iov[2] = {{.iov_base = (void *)(uintptr_t) "good ", .iov_len = 5},
                           {.iov_base = (void *)(uintptr_t) "day", .iov_len = 3}};
    assert_int_equal(transport_write(guest->transport, iov, 2), 8);
    char answer[16];
    assert_int_equal(recv(fd, answer, sizeof(answer), 0), 8);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    while (guest->readable < 2)
        loop_turn(house.loop, true);
    assert_int_equal(guest->last, TRANSPORT_EOF);
    look(&house);
    assert_int_equal(guest->readable, 2);
    assert_int_equal(transport_write(guest->transport, iov, 1), 5); /* half closed, not gone */
    assert_int_equal(recv(fd, answer, sizeof(answer), 0), 5);
    assert_int_equal(close(fd), 0);
    close_house(&house);
}

static void unwanted_bytes_stay_and_a_leaving_peer_is_seen(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, "[::1]:0", (struct listener_options){0}, 10);
    int fd = call(&house.address);
    struct guest *guest = next_guest(&house);
    transport_want(guest->transport, true);
    transport_want(guest->transport, false); /* still armed */
    say(fd, "early", 5);
    look(&house);
    assert_int_equal(guest->readable + guest->closed, 0);
    transport_want(guest->transport, true);
    while (!guest->readable)
        loop_turn(house.loop, true);
    assert_true(span_equal(buffer_span(&guest->got), SPAN("early")));
    transport_want(guest->transport, false);
    assert_int_equal(close(fd), 0);
    while (!guest->closed)
        loop_turn(house.loop, true);
    look(&house);
    assert_int_equal(guest->closed, 1);
    assert_int_equal(guest->readable, 1);

    fd = call(&house.address);
    guest = next_guest(&house);
    transport_want(guest->transport, true);
    transport_want(guest->transport, false);
    hang_up_hard(fd);
    while (!guest->failed)
        loop_turn(house.loop, true);
    assert_string_equal(transport_error(guest->transport), "Connection reset by peer");
    look(&house);
    assert_int_equal(guest->failed, 1);
    close_house(&house);
}

static void a_slow_reader_makes_short_writes(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, "127.0.0.1:0", (struct listener_options){0}, 10);
    int fd = call(&house.address);
    struct guest *guest = next_guest(&house);
    static char block[1 << 20];
    struct iovec iov = {.iov_base = block, .iov_len = sizeof(block)};
    size_t sent = 0, read_back = 0;
    ssize_t took;
    do {
        took = transport_write(guest->transport, &iov, 1);
        assert_true(took >= 0);
        sent += (size_t)took;
    } while ((size_t)took == sizeof(block));
    look(&house);
    assert_int_equal(guest->writable, 0);
    while (read_back < sent) {
        ssize_t got = recv(fd, block, sizeof(block), 0);
        assert_true(got > 0);
        read_back += (size_t)got;
        loop_turn(house.loop, false);
    }
    while (!guest->writable)
        loop_turn(house.loop, true);
    look(&house);
    assert_int_equal(guest->writable, 1);
    assert_int_equal(close(fd), 0);
    close_house(&house);
}

static void lingering_lets_the_answer_arrive(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, "127.0.0.1:0", (struct listener_options){0}, 10);
    int fd = call(&house.address);
    say(fd, "more than you want", 18);
    struct guest *guest = next_guest(&house);
    struct iovec iov = {.iov_base = (void *)(uintptr_t) "413", .iov_len = 3};
    assert_int_equal(transport_write(guest->transport, &iov, 1), 3);
    transport_linger(guest->transport, 60 * CLOCK_SECOND);
    guest->transport = NULL;
    say(fd, "and more", 8);
    look(&house);
    char answer[8];
    assert_int_equal(recv(fd, answer, sizeof(answer), 0), 3);
    assert_int_equal(recv(fd, answer, sizeof(answer), 0), 0); /* an end, not a reset */
    assert_int_equal(house.limit.open, 1);
    assert_int_equal(close(fd), 0);
    while (house.limit.open)
        loop_turn(house.loop, true);

    fd = call(&house.address); /* one still lingering when everything ends */
    guest = next_guest(&house);
    transport_linger(guest->transport, 60 * CLOCK_SECOND);
    guest->transport = NULL;
    listener_close(house.listener, false);
    loop_destroy(house.loop);
    assert_int_equal(transport_count(), 0);
    assert_int_equal(close(fd), 0);
}

static void the_limit_pauses_accepting(void **state)
{
    (void)state;
    struct house house;
    open_house(&house, "127.0.0.1:0", (struct listener_options){0}, 2);
    int fds[3];
    for (unsigned i = 0; i < 3; i++)
        fds[i] = call(&house.address); /* the third waits in the kernel */
    while (house.count < 2)
        loop_turn(house.loop, true);
    look(&house);
    assert_int_equal(house.count, 2);
    transport_close(house.guests[0].transport);
    house.guests[0].transport = NULL;
    while (house.count < 3)
        loop_turn(house.loop, true);
    listener_pause(house.listener, true);
    transport_close(house.guests[1].transport);
    house.guests[1].transport = NULL;
    int late = call(&house.address);
    look(&house);
    assert_int_equal(house.count, 3);
    listener_pause(house.listener, false);
    while (house.count < 4)
        loop_turn(house.loop, true);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(close(fds[i]), 0);
    assert_int_equal(close(late), 0);
    close_house(&house);
}

static void an_address_has_one_owner(void **state)
{
    (void)state;
    struct house house;
    struct net_error error;
    open_house(&house, "127.0.0.1:0", (struct listener_options){0}, 10);
    char text[ADDRESS_TEXT];
    (void)address_format_port(&house.address, text);
    assert_int_equal(bind_text(text, &error), -1);
    assert_non_null(strstr(error.text, "Address already in use"));
    assert_non_null(strstr(error.text, text));
    struct sockaddr_storage sa;
    socklen_t len = address_to_sockaddr(&house.address, &sa);
    int first = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    assert_int_equal(setsockopt(first, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
    assert_int_equal(bind(first, (struct sockaddr *)&sa, len), 0); /* what a worker of ours may do */
    int second = listener_bind_again(first, &error);
    assert_true(second >= 0);
    assert_int_equal(close(first), 0);
    assert_int_equal(close(second), 0);
    close_house(&house);
}

static void unix_sockets_come_and_go(void **state)
{
    (void)state;
    char directory[] = "/tmp/postern-test-XXXXXX", text[64];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(text, sizeof(text), "unix:%s/s", directory);
    const char *path = text + 5;
    struct house house;
    struct net_error error;
    struct stat st;
    open_house(&house, text, (struct listener_options){0}, 10);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(bind_text(text, &error), -1); /* somebody listens */
    assert_non_null(strstr(error.text, "Address already in use"));
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    (void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(next_guest(&house)->transport->peer.family, ADDRESS_UNIX);
    assert_int_equal(close(fd), 0);
    close_house(&house);
    assert_int_not_equal(stat(path, &st), 0); /* removed */

    int stale = bind_text(text, &error);
    assert_int_equal(close(stale), 0); /* as after a crash: the file stays */
    assert_int_equal(stat(path, &st), 0);
    open_house(&house, text, (struct listener_options){0}, 10);
    close_house(&house);

    certificates_write(path, "precious");
    assert_int_equal(bind_text(text, &error), -1); /* not ours to remove */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

static struct listener_options trusting(const char *range, struct address_range *ret)
{
    assert_true(address_range_parse(span_str(range), ret));
    return (struct listener_options){.proxy_trusted = ret, .proxy_trusted_count = 1};
}

static void proxy_headers_are_read_from_the_trusted_only(void **state)
{
    (void)state;
    static const char header[] = "PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\nGET /";
    struct house house;
    struct address_range range;
    char text[ADDRESS_TEXT];
    open_house(&house, "127.0.0.1:0", trusting("127.0.0.0/8", &range), 10);
    int fd = call(&house.address);
    for (size_t i = 0; i + 1 < sizeof(header); i++) { /* byte by byte */
        say(fd, header + i, 1);
        look(&house);
    }
    while (!house.count)
        loop_turn(house.loop, true);
    struct guest *guest = &house.guests[0];
    assert_string_equal(address_format_port(&guest->transport->peer, text), "192.0.2.7:5000");
    transport_want(guest->transport, true);
    while (buffer_len(&guest->got) < 5)
        loop_turn(house.loop, true);
    assert_true(span_equal(buffer_span(&guest->got), SPAN("GET /"))); /* what follows is left alone */
    int wrong = call(&house.address);
    say(wrong, "GET / HTTP/1.1\r\n", 16);
    int silent = call(&house.address);
    assert_int_equal(shutdown(silent, SHUT_WR), 0);
    while (listener_counts(house.listener).proxy_refused < 2)
        loop_turn(house.loop, true);
    assert_int_equal(house.count, 1);
    int waiting = call(&house.address); /* dropped with the listener */
    look(&house);
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(wrong), 0);
    assert_int_equal(close(silent), 0);
    close_house(&house);
    assert_int_equal(close(waiting), 0);

    open_house(&house, "127.0.0.1:0", trusting("10.0.0.0/8", &range), 10);
    fd = call(&house.address);
    say(fd, header, sizeof(header) - 1);
    guest = next_guest(&house);
    assert_true(address_is_loopback(&guest->transport->peer));
    transport_want(guest->transport, true);
    while (!guest->readable)
        loop_turn(house.loop, true);
    assert_int_equal(buffer_len(&guest->got), sizeof(header) - 1); /* just bytes from a stranger */
    assert_int_equal(close(fd), 0);
    close_house(&house);
}

static void a_silent_handshake_times_out(void **state)
{
    (void)state;
    struct certificates files;
    certificates_create(&files);
    struct tls_options tls = {.role = TLS_SERVER, .certificate = files.server, .key = files.server_key};
    struct net_error error;
    struct tls_context *context = tls_context_create(&tls, &error);
    assert_non_null(context);
    clock_fake(1000 * CLOCK_SECOND, 1000 * CLOCK_SECOND);
    struct house house;
    open_house(&house, "127.0.0.1:0", (struct listener_options){.tls = context}, 10);
    tls_context_unref(context);
    int fd = call(&house.address);
    while (!house.limit.open)
        loop_turn(house.loop, true);
    loop_advance(house.loop, LISTENER_HANDSHAKE_TIMEOUT / 2);
    assert_int_equal(house.limit.open, 1);
    loop_advance(house.loop, LISTENER_HANDSHAKE_TIMEOUT);
    assert_int_equal(house.limit.open, 0);
    assert_int_equal(listener_counts(house.listener).handshake_failed, 1);
    assert_int_equal(close(fd), 0);
    fd = call(&house.address);
    say(fd, "not TLS at all", 14);
    while (listener_counts(house.listener).handshake_failed < 2)
        loop_turn(house.loop, true);
    assert_int_equal(house.count, 0);
    assert_int_equal(close(fd), 0);
    close_house(&house);
    clock_real();
    certificates_destroy(&files);
}

static void running_out_of_descriptors_is_survived(void **state)
{
    (void)state;
    clock_fake(1000 * CLOCK_SECOND, 1000 * CLOCK_SECOND);
    struct house house;
    open_house(&house, "127.0.0.1:0", (struct listener_options){0}, 10);
    int first = call(&house.address), second = call(&house.address);
    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    tight = old;
    tight.rlim_cur = 3; /* nothing new from here on */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    loop_turn(house.loop, true);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(listener_counts(house.listener).out_of_files, 1);
    look(&house);
    assert_int_equal(house.count, 0); /* resting */
    loop_advance(house.loop, CLOCK_SECOND);
    while (!house.count)
        loop_turn(house.loop, true);
    assert_int_equal(close(first), 0);
    assert_int_equal(close(second), 0);
    close_house(&house);
    clock_real();
}

static int quiet(void **state)
{
    (void)state;
    hash_start();
    log_configure(LOG_ERROR, LOG_TEXT);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_and_ends_are_told_once),
        cmocka_unit_test(unwanted_bytes_stay_and_a_leaving_peer_is_seen),
        cmocka_unit_test(a_slow_reader_makes_short_writes),
        cmocka_unit_test(lingering_lets_the_answer_arrive),
        cmocka_unit_test(the_limit_pauses_accepting),
        cmocka_unit_test(an_address_has_one_owner),
        cmocka_unit_test(unix_sockets_come_and_go),
        cmocka_unit_test(proxy_headers_are_read_from_the_trusted_only),
        cmocka_unit_test(a_silent_handshake_times_out),
        cmocka_unit_test(running_out_of_descriptors_is_survived),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
