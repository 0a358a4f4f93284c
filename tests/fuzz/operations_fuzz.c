/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "METHOD path?query\nmodel" through the match and out again in every dialect: what is sent upstream is a clean request
 * target that names the same operation.
 */
#include <stdlib.h>

#include "openai/dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_target(struct arena *arena, const struct api_call *call, struct span method, enum dialect dialect,
                         struct span model)
{
    struct span base = dialect == DIALECT_OPENAI ? SPAN("/v1") : SPAN("");
    struct span target = dialect_target(arena, call, dialect, base, model, SPAN("2024-10-21")), path;
    if (!target.len)
        return;
    size_t mark = span_find(target, '?');
    path = span_take(target, mark);
    require(span_search(path, SPAN("/../")) == path.len && !span_ends_with(path, SPAN("/..")));
    struct api_call again;
    require(operation_match(method, path, span_skip(target, mark + 1), arena, &again) == FAULT_NONE);
    require(again.operation == call->operation && span_equal(again.resource, call->resource));
    require(again.query_secret.len == 0);
    if (dialect == DIALECT_AZURE_DATED && call->operation->flags & OPERATION_DEPLOYMENT)
        require(span_equal(again.deployment, model));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = span_of((const char *)data, size), method, target, model = SPAN("m");
    struct arena arena;
    struct api_call call;
    if (size == 0 || !span_split(&rest, ' ', &method))
        return 0;
    if (!span_split(&rest, '\n', &target))
        return 0;
    if (rest.ptr)
        model = rest;
    size_t mark = span_find(target, '?');
    arena_init(&arena);
    if (operation_match(method, span_take(target, mark), span_skip(target, mark + 1), &arena, &call) == FAULT_NONE) {
        for (int dialect = DIALECT_OPENAI; dialect <= DIALECT_AZURE_V1; dialect++)
            check_target(&arena, &call, method, (enum dialect)dialect, model);
    }
    (void)operation_allow(&arena, span_take(target, mark));
    arena_finish(&arena);
    return 0;
}
