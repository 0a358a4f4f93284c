/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai/request and openai/edits: an accepted JSON body, edited, must be accepted again and say what the edits said.
 * The first byte chooses the edits.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "openai/edits.h"

static bool inspected(struct span body, struct arena *arena, struct request_info *info)
{
    struct request_reader reader;
    request_init(&reader, REQUEST_JSON, SPAN(""), arena, info);
    size_t half = body.len / 2;
    return request_feed(&reader, span_take(body, half)) == FAULT_NONE &&
           request_feed(&reader, span_skip(body, half)) == FAULT_NONE && request_finish(&reader) == FAULT_NONE;
}

static struct buffer applied(struct edits *edits, struct span body)
{
    struct buffer out = {0};
    struct edits_walk walk;
    struct span piece;
    size_t length = edits_length(edits, body.len);
    edits_begin(edits, body, &walk);
    while (edits_next(&walk, &piece))
        buffer_append(&out, piece);
    if (buffer_len(&out) != length)
        abort();
    return out;
}

static void edit(struct span body, unsigned choice, struct arena *arena, const struct request_info *info)
{
    struct edits edits;
    struct request_info after;
    edits_init(&edits, arena, info);
    if (choice & 1 && info->member_count)
        edits_drop_member(&edits, info->members[info->member_count / 2].name);
    if (choice & 2 && info->member_count)
        edits_rename_member(&edits, info->members[0].name, SPAN("renamed"));
    if (choice & 4)
        edits_set_member(&edits, SPAN("top_p"), SPAN("[0.5]"));
    if (choice & 8 && info->member_count)
        edits_drop_member(&edits, info->members[info->member_count - 1].name);
    edits_include_usage(&edits);
    if (!edits_set_model(&edits, SPAN("m\"1")))
        abort();
    struct buffer out = applied(&edits, body);
    if (!inspected(buffer_span(&out), arena, &after) || !span_equal(after.model, SPAN("m\"1")) ||
        after.include_usage != TRI_TRUE || (choice & 4 && !request_member(&after, SPAN("top_p"))))
        abort();
    buffer_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;
    if (!started)
        hash_start();
    started = true;
    if (size == 0)
        return 0;
    struct span body = span_of((const char *)data + 1, size - 1);
    struct arena arena;
    struct request_info info;
    arena_init(&arena);
    if (inspected(body, &arena, &info))
        edit(body, data[0], &arena, &info);
    arena_finish(&arena);
    return 0;
}
