/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_internal.h"

#include <stdio.h>

#include "base/log.h"

static void push(struct redis_node *node, const struct span *argv, unsigned argc, bool secret,
                 redis_internal_fn *internal)
{
    struct redis_request *request = redis_request_create(node->redis);
    request->internal = internal;
    request->secret = secret;
    redis_command_format(&request->command, argv, argc);
    redis_node_push(node, request);
}

static void refused(struct redis_node *node, const char *what, struct span detail)
{
    char why[160];
    node->redis->counters.connect_failures++;
    (void)snprintf(why, sizeof(why), "%s refused: %.*s", what, SPAN_ARG(span_take(detail, 120)));
    redis_node_lost(node, why, true);
}

/* Errors of ours mean that the connection has ended: that is seen to elsewhere. */
static bool is_refusal(const struct redis_node *node, const struct redis_reply *reply)
{
    return node && node->state == REDIS_GREETING && reply->error > REDIS_ERROR_PROTOCOL;
}

static void let_in(struct redis_request *request, const struct redis_reply *reply)
{
    if (is_refusal(request->node, reply))
        refused(request->node, "AUTH", reply->detail);
}

static void selected(struct redis_request *request, const struct redis_reply *reply)
{
    if (is_refusal(request->node, reply))
        refused(request->node, "SELECT", reply->detail);
}

static void ponged(struct redis_request *request, const struct redis_reply *reply)
{
    struct redis_node *node = request->node;
    if (!node || node->state != REDIS_GREETING)
        return;
    /* One that may not PING is answered, and that is all we want to know. */
    if (is_refusal(node, reply) && reply->error != REDIS_ERROR_NOPERM)
        refused(node, "PING", reply->detail);
    else if (!reply->error || reply->error == REDIS_ERROR_NOPERM)
        redis_node_greeted(node);
}

static void renewed(struct redis_request *request, const struct redis_reply *reply)
{
    struct redis_node *node = request->node;
    /* The old login stays in force until the server ends it, then the greeting says more. */
    if (node && reply->error > REDIS_ERROR_PROTOCOL)
        log_write(LOG_WARNING, "redis", "%s:%u: new login refused: %.*s", node->host, node->port,
                  SPAN_ARG(reply->detail));
}

static bool login_of(struct redis_node *node, struct span *ret_username, struct span *ret_password)
{
    const struct redis_options *options = &node->redis->options;
    if (node->sentinel) {
        *ret_username = options->sentinel_username;
        *ret_password = options->sentinel_password;
        return true;
    }
    if (options->login)
        return options->login(options->login_arg, ret_username, ret_password);
    *ret_username = options->username;
    *ret_password = options->password;
    return true;
}

static bool push_auth(struct redis_node *node, redis_internal_fn *internal)
{
    struct span username = {0}, password = {0};
    if (!login_of(node, &username, &password))
        return false;
    if (password.len == 0)
        return true;
    const struct span argv[] = {SPAN("AUTH"), username, password};
    const struct span short_argv[] = {SPAN("AUTH"), password};
    push(node, username.len ? argv : short_argv, username.len ? 3 : 2, true, internal);
    node->redis->counters.logins++;
    return true;
}

bool redis_greet(struct redis_node *node)
{
    if (!push_auth(node, let_in))
        return false;
    char number[12];
    unsigned database = node->redis->options.database;
    if (database && !node->sentinel) {
        int len = snprintf(number, sizeof(number), "%u", database);
        const struct span argv[] = {SPAN("SELECT"), span_of(number, (size_t)len)};
        push(node, argv, 2, false, selected);
    }
    static const struct span ping[] = {SPAN_INIT("PING")};
    push(node, ping, 1, false, ponged);
    return true;
}

void redis_greet_again(struct redis_node *node)
{
    (void)push_auth(node, node->state == REDIS_GREETING ? let_in : renewed);
}
