/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/egress.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/encoding.h"
#include "base/uri.h"
#include "net/connector.h"
#include "openai/query.h"

/* http://[user:password@]host:port; the user's part becomes Proxy-Authorization (RFC 7617). */
static bool read_proxy(struct arena *arena, struct span text, struct egress *ret)
{
    static const struct span scheme = SPAN_INIT("http://");
    if (!span_starts_with(text, scheme))
        return false;
    struct egress egress = {0};
    struct span rest = span_skip(text, scheme.len), user;
    size_t at = span_find(rest, '@');
    if (at < rest.len) {
        if (!percent_decode(span_take(rest, at), false, arena, &user))
            return false;
        struct buffer encoded = {0};
        buffer_append(&encoded, SPAN("Basic "));
        encode_base64(&encoded, user);
        egress.authorization = arena_copy(arena, buffer_span(&encoded));
        buffer_wipe(&encoded);
        rest = span_skip(rest, at + 1);
    }
    struct uri uri;
    const char *reason;
    if (!uri_parse(arena_format(arena, "http://%.*s", SPAN_ARG(rest)), &uri, &reason))
        return false;
    egress.host = arena_copy(arena, uri.authority.host);
    egress.port = uri.authority.port;
    *ret = egress;
    return true;
}

/* Either spelling; set and empty is as good as not set. */
static const char *from_environment(const char *upper, const char *lower)
{
    const char *text = getenv(upper);
    if (!text || !*text)
        text = getenv(lower);
    return text && *text ? text : NULL;
}

static bool is_exempt(const struct config_egress *config, struct span host, uint16_t port)
{
    struct buffer exempt = {0};
    for (size_t i = 0; i < config->no_proxy.count; i++)
        buffer_format(&exempt, "%.*s,", SPAN_ARG(config->no_proxy.items[i]));
    buffer_append(&exempt, span_str(from_environment("NO_PROXY", "no_proxy")));
    bool direct = no_proxy_matches(buffer_span(&exempt), host, port);
    buffer_finish(&exempt);
    return direct;
}

bool egress_find(const struct config *config, struct span host, uint16_t port, bool secure, bool offline,
                 struct arena *arena, struct egress *ret)
{
    const struct config_egress *egress = &config->egress;
    *ret = (struct egress){0};
    if (!secure || egress->kind == EGRESS_NONE || is_exempt(egress, host, port))
        return true;
    if (egress->kind == EGRESS_URL) {
        ret->host = egress->proxy.host;
        ret->port = egress->proxy.port;
        return true;
    }
    const char *text = from_environment("HTTPS_PROXY", "https_proxy");
    if (!text || offline)
        return true;
    /* A bad URL in the environment is an error, not a silent direct connection. */
    return read_proxy(arena, span_str(text), ret);
}
