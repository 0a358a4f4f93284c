/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address: an IP address with a port, or the fact of being a Unix-domain peer, in 20 bytes; and ranges of addresses
 * (CIDR). IPv4-mapped IPv6 addresses (::ffff:a.b.c.d) are turned into IPv4 wherever one is made, so that ranges match
 * both spellings.
 */
#ifndef POSTERN_NET_ADDRESS_H
#define POSTERN_NET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/compiler.h"
#include "base/span.h"

enum address_family { ADDRESS_NONE, ADDRESS_IPV4, ADDRESS_IPV6, ADDRESS_UNIX };

struct address {
    uint8_t family;    /* enum address_family */
    uint16_t port;     /* host byte order */
    uint8_t bytes[16]; /* network order; the first four for IPv4; the rest zero */
};

/* A block of addresses: those whose first `bits` bits equal the base's. */
struct address_range {
    struct address base;
    uint8_t bits;
};

/* Longest text of address_format, NUL included. */
#define ADDRESS_TEXT 56

/* Parses an IP literal without port ("10.0.0.1", "::1", "[::1]"); ret->port is 0. Never asks DNS. */
MUST_CHECK bool address_parse(struct span text, struct address *ret);
/* "10.0.0.0/8", "fd00::/8" or a plain address (the full length). Bits beyond the prefix must be zero. */
MUST_CHECK bool address_range_parse(struct span text, struct address_range *ret);
bool address_in_range(const struct address *address, const struct address_range *range);
bool address_in_any(const struct address *address, const struct address_range *ranges, size_t count);
/* The same address, port set aside. */
bool address_same_host(const struct address *a, const struct address *b);
/* 127.0.0.0/8, ::1 or a Unix-domain peer. */
bool address_is_loopback(const struct address *address);

/* AF_INET, AF_INET6 and AF_UNIX; anything else gives ADDRESS_NONE. */
struct address address_from_sockaddr(const struct sockaddr *sa, socklen_t len);
/* IP only. Returns the length to pass to connect or bind. */
socklen_t address_to_sockaddr(const struct address *address, struct sockaddr_storage *ret);
/* "10.0.0.1", "2001:db8::1", "unix" or "-", without port; returns `into`. */
const char *address_format(const struct address *address, char into[ADDRESS_TEXT]);
/* With port: "10.0.0.1:80", "[2001:db8::1]:80". */
const char *address_format_port(const struct address *address, char into[ADDRESS_TEXT]);

#endif
