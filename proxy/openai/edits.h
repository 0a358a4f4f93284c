/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edits: changes to an inspected request body, as splices on its original bytes: whatever is not named stays byte for
 * byte, number spelling, order, white space and unknown members included. The body itself is never touched, so each
 * attempt of an exchange makes edits of its own over the same body.
 *
 *     edits_init(&edits, arena, info);
 *     edits_set_model(&edits, SPAN("gpt-4o-ptu"));
 *     edits_include_usage(&edits);
 *     length = edits_length(&edits);               // for Content-Length
 *     edits_begin(&edits, body, &walk);
 *     while (edits_next(&walk, &piece)) ...        // spans into body and arena, in order, to be sent or copied
 *
 * The calls act one after another on what the earlier ones left: a member that was renamed is known by its new name,
 * one that was added can be dropped. Everything lives in the arena given to edits_init; names and values passed in are
 * not copied and must live as long (settings do: the exchange holds its snapshot).
 */
#ifndef POSTERN_OPENAI_EDITS_H
#define POSTERN_OPENAI_EDITS_H

#include "openai/request.h"

struct edit_member;
struct edit_splice;

struct edits {
    struct arena *arena;
    const struct request_info *info;
    struct edit_member *members; /* the body's, then those added; NULL until the first edit of a member */
    size_t member_count, member_cap;
    struct span model; /* what the body's model becomes, in JSON, while no member has been edited; ptr NULL = nothing */
    struct span usage_inside; /* what include_usage puts into the body's own stream_options object; empty = nothing */
    struct edit_splice *splices; /* those of edits_replace; all, sorted and apart, once sealed */
    size_t splice_count, splice_cap;
    bool sealed;
};

/* No edits yet: edits_next gives the body as it is. `info` must be complete (request_finish) and outlive the edits. */
void edits_init(struct edits *edits, struct arena *arena, const struct request_info *info);
/* Whether anything would change. */
bool edits_any(const struct edits *edits);

/*
 * Gives the model this name (plain text; it is escaped as the body needs). JSON: the member is replaced, or added.
 * Multipart: the part's content is replaced, or a part is put first; false, and nothing done, when the name has control
 * bytes.
 */
MUST_CHECK bool edits_set_model(struct edits *edits, struct span model);

/* The four below are for JSON bodies; on multipart bodies they do nothing. */

/* Replaces the value of the top-level member, or adds the member as the last. `value` must be valid JSON. */
void edits_set_member(struct edits *edits, struct span name, struct span json_value);
/* Removes the member with its comma. Nothing happens when it is not there. */
void edits_drop_member(struct edits *edits, struct span name);
/*
 * Gives the member another name; value and place stay. When a member `new_name` is there already, that one stays and
 * `old_name` is dropped: who wrote the new name meant it. Nothing happens when `old_name` is not there.
 */
void edits_rename_member(struct edits *edits, struct span old_name, struct span new_name);
/*
 * Makes stream_options.include_usage true: adds stream_options, replaces its null, or puts the member into the object
 * there is, whose other members stay.
 */
void edits_include_usage(struct edits *edits);

/*
 * Replaces bytes [start, end) of the body, whatever they are (start == end inserts). For callers that know the bytes;
 * must not touch a member that another call edits. False when it overlaps an earlier one.
 */
MUST_CHECK bool edits_replace(struct edits *edits, size_t start, size_t end, struct span with);

/* Bytes of the edited body, given the length of the original. No edits may be added after this or edits_begin. */
size_t edits_length(struct edits *edits, size_t body_length);

/* A walk over the edited body; any number may be made, one after another or side by side. */
struct edits_walk {
    const struct edits *edits;
    struct span body;
    size_t at;   /* offset in the body */
    size_t next; /* splice */
};
/* `body` is the whole original; it must stay in place during the walk. */
void edits_begin(struct edits *edits, struct span body, struct edits_walk *walk);
/* The next piece (never empty); false at the end. */
bool edits_next(struct edits_walk *walk, struct span *ret_piece);

#endif
