/* SPDX-License-Identifier: Apache-2.0 */
#include "config/describe.h"

#include "config/value.h"

static const char *const type_names[] = {
    [SETTING_BOOL] = "true or false",
    [SETTING_INTEGER] = "whole number",
    [SETTING_DECIMAL] = "number",
    [SETTING_SIZE] = "size",
    [SETTING_DURATION] = "duration",
    [SETTING_STRING] = "text",
    [SETTING_ENUM] = "word",
    [SETTING_URL] = "URL",
    [SETTING_PATH] = "path",
    [SETTING_ADDRESS] = "address",
    [SETTING_LIST] = "list of text",
    [SETTING_ENUMS] = "list of words",
    [SETTING_NETWORKS] = "list of networks",
    [SETTING_SECRET] = "secret: {file: PATH} or {env: NAME}",
    [SETTING_RATE] = "rate",
    [SETTING_PAIRS] = "map from name to text",
    [SETTING_JSON] = "any value",
    [SETTING_JSONS] = "map from name to any value",
    [SETTING_OBJECT] = "settings",
    [SETTING_OPTIONAL] = "settings",
    [SETTING_VARIANTS] = "map from name to filter",
};

void describe_type(const struct setting *setting, struct buffer *out)
{
    if (setting->type == SETTING_OBJECTS)
        buffer_format(out, "list of %s", setting->sub->name);
    else if (setting->type == SETTING_NAMED)
        buffer_format(out, "map from name to %s", setting->sub->name);
    else if (setting->refers && setting->type == SETTING_STRING)
        buffer_format(out, "name in %s", setting->refers);
    else if (setting->refers)
        buffer_format(out, "list of names in %s", setting->refers);
    else
        buffer_append(out, span_str(type_names[setting->type]));
}

void describe_default(const struct setting *setting, struct buffer *out)
{
    if (setting->flags & SETTING_REQUIRED)
        buffer_append(out, SPAN("required"));
    else if (setting->flags & SETTING_ONE_OF)
        buffer_append(out, SPAN("one of these is required"));
    else if (setting->fallback_note)
        buffer_append(out, span_str(setting->fallback_note));
    else if (setting->fallback)
        buffer_append(out, span_str(setting->fallback));
    else if (setting->type != SETTING_OBJECT)
        buffer_append(out, SPAN("none"));
}

static void describe_number(const struct setting *setting, uint64_t number, struct buffer *out)
{
    if (setting->type == SETTING_SIZE)
        value_print_size(number, out);
    else if (setting->type == SETTING_DURATION)
        value_print_duration(number, out);
    else
        buffer_format(out, "%llu", (unsigned long long)number);
}

static void describe_range(const struct setting *setting, struct buffer *out)
{
    const char *unit = setting->unit ? setting->unit : "";
    if (setting->min && !setting->max)
        buffer_append(out, SPAN("at least "));
    else if (setting->max && !setting->min)
        buffer_append(out, SPAN("at most "));
    if (setting->min)
        describe_number(setting, setting->min, out);
    if (setting->min && setting->max)
        buffer_append(out, SPAN(" to "));
    if (setting->max)
        describe_number(setting, setting->max, out);
    if (setting->min || setting->max)
        buffer_format(out, "%s%s", *unit ? " " : "", unit);
}

static void describe_choices(const struct setting *setting, struct buffer *out)
{
    bool url = setting->type == SETTING_URL;
    for (size_t i = 0; setting->choices[i]; i++)
        buffer_format(out, "%s%s%s",
                      i     ? (url ? " or " : ", ")
                      : url ? ""
                            : (setting->type == SETTING_ENUM ? "one of " : "any of "),
                      setting->choices[i], url ? "://" : "");
}

void describe_limits(const struct setting *setting, struct buffer *out)
{
    if (setting->choices && setting->type != SETTING_STRING)
        describe_choices(setting, out);
    else if (setting->type <= SETTING_DURATION)
        describe_range(setting, out);
    else if (setting->max)
        buffer_format(out, "at most %llu %s", (unsigned long long)setting->max,
                      setting->type == SETTING_STRING ? "characters" : "items");
}

const char *describe_reload(const struct setting *setting)
{
    return setting->reload == RELOAD_RESTART ? "needs a restart" : "takes effect on reload";
}

const struct settings_spec *describe_children(const struct setting *setting)
{
    return setting->type >= SETTING_OBJECT ? setting->sub : NULL;
}
