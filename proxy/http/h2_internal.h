/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the HTTP/2 session share among themselves: h2_session.c (the connection), h2_incoming.c (the
 * library's events), h2_head.c (heads in and out) and h2_stream.c (what the owner does with a stream). Nobody else
 * includes this.
 */
#ifndef POSTERN_HTTP_H2_INTERNAL_H
#define POSTERN_HTTP_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>

#include "base/list.h"
#include "http/h2_guard.h"
#include "http/h2_session.h"

/* Bytes of a frame header (RFC 9113 4.1). */
#define H2_FRAME_HEAD 9

struct h2_session {
    nghttp2_session *ng;
    const struct h2_events *events;
    void *owner;
    enum h2_role role;
    struct h2_limits limits;
    struct h2_guard guard;
    struct h2_fault fault;
    uint64_t now;              /* of the last receive or ping */
    struct h2_stream *current; /* whose head is being received */
    struct list streams;       /* all, by h2_stream.link */
    struct list resting;       /* had their DATA frame of this round, by h2_stream.turn */
    struct list drained;       /* come down to queue_low, on_window due, by h2_stream.room */
    unsigned stream_count;
    uint32_t round; /* counts turns of the streams; never 0 */
    unsigned busy;  /* streams with queued bytes */
    size_t queued;
    struct buffer *out; /* during h2_session_send */
    size_t out_stop;
    uint64_t ping_at;
    bool ping_out;
    bool draining;
    bool own_goaway; /* the owner asked for it: an error code in it is no fault */
};

struct h2_stream {
    struct h2_session *session;
    struct list link, turn, room;
    void *user;
    struct arena *arena;
    struct message *message;     /* the head being received or, later, received last */
    struct fields *trailers;     /* being received; NULL before */
    struct fields *own_trailers; /* to send at the end of the queue; freed with the stream */
    struct buffer queue;
    size_t head_bytes; /* of all heads and trailers so far */
    int32_t id;
    uint32_t round;   /* in which it had its last DATA frame */
    enum fault fault; /* beyond a limit: on_refuse instead of on_head */
    bool head_done;   /* the final head has come */
    bool remote_end;  /* the peer's message is complete */
    bool mute;        /* reset is under way or refused: no on_body, no on_end */
    bool ending;      /* the last event is being given */
    bool head_submitted, head_sent;
    bool finished;  /* no more bytes will be queued */
    bool local_end; /* our END_STREAM is out */
    bool deferred;  /* the library waits for bytes */
    bool above_high;
};

/* Makes it the session's; user data in the library is the caller's business. */
struct h2_stream *h2_stream_create(struct h2_session *session, int32_t id);
/* Unlinks and frees; the library forgets it too. No event. */
void h2_stream_destroy(struct h2_stream *stream);
/* Gives the last event (on_done, or on_reset) and destroys. */
void h2_stream_end(struct h2_stream *stream, bool done, uint32_t code, bool retry_safe);
/* The stream of that id, or NULL. */
struct h2_stream *h2_stream_of(struct h2_session *session, int32_t id);
/* Because of what the peer sent: RST_STREAM, and on_reset once it is out. */
void h2_stream_break(struct h2_stream *stream, uint32_t code);
/* The library asks for body bytes, then has them written. */
ssize_t h2_stream_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                       nghttp2_data_source *source, void *arg);
int h2_stream_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t len,
                        nghttp2_data_source *source, void *arg);

/* Begins a head or trailers. */
void h2_head_begin(struct h2_stream *stream);
/* One field of it; false when the head unpacks to more than anybody may cost us. */
MUST_CHECK bool h2_head_field(struct h2_stream *stream, struct span name, struct span value);
/* The head is complete: checks what the library does not. False: malformed. */
MUST_CHECK bool h2_head_finish(struct h2_stream *stream, bool end);

/* Fields as the library takes them. Begin with h2_list_init; h2_list_finish frees. The text is not copied. */
#define H2_LIST_INLINE 64
struct h2_list {
    nghttp2_nv inline_at[H2_LIST_INLINE];
    nghttp2_nv *at;
    size_t count, cap;
};
void h2_list_init(struct h2_list *list, size_t fields);
void h2_list_finish(struct h2_list *list);
void h2_list_add(struct h2_list *list, struct span name, struct span value);
/* All but what HTTP/2 does not carry (RFC 9113 8.2.2) and host. */
void h2_list_add_fields(struct h2_list *list, const struct fields *fields);

/* Sets the fault, if there is none yet, and queues GOAWAY. */
void h2_session_fail(struct h2_session *session, uint32_t code, const char *name);
/* The name of a fault that only has a code. */
const char *h2_fault_name(uint32_t code);
/* Fills in the callbacks of h2_incoming.c. */
void h2_incoming_callbacks(nghttp2_session_callbacks *callbacks);

#endif
