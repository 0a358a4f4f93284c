/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asked: what a request asks for, as far as its head and body say it: operation, reader of the body, model, and the one
 * target if only one will do. Pure: nothing here answers, logs or starts anything, so that `postern simulate` finds
 * exactly what a served request finds. Uses of the exchange: snapshot, listener, request, arena; the results are fields
 * of the exchange.
 */
#ifndef POSTERN_GATEWAY_ASKED_H
#define POSTERN_GATEWAY_ASKED_H

#include "base/compiler.h"
#include "base/fault.h"
#include "gateway/snapshot.h"

struct exchange;

/* When the head is known: sets `call`, or `passthrough`, or `call_fault`. Nothing on the admin listener. */
void asked_operation(struct exchange *exchange);
/*
 * Whether the body is to be collected: sets `inspected` and, if so, `reader`, which writes to `info`. Other results
 * than FAULT_NONE refuse the request by its head: ENCODED_REQUEST, BODY_TOO_LARGE, MALFORMED_BODY; *ret_message is then
 * the text for the client, empty for the fault's own.
 */
MUST_CHECK enum fault asked_reader(struct exchange *exchange, struct span *ret_message);
/*
 * When the body has been read, and the exchange is no passthrough: sets `model_asked`, `model` and `stateful`.
 * FAULT_NONE, MODEL_NOT_FOUND (no entry has that name) or MODEL_MISSING (the operation needs a name and none was
 * given).
 */
MUST_CHECK enum fault asked_model(struct exchange *exchange);
/* The filters that the model or the passthrough route adds to the listener's; NULL when there is neither. */
const struct filter_list *asked_filters(const struct exchange *exchange);
/*
 * FAULT_NONE with the one target that a passthrough route or a stateful call goes to, or NULL when any of the model's
 * will do; FAULT_STATEFUL_TARGET when it must be one and the configuration does not say which.
 */
MUST_CHECK enum fault asked_only_target(const struct exchange *exchange, const struct model_target **ret);

#endif
