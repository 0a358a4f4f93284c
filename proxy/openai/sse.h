/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse: a tap that finds the events in a passing event stream (WHATWG HTML, "Server-sent events", 9.2.5 and 9.2.6). It
 * changes nothing: it says where an event begins and ends in the stream, so that the bytes can be passed, held or
 * hidden as a whole. Input may be split at any byte and vanishes after the call.
 *
 * Lines end with LF, CRLF or CR; a byte order mark at the start is ignored; comments and unknown fields are ignored;
 * `id` and `retry` are left to the client. An event here is a block that ends with an empty line; a block of comments
 * alone is reported too (has_data false), so that keep-alives go on at once. Empty lines before a block belong to it.
 *
 *     while (sse_next(&reader, &in, &event) == SSE_EVENT)
 *         ... bytes [event.start, event.end) of the stream are this event ...
 */
#ifndef POSTERN_OPENAI_SSE_H
#define POSTERN_OPENAI_SSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

/* Longest event name kept; the API's longest is about 50 bytes. */
#define SSE_NAME_MAX 96

enum sse_status {
    SSE_MORE, /* the input is used up */
    SSE_EVENT /* *ret is filled; the input may hold more */
};

struct sse_event {
    uint64_t start, end; /* offsets in the stream: first byte, and first byte after the closing empty line */
    struct span name;    /* `event` field, or empty */
    struct span data;    /* lines joined by LF; empty when opaque */
    bool has_data;       /* at least one `data` line */
    bool opaque;         /* data above the limit or name above SSE_NAME_MAX: not to be inspected, let it pass */
};

/* Fields are the reader's own; only `offset` may be read. */
struct sse_reader {
    uint64_t offset; /* bytes of the stream consumed so far */
    uint64_t start;  /* where the current event began */
    size_t limit;
    struct span data;   /* the current event's data so far: in the input, or in `kept` */
    struct buffer line; /* an unfinished line */
    struct buffer kept; /* data that had to outlive its input */
    unsigned name_len;
    unsigned bom; /* bytes of the byte order mark seen; 4 when that is settled */
    bool has_data, has_line, opaque, line_dropped, after_cr, delivered;
    char name[SSE_NAME_MAX];
};

/* `limit` is the most data bytes of one event that are kept for inspection, in bytes. */
void sse_init(struct sse_reader *reader, size_t limit);
/* Frees what is held; the reader may be initialised again. */
void sse_finish(struct sse_reader *reader);

/*
 * Takes bytes from the front of *in until an event is complete (SSE_EVENT) or the input is used up (SSE_MORE). The
 * event's spans are valid until the next call on this reader, and only as long as the input itself: data that came in
 * one piece is a span into it. When an event ends with CRLF whose LF is still to come, it is reported at the CR and the
 * LF counts to the next event.
 */
MUST_CHECK enum sse_status sse_next(struct sse_reader *reader, struct span *in, struct sse_event *ret);

/*
 * Bytes seen of an event that is not complete yet. 0: the stream stands between two events (line ends that open the
 * next one do not count), so that another event may be put in.
 */
static inline uint64_t sse_unfinished(const struct sse_reader *reader)
{
    return reader->has_line ? reader->offset - reader->start : 0;
}

#endif
