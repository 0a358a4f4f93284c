/* SPDX-License-Identifier: Apache-2.0 */
/*
 * respond: the answer side of an exchange: committed answers of targets, local answers of filters, faults. Whatever the
 * origin, an answer goes through the response hooks of the filters that saw the request, gets its x-request-id, and
 * leaves by the client's stream.
 */
#ifndef POSTERN_GATEWAY_RESPOND_H
#define POSTERN_GATEWAY_RESPOND_H

#include "base/fault.h"
#include "base/span.h"

struct exchange;

/* Answers with the fault's own text. */
void respond_fault(struct exchange *exchange, enum fault why);
/* The same with another text towards the client (empty: the table's) and the offending parameter (may be empty). */
void respond_fault_text(struct exchange *exchange, enum fault why, struct span message, struct span param);
/* 404 model_not_found in OpenAI's words, with exchange->model_asked. */
void respond_model_not_found(struct exchange *exchange);

#endif
