/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/operations.h"

#define GET    METHOD_GET
#define POST   METHOD_POST
#define DELETE METHOD_DELETE
#define CRUD   (METHOD_GET | METHOD_POST | METHOD_DELETE)
#define ASKS   OPERATION_INSPECTED
#define SCOPED OPERATION_DEPLOYMENT
#define STRAY  OPERATION_DEPLOYMENT_INBOUND
#define USAGE  OPERATION_USAGE
#define STATE  OPERATION_STATEFUL

/*
 * id, name, gen_ai.operation.name, path, tail, methods, body, model, flags. Most used first: matching walks the rows.
 * gen_ai.operation.name takes the convention's well-known values where one fits and our own word elsewhere.
 */
#define OPERATION_ROWS(X)                                                                                              \
    X(CHAT, "chat", "chat", "chat/completions", NONE, POST, JSON, BODY,                                                \
      ASKS | SCOPED | USAGE | OPERATION_STREAMS | OPERATION_STREAM_OPTIONS)                                            \
    X(CHAT_STORED, "chat_stored", "chat_stored", "chat/completions", OPTIONAL, CRUD, OPAQUE, NONE, STATE)              \
    X(COMPLETIONS, "completions", "text_completion", "completions", NONE, POST, JSON, BODY,                            \
      ASKS | SCOPED | USAGE | OPERATION_STREAMS | OPERATION_STREAM_OPTIONS)                                            \
    X(EMBEDDINGS, "embeddings", "embeddings", "embeddings", NONE, POST, JSON, BODY, ASKS | SCOPED | USAGE)             \
    X(RESPONSES, "responses", "chat", "responses", NONE, POST, JSON, BODY, ASKS | STRAY | USAGE | OPERATION_STREAMS)   \
    X(RESPONSES_INPUT_TOKENS, "responses_input_tokens", "count_tokens", "responses/input_tokens", NONE, POST, JSON,    \
      BODY, ASKS)                                                                                                      \
    X(RESPONSES_COMPACT, "responses_compact", "compact", "responses/compact", NONE, POST, JSON, BODY, ASKS | USAGE)    \
    X(RESPONSES_STORED, "responses_stored", "responses_stored", "responses", REQUIRED, CRUD, OPAQUE, NONE,             \
      STATE | OPERATION_STREAMS)                                                                                       \
    X(MODERATIONS, "moderations", "moderation", "moderations", NONE, POST, JSON, BODY, ASKS | STRAY)                   \
    X(IMAGE_GENERATIONS, "image_generations", "image_generation", "images/generations", NONE, POST, JSON, BODY,        \
      ASKS | SCOPED | USAGE | OPERATION_STREAMS)                                                                       \
    X(IMAGE_EDITS, "image_edits", "image_edit", "images/edits", NONE, POST, EITHER, BODY,                              \
      ASKS | SCOPED | USAGE | OPERATION_STREAMS)                                                                       \
    X(IMAGE_VARIATIONS, "image_variations", "image_variation", "images/variations", NONE, POST, MULTIPART, BODY,       \
      ASKS | STRAY | USAGE)                                                                                            \
    X(SPEECH, "speech", "speech", "audio/speech", NONE, POST, JSON, BODY,                                              \
      ASKS | SCOPED | OPERATION_STREAMS | OPERATION_BINARY_ANSWER)                                                     \
    X(TRANSCRIPTIONS, "transcriptions", "transcription", "audio/transcriptions", NONE, POST, MULTIPART, BODY,          \
      ASKS | SCOPED | USAGE | OPERATION_STREAMS)                                                                       \
    X(TRANSLATIONS, "translations", "translation", "audio/translations", NONE, POST, MULTIPART, BODY,                  \
      ASKS | SCOPED | USAGE)                                                                                           \
    X(MODELS, "models", "models", "models", NONE, GET, NONE, NONE, 0)                                                  \
    X(MODEL, "model", "model", "models", REQUIRED, GET | DELETE, NONE, NONE, 0)                                        \
    X(FILES, "files", "files", "files", OPTIONAL, CRUD, OPAQUE, NONE, STATE | OPERATION_BINARY_ANSWER)                 \
    X(UPLOADS, "uploads", "uploads", "uploads", OPTIONAL, POST, OPAQUE, NONE, STATE)                                   \
    X(BATCHES, "batches", "batches", "batches", OPTIONAL, GET | POST, OPAQUE, NONE, STATE | STRAY)                     \
    X(FINE_TUNING, "fine_tuning", "fine_tuning", "fine_tuning", REQUIRED, CRUD, OPAQUE, NONE, STATE)                   \
    X(VECTOR_STORES, "vector_stores", "vector_stores", "vector_stores", OPTIONAL, CRUD, OPAQUE, NONE, STATE)           \
    X(ASSISTANTS, "assistants", "assistants", "assistants", OPTIONAL, CRUD, OPAQUE, NONE, STATE)                       \
    X(THREADS, "threads", "threads", "threads", OPTIONAL, CRUD, OPAQUE, NONE, STATE | OPERATION_STREAMS)               \
    X(CONVERSATIONS, "conversations", "conversations", "conversations", OPTIONAL, CRUD, OPAQUE, NONE, STATE)           \
    X(CONTAINERS, "containers", "containers", "containers", OPTIONAL, CRUD, OPAQUE, NONE,                              \
      STATE | OPERATION_BINARY_ANSWER)                                                                                 \
    X(EVALS, "evals", "evals", "evals", OPTIONAL, CRUD, OPAQUE, NONE, STATE)                                           \
    X(VIDEOS, "videos", "videos", "videos", OPTIONAL, CRUD, OPAQUE, NONE, STATE | OPERATION_BINARY_ANSWER)             \
    X(SKILLS, "skills", "skills", "skills", OPTIONAL, CRUD, OPAQUE, NONE, STATE | OPERATION_BINARY_ANSWER)             \
    X(CHATKIT, "chatkit", "chatkit", "chatkit", REQUIRED, CRUD, OPAQUE, NONE, STATE | OPERATION_STREAMS)               \
    X(REALTIME, "realtime", "realtime", "realtime", NONE, GET, NONE, QUERY, OPERATION_WEBSOCKET)                       \
    X(REALTIME_CALLS, "realtime_calls", "realtime_calls", "realtime", REQUIRED, GET | POST, OPAQUE, NONE, STATE)

const struct operation operation_table[OPERATION_ID_COUNT] = {
#define ROW(id_, name_, otel_, path_, tail_, methods_, body_, model_, flags_)                                          \
    [OPERATION_##id_] = {.id = OPERATION_##id_,                                                                        \
                         .name = SPAN_INIT(name_),                                                                     \
                         .otel = SPAN_INIT(otel_),                                                                     \
                         .path = SPAN_INIT(path_),                                                                     \
                         .tail = TAIL_##tail_,                                                                         \
                         .methods = (methods_),                                                                        \
                         .body = OPERATION_BODY_##body_,                                                               \
                         .model = OPERATION_MODEL_##model_,                                                            \
                         .flags = (flags_)},
    OPERATION_ROWS(ROW)
#undef ROW
};
#define COUNT(...) +1
_Static_assert(0 OPERATION_ROWS(COUNT) == OPERATION_ID_COUNT, "a row for every operation");
#undef COUNT

const struct operation *operation_by_name(struct span name)
{
    for (size_t i = 0; i < OPERATION_ID_COUNT; i++) {
        if (span_equal(operation_table[i].name, name))
            return &operation_table[i];
    }
    return NULL;
}
