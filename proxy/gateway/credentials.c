/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/credentials.h"

/* A target without a credential that demands one is just as much the operator's matter as one that refuses ours. */
bool credential_is_ours(const struct target *target)
{
    return target->config->mock == NULL;
}

void credential_apply(const struct target *target, struct arena *arena, struct fields *fields)
{
    const struct config_credential *credential = target->config->credential;
    if (!credential)
        return;
    struct span key = credential->api_key.value;
    if (target->config->azure)
        fields_add_id(fields, arena, FIELD_API_KEY, key);
    else
        fields_add_id(fields, arena, FIELD_AUTHORIZATION, arena_format(arena, "Bearer %.*s", SPAN_ARG(key)));
}
