/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two small parsers of net/: a PROXY header and a proxy's reply to CONNECT. Beyond not crashing: what is accepted
 * whole is not accepted earlier, and a longer input never changes the answer.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/http_connect.h"
#include "net/proxy_protocol.h"

static void check(bool good)
{
    if (!good)
        abort();
}

static void fuzz_header(struct span bytes)
{
    struct address source, again;
    size_t length = 0, short_length = 0;
    if (proxy_protocol_parse(bytes, &source, &length) != PROXY_DONE)
        return;
    check(length > 0 && length <= bytes.len && length <= PROXY_HEADER_MAX);
    check(proxy_protocol_parse(span_take(bytes, length), &again, &short_length) == PROXY_DONE);
    check(short_length == length && memcmp(&source, &again, sizeof(source)) == 0);
    check(proxy_protocol_parse(span_take(bytes, length - 1), &again, &short_length) == PROXY_MORE);
}

static void fuzz_reply(struct span bytes)
{
    size_t length = 0, again = 0;
    unsigned status = 0;
    enum http_connect_result result = http_connect_reply(bytes, &length, &status);
    if (result != HTTP_CONNECT_OPEN && result != HTTP_CONNECT_REFUSED)
        return;
    check(length > 0 && length <= bytes.len && length <= HTTP_CONNECT_REPLY_MAX && status >= 101 && status <= 999);
    check(http_connect_reply(span_take(bytes, length), &again, &status) == result && again == length);
    check(http_connect_reply(span_take(bytes, length - 1), &again, &status) == HTTP_CONNECT_MORE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_header(span_of((const char *)data, size));
    fuzz_reply(span_of((const char *)data, size));
    return 0;
}
