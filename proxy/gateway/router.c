/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/router.h"

#include "base/clock.h"
#include "base/hash.h"
#include "gateway/target_state.h"

const struct model_route *router_model(const struct snapshot *snapshot, struct span name)
{
    const struct model_route *exact = table_get(&snapshot->exact, name);
    if (exact)
        return exact;
    for (unsigned i = 0; i < snapshot->model_count; i++)
        if (snapshot->models[i].wildcard && span_matches(name, snapshot->models[i].name))
            return &snapshot->models[i];
    return NULL;
}

/* Whole segments: "/tokenize" covers "/tokenize/x", not "/tokenizer". "/" covers everything. */
static bool covers(struct span prefix, struct span path)
{
    if (!span_starts_with(path, prefix))
        return false;
    return path.len == prefix.len || prefix.ptr[prefix.len - 1] == '/' || path.ptr[prefix.len] == '/';
}

const struct passthrough_route *router_passthrough(const struct snapshot *snapshot, struct span path)
{
    const struct passthrough_route *best = NULL;
    for (unsigned i = 0; i < snapshot->passthrough_count; i++) {
        const struct passthrough_route *route = &snapshot->passthrough[i];
        if (covers(route->path, path) && (!best || route->path.len > best->path.len))
            best = route;
    }
    return best;
}

const struct model_target *router_stateful(const struct snapshot *snapshot, const struct listener_use *listener,
                                           const struct model_route *model)
{
    if (model && model->stateful)
        return model->stateful;
    if (model && model->target_count == 1)
        return &model->targets[0];
    if (listener->stateful)
        return listener->stateful;
    return snapshot->only_target;
}

/* One of the first `count` by weight; equal chances when all weights are zero. */
static unsigned draw(const struct model_target *const *from, unsigned count, uint64_t *random)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total += from[i]->weight;
    if (total == 0)
        return (unsigned)(hash_random(random) % count);
    uint64_t at = hash_random(random) % total;
    for (unsigned i = 0; i < count; i++) {
        if (at < from[i]->weight)
            return i;
        at -= from[i]->weight;
    }
    return count - 1;
}

/* Puts ret[from..to), all of one priority, into a random order by weight. */
static void shuffle(const struct model_target **ret, unsigned from, unsigned to, uint64_t *random)
{
    for (; from + 1 < to; from++) {
        unsigned pick = from + draw(ret + from, to - from, random);
        const struct model_target *chosen = ret[pick];
        ret[pick] = ret[from];
        ret[from] = chosen;
    }
}

unsigned router_order(const struct model_route *model, uint64_t now, uint64_t *random, const struct model_target **ret)
{
    unsigned count = model->target_count;
    if (count == 1) {
        ret[0] = &model->targets[0];
        return 1;
    }
    unsigned ready = 0, blocked = count;
    for (unsigned i = 0; i < count; i++)
        if (!target_state_blocked(model->targets[i].state, now))
            ret[ready++] = &model->targets[i];
    for (unsigned from = 0, to; from < ready; from = to) {
        for (to = from + 1; to < ready && ret[to]->priority == ret[from]->priority;)
            to++;
        shuffle(ret, from, to, random);
    }
    /* Those that are not to be asked now come last, soonest first: better a try than no answer at all. */
    blocked = ready;
    for (unsigned i = 0; i < count; i++) {
        uint64_t until = target_state_blocked(model->targets[i].state, now);
        if (!until)
            continue;
        unsigned at = blocked++;
        while (at > ready && target_state_blocked(ret[at - 1]->state, now) > until) {
            ret[at] = ret[at - 1];
            at--;
        }
        ret[at] = &model->targets[i];
    }
    return blocked;
}

/* ---- GET /v1/models ---- */

static void describe(const struct snapshot *snapshot, struct span name, bool azure, struct buffer *json)
{
    unsigned long long created = snapshot->loaded_wall / CLOCK_SECOND;
    buffer_append(json, SPAN("{\"id\":\""));
    buffer_append_json(json, name);
    if (azure)
        buffer_format(json, "\",\"object\":\"model\",\"created_at\":%llu,\"status\":\"succeeded\",\"model\":\"",
                      created);
    else
        buffer_format(json, "\",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"postern\"}", created);
    if (azure) {
        buffer_append_json(json, name);
        buffer_append(json, SPAN("\",\"capabilities\":{\"inference\":true}}"));
    }
}

void router_list_models(const struct snapshot *snapshot, const struct exchange *exchange, router_shown *shown,
                        bool azure, struct buffer *json)
{
    bool first = true;
    buffer_append(json, SPAN("{\"object\":\"list\",\"data\":["));
    for (unsigned i = 0; i < snapshot->model_count; i++) {
        if (snapshot->models[i].wildcard || !shown(exchange, snapshot->models[i].name))
            continue;
        if (!first)
            buffer_append(json, SPAN(","));
        first = false;
        describe(snapshot, snapshot->models[i].name, azure, json);
    }
    buffer_append(json, SPAN("]}"));
}

bool router_show_model(const struct snapshot *snapshot, struct span name, bool azure, struct buffer *json)
{
    if (!router_model(snapshot, name))
        return false;
    describe(snapshot, name, azure, json);
    return true;
}
