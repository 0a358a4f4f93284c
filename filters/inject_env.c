/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which variables SDKs read is in deploy/injection.md, and so are the traps that are stepped around here.
 */
#include "filters/inject.h"

#define PLACEHOLDER "postern"
/* Variables of ours in one container, beside env_extra: three base URLs, two keys. */
#define ADDED_MAX 5

/* One container's variables and what is being done to them. */
struct variables {
    struct injection *in;
    const struct inject_container *container;
    struct inject_text *texts; /* name, and value where it is plain text; those that were added follow */
    size_t count, theirs;
    bool azure; /* something of the Azure classes is there */
    bool made;  /* the container has a list by now */
};

/* ---- reading ---- */

/* A key says nothing of the class: Java's one client reads AZURE_OPENAI_KEY. */
static bool is_key(struct span name)
{
    return span_equal(name, SPAN("AZURE_OPENAI_API_KEY")) || span_equal(name, SPAN("AZURE_OPENAI_KEY"));
}

static void read_variables(struct variables *v)
{
    struct json_value entry, value;
    size_t cursor = 0, room = 0;
    while (json_value_each(v->container->env, &cursor, NULL, &entry))
        room++;
    v->texts = ARENA_ARRAY(v->in->arena, struct inject_text, room + ADDED_MAX + v->in->choice.env_extra.count);
    for (cursor = 0; v->count < room && json_value_each(v->container->env, &cursor, NULL, &entry); v->count++) {
        struct inject_text *text = &v->texts[v->count];
        if (json_value_member(entry, SPAN("name"), &value))
            (void)!json_value_text(value, v->in->arena, &text->name);
        if (json_value_member(entry, SPAN("value"), &value))
            (void)!json_value_text(value, v->in->arena, &text->value);
        v->azure |= span_equal(text->name, SPAN("OPENAI_API_VERSION")) ||
                    (span_starts_with(text->name, SPAN("AZURE_OPENAI_")) && !is_key(text->name));
    }
    v->theirs = v->count;
}

/* valueFrom counts: the name is there. */
static bool has(const struct variables *v, struct span name)
{
    for (size_t i = 0; i < v->count; i++)
        if (span_equal(v->texts[i].name, name))
            return true;
    return false;
}

static bool has_env_from(const struct variables *v)
{
    struct json_value entry;
    size_t cursor = 0;
    return json_value_each(v->container->env_from, &cursor, NULL, &entry);
}

/* ---- writing ---- */

static const char *list_of(const struct variables *v)
{
    return v->container->init ? "initContainers" : "containers";
}

static void add(struct variables *v, struct span name, struct span value)
{
    struct injection *in = v->in;
    bool there = v->made || v->container->env.kind == JSON_ARRAY_OPEN;
    inject_op(in, "add", "/spec/%s/%zu/env%s", list_of(v), v->container->index, there ? "/-" : "");
    buffer_append(&in->ops, there ? SPAN("") : SPAN("["));
    inject_append_pair(&in->ops, name, value);
    buffer_append(&in->ops, there ? SPAN("") : SPAN("]"));
    inject_op_end(in);
    v->made = true;
    v->texts[v->count++] = (struct inject_text){name, value};
}

/* env_extra may name what is set anyway; the first one counts. */
static bool was_added(const struct variables *v, struct span name)
{
    for (size_t i = v->theirs; i < v->count; i++)
        if (span_equal(v->texts[i].name, name))
            return true;
    return false;
}

/* Every entry of that name: the last one counts, and it need not be the only one. */
static void replace(struct variables *v, struct span name, struct span value)
{
    for (size_t i = 0; i < v->theirs; i++) {
        if (!span_equal(v->texts[i].name, name) || span_equal(v->texts[i].value, value))
            continue;
        inject_op(v->in, "replace", "/spec/%s/%zu/env/%zu", list_of(v), v->container->index, i);
        inject_append_pair(&v->in->ops, name, value);
        inject_op_end(v->in);
    }
}

/* ---- base URLs ---- */

static bool is_kept(const struct variables *v, struct span name, struct span value)
{
    for (size_t i = 0; i < v->count; i++)
        if (span_equal(v->texts[i].name, name) && !span_equal(v->texts[i].value, value))
            return true;
    return false;
}

static void set_url(struct variables *v, struct span name, struct span path)
{
    struct injection *in = v->in;
    struct span value = arena_format(in->arena, "http://127.0.0.1:%u%.*s", in->choice.port, SPAN_ARG(path));
    if (was_added(v, name))
        return;
    if (!has(v, name))
        add(v, name, value);
    else if (in->choice.env == INJECT_ENV_OVERRIDE)
        replace(v, name, value);
    else if (is_kept(v, name, value))
        inject_warn(in, INJECT_WARN_KEPT, "container %.*s keeps its %.*s; %.*s/env: override replaces it",
                    SPAN_ARG(v->container->name), SPAN_ARG(name), SPAN_ARG(in->injector->settings->prefix));
}

/*
 * Node's AzureOpenAI refuses to start with OPENAI_BASE_URL in the environment and an endpoint in the code, and prefers
 * it to AZURE_OPENAI_ENDPOINT. So where something of the Azure classes shows, it is not added.
 */
static void set_openai_urls(struct variables *v)
{
    static const struct span names[] = {SPAN_INIT("OPENAI_BASE_URL"), SPAN_INIT("OPENAI_API_BASE")};
    enum inject_family family = v->in->choice.env_for;
    bool wanted = family == INJECT_FOR_OPENAI || (family == INJECT_FOR_ALL && !v->azure);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (wanted || has(v, names[i]))
            set_url(v, names[i], SPAN("/v1"));
    if (v->azure && has(v, names[0]))
        inject_warn(v->in, INJECT_WARN_AZURE,
                    "container %.*s: OPENAI_BASE_URL stops Node's AzureOpenAI if the code passes an endpoint",
                    SPAN_ARG(v->container->name));
    else if (v->azure && family == INJECT_FOR_ALL)
        inject_warn(v->in, INJECT_WARN_AZURE,
                    "container %.*s uses the Azure class: OPENAI_BASE_URL is not set beside it",
                    SPAN_ARG(v->container->name));
}

static void set_azure_url(struct variables *v)
{
    static const struct span name = SPAN_INIT("AZURE_OPENAI_ENDPOINT");
    if (v->in->choice.env_for != INJECT_FOR_OPENAI || has(v, name))
        set_url(v, name, SPAN("/"));
}

/* ---- keys ---- */

/* Java's SDK refuses OPENAI_API_KEY beside AZURE_OPENAI_KEY. What envFrom brings may be the key: it must not be
 * hidden. */
static void set_keys(struct variables *v)
{
    enum inject_family family = v->in->choice.env_for;
    if (v->in->choice.api_keys == INJECT_KEYS_NONE || has_env_from(v))
        return;
    if (family != INJECT_FOR_AZURE && !has(v, SPAN("OPENAI_API_KEY")) && !has(v, SPAN("AZURE_OPENAI_KEY")))
        add(v, SPAN("OPENAI_API_KEY"), SPAN(PLACEHOLDER));
    if (family != INJECT_FOR_OPENAI && !has(v, SPAN("AZURE_OPENAI_API_KEY")))
        add(v, SPAN("AZURE_OPENAI_API_KEY"), SPAN(PLACEHOLDER));
}

/* ---- proxies ---- */

static bool exempts_loopback(const struct variables *v)
{
    for (size_t i = 0; i < v->count; i++) {
        struct span name = v->texts[i].name, value = v->texts[i].value;
        bool exempts = span_search(value, SPAN("127.0.0.1")) < value.len || span_equal(value, SPAN("*")) ||
                       span_search(value, SPAN("127.0.0.0/8")) < value.len || value.len == 0;
        if ((span_equal(name, SPAN("NO_PROXY")) || span_equal(name, SPAN("no_proxy"))) && exempts)
            return true;
    }
    return false;
}

static void check_proxy(struct variables *v)
{
    static const struct span names[] = {SPAN_INIT("HTTP_PROXY"), SPAN_INIT("http_proxy"), SPAN_INIT("ALL_PROXY"),
                                        SPAN_INIT("all_proxy")};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (has(v, names[i]) && !exempts_loopback(v)) {
            inject_warn(v->in, INJECT_WARN_PROXY, "container %.*s has %.*s, but not 127.0.0.1 in NO_PROXY",
                        SPAN_ARG(v->container->name), SPAN_ARG(names[i]));
            return;
        }
}

/* ---- containers ---- */

bool inject_is_chosen(const struct injection *in, const struct inject_container *container)
{
    const struct setting_list *list = &in->choice.containers;
    bool chosen = list->count == 0 && !inject_is_mesh(in->injector->settings, container->name);
    for (size_t i = 0; i < list->count; i++)
        chosen |= span_equal(list->items[i], container->name);
    return chosen;
}

/* An init container that runs before Postern does, or all of them beside a plain container. */
static bool runs_before(const struct injection *in, const struct inject_container *container)
{
    return container->init && (in->choice.sidecar == INJECT_CONTAINER ||
                               container->index < inject_position(in->injector->settings, &in->pod));
}

static void set_variables(struct injection *in, const struct inject_container *container)
{
    struct variables v = {.in = in, .container = container};
    const struct setting_pairs *extra = &in->choice.env_extra;
    read_variables(&v);
    for (size_t i = 0; i < extra->count; i++)
        set_url(&v, extra->items[i].name, extra->items[i].value);
    set_openai_urls(&v);
    set_azure_url(&v);
    set_keys(&v);
    check_proxy(&v);
    if (has_env_from(&v))
        inject_warn(in, INJECT_WARN_ENV_FROM,
                    "container %.*s: envFrom cannot be seen; base URLs were set over it, no keys were",
                    SPAN_ARG(container->name));
}

void inject_env(struct injection *in)
{
    if (in->choice.env == INJECT_ENV_NONE)
        return;
    for (size_t i = 0; i < in->pod.container_count; i++) {
        const struct inject_container *container = &in->pod.containers[i];
        if (!inject_is_chosen(in, container))
            continue;
        if (!runs_before(in, container))
            set_variables(in, container);
        else if (in->choice.containers.count)
            inject_warn(in, INJECT_WARN_SKIPPED, "init container %.*s runs before Postern: it got no variables",
                        SPAN_ARG(container->name));
    }
}
