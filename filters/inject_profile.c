/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "filters/inject.h"
#include "filters/registry.h"

/* ---- what `postern check --offline` does ---- */

/* A configuration in a configuration in a configuration: each level would be checked by the one around it. */
static bool holds_injector(const struct config *config, struct report *report)
{
    for (size_t i = 0; i < config->filter_count; i++)
        if (config->filters[i].entry->flags & SETTINGS_SERVES) {
            report_error(report, settings_place(&config->filters[i].settings, NULL),
                         "a sidecar cannot be an injector; remove filter \"%.*s\"", SPAN_ARG(config->filters[i].name));
            return true;
        }
    return false;
}

/* Takes config over; what a snapshot needs beyond a good configuration. */
static bool check_snapshot(struct config *config, struct report *report)
{
    struct snapshot *snapshot = snapshot_create(config, &filter_registry, true, report);
    snapshot_unref(snapshot);
    return snapshot != NULL;
}

static struct config_text *read_data(struct json_value data, struct arena *arena, size_t *ret_count)
{
    size_t room = 0, count = 0, cursor = 0;
    struct json_value value;
    struct span name;
    while (json_value_each(data, &cursor, &name, &value))
        room++;
    struct config_text *texts = ARENA_ARRAY(arena, struct config_text, room + 1);
    for (cursor = 0; count < room && json_value_each(data, &cursor, &name, &value);) {
        struct config_text *text = &texts[count];
        if (json_value_text((struct json_value){JSON_STRING, name}, arena, &text->name) &&
            json_value_text(value, arena, &text->text))
            count++;
    }
    *ret_count = count;
    return texts;
}

bool inject_check_data(struct json_value data, struct arena *arena, struct report *report)
{
    size_t count;
    const struct config_text *texts = read_data(data, arena, &count);
    struct config *config;
    if (!config_load_texts(texts, count, filter_settings(), CONFIG_OFFLINE | CONFIG_CHECK, report, &config))
        return false;
    return check_snapshot(config, report);
}

/* ---- a profile ---- */

/* Where in the text a place is; columns count characters. */
static size_t offset_of(struct span text, struct place place)
{
    size_t at = 0;
    for (unsigned line = 1; line < place.line && at < text.len; line++)
        at += span_find(span_skip(text, at), '\n') + 1;
    for (unsigned column = 1; column < place.column && at < text.len; column++)
        do
            at++;
        while (at < text.len && ((unsigned char)text.ptr[at] & 0xC0) == 0x80);
    return at < text.len ? at : text.len;
}

/* Finds the port of an address that is written at `place`, to be replaced there. */
static bool find_port(struct span text, struct place place, const struct setting_address *address, size_t *ret_at,
                      size_t *ret_len)
{
    size_t at = offset_of(text, place);
    struct span line = span_skip(text, at), written = address->text;
    line = span_take(line, span_find(line, '\n'));
    size_t colon = written.len;
    while (colon > 0 && written.ptr[colon - 1] != ':')
        colon--;
    size_t found = span_search(line, written);
    if (found == line.len || colon == 0)
        return false;
    *ret_at = at + found + colon;
    *ret_len = written.len - colon;
    return true;
}

static bool listens_everywhere(const struct setting_address *address)
{
    return span_starts_with(address->text, SPAN("0.0.0.0:")) || span_starts_with(address->text, SPAN("[::]:"));
}

/* Where the application connects: http://127.0.0.1:PORT. */
static bool read_listener(const struct config *config, struct report *report, struct inject_profile *ret)
{
    const struct config_listener *listener = &config->listeners[0];
    const struct setting_address *address = &listener->address;
    struct place place = settings_place(&listener->settings, "address");
    bool reached = span_starts_with(address->text, SPAN("127.0.0.1:")) || listens_everywhere(address);
    if (listener->tls || !reached || address->port == 0) {
        report_error(
            report, place,
            "the application connects to the first listener by http://127.0.0.1:PORT: give it an address such as "
            "127.0.0.1:4610 and no TLS");
        return false;
    }
    ret->port = address->port;
    if (find_port(ret->settings->config, place, address, &ret->port_at, &ret->port_len))
        return true;
    report_error(report, place, "write this address on one line, so that a pod can have another port");
    return false;
}

/* Where the kubelet asks: the pod's address. */
static bool read_admin(const struct config *config, struct report *report, struct inject_profile *ret)
{
    const struct setting_address *address = &config->admin.address;
    struct place place = settings_place(&config->admin.settings, "address");
    if (!listens_everywhere(address) || address->port == 0) {
        report_error(report, place,
                     "probes come to the pod's address: give \"admin\" an \"address\" such as \"0.0.0.0:4611\"");
        return false;
    }
    ret->admin_port = address->port;
    if (find_port(ret->settings->config, place, address, &ret->admin_at, &ret->admin_len))
        return true;
    report_error(report, place, "write this address on one line, so that a pod can have another port");
    return false;
}

static bool needs_webhook(const struct config_credential *credential)
{
    return credential && credential->workload_identity && credential->workload_identity->token_file.len == 0;
}

static void read_needs(const struct config *config, struct inject_profile *ret)
{
    for (size_t i = 0; i < config->credential_count; i++)
        ret->workload_identity |= needs_webhook(&config->credentials[i]);
    for (size_t i = 0; i < config->target_count; i++)
        ret->workload_identity |= needs_webhook(config->targets[i].credential);
    ret->control = span_starts_with(config->admin.control.path, SPAN("/run/postern/"));
}

static bool read_profile(const struct inject_profile_settings *settings, bool check, struct report *report,
                         struct inject_profile *ret)
{
    struct config *config;
    *ret = (struct inject_profile){.settings = settings};
    if (!config_load_text(SPAN("config"), settings->config, filter_settings(), CONFIG_OFFLINE | CONFIG_CHECK, report,
                          &config))
        return false;
    bool good = !holds_injector(config, report);
    good = read_listener(config, report, ret) && good;
    good = read_admin(config, report, ret) && good;
    read_needs(config, ret);
    if (good && check)
        return check_snapshot(config, report);
    config_free(config);
    return good;
}

bool inject_profile_read(const struct inject_profile_settings *settings, bool check, struct report *report,
                         struct inject_profile *ret)
{
    struct report own;
    struct inject_profile profile;
    report_init(&own);
    bool good = read_profile(settings, check, &own, &profile);
    for (const struct report_entry *entry = own.first; entry; entry = entry->next) {
        struct place place = settings_place(&settings->settings, "config");
        char line[32] = ""; /* none: it is about what is not there */
        if (entry->place.line)
            (void)snprintf(line, sizeof(line), ", its line %u", entry->place.line);
        if (entry->warning)
            report_warning(report, place, "profile \"%.*s\"%s: %.*s", SPAN_ARG(settings->name), line,
                           SPAN_ARG(entry->text));
        else
            report_error(report, place, "profile \"%.*s\"%s: %.*s", SPAN_ARG(settings->name), line,
                         SPAN_ARG(entry->text));
    }
    report_finish(&own);
    if (good)
        *ret = profile;
    return good;
}

struct span inject_profile_text(const struct inject_profile *profile, uint16_t port, uint16_t admin_port,
                                struct arena *arena)
{
    struct span text = profile->settings->config;
    struct {
        size_t at, len;
        uint16_t port;
    } edits[] = {{profile->port_at, profile->port_len, port}, {profile->admin_at, profile->admin_len, admin_port}};
    size_t first = profile->admin_at < profile->port_at, second = 1 - first;
    size_t between = edits[first].at + edits[first].len, rest = edits[second].at + edits[second].len;
    return arena_format(arena, "%.*s%u%.*s%u%.*s", (int)edits[first].at, text.ptr, edits[first].port,
                        (int)(edits[second].at - between), text.ptr + between, edits[second].port,
                        (int)(text.len - rest), text.ptr + rest);
}
