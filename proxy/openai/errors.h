/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errors: the gateway's own errors in OpenAI's shapes, and what upstream error bodies say, whoever wrote them.
 * Bodies: {"error":{"message","type","param","code"}} (https://platform.openai.com/docs/guides/error-codes); all four
 * members are always present. Streams: the chat form `data: {"error":{...}}`, the Responses form `event: error` with a
 * flat object.
 */
#ifndef POSTERN_OPENAI_ERRORS_H
#define POSTERN_OPENAI_ERRORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/fault.h"
#include "base/span.h"
#include "openai/operations.h"

/*
 * Appends the JSON body of a fault. `message` empty: the fault's own; it is escaped, any bytes are safe. `param` empty:
 * null.
 */
void error_body(struct buffer *out, enum fault fault, struct span message, struct span param);

/*
 * Appends the event that ends a stream after it began. The form follows the operation: the flat `event: error` for
 * responses, with `sequence` as its sequence_number (one more than the last one seen, 0 if none was); else
 * `data: {"error":...}`. No [DONE] follows. Only for a
 * stream that stands between two events (sse_unfinished() == 0): the beginning of an event that has gone out cannot be
 * taken back, and a client would choke on it; cut the connection then.
 */
void error_event(struct buffer *out, const struct operation *operation, enum fault fault, struct span message,
                 uint64_t sequence);

/* What an upstream's error body says, for logs, metrics and retries. The message is read but never kept. */
struct upstream_error {
    struct span code, type,
        param; /* in the arena, at most 128 bytes each, printable ASCII; numbers as text; empty if absent */
    bool names_stream_options; /* param or message names stream_options or include_usage: try once without */
    bool content_filter;       /* the prompt or answer was filtered: another target would refuse as well */
};

/*
 * Reads a complete error body (bound it: 64 KiB is plenty). Understood: {"error":{message,type,param,code}} with code
 * string, number or null (OpenAI, Azure, vLLM, Ollama, llama.cpp), {"error":"text","error_type"} (vLLM 401, TGI),
 * {"statusCode","message"} (Azure API management), {"object":"error",...} (old vLLM). False when it is none of these or
 * no JSON; *ret is written only on true.
 */
MUST_CHECK bool upstream_error_read(struct span body, struct arena *arena, struct upstream_error *ret);

#endif
