/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialect: how a recognised call is written for a target: request target, place of the model's name, what may be asked
 * of it. The body itself is edited by openai/edits; here is only decided whether it must be.
 */
#ifndef POSTERN_OPENAI_DIALECT_H
#define POSTERN_OPENAI_DIALECT_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/span.h"
#include "openai/operations.h"

/*
 * The upstream request target, path and query, in the arena.
 *
 *     OPENAI       {base}/{op}{resource}
 *     AZURE_V1     {base}/openai/v1/{op}{resource}
 *     AZURE_DATED  {base}/openai/deployments/{model}/{op}        operations of OPERATION_DEPLOYMENT
 *                  {base}/openai/{op}{resource}                  others
 *
 * `base_path` is the path of the target's URL ("", "/v1", "/team/a"); slashes at its end are ignored. For the Azure
 * dialects a base that already ends in /openai or /openai/v1 is not extended twice.
 * `model` is the deployment (Azure) or model name upstream; it is percent-encoded as one segment here. For operations
 * with the model in the query, `model` (or Azure dated `deployment`) is set there. `api_version` empty: none is sent.
 * The client's own api-version and api-key parameters never go on, every other one does, byte for byte and in order;
 * ours are added at the end.
 *
 * Returns the empty span when no target can be written: a deployment-scoped or query-model operation with a model that
 * is empty or cannot be a path segment (control bytes, `.` or `..` between slashes). Answer such a request with
 * FAULT_MODEL_NOT_FOUND (or MODEL_MISSING).
 */
MUST_CHECK struct span dialect_target(struct arena *arena, const struct api_call *call, enum dialect upstream,
                                      struct span base_path, struct span model, struct span api_version);

/*
 * Whether the upstream takes the model's name from the body, so that it must be set there to the target's name. False:
 * the path or query decides, or there is none, and the body stays as it is.
 */
bool dialect_model_in_body(enum dialect upstream, const struct operation *operation);

/*
 * Whether stream_options.include_usage may be added on the client's behalf. OpenAI and Azure v1: for chat and
 * completions. Azure dated: only for previews from 2024-09-01-preview on; the GA versions do not list it. If an
 * upstream refuses it all the same, see upstream_error.names_stream_options.
 */
bool dialect_supports_include_usage(enum dialect upstream, struct span api_version, const struct operation *operation);

/* Whether the text has the form of a dated version: YYYY-MM-DD, optionally followed by "-preview". */
bool dialect_is_dated(struct span api_version);
/* "openai", "azure-dated", "azure-v1": for logs and explain. */
struct span dialect_name(enum dialect dialect);

#endif
