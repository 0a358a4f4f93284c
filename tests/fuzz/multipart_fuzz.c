/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai/multipart: the body (boundary "b") read whole and byte by byte gives the same parts; and the content given out
 * is what stands at the offsets reported.
 */
#include <stdlib.h>
#include <string.h>

#include "openai/multipart.h"

struct reading {
    size_t parts, starts, ends, given, bad_at;
    enum multipart_event end;
};

static void part_data(const struct multipart *m, struct span body, size_t *at)
{
    if (m->data.len > body.len - *at || memcmp(body.ptr + *at, m->data.ptr, m->data.len) != 0)
        abort();
    *at += m->data.len;
}

static struct reading read_in(struct span body, size_t step)
{
    struct multipart m;
    struct reading r = {.end = MULTIPART_MORE};
    size_t at = 0;
    if (!multipart_init(&m, SPAN("b")))
        abort();
    for (struct span rest = body, piece; r.end == MULTIPART_MORE; rest = span_skip(rest, step)) {
        piece = span_take(rest, step);
        while ((r.end = multipart_next(&m, &piece, rest.len <= step)) > MULTIPART_MORE && r.end < MULTIPART_DONE) {
            if (r.end == MULTIPART_PART) {
                r.parts++;
                r.starts += at = m.value_start;
            } else if (r.end == MULTIPART_DATA) {
                part_data(&m, body, &at);
                r.given += m.data.len;
            } else {
                r.ends += m.value_end;
                if (at != m.value_end)
                    abort();
            }
        }
    }
    r.bad_at = m.bad_at;
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span body = span_of((const char *)data, size);
    struct reading whole = read_in(body, size + 1), bytes = read_in(body, 1);
    if (memcmp(&whole, &bytes, sizeof(whole)) != 0)
        abort();
    struct span boundary;
    (void)!multipart_boundary(body, &boundary);
    return 0;
}
