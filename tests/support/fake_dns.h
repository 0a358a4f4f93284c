/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_dns: a name server on a loopback UDP port, on the test's own loop, that answers as told: for net/resolver.h's
 * `servers` option.
 */
#ifndef POSTERN_TESTS_FAKE_DNS_H
#define POSTERN_TESTS_FAKE_DNS_H

#include <stdint.h>

enum fake_dns_mode { FAKE_DNS_ANSWER, FAKE_DNS_NO_SUCH_HOST, FAKE_DNS_FAIL, FAKE_DNS_SILENT };

/* What one name answers. */
struct fake_dns_name {
    const char *host;
    const char *addresses[4]; /* IP literals of either family, NULL after the last */
    uint32_t ttl;             /* seconds */
    enum fake_dns_mode mode;
    unsigned queries; /* A and AAAA counted apart */
};

struct loop;
struct fake_dns;

/* `names` ends with host NULL and stays the caller's; unknown names do not exist. */
struct fake_dns *fake_dns_create(struct loop *loop, struct fake_dns_name *names);
/* "127.0.0.1:PORT" */
const char *fake_dns_server(const struct fake_dns *dns);
void fake_dns_destroy(struct fake_dns *dns);

#endif
