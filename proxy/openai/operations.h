/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operations: what of the OpenAI API is known, as one const table, and the match from a request line to a row of it
 * (paths: https://platform.openai.com/docs/api-reference and the Azure OpenAI reference, both spellings).
 *
 * Inbound forms, all leading to the same operation; {op} is a row's path:
 *
 *     /v1/{op}   /{op}                                           DIALECT_OPENAI
 *     /openai/v1/{op}                                            DIALECT_AZURE_V1
 *     /openai/{op}                                               DIALECT_AZURE_DATED
 *     /openai/deployments/{deployment}/{op}                      DIALECT_AZURE_DATED
 *     /openai/v1/deployments/..., /v1/deployments/..., /deployments/...   the same (AzureOpenAI clients on a base URL)
 *
 * A dated api-version (2024-10-21, 2025-04-01-preview) on /v1/{op} or /{op} also makes it DIALECT_AZURE_DATED.
 *
 * What is strict, since proxies and servers must not read one path in two ways:
 *   - an escape that is not %HH, an encoded NUL or control byte, a raw byte that RFC 3986 does not allow in a path, a
 * `.` or `..` segment however it is written, and an empty segment (`//`) are FAULT_MALFORMED_REQUEST. One trailing
 * slash is ignored.
 *   - escapes of unreserved characters are undone before matching (RFC 3986 6.2.2.2), all other escapes are kept.
 *   - a path that is no operation but would be one with other letter case or with %2F read as `/` is
 * FAULT_MALFORMED_REQUEST too, so that it cannot slip past as an unknown path which a lenient server would understand.
 *   - api-version, api-key and the model given twice in the query are FAULT_MALFORMED_REQUEST, as is a bad escape in
 * them. A deployment is decoded exactly once, after splitting on `/`. Since some clients insert names with a raw `/`,
 * the longest known operation at the end wins and everything before it is the deployment.
 */
#ifndef POSTERN_OPENAI_OPERATIONS_H
#define POSTERN_OPENAI_OPERATIONS_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"

enum operation_id {
    OPERATION_CHAT,
    OPERATION_CHAT_STORED,
    OPERATION_COMPLETIONS,
    OPERATION_EMBEDDINGS,
    OPERATION_RESPONSES,
    OPERATION_RESPONSES_INPUT_TOKENS,
    OPERATION_RESPONSES_COMPACT,
    OPERATION_RESPONSES_STORED,
    OPERATION_MODERATIONS,
    OPERATION_IMAGE_GENERATIONS,
    OPERATION_IMAGE_EDITS,
    OPERATION_IMAGE_VARIATIONS,
    OPERATION_SPEECH,
    OPERATION_TRANSCRIPTIONS,
    OPERATION_TRANSLATIONS,
    OPERATION_MODELS,
    OPERATION_MODEL,
    OPERATION_FILES,
    OPERATION_UPLOADS,
    OPERATION_BATCHES,
    OPERATION_FINE_TUNING,
    OPERATION_VECTOR_STORES,
    OPERATION_ASSISTANTS,
    OPERATION_THREADS,
    OPERATION_CONVERSATIONS,
    OPERATION_CONTAINERS,
    OPERATION_EVALS,
    OPERATION_VIDEOS,
    OPERATION_SKILLS,
    OPERATION_CHATKIT,
    OPERATION_REALTIME,
    OPERATION_REALTIME_CALLS,
    OPERATION_ID_COUNT
};

enum dialect {
    DIALECT_OPENAI,      /* {base}/{op} */
    DIALECT_AZURE_DATED, /* {base}/openai[/deployments/{d}]/{op}?api-version=DATE */
    DIALECT_AZURE_V1     /* {base}/openai/v1/{op} */
};

/* Bits of operation.methods. HEAD is allowed wherever GET is. */
enum { METHOD_GET = 1, METHOD_POST = 2, METHOD_DELETE = 4, METHOD_PUT = 8, METHOD_PATCH = 16 };

enum operation_body {
    OPERATION_BODY_NONE,      /* none is expected; one that comes is passed on unread */
    OPERATION_BODY_JSON,      /* read by the inspector */
    OPERATION_BODY_MULTIPART, /* multipart/form-data */
    OPERATION_BODY_EITHER,    /* JSON or multipart, as Content-Type says */
    OPERATION_BODY_OPAQUE     /* whatever it is, passed on unread */
};

/* Where the model's name is, unless a deployment in the path decides. BODY means the JSON member or multipart part
 * `model`. */
enum operation_model { OPERATION_MODEL_NONE, OPERATION_MODEL_BODY, OPERATION_MODEL_QUERY };

/* Bits of operation.flags. */
enum {
    OPERATION_INSPECTED = 1,           /* the request body is collected and read before a target is chosen */
    OPERATION_STREAMS = 2,             /* the answer may be an event stream */
    OPERATION_STREAM_OPTIONS = 4,      /* ... and takes stream_options.include_usage */
    OPERATION_DEPLOYMENT = 8,          /* Azure's dated API has it under /openai/deployments/{d}/ */
    OPERATION_DEPLOYMENT_INBOUND = 16, /* ... has it not, but some clients send it there all the same */
    OPERATION_STATEFUL = 32,           /* lives on the one target that made the object */
    OPERATION_BINARY_ANSWER = 64,      /* the answer may be neither JSON nor text */
    OPERATION_USAGE = 128,             /* a JSON answer may report token usage: worth a tap */
    OPERATION_WEBSOCKET = 256          /* GET is a WebSocket upgrade, not spoken yet: 501 */
};

/* What may follow the row's path. */
enum operation_tail { TAIL_NONE, TAIL_OPTIONAL, TAIL_REQUIRED };

struct operation {
    enum operation_id id;
    struct span name; /* the word written in configuration, logs and metrics: chat, responses_stored ... */
    struct span otel; /* gen_ai.operation.name */
    struct span path; /* without leading slash: chat/completions */
    enum operation_tail tail;
    unsigned methods; /* METHOD_* */
    enum operation_body body;
    enum operation_model model;
    unsigned flags; /* OPERATION_* */
};

/*
 * One recognised call. Spans lie in the path or query given, in the arena, or are static; they live as long as the
 * shortest of these.
 */
struct api_call {
    const struct operation *operation;
    enum dialect dialect;   /* as the client spoke */
    struct span deployment; /* decoded; empty if the path has none */
    struct span
        resource; /* what follows the operation's path, with its leading slash, escapes normalised: "/resp_1/cancel" */
    struct span api_version; /* decoded; empty if none */
    struct span query_model; /* decoded; empty if none; read for OPERATION_MODEL_QUERY only (`model` or `deployment`) */
    struct span query_secret; /* decoded value of an api-key parameter; never log it */
    struct span query;        /* raw, without '?' */
};

/*
 * Recognises a call. `method` is the method token, `path` the raw path of the request target, `query` what follows '?'.
 * Writes *ret only on FAULT_NONE. Other results: FAULT_UNKNOWN_PATH, FAULT_METHOD_NOT_ALLOWED (see operation_allow),
 * FAULT_MALFORMED_REQUEST. Takes memory from the arena only when something had to be decoded.
 */
MUST_CHECK enum fault operation_match(struct span method, struct span path, struct span query, struct arena *arena,
                                      struct api_call *ret);
/* The Allow field's value for a path that answered FAULT_METHOD_NOT_ALLOWED, e.g. "GET, HEAD, DELETE". */
struct span operation_allow(struct arena *arena, struct span path);

/* The rows, by id. */
extern const struct operation operation_table[OPERATION_ID_COUNT];

/* The row of an id. */
static inline const struct operation *operation_entry(enum operation_id id)
{
    return &operation_table[id];
}

/* By the word used in configuration; NULL when there is none. */
const struct operation *operation_by_name(struct span name);

#endif
