/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/json: the first two bytes choose what is asked for and where the text is cut; the reading in two pieces must
 * agree with the reading in one, and what is accepted must be accepted by json_value too.
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/json_value.h"

struct digest {
    uint64_t value;
    enum json_event end;
};

static void mix(struct digest *d, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < len; i++)
        d->value = (d->value ^ at[i]) * UINT64_C(1099511628211);
}

static struct digest reading(struct span text, size_t cut, unsigned ask)
{
    struct json r;
    struct digest d = {14695981039346656037u, JSON_MORE};
    char capture[16];
    struct span pieces[2] = {span_take(text, cut), span_skip(text, cut)};
    json_init(&r, 32);
    for (unsigned i = 0; i < 2 && d.end == JSON_MORE; i++)
        while ((d.end = json_next(&r, &pieces[i], i == 1)) != JSON_MORE) {
            mix(&d, &d.end, sizeof(d.end));
            if (d.end == JSON_DONE || d.end == JSON_BAD)
                break;
            size_t facts[] = {r.token_start, r.token_end, r.depth, r.text_long};
            mix(&d, facts, sizeof(facts));
            mix(&d, r.text.ptr, r.text.len);
            if (d.end == JSON_STRING)
                mix(&d, &r.string_bytes, sizeof(r.string_bytes));
            if (ask & 1)
                json_capture(&r, capture, sizeof(capture));
            if (ask & 2 && d.end == JSON_KEY && r.depth % 2)
                json_skip(&r);
            if (ask & 4 && d.end == JSON_ARRAY_OPEN && r.depth % 3 == 0)
                json_leave(&r);
            if (ask & 8 && d.end == JSON_OBJECT_OPEN && r.depth % 3 == 1)
                json_seek(&r, 0x2A);
        }
    struct json_error error = json_error(&r);
    mix(&d, &error, sizeof(error));
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct span text = span_of((const char *)data + 2, size - 2);
    struct digest whole = reading(text, text.len, data[0]);
    struct digest cut = reading(text, text.len * data[1] / 256, data[0]);
    struct json_value root;
    bool parsed = json_value_parse(text, &root);
    if (whole.value != cut.value || whole.end != cut.end || (whole.end == JSON_DONE && !parsed))
        abort();
    return 0;
}
