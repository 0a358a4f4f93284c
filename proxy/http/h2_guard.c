/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h2_guard.h"

#include <string.h>

enum frame_type {
    FRAME_DATA,
    FRAME_HEADERS,
    FRAME_PRIORITY,
    FRAME_RST_STREAM,
    FRAME_SETTINGS,
    FRAME_PUSH_PROMISE,
    FRAME_PING,
    FRAME_GOAWAY,
    FRAME_WINDOW_UPDATE,
    FRAME_CONTINUATION,
    FRAME_PRIORITY_UPDATE = 0x10
};

enum frame_flag { FLAG_ACK = 0x1, FLAG_END_STREAM = 0x1, FLAG_END_HEADERS = 0x4 };

/* RFC 9113 section 7; the session's header has them all, but looks at us, not we at it. */
enum { PROTOCOL_ERROR = 0x1, STREAM_CLOSED = 0x5, FRAME_SIZE_ERROR = 0x6, ENHANCE_YOUR_CALM = 0xb };

/* What is remembered of a stream id; 0 = it was passed over and never opened. */
enum stream_mark { MARK_OPENED = 1, MARK_ENDED = 2, MARK_PEER_RESET = 4, MARK_OWN_RESET = 8 };

/* WINDOW_UPDATEs a peer may send for each DATA frame it got: one for the stream, one for the connection, twice over. */
#define UPDATES_PER_DATA 4
#define UPDATES_MOST     100000

static const uint8_t preface[24] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct frame {
    uint32_t length;
    uint8_t type, flags;
    uint32_t stream_id;
};

void h2_guard_init(struct h2_guard *guard, const struct h2_limits *limits, bool server)
{
    memset(guard, 0, sizeof(*guard));
    guard->limits = limits;
    guard->server = server;
    guard->preface_left = server ? sizeof(preface) : 0;
}

static struct h2_guard_result ok(void)
{
    return (struct h2_guard_result){.verdict = H2_GUARD_OK};
}

static struct h2_guard_result connection(uint32_t code, const char *name)
{
    return (struct h2_guard_result){.verdict = H2_GUARD_CONNECTION, .code = code, .name = name};
}

static bool take(struct h2_guard *guard, enum h2_rate_id id, uint64_t now)
{
    return h2_bucket_take(&guard->buckets[id], &guard->limits->rates[id], now);
}

static struct h2_guard_result count(struct h2_guard *guard, enum h2_rate_id id, uint64_t now)
{
    return take(guard, id, now) ? ok() : connection(ENHANCE_YOUR_CALM, h2_rate_name(id));
}

bool h2_guard_count(struct h2_guard *guard, enum h2_rate_id id, uint64_t now)
{
    return take(guard, id, now);
}

/* The mark of a stream the peer may have opened; NULL when it is none, is idle still, or lies too far back. */
static uint8_t *mark_of(struct h2_guard *guard, uint32_t stream_id)
{
    if (!guard->server || (stream_id & 1) == 0 || stream_id > guard->last_id ||
        guard->last_id - stream_id >= 2 * H2_GUARD_STREAMS)
        return NULL;
    return &guard->streams[(stream_id >> 1) & (H2_GUARD_STREAMS - 1)];
}

static void open_stream(struct h2_guard *guard, uint32_t stream_id)
{
    uint32_t skipped = (stream_id - guard->last_id) >> 1;
    if (skipped >= H2_GUARD_STREAMS)
        memset(guard->streams, 0, sizeof(guard->streams));
    else
        for (uint32_t i = 1; i < skipped; i++)
            guard->streams[((stream_id >> 1) - i) & (H2_GUARD_STREAMS - 1)] = 0;
    guard->last_id = stream_id;
    guard->streams[(stream_id >> 1) & (H2_GUARD_STREAMS - 1)] = MARK_OPENED;
}

/* DATA or HEADERS on a stream that the peer has opened or passed over (RFC 9113 section 5.1). */
static struct h2_guard_result known_stream(struct h2_guard *guard, const struct frame *frame, uint8_t *mark,
                                           uint64_t now)
{
    if (*mark & MARK_OWN_RESET)
        return count(guard, H2_RATE_CLOSED_STREAM_FRAMES, now);
    if (*mark & MARK_ENDED)
        return connection(STREAM_CLOSED, "h2_stream_closed");
    if (*mark & MARK_PEER_RESET) {
        if (!take(guard, H2_RATE_STREAM_ERRORS, now))
            return connection(ENHANCE_YOUR_CALM, h2_rate_name(H2_RATE_STREAM_ERRORS));
        *mark |= MARK_OWN_RESET;
        return (struct h2_guard_result){.verdict = H2_GUARD_RESET,
                                        .code = STREAM_CLOSED,
                                        .name = "h2_stream_closed",
                                        .stream_id = frame->stream_id};
    }
    if (!*mark)
        return frame->type == FRAME_HEADERS ? connection(PROTOCOL_ERROR, "h2_stream_id")
                                            : connection(STREAM_CLOSED, "h2_stream_closed");
    if (frame->flags & FLAG_END_STREAM)
        *mark |= MARK_ENDED;
    return ok();
}

static struct h2_guard_result message_frame(struct h2_guard *guard, const struct frame *frame, uint64_t now)
{
    uint8_t *mark = mark_of(guard, frame->stream_id);
    if (mark)
        return known_stream(guard, frame, mark, now);
    if (guard->server && frame->type == FRAME_HEADERS && (frame->stream_id & 1) && frame->stream_id > guard->last_id) {
        open_stream(guard, frame->stream_id);
        if (frame->flags & FLAG_END_STREAM)
            *mark_of(guard, frame->stream_id) |= MARK_ENDED;
    }
    return ok();
}

static void block_begin(struct h2_guard *guard, const struct frame *frame, uint64_t now)
{
    guard->in_block = (frame->flags & FLAG_END_HEADERS) == 0;
    guard->block_bytes = frame->length;
    guard->continuations = 0;
    guard->block_since = now ? now : 1;
}

/*
 * The compressed block may be twice what the head may be unpacked, so that heads a little too large get their 431
 * instead of costing the connection.
 */
static struct h2_guard_result block_continue(struct h2_guard *guard, const struct frame *frame)
{
    guard->block_bytes += frame->length;
    if (++guard->continuations > guard->limits->continuations)
        return connection(ENHANCE_YOUR_CALM, H2_LIMIT_CONTINUATIONS);
    if (guard->block_bytes / 2 > guard->limits->header_bytes)
        return connection(ENHANCE_YOUR_CALM, H2_LIMIT_HEADER_BLOCK);
    if (frame->flags & FLAG_END_HEADERS)
        guard->in_block = false;
    return ok();
}

static struct h2_guard_result reset_frame(struct h2_guard *guard, const struct frame *frame, uint64_t now)
{
    uint8_t *mark = mark_of(guard, frame->stream_id);
    if (mark && *mark)
        *mark |= MARK_PEER_RESET;
    return guard->server ? count(guard, H2_RATE_RESETS, now) : ok();
}

static struct h2_guard_result window_update(struct h2_guard *guard, uint64_t now)
{
    if (guard->data_sent) {
        guard->data_sent--;
        return ok();
    }
    return count(guard, H2_RATE_WINDOW_UPDATES, now);
}

static struct h2_guard_result priority(struct h2_guard *guard, const struct frame *frame, uint64_t now)
{
    if (frame->stream_id == 0)
        return connection(PROTOCOL_ERROR, "h2_priority");
    guard->dependency_left = frame->length >= 4 ? 4 : 0;
    guard->dependent_id = frame->stream_id;
    return count(guard, H2_RATE_PRIORITIES, now);
}

static struct h2_guard_result judge(struct h2_guard *guard, const struct frame *frame, uint64_t now)
{
    if (UNLIKELY(frame->length > H2_GUARD_FRAME_SIZE))
        return connection(FRAME_SIZE_ERROR, "h2_frame_size");
    /* RFC 9113 6.10: nothing may come between. Told here, since a flood of other frames could else hide there. */
    if (UNLIKELY(guard->in_block && frame->type != FRAME_CONTINUATION))
        return connection(PROTOCOL_ERROR, "h2_continuation_expected");
    switch (frame->type) {
    case FRAME_HEADERS:
        block_begin(guard, frame, now);
        return message_frame(guard, frame, now);
    case FRAME_DATA:
        return message_frame(guard, frame, now);
    case FRAME_CONTINUATION:
        return guard->in_block ? block_continue(guard, frame) : connection(PROTOCOL_ERROR, "h2_continuation");
    case FRAME_RST_STREAM:
        return reset_frame(guard, frame, now);
    case FRAME_WINDOW_UPDATE:
        return window_update(guard, now);
    case FRAME_PING:
        return count(guard, H2_RATE_PINGS, now);
    case FRAME_SETTINGS:
        return frame->flags & FLAG_ACK ? ok() : count(guard, H2_RATE_SETTINGS, now);
    case FRAME_PRIORITY:
        return priority(guard, frame, now);
    case FRAME_PRIORITY_UPDATE:
        return count(guard, H2_RATE_PRIORITIES, now);
    case FRAME_PUSH_PROMISE:
        /* Clients may not; servers were told not to, before our first request: the library would take it until their
         * ACK. */
        return connection(PROTOCOL_ERROR, "h2_push_promise");
    default:
        return count(guard, H2_RATE_UNKNOWN_FRAMES, now);
    }
}

static struct frame decode(const uint8_t *p)
{
    return (struct frame){
        .length = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2],
        .type = p[3],
        .flags = p[4],
        .stream_id = ((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]) & 0x7fffffff,
    };
}

/* Compares what has come of the preface; false on a difference. */
static bool take_preface(struct h2_guard *guard, struct span *in)
{
    size_t size = in->len < guard->preface_left ? in->len : guard->preface_left;
    if (size && memcmp(in->ptr, preface + sizeof(preface) - guard->preface_left, size) != 0)
        return false;
    guard->preface_left = (uint8_t)(guard->preface_left - size);
    *in = span_skip(*in, size);
    return true;
}

/* False when a stream is told to depend on itself. */
static bool take_dependency(struct h2_guard *guard, struct span in)
{
    for (size_t i = 0; i < in.len && guard->dependency_left; i++, guard->dependency_left--)
        guard->dependency = guard->dependency << 8 | (uint8_t)in.ptr[i];
    return guard->dependency_left || (guard->dependency & 0x7fffffff) != guard->dependent_id;
}

static bool take_payload(struct h2_guard *guard, struct span *in)
{
    if (UNLIKELY(guard->dependency_left) && !take_dependency(guard, *in))
        return false;
    size_t size = in->len < guard->payload_left ? in->len : guard->payload_left;
    guard->payload_left -= (uint32_t)size;
    *in = span_skip(*in, size);
    if (guard->payload_left == 0 && !guard->in_block)
        guard->block_since = 0;
    return true;
}

/* Gathers a frame header; false when bytes are missing. In one piece it is read where it lies. */
static bool take_head(struct h2_guard *guard, struct span *in, struct frame *ret)
{
    if (LIKELY(guard->head_len == 0 && in->len >= sizeof(guard->head))) {
        *ret = decode((const uint8_t *)in->ptr);
        *in = span_skip(*in, sizeof(guard->head));
        return true;
    }
    size_t want = sizeof(guard->head) - guard->head_len;
    size_t size = in->len < want ? in->len : want;
    memcpy(guard->head + guard->head_len, in->ptr, size);
    guard->head_len = (uint8_t)(guard->head_len + size);
    *in = span_skip(*in, size);
    if (guard->head_len < sizeof(guard->head))
        return false;
    guard->head_len = 0;
    *ret = decode(guard->head);
    return true;
}

struct h2_guard_result h2_guard_scan(struct h2_guard *guard, struct span *in, uint64_t now)
{
    if (guard->preface_left && !take_preface(guard, in))
        return connection(PROTOCOL_ERROR, "h2_preface");
    while (in->len) {
        if (guard->payload_left) {
            if (!take_payload(guard, in))
                return connection(PROTOCOL_ERROR, "h2_priority");
            continue;
        }
        struct span before = *in;
        struct frame frame;
        if (!take_head(guard, in, &frame))
            break;
        struct h2_guard_result result = judge(guard, &frame, now);
        if (UNLIKELY(result.verdict == H2_GUARD_CONNECTION)) {
            *in = before;
            return result;
        }
        guard->payload_left = frame.length;
        if (frame.length == 0 && !guard->in_block)
            guard->block_since = 0;
        if (UNLIKELY(result.verdict == H2_GUARD_RESET))
            return result;
    }
    return ok();
}

bool h2_guard_was_reset(struct h2_guard *guard, uint32_t stream_id)
{
    uint8_t *mark = mark_of(guard, stream_id);
    if (!mark)
        return true;
    bool known = *mark & MARK_OWN_RESET;
    *mark |= MARK_OWN_RESET;
    return known;
}

void h2_guard_sent_data(struct h2_guard *guard)
{
    if (guard->data_sent < UPDATES_MOST)
        guard->data_sent += UPDATES_PER_DATA;
}
