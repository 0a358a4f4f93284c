/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/json_value.h"
#include "config/config.h"
#include "filters/cache.h"
#include "gateway/credentials.h"
#include "gateway/snapshot.h"
#include "openai/query.h"

/* What a request that gives no temperature has, as the API says. */
#define TEMPERATURE_DEFAULT 1.0
/* Seconds beyond this mean the same, and do not overflow. */
#define DELTA_MOST (UINT64_C(100) * 366 * 24 * 3600)

/* ---- Cache-Control ---- */

/* delta-seconds, perhaps quoted. False: not a number, which then means the strictest. */
static bool read_seconds(struct span value, uint64_t *ret)
{
    uint64_t seconds;
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        value = span_of(value.ptr + 1, value.len - 2);
    if (!span_to_u64(value, &seconds))
        return false;
    *ret = (seconds < DELTA_MOST ? seconds : DELTA_MOST) * CLOCK_SECOND;
    return true;
}

static void read_directive(struct span directive, struct cache_wishes *wishes)
{
    size_t equals = span_find(directive, '=');
    struct span name = span_trim(span_take(directive, equals)), value = span_trim(span_skip(directive, equals + 1));
    if (span_equal_nocase(name, SPAN("no-cache"))) {
        wishes->no_cache = true;
    } else if (span_equal_nocase(name, SPAN("no-store"))) {
        wishes->no_store = true;
    } else if (span_equal_nocase(name, SPAN("only-if-cached"))) {
        wishes->only_if_cached = true;
    } else if (span_equal_nocase(name, SPAN("max-age"))) {
        if (!read_seconds(value, &wishes->max_age))
            wishes->max_age = 0;
    } else if (span_equal_nocase(name, SPAN("min-fresh"))) {
        if (!read_seconds(value, &wishes->min_fresh))
            wishes->min_fresh = DELTA_MOST * CLOCK_SECOND;
    } else if (span_equal_nocase(name, SPAN("stale-if-error"))) {
        wishes->has_stale_if_error = true;
        if (!read_seconds(value, &wishes->stale_if_error))
            wishes->stale_if_error = 0;
    }
}

void cache_wishes_read(const struct fields *fields, struct cache_wishes *ret)
{
    *ret = (struct cache_wishes){.max_age = UINT64_MAX};
    if (!fields_find(fields, FIELD_CACHE_CONTROL))
        return;
    for (unsigned i = 0; i < fields->count; i++) {
        if (fields->at[i].id != FIELD_CACHE_CONTROL)
            continue;
        struct span rest = fields->at[i].value, directive;
        while (span_split(&rest, ',', &directive))
            read_directive(span_trim(directive), ret);
    }
}

bool cache_wishes_special(const struct cache_wishes *wishes)
{
    return wishes->no_cache || wishes->only_if_cached || wishes->max_age != UINT64_MAX || wishes->min_fresh ||
           wishes->has_stale_if_error;
}

/* ---- what is never kept ---- */

/* Functions and custom tools are the client's to carry out; all others the target's, at the time of asking. */
static bool is_clients_tool(struct json_value tool)
{
    struct json_value type;
    return json_value_member(tool, SPAN("type"), &type) &&
           (json_value_is(type, SPAN("function")) || json_value_is(type, SPAN("custom")));
}

static bool has_hosted_tools(const struct exchange *exchange)
{
    /* What the target looks up: the web, an index of the user's (Azure's "on your data"). */
    static const struct span sources[] = {SPAN_INIT("web_search_options"), SPAN_INIT("data_sources"),
                                          SPAN_INIT("dataSources")};
    const struct request_info *info = &exchange->info;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        if (request_member(info, sources[i]))
            return true;
    const struct request_member *member = request_member(info, SPAN("tools"));
    if (!member || member->kind == JSON_NULL)
        return false;
    struct json_value tools, tool;
    struct span text = span_skip(span_take(buffer_span(&exchange->body), member->value_end), member->value_start);
    if (!json_value_parse(text, &tools) || tools.kind != JSON_ARRAY_OPEN)
        return true;
    size_t cursor = 0;
    while (json_value_each(tools, &cursor, NULL, &tool))
        if (!is_clients_tool(tool))
            return true;
    return false;
}

/* Kept by the target, a continuation of what it keeps, or made of what it keeps under a name. */
static bool is_stateful(const struct exchange *exchange)
{
    const struct request_info *info = &exchange->info;
    enum operation_id operation = exchange->call.operation->id;
    if (exchange->stateful || info->previous_response_id || info->conversation || info->background == TRI_TRUE ||
        info->store == TRI_TRUE)
        return true;
    if (operation == OPERATION_RESPONSES)
        return info->store != TRI_FALSE || request_member(info, SPAN("prompt"));
    return operation == OPERATION_CHAT && request_member(info, SPAN("audio"));
}

static bool has_unknown_query(struct span query)
{
    struct query_param param;
    while (query.len && query_next(&query, &param))
        if (param.raw.len && !query_is(param.name, SPAN("api-version")) && !query_is_credential(param.name))
            return true;
    return false;
}

/* A target that is given the client's own credential may refuse this client and serve another. */
static bool shows_credential(const struct model_route *route)
{
    for (unsigned i = 0; i < route->target_count; i++)
        if (credential_is_clients(route->targets[i].target))
            return true;
    return false;
}

static bool is_anonymous(const struct filter *filter)
{
    const struct cache_settings *settings = filter->settings;
    const struct exchange *exchange = filter->exchange;
    const struct cache_state *state = filter->state;
    if (settings->scope == CACHE_TENANT_SHARED || exchange->consumer.name.len || state->caller_expected)
        return false;
    /* Only this pod or machine gets in: then it is one and the same. In a store it would meet those of other pods. */
    bool local = exchange->listener->config && exchange->listener->config->address.local;
    return !local || settings->store.len;
}

/* ---- rules ---- */

static bool listed(const struct setting_list *list, struct span text)
{
    for (size_t i = 0; i < list->count; i++)
        if (span_equal(list->items[i], text))
            return true;
    return list->count == 0;
}

static bool matched(const struct setting_list *patterns, struct span text)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (span_matches(text, patterns->items[i]))
            return true;
    return patterns->count == 0;
}

static bool fits(const struct cache_rule *rule, const struct exchange *exchange)
{
    return listed(&rule->operations, exchange->call.operation->name) && matched(&rule->models, exchange->model_asked) &&
           listed(&rule->listeners, exchange->listener->name);
}

static enum cache_bypass find_rule(const struct filter *filter, const struct cache_rule **ret)
{
    const struct cache_settings *settings = filter->settings;
    const struct exchange *exchange = filter->exchange;
    bool embeddings = exchange->call.operation->id == OPERATION_EMBEDDINGS;
    double temperature = exchange->info.has_temperature ? exchange->info.temperature : TEMPERATURE_DEFAULT;
    enum cache_bypass why = CACHE_BYPASS_RULE;
    for (size_t i = 0; i < settings->rule_count; i++) {
        const struct cache_rule *rule = &settings->rules[i];
        if (!fits(rule, exchange))
            continue;
        if (embeddings || temperature <= rule->max_temperature) {
            *ret = rule;
            return CACHE_BYPASS_NONE;
        }
        why = CACHE_BYPASS_TEMPERATURE;
    }
    return why;
}

enum cache_bypass cache_rule_for(const struct filter *filter, const struct cache_rule **ret)
{
    const struct exchange *exchange = filter->exchange;
    const struct cache_state *state = filter->state;
    const struct operation *operation = exchange->call.operation;
    bool able = operation && exchange->model && exchange->inspected && exchange->info.kind == REQUEST_JSON &&
                exchange->request.method == HTTP_POST &&
                (operation->id == OPERATION_CHAT || operation->id == OPERATION_COMPLETIONS ||
                 operation->id == OPERATION_RESPONSES || operation->id == OPERATION_EMBEDDINGS);
    enum cache_bypass why = able ? find_rule(filter, ret) : CACHE_BYPASS_RULE;
    if (why != CACHE_BYPASS_NONE)
        return why;
    if (state->wishes.no_store)
        return CACHE_BYPASS_NO_STORE;
    if (is_stateful(exchange))
        return CACHE_BYPASS_STATEFUL;
    if (operation->id != OPERATION_EMBEDDINGS && has_hosted_tools(exchange))
        return CACHE_BYPASS_TOOLS;
    if (shows_credential(exchange->model))
        return CACHE_BYPASS_CREDENTIAL;
    if (has_unknown_query(exchange->call.query))
        return CACHE_BYPASS_QUERY;
    /* The last: what it says of nobody holds for a known caller, see explain. */
    return is_anonymous(filter) ? CACHE_BYPASS_CONSUMER : CACHE_BYPASS_NONE;
}

uint64_t cache_rule_ttl(const struct cache_settings *settings, const struct cache_rule *rule)
{
    return rule->ttl == SETTING_ABSENT_DURATION ? settings->ttl : rule->ttl;
}

size_t cache_rule_size(const struct cache_settings *settings, const struct cache_rule *rule)
{
    return rule->max_size == SETTING_ABSENT_SIZE ? settings->max_size : rule->max_size;
}

struct span cache_bypass_word(enum cache_bypass why)
{
    static const struct span words[] = {
#define X(name, word) [CACHE_BYPASS_##name] = SPAN_INIT(word),
        CACHE_BYPASS_LIST(X)
#undef X
    };
    return words[why];
}
