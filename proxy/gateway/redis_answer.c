/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_internal.h"

#include "base/clock.h"
#include "base/log.h"

/* Times that a script is loaded for one call. */
#define LOAD_TURNS 2
/* Between two lines about the same server's refusals. */
#define REFUSED_EVERY (60 * CLOCK_SECOND)

/* An error's text without what the command held: only unknown commands are answered with their arguments. */
static struct span without_arguments(struct span text)
{
    return span_take(text, span_search(text, SPAN(", with args")));
}

/* ---- scripts ---- */

static void script_loaded(struct redis_request *request, const struct redis_reply *reply)
{
    struct redis_node *node = request->node;
    if (!node || reply->error <= REDIS_ERROR_PROTOCOL || node->cannot_load)
        return;
    node->cannot_load = true;
    log_write(LOG_WARNING, "redis", "%s:%u does not load scripts (the user needs script|load): %.*s", node->host,
              node->port, SPAN_ARG(reply->detail));
}

/* Unless it was loaded after `number` was sent: then those who were refused before only need to ask again. */
static void load_script(struct redis_node *node, const struct redis_script *script, uint64_t number)
{
    for (unsigned i = 0; i < REDIS_SCRIPTS; i++)
        if (node->loaded[i].script == script && node->loaded[i].number > number)
            return;
    const struct span argv[] = {SPAN("SCRIPT"), SPAN("LOAD"), script->text};
    struct redis_request *load = redis_request_create(node->redis);
    load->internal = script_loaded;
    redis_command_format(&load->command, argv, 3);
    redis_node_push(node, load);
    node->redis->counters.script_loads++;
    struct redis_loaded *place = NULL;
    for (unsigned i = 0; i < REDIS_SCRIPTS && !place; i++)
        if (node->loaded[i].script == script)
            place = &node->loaded[i];
    if (!place)
        place = &node->loaded[node->loaded_next++ % REDIS_SCRIPTS];
    *place = (struct redis_loaded){.script = script, .number = load->number};
}

/* ---- sending anew ---- */

/* The map is set right even when nobody waits for this answer any more. */
static bool redirect(struct redis_node *node, struct redis_request *request, struct span text)
{
    struct redis *redis = node->redis;
    struct redis_redirect to;
    if (redis->options.mode != REDIS_CLUSTER || !redis_redirect_parse(text, &to))
        return false;
    if (to.address.host.len == 0)
        to.address.host = span_str(node->host);
    struct redis_node *target = redis_node_get(redis, to.address, false);
    if (!target)
        return false;
    if (to.ask)
        redis->counters.asks++;
    else {
        redis->counters.moved++;
        if (redis->map)
            redis->map[to.slot] = (uint16_t)(target->index + 1);
        target->listed = true;
        redis_search(redis);
    }
    if (!request->call || ++request->turns > REDIS_TURNS)
        return false;
    request->asking = to.ask;
    redis_node_send(target, request);
    return true;
}

static bool send_anew(struct redis_node *node, struct redis_request *request, enum redis_error error, struct span text)
{
    if (error == REDIS_ERROR_MOVED)
        return redirect(node, request, text);
    if (!request->call)
        return false;
    if (error == REDIS_ERROR_NOSCRIPT && request->script && ++request->turns <= LOAD_TURNS) {
        load_script(node, request->script, request->number);
        redis_node_send(node, request);
        return true;
    }
    /* Half of its keys have moved already. By the time it is asked again the rest may have, too. */
    if (error == REDIS_ERROR_TRYAGAIN && ++request->turns <= REDIS_TURNS) {
        node->redis->counters.again++;
        redis_node_send(node, request);
        return true;
    }
    return false;
}

/* Errors that speak of the node and not of the command. */
static void learn(struct redis_node *node, enum redis_error error, struct span text)
{
    char why[120] = "";
    if (error == REDIS_ERROR_CLUSTERDOWN)
        redis_search(node->redis);
    if (error != REDIS_ERROR_READONLY && error != REDIS_ERROR_LOADING && error != REDIS_ERROR_MASTERDOWN &&
        error != REDIS_ERROR_NOAUTH)
        return;
    text = span_take(text, sizeof(why) - 1);
    memcpy(why, text.ptr, text.len);
    redis_node_lost(node, why, true);
}

/* What a script may not call is no NOPERM: some of the script may have been carried out. */
static bool is_denied_in_script(struct span text)
{
    return span_starts_with(text, SPAN("ERR ACL failure in script")) ||
           span_starts_with(text, SPAN("ERR The user executing the script"));
}

/* A server that answers and yet serves nobody: there is something for its operator to mend. */
static void complain(struct redis_node *node, enum redis_error error, struct span text)
{
    uint64_t now = loop_now(node->redis->loop);
    if (error != REDIS_ERROR_OOM && error != REDIS_ERROR_NOPERM && error != REDIS_ERROR_BUSY &&
        !is_denied_in_script(text))
        return;
    if (now - node->refused >= REFUSED_EVERY)
        node->refused_as = 0;
    if (node->refused_as & 1u << error)
        return;
    node->refused = now;
    node->refused_as |= 1u << error;
    log_write(LOG_WARNING, "redis", "store %.*s: %s:%u refuses commands: %.*s", SPAN_ARG(node->redis->options.name),
              node->host, node->port, SPAN_ARG(span_take(text, 160)));
}

void redis_answer(struct redis_node *node, struct redis_request *request, const struct redis_value *value)
{
    struct redis_reply reply = {.value = value};
    bool ours = request->internal != NULL;
    redis_request_take(request);
    request->node = node;
    if (value->kind == REDIS_FAILURE) {
        reply.value = NULL;
        reply.error = redis_error_of(value->text);
        reply.detail = without_arguments(value->text);
        if (!ours && send_anew(node, request, reply.error, value->text))
            return;
    }
    if (request->asked && !request->call)
        node->redis->counters.late++;
    if (reply.error && !ours)
        complain(node, reply.error, reply.detail);
    redis_request_tell(request, &reply);
    redis_request_free(request);
    if (reply.error && !ours)
        learn(node, reply.error, reply.detail);
}
