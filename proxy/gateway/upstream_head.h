/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream_head: the header fields on both sides of the gateway: what of the client's request goes to a target, and
 * what of a target's answer goes to the client.
 *
 * Never upstream: the client's credentials in any form (authorization, api-key, x-api-key, API Management's
 * ocp-apim-subscription-key, proxy-authorization, cookie, api-key and subscription-key in the query,
 * openai-insecure-api-key.* in a WebSocket subprotocol), hop-by-hop fields, X-Forwarded-*, Forwarded. Only to a target
 * whose credential is `client` do the key fields and authorization go on. Never to the client: hop-by-hop
 * fields, alt-svc, set-cookie, strict-transport-security; x-ratelimit-* when several targets could have answered, since
 * the numbers are one target's; retry-after is capped.
 */
#ifndef POSTERN_GATEWAY_UPSTREAM_HEAD_H
#define POSTERN_GATEWAY_UPSTREAM_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "http/message.h"

struct attempt;
struct exchange;

/* A retry-after towards the client is at most this, in seconds: SDKs obey it without a bound of their own. */
#define RETRY_AFTER_MAX 60

/*
 * Fills *request for the attempt's target: path and query in its dialect, fields; the credential is added by the
 * caller. The body's framing and length are set by the caller. False when the call cannot be written for this target (a
 * model name that is no path segment).
 */
MUST_CHECK bool upstream_request(struct attempt *attempt, struct message *request);
/* exchange->response = the attempt's answer, cleaned for the client. `spent`: our own attempts are used up. */
void upstream_response(struct attempt *attempt, bool spent);
/*
 * What retry-after-ms, else retry-after (seconds or an HTTP date, `wall` in µs) asks for, in µs; 0 when there is
 * neither or it is not understood.
 */
uint64_t upstream_retry_after(const struct message *answer, uint64_t wall);
/* x-stainless-read-timeout of the client in µs; 0 when absent or not a number between 0 and an hour. */
uint64_t upstream_read_timeout(const struct message *request);

/*
 * The target's own name for the request, to ask its operators about: x-request-id, else Azure's apim-request-id; empty
 * if there is none. Lies where the answer does.
 */
struct span upstream_request_id(const struct message *answer);

#endif
