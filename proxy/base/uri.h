/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri: the absolute URLs and addresses of a configuration (RFC 3986, as far as http, https and unix need it). Strict:
 * no user information, no query, no fragment, no blanks, so that a pasted key or parameter is noticed. Spans point into
 * the text given.
 */
#ifndef POSTERN_BASE_URI_H
#define POSTERN_BASE_URI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/span.h"

enum uri_scheme { URI_HTTP, URI_HTTPS, URI_UNIX };

/* A host and port: "api.example.com:443", "10.0.0.1", "[::1]:4610". */
struct uri_authority {
    struct span host; /* IPv6 without its brackets */
    bool ipv6;        /* was in brackets; the inside is only checked for its characters */
    bool port_given;
    uint16_t port; /* 0 when not given */
};

struct uri {
    enum uri_scheme scheme;
    struct uri_authority authority; /* http and https; port is the scheme's default (80, 443) when not given */
    struct span path;               /* http, https: empty or beginning with '/'; unix: the file name, absolute */
};

/*
 * "http://…", "https://…" (scheme in any case), "unix:/path" or "unix:///path". False: *ret_reason (static text that
 * completes "the URL …", e.g. "has no host") says why; *ret is written on success only.
 */
MUST_CHECK bool uri_parse(struct span text, struct uri *ret, const char **ret_reason);

/* host[:port] as in a Host field or a listener's address; same rules. An empty port ("host:") is refused, so is port 0
 * if not `zero`. */
MUST_CHECK bool uri_parse_authority(struct span text, bool zero, struct uri_authority *ret, const char **ret_reason);

/* The Host field for a URL ("localhost" for unix): host in lower case, brackets where they belong, port unless it is
 * the scheme's default. In the arena. */
struct span uri_host_field(const struct uri *uri, struct arena *arena);

#endif
