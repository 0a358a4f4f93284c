/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault: why an exchange did not end well. One table says for each what the client is told, what the log says and whose
 * doing it was; no status code is chosen anywhere else. Bodies are OpenAI's error object
 * (https://platform.openai.com/docs/guides/error-codes): {"error":{"message","type","param","code"}}.
 */
#ifndef POSTERN_BASE_FAULT_H
#define POSTERN_BASE_FAULT_H

#include <stdbool.h>

#include "base/log.h"
#include "base/span.h"

/* name, HTTP status, OpenAI type, OpenAI code ("" = null), blame, x-should-retry, message */
#define FAULT_LIST(X)                                                                                                  \
    X(NONE, 200, "", "", NOBODY, KEEP, "")                                                                             \
    /* the client's message */                                                                                         \
    X(MALFORMED_REQUEST, 400, "invalid_request_error", "malformed_request", CLIENT, NO,                                \
      "The HTTP request is malformed.")                                                                                \
    X(MALFORMED_BODY, 400, "invalid_request_error", "malformed_body", CLIENT, NO,                                      \
      "The request body is not valid JSON.")                                                                           \
    X(BAD_PARAMETER, 400, "invalid_request_error", "invalid_parameter", CLIENT, NO,                                    \
      "A parameter of the request is not valid.")                                                                      \
    X(MODEL_MISSING, 400, "invalid_request_error", "model_required", CLIENT, NO, "The request names no model.")        \
    X(STATEFUL_TARGET, 400, "invalid_request_error", "stateful_target_required", CLIENT, NO,                           \
      "This operation keeps state on one target and several could answer; set stateful_target on the model or "        \
      "listener.")                                                                                                     \
    X(UNAUTHENTICATED, 401, "invalid_request_error", "invalid_api_key", CLIENT, NO,                                    \
      "The request carries no valid credential.")                                                                      \
    X(FORBIDDEN, 403, "invalid_request_error", "permission_denied", CLIENT, NO, "This caller may not do that.")        \
    X(UNKNOWN_PATH, 404, "invalid_request_error", "unknown_url", CLIENT, NO, "Unknown path.")                          \
    X(MODEL_NOT_FOUND, 404, "invalid_request_error", "model_not_found", CLIENT, NO, "The model does not exist.")       \
    X(METHOD_NOT_ALLOWED, 405, "invalid_request_error", "method_not_allowed", CLIENT, NO,                              \
      "The path does not take this method.")                                                                           \
    X(REQUEST_TIMEOUT, 408, "invalid_request_error", "request_timeout", CLIENT, KEEP,                                  \
      "The request did not arrive in time.")                                                                           \
    X(BODY_TOO_LARGE, 413, "invalid_request_error", "request_too_large", CLIENT, NO, "The request body is too large.") \
    X(URI_TOO_LONG, 414, "invalid_request_error", "uri_too_long", CLIENT, NO, "The request target is too long.")       \
    X(ENCODED_REQUEST, 415, "invalid_request_error", "unsupported_content_encoding", CLIENT, NO,                       \
      "Compressed request bodies are not accepted for this operation; send it without Content-Encoding.")              \
    X(EXPECTATION, 417, "invalid_request_error", "expectation_failed", CLIENT, NO,                                     \
      "Only Expect: 100-continue is known.")                                                                           \
    X(HEAD_TOO_LARGE, 431, "invalid_request_error", "header_too_large", CLIENT, NO,                                    \
      "The request header is too large.")                                                                              \
    X(RATE_LIMITED, 429, "rate_limit_error", "rate_limit_exceeded", CLIENT, KEEP, "Rate limit reached.")               \
    X(QUOTA_EXCEEDED, 429, "insufficient_quota", "insufficient_quota", CLIENT, KEEP, "The quota is used up.")          \
    X(CLIENT_GONE, 499, "invalid_request_error", "client_closed_request", CLIENT, NO, "The client left.")              \
    X(NOT_CACHED, 504, "invalid_request_error", "not_cached", CLIENT, NO,                                              \
      "No fresh answer is kept, and the request allows no other (Cache-Control: only-if-cached).")                     \
    X(VERSION, 505, "invalid_request_error", "http_version_not_supported", CLIENT, NO,                                 \
      "Only HTTP/1.1, HTTP/1.0 and HTTP/2 are spoken.")                                                                \
    X(NOT_IMPLEMENTED, 501, "invalid_request_error", "not_implemented", CLIENT, NO,                                    \
      "This transfer coding or method is not implemented.")                                                            \
    /* us */                                                                                                           \
    X(INTERNAL, 500, "server_error", "internal_error", SELF, KEEP, "Postern failed on this request.")                  \
    X(OVERLOADED, 503, "server_error", "overloaded", SELF, KEEP, "Postern is at its limits; try again.")               \
    X(AUTHENTICATION_UNAVAILABLE, 503, "server_error", "authentication_unavailable", SELF, KEEP,                       \
      "The caller cannot be authenticated at the moment: the token issuer's keys are not available; try again.")       \
    X(DRAINING, 503, "server_error", "draining", SELF, KEEP, "Postern is shutting down; try again.")                   \
    /* the upstream */                                                                                                 \
    X(NO_TARGET, 503, "server_error", "no_target_available", UPSTREAM, KEEP,                                           \
      "No target for this model is available now.")                                                                    \
    X(UPSTREAM_RESOLVE, 502, "server_error", "upstream_resolve_failed", UPSTREAM, NO,                                  \
      "The target's name could not be resolved.")                                                                      \
    X(UPSTREAM_CONNECT, 502, "server_error", "upstream_connect_failed", UPSTREAM, NO,                                  \
      "The target could not be connected.")                                                                            \
    X(UPSTREAM_TLS, 502, "server_error", "upstream_tls_failed", UPSTREAM, NO,                                          \
      "The target's TLS handshake or certificate failed.")                                                             \
    X(UPSTREAM_CLOSED, 502, "server_error", "upstream_closed", UPSTREAM, NO,                                           \
      "The target closed the connection before its answer was complete.")                                              \
    X(UPSTREAM_PROTOCOL, 502, "server_error", "upstream_protocol_error", UPSTREAM, NO,                                 \
      "The target's answer was not valid HTTP.")                                                                       \
    X(UPSTREAM_TOO_LARGE, 502, "server_error", "upstream_too_large", UPSTREAM, NO,                                     \
      "The target's answer exceeded a limit.")                                                                         \
    X(UPSTREAM_CREDENTIAL, 502, "server_error", "upstream_credential_refused", UPSTREAM, NO,                           \
      "The target refused the gateway's own credential; the caller's key is not at fault. Tell the operator.")         \
    X(UPSTREAM_ERROR, 502, "server_error", "upstream_error", UPSTREAM, NO, "The target reported an error.")            \
    X(CREDENTIAL_UNAVAILABLE, 502, "server_error", "credential_unavailable", UPSTREAM, KEEP,                           \
      "The gateway has no valid credential for the target at the moment.")                                             \
    X(CONNECT_TIMEOUT, 504, "server_error", "upstream_connect_timeout", UPSTREAM, NO,                                  \
      "The target did not accept a connection in time.")                                                               \
    X(FIRST_BYTE_TIMEOUT, 504, "server_error", "upstream_timeout", UPSTREAM, NO,                                       \
      "The target did not begin its answer in time.")                                                                  \
    X(IDLE_TIMEOUT, 504, "server_error", "upstream_idle_timeout", UPSTREAM, NO,                                        \
      "The target stopped in the middle of its answer.")                                                               \
    X(TOTAL_TIMEOUT, 504, "server_error", "upstream_total_timeout", UPSTREAM, NO,                                      \
      "The answer took longer than allowed.")

enum fault {
#define X(name, status, type, code, blame, retry, message) FAULT_##name,
    FAULT_LIST(X)
#undef X
        FAULT_COUNT
};

/* Whose doing: decides the log level and the `blame` label of the faults metric. */
enum fault_blame { BLAME_NOBODY, BLAME_CLIENT, BLAME_SELF, BLAME_UPSTREAM };

/*
 * KEEP: the SDK's own retry rules apply; NO: answer x-should-retry: false, since trying again cannot help or our own
 * attempts are spent.
 */
enum fault_retry { RETRY_KEEP, RETRY_NO };

struct fault_entry {
    struct span word; /* the name as written above, e.g. UPSTREAM_CLOSED: access log, metrics */
    unsigned status;
    struct span type, code; /* empty code = JSON null */
    enum fault_blame blame;
    enum fault_retry retry;
    struct span message;
};

/* The entry; an out-of-range value gives INTERNAL's. */
const struct fault_entry *fault_entry(enum fault fault);
/* "none", "client", "postern" or "upstream". */
const char *fault_blame_name(enum fault_blame blame);

#endif
