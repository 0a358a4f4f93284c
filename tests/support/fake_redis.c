/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fake_redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "gateway/redis_protocol.h"
#include "net/loop.h"
#include "net/transport.h"

static void check(bool good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "fake_redis: %s\n", what);
    abort();
}

static void leave(struct fake_redis_guest *guest)
{
    transport_close(guest->transport);
    guest->transport = NULL;
}

static void write_all(struct fake_redis_guest *guest, struct span bytes)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len};
    if (guest->transport && bytes.len && transport_write(guest->transport, &iov, 1) < 0)
        leave(guest);
}

static struct fake_redis_script *script_for(struct fake_redis *fake, struct span command)
{
    for (unsigned i = 0; i < fake->script_count; i++) {
        struct fake_redis_script *script = &fake->scripts[i];
        if (!script->used && span_starts_with(command, span_str(script->command)))
            return script;
    }
    return NULL;
}

static void answer(struct fake_redis_guest *guest, struct span command)
{
    struct fake_redis *fake = guest->fake;
    if (fake->silent)
        return;
    struct fake_redis_script *script = script_for(fake, command);
    if (!script) {
        write_all(guest, span_starts_with(command, SPAN("PING")) ? SPAN("+PONG\r\n") : SPAN("+OK\r\n"));
        return;
    }
    script->used = !script->always;
    if (script->reply)
        write_all(guest, span_of(script->reply, script->len));
    else
        leave(guest);
}

static void take(struct fake_redis_guest *guest, const struct redis_value *command)
{
    struct fake_redis *fake = guest->fake;
    size_t before = buffer_len(&fake->trace);
    check(command->kind == REDIS_ARRAY && command->count > 0, "not a command");
    for (size_t i = 0; i < command->count; i++) {
        if (i)
            buffer_append(&fake->trace, SPAN(" "));
        buffer_append(&fake->trace, command->items[i].text);
    }
    fake->commands++;
    struct span line = span_skip(buffer_span(&fake->trace), before);
    char *copy = memory_string(line);
    buffer_append(&fake->trace, SPAN("\n"));
    answer(guest, span_of(copy, line.len));
    free(copy);
}

static void notified(struct transport *transport, enum transport_event event)
{
    struct fake_redis_guest *guest = transport->owner;
    if (event != TRANSPORT_READABLE) {
        leave(guest);
        return;
    }
    char *scratch = loop_scratch(transport->loop);
    ssize_t got = transport_read(transport, scratch, LOOP_SCRATCH);
    if (got < 0)
        leave(guest);
    if (got <= 0)
        return;
    guest->fake->reads++;
    check(redis_reader_feed(guest->reader, span_of(scratch, (size_t)got)), "too much");
    const struct redis_value *value = NULL;
    enum redis_read read = REDIS_READ_VALUE;
    while (guest->transport && (read = redis_reader_next(guest->reader, &value)) == REDIS_READ_VALUE)
        take(guest, value);
    check(read != REDIS_READ_BAD, "not RESP");
}

static void accepted(void *owner, struct listener *listener, struct transport *transport)
{
    (void)listener;
    struct fake_redis *fake = owner;
    check(fake->guest_count < ARRAY_LEN(fake->guests), "too many connections");
    struct fake_redis_guest *guest = &fake->guests[fake->guest_count++];
    *guest = (struct fake_redis_guest){.fake = fake, .transport = transport};
    guest->reader = redis_reader_create((size_t)1 << 20);
    transport_own(transport, guest, notified);
    transport_want(transport, true);
}

static void listen_at(struct fake_redis *fake, struct tls_context *tls)
{
    char text[32];
    struct net_error error;
    struct listen_address address;
    int len = snprintf(text, sizeof(text), "127.0.0.1:%u", fake->port);
    check(listen_address_parse(span_of(text, (size_t)len), &address, &error), "address");
    int fd = listener_bind(&address, &error);
    check(fd >= 0, "bind");
    struct listener_options options = {.limit = &fake->limit, .tls = tls};
    fake->listener = listener_create(fake->loop, fd, &options, accepted, fake);
    fake->port = listener_address(fake->listener).port;
}

struct fake_redis *fake_redis_start(struct loop *loop, struct tls_context *tls)
{
    struct fake_redis *fake = memory_zalloc(sizeof(*fake));
    fake->loop = loop;
    accept_limit_init(&fake->limit, 100);
    listen_at(fake, tls);
    return fake;
}

void fake_redis_hang_up(struct fake_redis *fake)
{
    for (unsigned i = 0; i < fake->guest_count; i++)
        leave(&fake->guests[i]);
}

void fake_redis_refuse(struct fake_redis *fake)
{
    if (fake->listener)
        listener_close(fake->listener, true);
    fake->listener = NULL;
    fake_redis_hang_up(fake);
}

void fake_redis_return(struct fake_redis *fake)
{
    listen_at(fake, NULL);
}

void fake_redis_stop(struct fake_redis *fake)
{
    fake_redis_refuse(fake);
    loop_turn(fake->loop, false);
    for (unsigned i = 0; i < fake->guest_count; i++)
        redis_reader_destroy(fake->guests[i].reader);
    buffer_finish(&fake->trace);
    free(fake);
}

static void add(struct fake_redis *fake, const char *command, const char *reply, bool always)
{
    check(fake->script_count < ARRAY_LEN(fake->scripts), "too many scripts");
    fake->scripts[fake->script_count++] = (struct fake_redis_script){
        .command = command, .reply = reply, .len = reply ? strlen(reply) : 0, .always = always};
}

void fake_redis_reply(struct fake_redis *fake, const char *command, const char *reply)
{
    add(fake, command, reply, false);
}

void fake_redis_always(struct fake_redis *fake, const char *command, const char *reply)
{
    add(fake, command, reply, true);
}

void fake_redis_send(struct fake_redis *fake, struct span bytes)
{
    check(fake->guest_count > 0, "nobody is connected");
    write_all(&fake->guests[fake->guest_count - 1], bytes);
}

unsigned fake_redis_count(const struct fake_redis *fake, const char *command)
{
    unsigned count = 0;
    struct span rest = buffer_span(&fake->trace), line;
    while (span_split(&rest, '\n', &line))
        count += line.len && span_starts_with(line, span_str(command));
    return count;
}
