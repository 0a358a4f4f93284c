/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain: drives an exchange through its filters. It alone knows the index, the direction and the resume point; verdicts
 * are handled here and nowhere else. Head and request hooks run in written order, response hooks in reverse order over
 * the filters that saw the request, on_end in reverse order over all that joined.
 *
 * When a phase is through, the matching exchange_..._passed function is called, from inside the chain_... call or,
 * after a wait, from the run queue.
 */
#ifndef POSTERN_GATEWAY_CHAIN_H
#define POSTERN_GATEWAY_CHAIN_H

#include "gateway/filter.h"

struct exchange;
struct filter_use;

/* Makes room for `capacity` filters; before the first chain_join. */
void chain_init(struct exchange *exchange, unsigned capacity);
/* Those of `uses` that apply become part of the exchange, behind those already there. */
void chain_join(struct exchange *exchange, const struct filter_use *uses, unsigned count);

/*
 * `to` runs what lies behind `from` in its exchange's chain: that filter itself and those after it, each with a state
 * of its own, from on_request on; those that have seen the head see it no more. It begins in the run queue.
 */
void chain_fork(struct exchange *to, const struct filter *from);

/* Runs on_request_head of all filters, then exchange_head_passed. */
void chain_request_head(struct exchange *exchange);
/* Runs on_request of all (and on_request_head of those that joined since), then exchange_request_passed. */
void chain_request(struct exchange *exchange);
/* A piece of a streamed request body through on_request_body. False: parked, send no more. */
bool chain_request_body(struct exchange *exchange, struct span bytes, bool last);
/* exchange->response through on_response_head, then exchange_response_head_passed. */
void chain_response_head(struct exchange *exchange);
/* A piece of the answer through on_response_body. While a filter waits it is kept; the caller should then stop its
 * source. */
void chain_response_body(struct exchange *exchange, struct span bytes, bool hidden, bool last);
/*
 * An answer overtakes what filters wait for: their pendings are cancelled, kept pieces dropped. If a response head was
 * on its way, the filters that it has passed do not see another.
 */
void chain_abandon(struct exchange *exchange);
/* Frees pieces that are still kept: when the exchange ends. */
void chain_drop_waiting(struct exchange *exchange);
/* Whether every filter that has joined shows the caller that model. */
bool chain_shows_model(const struct exchange *exchange, struct span model);
/* Runs on_end, once. */
void chain_end(struct exchange *exchange, enum outcome outcome);

#endif
