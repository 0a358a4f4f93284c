/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "support/json_same.h"

#include "base/json_value.h"

static bool same(struct arena *arena, struct json_value a, struct json_value b, struct span missing);

static unsigned count(struct json_value container)
{
    size_t cursor = 0;
    unsigned members = 0;
    for (struct json_value value; json_value_each(container, &cursor, NULL, &value);)
        members++;
    return members;
}

static bool same_content(struct arena *arena, struct json_value a, struct json_value b)
{
    size_t cursor = 0, other = 0;
    struct span raw, name;
    for (struct json_value left, right; json_value_each(a, &cursor, &raw, &left);) {
        bool found = false;
        if (a.kind == JSON_ARRAY_OPEN)
            found = json_value_each(b, &other, NULL, &right);
        else if (json_value_text((struct json_value){JSON_STRING, raw}, arena, &name))
            found = json_value_member(b, name, &right);
        if (!found || !same(arena, left, right, span_of(NULL, 0)))
            return false;
    }
    return true;
}

static bool same(struct arena *arena, struct json_value a, struct json_value b, struct span missing)
{
    struct span left, right;
    struct json_value member;
    if (a.kind != b.kind)
        return false;
    if (a.kind == JSON_OBJECT_OPEN || a.kind == JSON_ARRAY_OPEN) {
        bool taken = missing.ptr && json_value_member(b, missing, &member) && !json_value_member(a, missing, &member);
        return (taken || !missing.ptr) && count(a) + taken == count(b) && same_content(arena, a, b);
    }
    if (a.kind != JSON_STRING)
        return span_equal(a.raw, b.raw);
    return json_value_text(a, arena, &left) && json_value_text(b, arena, &right) && span_equal(left, right);
}

static bool compare(struct span a, struct span b, struct span missing)
{
    struct arena arena;
    struct json_value left, right;
    arena_init(&arena);
    bool equal = json_value_parse(a, &left) && json_value_parse(b, &right) && same(&arena, left, right, missing);
    arena_finish(&arena);
    return equal;
}

bool json_same(struct span a, struct span b)
{
    return compare(a, b, span_of(NULL, 0));
}

void assert_json_same(struct span a, struct span b, const char *missing, const char *what)
{
    if (!compare(a, b, span_str(missing)))
        fail_msg("%s\n  made   %.*s\n  wanted %.*s", what, SPAN_ARG(a), SPAN_ARG(b));
}
