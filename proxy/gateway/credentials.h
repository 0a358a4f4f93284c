/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials: how Postern proves itself to a target. The application's own credential has been removed before; what is added here
 * never reaches the application, a log or an error.
 */
#ifndef POSTERN_GATEWAY_CREDENTIALS_H
#define POSTERN_GATEWAY_CREDENTIALS_H

#include "base/arena.h"
#include "gateway/snapshot.h"
#include "http/fields.h"

/* Whether a 401 or 403 of this target speaks of our credential and not of the client's. */
bool credential_is_ours(const struct target *target);
/* Adds the target's credential: `api-key` for Azure OpenAI, `Authorization: Bearer` for others. Nothing if it has none. */
void credential_apply(const struct target *target, struct arena *arena, struct fields *fields);

#endif
