/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_session: one HTTP/2 connection (RFC 9113), either role. Pure: bytes in, bytes out, time passed in.
 *
 *     bytes from the peer -> h2_session_receive -> events (struct h2_events) -> the owner
 *     the owner -> h2_submit_*, h2_stream_* -> h2_session_send -> bytes for the peer
 *
 * Events are called from inside h2_session_receive, h2_session_send and h2_session_lost. From an event the owner may
 * call every function here but these three and h2_session_destroy. Nothing is sent before h2_session_send: call it once
 * at the end of each turn in which h2_session_wants_write; it collects the frames of all streams, in turns of one DATA
 * frame.
 *
 * Life of a stream. It begins with on_open (server) or h2_submit_request (client). It ends with exactly one of:
 * on_done, on_reset, or the owner's own h2_stream_reset. After that the pointer is invalid and the session no longer
 * touches the stream's arena.
 *
 * Flow control. The connection window is given back as bytes arrive, so that one slow stream does not stop the others;
 * the stream window as the owner says (h2_stream_consume). What is received and not consumed is thus at most
 * limits.streams x limits.stream_window. Towards the peer each stream has a queue; the owner stops writing above
 * limits.queue_high and goes on at on_window.
 *
 * Strictness is that of RFC 9113 section 8.2 and 8.3 (pseudo-fields, connection-specific fields, upper case, field
 * values, te, content-length against DATA) and what the HTTP/1.1 reader asks: origin form or `*` for OPTIONS, printable
 * ASCII without fragment, host equal to :authority, http or https. Streams that break it are reset with PROTOCOL_ERROR.
 *
 * Not thread-safe; a session and its streams belong to one worker.
 */
#ifndef POSTERN_HTTP_H2_SESSION_H
#define POSTERN_HTTP_H2_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/compiler.h"
#include "base/fault.h"
#include "base/span.h"
#include "http/h2_limits.h"
#include "http/message.h"

struct h2_session;
struct h2_stream;

enum h2_role { H2_SERVER, H2_CLIENT };

/* RFC 9113 section 7. */
enum h2_code {
    H2_NO_ERROR = 0x0,
    H2_PROTOCOL_ERROR = 0x1,
    H2_INTERNAL_ERROR = 0x2,
    H2_FLOW_CONTROL_ERROR = 0x3,
    H2_SETTINGS_TIMEOUT = 0x4,
    H2_STREAM_CLOSED = 0x5,
    H2_FRAME_SIZE_ERROR = 0x6,
    H2_REFUSED_STREAM = 0x7,
    H2_CANCEL = 0x8,
    H2_COMPRESSION_ERROR = 0x9,
    H2_CONNECT_ERROR = 0xa,
    H2_ENHANCE_YOUR_CALM = 0xb,
    H2_INADEQUATE_SECURITY = 0xc,
    H2_HTTP_1_1_REQUIRED = 0xd
};
/* "NO_ERROR" ... ; "UNKNOWN" for others. Static. */
const char *h2_code_name(uint32_t code);

/* What happened; `owner` is the pointer given to h2_session_create. NULL = not interested, except where noted. */
struct h2_events {
    /*
     * Server: the peer opens a stream; its head is still to come. Returns the arena for the head, which must live as
     * long as the stream, or NULL to refuse (REFUSED_STREAM: the client may safely try again; no further event for it).
     * Required in the server role.
     */
    struct arena *(*on_open)(void *owner, struct h2_stream *stream);
    /*
     * A head is complete: a request (server), a response or an interim 1xx response (client). The message and all it
     * points to lie in the stream's arena. Names are lower case, pseudo-fields are in the message's members, several
     * cookie fields have become one (RFC 9113 8.2.3). message->framing is BODY_NONE when the head ended the stream.
     */
    void (*on_head)(void *owner, struct h2_stream *stream, struct message *message);
    /*
     * Server: in place of on_head, for a well-formed request beyond our limits or means: FAULT_HEAD_TOO_LARGE,
     * FAULT_URI_TOO_LONG, FAULT_NOT_IMPLEMENTED (CONNECT). `message` holds what was kept. Its body is dropped unseen,
     * no on_body and no on_end follow; the owner answers with the fault. NULL: the stream is reset. Client: such
     * responses reset the stream with ENHANCE_YOUR_CALM.
     */
    void (*on_refuse)(void *owner, struct h2_stream *stream, struct message *message, enum fault fault);
    /* Body bytes, valid during the call. Each must be given back once by h2_stream_consume, now or later. */
    void (*on_body)(void *owner, struct h2_stream *stream, struct span bytes);
    /* The peer's message is complete. `trailers` lie in the arena; NULL when there are none. */
    void (*on_end)(void *owner, struct h2_stream *stream, const struct fields *trailers);
    /*
     * The stream ended before both messages were complete: the peer reset it, it broke the protocol, or GOAWAY cut it
     * off. `code` as in enum h2_code. `retry_safe`: the peer has certainly not acted on it (REFUSED_STREAM, above
     * GOAWAY's last stream, never sent). Last event of the stream.
     */
    void (*on_reset)(void *owner, struct h2_stream *stream, uint32_t code, bool retry_safe);
    /*
     * The stream is over and all went well: the peer's message has come (server: or was no longer wanted once the
     * response was complete) and ours has been handed out by h2_session_send. Last event of the stream.
     */
    void (*on_done)(void *owner, struct h2_stream *stream);
    /* The queue, having been above limits.queue_high, has come down to limits.queue_low: write more. From
     * h2_session_send. */
    void (*on_window)(void *owner, struct h2_stream *stream);
    /* The peer sent GOAWAY: no new streams here. Streams above last_id get their own on_reset. */
    void (*on_goaway)(void *owner, uint32_t last_id, uint32_t code);
    /* The peer's SETTINGS came: h2_session_can_open may have changed. */
    void (*on_settings)(void *owner);
    /* The answer to h2_session_ping, round trip in microseconds. */
    void (*on_pong)(void *owner, uint64_t round_trip);
};

/*
 * A session; SETTINGS (and the client's preface) are queued at once. `events` must be static; `limits` is copied. Never
 * NULL.
 */
MUST_CHECK struct h2_session *h2_session_create(enum h2_role role, const struct h2_limits *limits,
                                                const struct h2_events *events, void *owner);
/* Frees the session and the streams it has, without events. NULL is allowed. Not from inside an event. */
void h2_session_destroy(struct h2_session *session);

enum h2_status {
    H2_OK,
    H2_FAULT /* the connection must end: see h2_session_fault; flush what h2_session_send gives, then close */
};

/* Why a connection must end. */
struct h2_fault {
    const char
        *name;     /* the limit passed (h2_limits.h), or "h2_protocol" and the like; static; NULL while all is well */
    uint32_t code; /* as sent in GOAWAY */
};

/*
 * Takes all of `in` (server: the 24 bytes of the client's preface first). `now` is clock_monotonic's. After H2_FAULT,
 * GOAWAY is queued and everything received is ignored; streams are still there: h2_session_lost ends them.
 */
MUST_CHECK enum h2_status h2_session_receive(struct h2_session *session, struct span in, uint64_t now);
/*
 * Appends what is ready to `out`, until about `max` bytes have been added (a frame is never cut, so up to 16,393 more).
 * True when there would be more. Some protocol errors show only here: ask h2_session_fault afterwards.
 */
bool h2_session_send(struct h2_session *session, struct buffer *out, size_t max);
bool h2_session_wants_write(const struct h2_session *session);
/* The fault, or one with a NULL name. */
struct h2_fault h2_session_fault(const struct h2_session *session);
/* Nothing will be read or written any more: drained after GOAWAY, or faulty and flushed. Close when out is written. */
bool h2_session_over(const struct h2_session *session);
/* The transport is gone: every stream gets on_reset (INTERNAL_ERROR; retry_safe if its head was never sent). Then
 * destroy. */
void h2_session_lost(struct h2_session *session);

/* Graceful end, first step: GOAWAY with the highest id. The peer opens no new streams; those under way on the wire
 * still come in. */
void h2_session_shutdown_notice(struct h2_session *session);
/* Second step, a round trip later, or the only one: GOAWAY naming the last stream we took. Open streams run on. */
void h2_session_goaway(struct h2_session *session, uint32_t code);
/* GOAWAY was received or sent: no new streams. */
bool h2_session_draining(const struct h2_session *session);
/* Queues a PING; false when one is unanswered (keepalive: then the peer is late). on_pong follows. */
bool h2_session_ping(struct h2_session *session, uint64_t now);

/* Streams the owner holds. */
unsigned h2_session_streams(const struct h2_session *session);
/* Body bytes queued in all streams. */
size_t h2_session_queued(const struct h2_session *session);
/* When the head now being received began (its frames may trickle in), or 0: compare with the header timeout. */
uint64_t h2_session_head_since(const struct h2_session *session);
/* Client: whether a request submitted now would be sent at once: no GOAWAY, ids left, below the peer's limit of
 * streams. */
bool h2_session_can_open(const struct h2_session *session);

/*
 * Client: starts a request; the response head goes to `arena`, which must live as long as the stream. `message` needs
 * method_text, scheme, authority, target and fields; hop-by-hop fields and host are left out here. `end`: no body
 * follows. All is copied. NULL when the connection takes no new streams.
 */
MUST_CHECK struct h2_stream *h2_submit_request(struct h2_session *session, const struct message *message, bool end,
                                               struct arena *arena, void *user);
/* Server: the response's head (status >= 200), once per stream; `end`: no body follows. All is copied. */
void h2_submit_response(struct h2_stream *stream, const struct message *message, bool end);
/* Server: an interim response without fields, such as 100, before the response. */
void h2_submit_interim(struct h2_stream *stream, unsigned status);

/* Queues body bytes (copied). After the head, before finish; bytes written outside of that are dropped. */
void h2_stream_write(struct h2_stream *stream, struct span bytes);
/* Body bytes queued and not yet handed out. */
size_t h2_stream_queued(const struct h2_stream *stream);
/* No more body; `trailers` may be NULL. Our message then ends when the queue is empty. Nothing if it has ended already.
 */
void h2_stream_finish(struct h2_stream *stream, const struct fields *trailers);
/* RST_STREAM, in place of what is queued. No event follows and the pointer is invalid. Valid in any state. */
void h2_stream_reset(struct h2_stream *stream, uint32_t code);
/* Gives back stream window for `size` bytes got by on_body. */
void h2_stream_consume(struct h2_stream *stream, size_t size);

/* The owner's pointer: set in on_open (server; NULL before) or by h2_submit_request. */
void h2_stream_set_user(struct h2_stream *stream, void *user);
void *h2_stream_user(const struct h2_stream *stream);
uint32_t h2_stream_id(const struct h2_stream *stream);
struct h2_session *h2_stream_session(const struct h2_stream *stream);

#endif
