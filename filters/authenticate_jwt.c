/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/jwt.h"
#include "base/memory.h"
#include "filters/authenticate.h"
#include "gateway/exchange.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"

/* Tokens remembered per worker and method: a power of two. Of two that fall on one place the later stays. */
#define VERIFIED_TOKENS 1024
/* The end of a token, by which it is found: 24 bytes of its signature. */
#define TOKEN_TAIL 32
#define GROUPS_MAX 256

/* A token that was verified, with what it said. */
struct verified {
    struct arena arena; /* all of it */
    struct span token;
    uint64_t hash;
    uint64_t expires;    /* seconds since 1970 */
    uint64_t generation; /* of the key set */
    struct caller caller;
};

struct jwt_method {
    const struct jwt_settings *settings;
    struct issuer_keys *keys;
    struct verified *verified[VERIFIED_TOKENS];
};

/* ---- life ---- */

struct jwt_method *jwt_method_create(struct worker *worker, const struct jwt_settings *settings,
                                     const struct jwt_method *previous)
{
    struct jwt_method *method = memory_zalloc(sizeof(*method));
    struct issuer_options options = {.issuer = settings->issuer,
                                     .file = settings->jwks_file,
                                     .url = settings->jwks_url.text,
                                     .ca = settings->ca,
                                     .token_file = settings->token_file,
                                     .refresh = settings->refresh,
                                     .floor = settings->floor};
    method->settings = settings;
    method->keys = issuer_keys_open(worker, &options, previous ? previous->keys : NULL);
    return method;
}

static void forget(struct verified **slot)
{
    struct verified *verified = *slot;
    if (!verified)
        return;
    *slot = NULL;
    memory_wipe((void *)(uintptr_t)verified->token.ptr, verified->token.len);
    struct arena arena = verified->arena;
    arena_finish(&arena);
}

void jwt_method_destroy(struct jwt_method *method)
{
    if (!method)
        return;
    for (unsigned i = 0; i < VERIFIED_TOKENS; i++)
        forget(&method->verified[i]);
    issuer_keys_close(method->keys);
    free(method);
}

struct issuer_keys *jwt_method_keys(const struct jwt_method *method)
{
    return method->keys;
}

/* ---- what was verified before ---- */

static struct verified **slot_of(struct jwt_method *method, struct span token, uint64_t *ret_hash)
{
    *ret_hash = hash_bytes(span_skip(token, token.len > TOKEN_TAIL ? token.len - TOKEN_TAIL : 0));
    return &method->verified[*ret_hash & (VERIFIED_TOKENS - 1)];
}

/*
 * The bytes themselves are compared, so that nothing but the very token that was verified can pass. Only who knows the
 * signature gets as far as this comparison, so its time tells nothing.
 */
static const struct verified *recall(struct jwt_method *method, struct span token, uint64_t now)
{
    uint64_t hash;
    struct verified **slot = slot_of(method, token, &hash);
    struct verified *verified = *slot;
    if (!verified || verified->hash != hash || !span_equal(verified->token, token))
        return NULL;
    if (now < verified->expires && verified->generation == issuer_keys_generation(method->keys))
        return verified;
    forget(slot);
    return NULL;
}

static void copy_caller(struct arena *arena, const struct caller *from, struct caller *to)
{
    struct span *groups = ARENA_ARRAY(arena, struct span, from->group_count + 1);
    struct setting_pair *attributes = ARENA_ARRAY(arena, struct setting_pair, from->attribute_count + 1);
    *to = *from;
    to->name = arena_copy(arena, from->name);
    for (unsigned i = 0; i < from->group_count; i++)
        groups[i] = arena_copy(arena, from->groups[i]);
    for (unsigned i = 0; i < from->attribute_count; i++)
        attributes[i] = (struct setting_pair){.name = from->attributes[i].name,
                                              .value = arena_copy(arena, from->attributes[i].value)};
    to->groups = groups;
    to->attributes = attributes;
}

static void remember(struct jwt_method *method, struct span token, uint64_t expires, const struct caller *caller)
{
    struct arena arena;
    uint64_t hash;
    struct verified **slot = slot_of(method, token, &hash);
    forget(slot);
    arena_init(&arena);
    struct verified *verified = ARENA_NEW(&arena, struct verified);
    verified->token = arena_copy(&arena, token);
    verified->hash = hash;
    verified->expires = expires;
    verified->generation = issuer_keys_generation(method->keys);
    copy_caller(&arena, caller, &verified->caller);
    verified->arena = arena;
    *slot = verified;
}

/* ---- claims ---- */

static bool read_groups(const struct jwt *token, struct span claim, struct arena *arena, struct caller *ret)
{
    struct json_value value;
    struct span *words;
    size_t count;
    if (claim.len == 0 || !jwt_claim(token, claim, arena, &value))
        return true;
    if (!jwt_claim_words(token, claim, arena, &words, &count) || count > GROUPS_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!caller_name_is_usable(words[i]))
            return false;
    ret->groups = words;
    ret->group_count = (unsigned)count;
    return true;
}

static void read_attributes(const struct jwt *token, const struct setting_pairs *wanted, struct arena *arena,
                            struct caller *ret)
{
    struct setting_pair *pairs = ARENA_ARRAY(arena, struct setting_pair, wanted->count + 1);
    for (size_t i = 0; i < wanted->count; i++) {
        struct span value;
        if (jwt_claim_text(token, wanted->items[i].value, arena, &value) && caller_name_is_usable(value))
            pairs[ret->attribute_count++] = (struct setting_pair){.name = wanted->items[i].name, .value = value};
    }
    ret->attributes = pairs;
}

static enum jwt_problem read_caller(const struct jwt_settings *settings, const struct jwt *token, struct arena *arena,
                                    struct caller *ret)
{
    *ret = (struct caller){0};
    if (!jwt_claim_text(token, settings->consumer_claim, arena, &ret->name) || !caller_name_is_usable(ret->name) ||
        !read_groups(token, settings->groups_claim, arena, ret))
        return JWT_CLAIM;
    read_attributes(token, &settings->attributes, arena, ret);
    return JWT_NONE;
}

/* ---- judging ---- */

static enum method_result refuse(enum jwt_problem problem, struct refusal *why)
{
    *why = (struct refusal){.word = jwt_problem_word(problem), .text = jwt_problem_text(problem)};
    return METHOD_REFUSED;
}

/* With the keys there are. UNKNOWN_KEY may become another answer with fresher ones. */
static enum jwt_problem judge(struct jwt_method *method, struct exchange *exchange, struct span text,
                              const struct jwt *token, uint64_t now)
{
    const struct jwt_settings *settings = method->settings;
    struct arena *arena = &exchange->arena;
    struct jwt_rules rules = {.issuer = settings->issuer,
                              .audiences = settings->audience.items,
                              .audience_count = settings->audience.count,
                              .skew = settings->skew / CLOCK_SECOND};
    unsigned algorithms = settings->algorithms ? (unsigned)settings->algorithms : (1u << CRYPTO_ALGORITHM_COUNT) - 1;
    uint64_t expires;
    struct caller caller;
    enum jwt_problem problem = jwt_verify(token, issuer_keys_now(method->keys), algorithms);
    if (problem == JWT_NONE)
        problem = jwt_check_claims(token, &rules, now, &expires);
    if (problem == JWT_NONE)
        problem = read_caller(settings, token, arena, &caller);
    if (problem != JWT_NONE)
        return problem;
    remember(method, text, expires, &caller);
    caller_enter(exchange, SPAN("jwt"), &caller);
    return JWT_NONE;
}

enum method_result jwt_method_try(struct jwt_method *method, struct exchange *exchange, struct span token, bool waited,
                                  struct issuer_wait *wait, void (*done)(struct issuer_wait *wait), struct refusal *why)
{
    struct loop *loop = exchange->worker->loop;
    uint64_t now = loop_wall(loop) / CLOCK_SECOND;
    const struct verified *known = recall(method, token, now);
    if (known) {
        caller_enter(exchange, SPAN("jwt"), &known->caller);
        return METHOD_GOOD;
    }
    struct jwt parsed;
    enum jwt_problem problem = jwt_parse(token, &exchange->arena, &parsed);
    if (problem == JWT_NONE) /* before any key is looked for, or another issuer's tokens would make us ask this one */
        problem = jwt_check_issuer(&parsed, method->settings->issuer);
    if (problem != JWT_NONE)
        return refuse(problem, why);
    bool any = issuer_keys_now(method->keys) != NULL;
    problem = any ? judge(method, exchange, token, &parsed, now) : JWT_UNKNOWN_KEY;
    if (problem == JWT_NONE)
        return METHOD_GOOD;
    uint64_t deadline = loop_now(loop) + method->settings->wait;
    if (problem == JWT_UNKNOWN_KEY && !waited && method->settings->wait &&
        issuer_keys_wait(method->keys, &exchange->pendings, wait, deadline, done))
        return METHOD_WAIT;
    if (any)
        return refuse(problem, why);
    *why = (struct refusal){.word = SPAN("no_keys"), .text = SPAN("the issuer's keys are not available")};
    return METHOD_UNAVAILABLE;
}
