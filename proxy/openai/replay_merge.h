/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_merge: the chunks of a chat or completions stream, put together to the answer they are chunks of, by the rules
 * in openai/replay.h. The answer is a tree whose leaves are texts of the chunks; nothing is decoded.
 *
 * Speed: a chunk from which one text was appended is remembered, and the next ones are compared with it: equal bytes
 * but for that text (and the obfuscation) only append their own.
 */
#ifndef POSTERN_OPENAI_REPLAY_MERGE_H
#define POSTERN_OPENAI_REPLAY_MERGE_H

#include "base/arena.h"
#include "openai/replay_parts.h"

/* Elements of an array that are told apart by `index`. */
#define REPLAY_INDEXED_MAX 1024
/* Chunks that are remembered, so that choices may take turns. */
#define REPLAY_PATTERNS 4

struct replay_text {
    struct span inside; /* as spelled, without quotes */
    struct replay_text *next;
};

struct replay_node {
    struct replay_node *next;
    struct span name, spelled; /* decoded; with quotes. Empty in arrays */
    enum json_event kind;      /* JSON_MORE: nothing yet */
    bool merged;               /* a container whose content is below and not in `raw` */
    bool indexed;              /* an array whose elements merge by their index */
    bool open;                 /* an object that is merged from the beginning */
    bool choice;
    uint64_t index;          /* of an element */
    struct span raw;         /* of what is not merged; in arrays also: elements with the commas between them */
    struct replay_text text; /* of a STRING */
    struct replay_text *last_text;
    struct replay_node *first, *last, *recent;
    unsigned count;
};

struct replay_hole {
    size_t start, end; /* offsets in the data, without quotes */
    bool text;         /* not the obfuscation */
};

struct replay_pattern {
    struct span data;
    struct replay_hole holes[2];
    unsigned hole_count;
    struct replay_node *target; /* NULL: free */
};

struct replay_merge {
    struct arena *arena;
    bool chat; /* else completions */
    struct replay_facts *facts;
    struct replay_node root, *choices;
    struct json_value usage; /* the last; kind JSON_MORE: none */
    bool usage_only;         /* the last chunk held nothing else */
    /* What the chunk under way did: */
    unsigned appended, otherwise;
    struct replay_node *target;
    struct span addition, padding;
    unsigned depth;
    struct replay_pattern patterns[REPLAY_PATTERNS];
    unsigned next_pattern, last_match;
};

void replay_merge_init(struct replay_merge *merge, struct arena *arena, bool chat, struct replay_facts *facts);
/* `data` must live as long as the arena. False when it has a flaw, which facts->flaw then says. */
MUST_CHECK bool replay_merge_chunk(struct replay_merge *merge, struct span data);

/* NULL when there is none. */
struct replay_node *replay_node_member(const struct replay_node *object, struct span name);
static inline bool replay_node_is_text(const struct replay_node *node)
{
    return node && node->kind == JSON_STRING;
}
/* A STRING that is empty. */
static inline bool replay_node_is_blank(const struct replay_node *node)
{
    return replay_node_is_text(node) && node->text.inside.len == 0 && !node->text.next;
}
/* The single text of a STRING, else empty. */
struct json_value replay_node_value(const struct replay_node *node);

#endif
