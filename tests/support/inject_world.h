/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An injector made from a configuration text, for unit tests and the fuzz target, and a review asked of it.
 */
#ifndef POSTERN_TESTS_SUPPORT_INJECT_WORLD_H
#define POSTERN_TESTS_SUPPORT_INJECT_WORLD_H

#include <stdio.h>
#include <stdlib.h>

#include "base/encoding.h"
#include "base/hash.h"
#include "filters/inject.h"
#include "filters/registry.h"

#define INJECT_PROFILES 4

struct inject_world {
    struct config *config;
    struct injector injector;
    struct inject_profile profiles[INJECT_PROFILES];
};

/* The inside of `inject:` as flow YAML; profiles named default and keyless are there already, `more` follows them. */
#define INJECT_CONFIG(more)                                                                                            \
    "apiVersion: postern/v1\n"                                                                                         \
    "listeners: [{address: \"127.0.0.1:8443\", filters: [inject]}]\n"                                                  \
    "filters:\n"                                                                                                       \
    "  inject:\n"                                                                                                      \
    "    image: registry/postern:1\n"                                                                                  \
    "    profiles:\n"                                                                                                  \
    "      - name: default\n"                                                                                          \
    "        config: |\n"                                                                                              \
    "          apiVersion: postern/v1\n"                                                                               \
    "          listeners: [{address: \"127.0.0.1:4610\"}]\n"                                                           \
    "          admin: {address: \"0.0.0.0:4611\"}\n"                                                                   \
    "          targets: [{name: m, mock: {}}]\n"                                                                       \
    "          models: [{name: \"*\", targets: [m]}]\n" more

/* Ends the program, with the reasons, when the text is refused. */
static inline void inject_world_start(struct inject_world *world, const char *text)
{
    struct report report;
    report_init(&report);
    *world = (struct inject_world){0};
    bool good =
        config_load_text(SPAN("injector"), span_str(text), filter_settings(), CONFIG_OFFLINE, &report, &world->config);
    const struct inject_settings *settings = good ? world->config->filters[0].value : NULL;
    good = good && settings->profile_count <= INJECT_PROFILES;
    for (size_t i = 0; good && i < settings->profile_count; i++)
        good = inject_profile_read(&settings->profiles[i], true, &report, &world->profiles[i]);
    if (!good) {
        struct buffer said = {0};
        report_print(&report, &said);
        (void)fprintf(stderr, "%.*s", SPAN_ARG(buffer_span(&said)));
        abort();
    }
    report_finish(&report);
    world->injector = (struct injector){.settings = settings, .profiles = world->profiles};
}

static inline void inject_world_finish(struct inject_world *world)
{
    config_free(world->config);
}

/* The response part of an answer, and its patch decoded (empty: none); texts lie in the arena. False: no review. */
static inline bool inject_world_read(struct span answer, struct arena *arena, struct json_value *ret_response,
                                     struct span *ret_patch)
{
    struct json_value root, patch;
    struct span text;
    struct buffer decoded = {0};
    *ret_patch = (struct span){0};
    if (!json_value_parse(answer, &root) || !json_value_member(root, SPAN("response"), ret_response))
        return false;
    if (!json_value_member(*ret_response, SPAN("patch"), &patch))
        return true;
    bool good = json_value_text(patch, arena, &text) && decode_base64(&decoded, text);
    *ret_patch = arena_copy(arena, buffer_span(&decoded));
    buffer_finish(&decoded);
    return good;
}

#endif
