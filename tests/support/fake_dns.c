/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fake_dns.h"

#include <assert.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/address.h"
#include "net/loop.h"
#include "net/watch.h"

#define HEADER    12
#define TYPE_A    1
#define TYPE_AAAA 28

struct fake_dns {
    int fd;
    struct watch *watch;
    struct fake_dns_name *names;
    char server[32];
};

/* The question's name as text; returns the offset after it, 0 when it is cut. */
static size_t question(const uint8_t *packet, size_t len, char *host, size_t size)
{
    size_t at = HEADER, out = 0;
    while (at < len && packet[at]) {
        size_t label = packet[at];
        if (at + 1 + label >= len || out + label + 2 > size)
            return 0;
        if (out)
            host[out++] = '.';
        memcpy(host + out, packet + at + 1, label);
        out += label;
        at += 1 + label;
    }
    host[out] = 0;
    return at + 5 <= len ? at + 5 : 0;
}

static struct fake_dns_name *find(struct fake_dns *dns, const char *host)
{
    for (struct fake_dns_name *name = dns->names; name->host; name++)
        if (strcasecmp(name->host, host) == 0)
            return name;
    return NULL;
}

/* Appends one record that points to the question's name. */
static size_t record(uint8_t *at, unsigned type, uint32_t ttl, const uint8_t *data, size_t len)
{
    const uint8_t head[] = {0xc0,
                            HEADER,
                            0,
                            (uint8_t)type,
                            0,
                            1,
                            (uint8_t)(ttl >> 24),
                            (uint8_t)(ttl >> 16),
                            (uint8_t)(ttl >> 8),
                            (uint8_t)ttl,
                            0,
                            (uint8_t)len};
    memcpy(at, head, sizeof(head));
    memcpy(at + sizeof(head), data, len);
    return sizeof(head) + len;
}

static size_t answer(const struct fake_dns_name *name, uint8_t *packet, size_t end, unsigned type)
{
    for (unsigned i = 0; i < 4 && name->addresses[i]; i++) {
        struct address address;
        if (!address_parse(span_str(name->addresses[i]), &address))
            abort();
        bool v6 = address.family == ADDRESS_IPV6;
        if (v6 != (type == TYPE_AAAA))
            continue;
        end += record(packet + end, type, name->ttl, address.bytes, v6 ? 16 : 4);
        packet[7]++; /* answers */
    }
    return end;
}

static void dns_ready(void *arg, unsigned ready)
{
    (void)ready;
    struct fake_dns *dns = arg;
    uint8_t packet[1024];
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    ssize_t got = recvfrom(dns->fd, packet, 512, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
    if (got < HEADER)
        return;
    char host[256];
    size_t end = question(packet, (size_t)got, host, sizeof(host));
    if (!end)
        return;
    unsigned type = packet[end - 3];
    struct fake_dns_name *name = find(dns, host);
    enum fake_dns_mode mode = name ? name->mode : FAKE_DNS_NO_SUCH_HOST;
    if (name)
        name->queries++;
    if (mode == FAKE_DNS_SILENT)
        return;
    static const uint8_t rcodes[] = {[FAKE_DNS_ANSWER] = 0, [FAKE_DNS_NO_SUCH_HOST] = 3, [FAKE_DNS_FAIL] = 2};
    packet[2] = 0x81;
    packet[3] = 0x80 | rcodes[mode];
    memset(packet + 6, 0, 6);
    if (mode == FAKE_DNS_ANSWER)
        end = answer(name, packet, end, type);
    (void)sendto(dns->fd, packet, end, MSG_DONTWAIT, (struct sockaddr *)&from, from_len);
}

struct fake_dns *fake_dns_create(struct loop *loop, struct fake_dns_name *names)
{
    struct fake_dns *dns = calloc(1, sizeof(*dns));
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    assert(dns);
    dns->names = names;
    dns->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (dns->fd < 0 || bind(dns->fd, (struct sockaddr *)&sin, len) != 0 ||
        getsockname(dns->fd, (struct sockaddr *)&sin, &len) != 0)
        abort();
    (void)snprintf(dns->server, sizeof(dns->server), "127.0.0.1:%u", ntohs(sin.sin_port));
    dns->watch = watch_create(loop, dns->fd, dns_ready, dns);
    watch_want(dns->watch, WATCH_READ);
    return dns;
}

const char *fake_dns_server(const struct fake_dns *dns)
{
    return dns->server;
}

void fake_dns_destroy(struct fake_dns *dns)
{
    watch_destroy(dns->watch);
    (void)close(dns->fd);
    free(dns);
}
