/* SPDX-License-Identifier: Apache-2.0 */
#include "base/jwt.h"

#include <math.h>

#include "base/encoding.h"
#include "base/hash.h"

/* 2^53: above it a double no longer tells which second was meant. */
#define DATE_MAX 9007199254740992.0
/* Names of all open objects together, and containers inside each other. */
#define NAMES_MAX 1024
#define DEPTH_MAX 32

static const struct {
    struct span word, text;
} problems[] = {
#define X(id, word, text) {SPAN_INIT(word), SPAN_INIT(text)},
    JWT_PROBLEM_LIST(X)
#undef X
};
_Static_assert(ARRAY_LEN(problems) == JWT_PROBLEM_COUNT, "every problem has its words");

struct span jwt_problem_word(enum jwt_problem problem)
{
    return problems[(unsigned)problem < JWT_PROBLEM_COUNT ? problem : JWT_MALFORMED].word;
}

struct span jwt_problem_text(enum jwt_problem problem)
{
    return problems[(unsigned)problem < JWT_PROBLEM_COUNT ? problem : JWT_MALFORMED].text;
}

/* ---- form ---- */

/*
 * One walk over an object: the names in the objects that are open, as hashes under the process key, so that nobody can
 * make two names equal, and where the outermost object's values are.
 */
struct walk {
    struct json r;
    struct span text;
    uint64_t seen[NAMES_MAX];
    unsigned seen_count, start[DEPTH_MAX + 1]; /* start: of the names of the object at that depth */
    struct jwt_member members[JWT_MEMBERS];
    unsigned count;
};

static bool enter_name(struct walk *walk)
{
    const struct json *r = &walk->r;
    unsigned from = walk->start[r->depth];
    if (r->text_long || walk->seen_count == NAMES_MAX || walk->seen_count - from == JWT_MEMBERS)
        return false;
    uint64_t hash = hash_bytes(r->text);
    for (unsigned i = from; i < walk->seen_count; i++)
        if (walk->seen[i] == hash)
            return false;
    walk->seen[walk->seen_count++] = hash;
    if (r->depth == 1)
        walk->members[walk->count++] = (struct jwt_member){.hash = hash};
    return true;
}

/* The value under way belongs to the last member of the outermost object. */
static void value_begins(struct walk *walk, enum json_event kind)
{
    struct json_value *value = &walk->members[walk->count - 1].value;
    *value = (struct json_value){.kind = kind, .raw = span_of(walk->text.ptr + walk->r.token_start, 0)};
}

static void value_ends(struct walk *walk)
{
    struct span *raw = &walk->members[walk->count - 1].value.raw;
    raw->len = (size_t)(walk->text.ptr + walk->r.token_end - raw->ptr);
}

static bool step(struct walk *walk, enum json_event event)
{
    unsigned depth = walk->r.depth;
    switch (event) {
    case JSON_KEY:
        return enter_name(walk);
    case JSON_OBJECT_OPEN:
        walk->start[depth] = walk->seen_count;
        if (depth == 2)
            value_begins(walk, event);
        return true;
    case JSON_ARRAY_OPEN:
        if (depth == 2)
            value_begins(walk, event);
        return depth > 1; /* the whole must be an object */
    case JSON_OBJECT_CLOSE:
        walk->seen_count = walk->start[depth + 1];
        if (depth == 1)
            value_ends(walk);
        return true;
    case JSON_ARRAY_CLOSE:
        if (depth == 1)
            value_ends(walk);
        return true;
    default: /* a scalar */
        if (depth == 1) {
            value_begins(walk, event);
            value_ends(walk);
        }
        return depth > 0;
    }
}

/* One part of the token as an object none of whose objects has a member twice: two readers could take different ones.
 */
static bool object_of(struct span part, struct arena *arena, struct jwt_object *ret)
{
    struct buffer bytes = {0};
    struct walk walk;
    bool good = decode_base64url(&bytes, part);
    walk.text = good ? arena_copy(arena, buffer_span(&bytes)) : (struct span){0};
    buffer_finish(&bytes);
    walk.seen_count = walk.count = 0;
    json_init(&walk.r, DEPTH_MAX);
    struct span rest = walk.text;
    enum json_event event = JSON_BAD;
    while (good && (event = json_next(&walk.r, &rest, true)) != JSON_DONE)
        good = event != JSON_BAD && event != JSON_MORE && step(&walk, event);
    if (!good)
        return false;
    struct jwt_member *members = ARENA_ARRAY(arena, struct jwt_member, walk.count + 1);
    memcpy(members, walk.members, walk.count * sizeof(*members));
    *ret = (struct jwt_object){.members = members, .count = walk.count};
    return true;
}

static bool member(const struct jwt_object *object, struct span name, struct json_value *ret)
{
    uint64_t hash = hash_bytes(name);
    for (unsigned i = 0; i < object->count; i++)
        if (object->members[i].hash == hash) {
            *ret = object->members[i].value;
            return true;
        }
    return false;
}

/* JWT, at+jwt, application/at+jwt (RFC 7519 5.1, RFC 9068 2.1), or nothing at all as Kubernetes has it. */
static bool is_token_type(const struct jwt_object *header, struct arena *arena)
{
    struct json_value value;
    struct span type;
    if (!member(header, SPAN("typ"), &value))
        return true;
    if (!json_value_text(value, arena, &type))
        return false;
    static const struct span prefix = SPAN_INIT("application/");
    if (span_equal_nocase(span_take(type, prefix.len), prefix))
        type = span_skip(type, prefix.len);
    return span_equal_nocase(type, SPAN("jwt")) || span_equal_nocase(type, SPAN("at+jwt"));
}

static enum jwt_problem read_header(const struct jwt_object *header, struct arena *arena, struct jwt *ret)
{
    struct json_value value;
    struct span name;
    if (!member(header, SPAN("alg"), &value) || !json_value_text(value, arena, &name))
        return JWT_MALFORMED;
    if (!crypto_algorithm(name, &ret->algorithm))
        return JWT_ALGORITHM;
    if (member(header, SPAN("crit"), &value))
        return JWT_CRITICAL;
    if (!is_token_type(header, arena))
        return JWT_TYPE;
    ret->kid = (struct span){0};
    if (!member(header, SPAN("kid"), &value))
        return JWT_NONE;
    if (!json_value_text(value, arena, &ret->kid) || ret->kid.len > JWKS_KID_BYTES)
        return JWT_MALFORMED;
    /* An empty kid names no key; it must not come to mean "any". */
    return ret->kid.len ? JWT_NONE : JWT_UNKNOWN_KEY;
}

/* How many parts, up to 6: more is all the same. */
static unsigned parts_of(struct span text)
{
    unsigned count = 1;
    for (size_t at = span_find(text, '.'); at < text.len && count < 6; at = span_find(text, '.')) {
        text = span_skip(text, at + 1);
        count++;
    }
    return count;
}

enum jwt_problem jwt_parse(struct span text, struct arena *arena, struct jwt *ret)
{
    struct span rest = text, header_text, claims_text;
    struct jwt_object header;
    struct jwt token = {0};
    if (text.len > JWT_BYTES)
        return JWT_TOO_LARGE;
    unsigned parts = parts_of(text);
    if (parts != 3)
        return parts == 5 ? JWT_ENCRYPTED : JWT_MALFORMED;
    (void)span_split(&rest, '.', &header_text);
    (void)span_split(&rest, '.', &claims_text);
    if (header_text.len > JWT_HEADER_BYTES || !object_of(header_text, arena, &header))
        return JWT_MALFORMED;
    enum jwt_problem problem = read_header(&header, arena, &token);
    if (problem != JWT_NONE)
        return problem;
    struct buffer signature = {0};
    bool good = rest.len && decode_base64url(&signature, rest) && object_of(claims_text, arena, &token.claims);
    token.signature = arena_copy(arena, buffer_span(&signature));
    buffer_finish(&signature);
    if (!good)
        return JWT_MALFORMED;
    token.message = span_take(text, header_text.len + 1 + claims_text.len);
    *ret = token;
    return JWT_NONE;
}

/* ---- signature ---- */

enum jwt_problem jwt_verify(const struct jwt *token, const struct jwks *keys, unsigned algorithms)
{
    if (!(algorithms & 1u << token->algorithm))
        return JWT_ALGORITHM;
    if (token->kid.len && !jwks_has(keys, token->kid))
        return JWT_UNKNOWN_KEY;
    if (jwks_verify(keys, token->kid, token->algorithm, token->message, token->signature))
        return JWT_NONE;
    return JWT_SIGNATURE;
}

/* ---- claims ---- */

enum jwt_problem jwt_check_issuer(const struct jwt *token, struct span issuer)
{
    struct json_value value;
    if (!member(&token->claims, SPAN("iss"), &value) || value.kind != JSON_STRING)
        return JWT_CLAIM;
    return json_value_is(value, issuer) ? JWT_NONE : JWT_ISSUER;
}

static bool is_one_of(struct json_value value, const struct jwt_rules *rules)
{
    for (size_t i = 0; i < rules->audience_count; i++)
        if (json_value_is(value, rules->audiences[i]))
            return true;
    return false;
}

static enum jwt_problem check_audience(const struct jwt *token, const struct jwt_rules *rules)
{
    struct json_value value, one;
    size_t cursor = 0;
    if (!member(&token->claims, SPAN("aud"), &value))
        return JWT_CLAIM;
    if (value.kind == JSON_STRING)
        return is_one_of(value, rules) ? JWT_NONE : JWT_AUDIENCE;
    if (value.kind != JSON_ARRAY_OPEN)
        return JWT_CLAIM;
    bool found = false;
    while (json_value_each(value, &cursor, NULL, &one)) {
        if (one.kind != JSON_STRING)
            return JWT_CLAIM;
        found |= is_one_of(one, rules);
    }
    return found ? JWT_NONE : JWT_AUDIENCE;
}

/* *ret_given false: not there. False: there, but no date. */
static bool date_of(const struct jwt *token, struct span name, bool *ret_given, double *ret)
{
    struct json_value value;
    *ret_given = member(&token->claims, name, &value);
    if (!*ret_given)
        return true;
    return json_value_double(value, ret) && *ret >= 0 && *ret <= DATE_MAX;
}

static enum jwt_problem check_dates(const struct jwt *token, uint64_t skew, uint64_t now, uint64_t *ret_expires)
{
    bool has_exp, has_nbf, has_iat;
    double exp = 0, nbf = 0, iat = 0, latest = (double)now + (double)skew;
    if (!date_of(token, SPAN("exp"), &has_exp, &exp) || !has_exp || !date_of(token, SPAN("nbf"), &has_nbf, &nbf) ||
        !date_of(token, SPAN("iat"), &has_iat, &iat))
        return JWT_CLAIM;
    /* RFC 7519 4.1.4: on or after exp it is over; the second in which a fraction lies is not given away. */
    uint64_t expires = (uint64_t)floor(exp) + skew;
    if (now >= expires)
        return JWT_EXPIRED;
    if ((has_nbf && nbf > latest) || (has_iat && iat > latest))
        return JWT_NOT_YET;
    *ret_expires = expires;
    return JWT_NONE;
}

enum jwt_problem jwt_check_claims(const struct jwt *token, const struct jwt_rules *rules, uint64_t now,
                                  uint64_t *ret_expires)
{
    enum jwt_problem problem = jwt_check_issuer(token, rules->issuer);
    if (problem == JWT_NONE)
        problem = check_audience(token, rules);
    return problem != JWT_NONE ? problem : check_dates(token, rules->skew, now, ret_expires);
}

/* RFC 6901 section 4: ~1 is '/', ~0 is '~'. */
static struct span unescape(struct span part, struct arena *arena)
{
    if (span_find(part, '~') == part.len)
        return part;
    char *to = arena_bytes(arena, part.len);
    size_t len = 0;
    for (size_t i = 0; i < part.len; i++) {
        bool escaped = part.ptr[i] == '~' && i + 1 < part.len && (part.ptr[i + 1] == '0' || part.ptr[i + 1] == '1');
        to[len++] = !escaped ? part.ptr[i] : part.ptr[i + 1] == '1' ? '/' : '~';
        i += escaped;
    }
    return span_of(to, len);
}

bool jwt_claim(const struct jwt *token, struct span name, struct arena *arena, struct json_value *ret)
{
    if (name.len == 0 || name.ptr[0] != '/')
        return member(&token->claims, name, ret);
    struct json_value at;
    struct span rest = span_skip(name, 1), part;
    (void)span_split(&rest, '/', &part);
    if (!member(&token->claims, unescape(part, arena), &at))
        return false;
    while (span_split(&rest, '/', &part))
        if (!json_value_member(at, unescape(part, arena), &at))
            return false;
    *ret = at;
    return true;
}

bool jwt_claim_text(const struct jwt *token, struct span name, struct arena *arena, struct span *ret)
{
    struct json_value value;
    struct span text;
    if (!jwt_claim(token, name, arena, &value))
        return false;
    if (value.kind == JSON_NUMBER)
        text = value.raw;
    else if (!json_value_text(value, arena, &text))
        return false;
    if (text.len == 0)
        return false;
    *ret = text;
    return true;
}

static size_t count_of(struct json_value list)
{
    struct json_value one;
    size_t cursor = 0, count = 0;
    while (json_value_each(list, &cursor, NULL, &one))
        count++;
    return count;
}

static bool list_words(struct json_value list, struct arena *arena, struct span **ret_words, size_t *ret_count)
{
    struct json_value one;
    size_t cursor = 0, count = 0;
    struct span *words = ARENA_ARRAY(arena, struct span, count_of(list) + 1);
    while (json_value_each(list, &cursor, NULL, &one))
        if (!json_value_text(one, arena, &words[count++]))
            return false;
    *ret_words = words;
    *ret_count = count;
    return true;
}

bool jwt_claim_words(const struct jwt *token, struct span name, struct arena *arena, struct span **ret_words,
                     size_t *ret_count)
{
    struct json_value value;
    struct span rest, part;
    if (!jwt_claim(token, name, arena, &value))
        return false;
    if (value.kind == JSON_ARRAY_OPEN)
        return list_words(value, arena, ret_words, ret_count);
    if (!json_value_text(value, arena, &rest))
        return false;
    struct span *words = ARENA_ARRAY(arena, struct span, rest.len / 2 + 1);
    size_t count = 0;
    while (span_split(&rest, ' ', &part))
        if (part.len)
            words[count++] = part;
    *ret_words = words;
    *ret_count = count;
    return true;
}
