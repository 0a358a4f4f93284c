/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

static const struct fault_entry entries[] = {
#define X(name_, status_, type_, code_, blame_, retry_, message_)                                                      \
    [FAULT_##name_] = {.word = SPAN_INIT(#name_),                                                                      \
                       .status = (status_),                                                                            \
                       .type = SPAN_INIT(type_),                                                                       \
                       .code = SPAN_INIT(code_),                                                                       \
                       .blame = BLAME_##blame_,                                                                        \
                       .retry = RETRY_##retry_,                                                                        \
                       .message = SPAN_INIT(message_)},
    FAULT_LIST(X)
#undef X
};
_Static_assert(ARRAY_LEN(entries) == FAULT_COUNT, "every fault has an entry");

static const char *const blame_names[] = {
    [BLAME_NOBODY] = "none", [BLAME_CLIENT] = "client", [BLAME_SELF] = "postern", [BLAME_UPSTREAM] = "upstream"};
_Static_assert(ARRAY_LEN(blame_names) == BLAME_UPSTREAM + 1, "every blame has a name");

const struct fault_entry *fault_entry(enum fault fault)
{
    return &entries[(unsigned)fault < FAULT_COUNT ? fault : FAULT_INTERNAL];
}

const char *fault_blame_name(enum fault_blame blame)
{
    return blame_names[blame];
}
