/* SPDX-License-Identifier: Apache-2.0 */
#include "config/reader.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <unistd.h>

#include "config/secret.h"
#include "config/suggest.h"
#include "config/value.h"

/* The form each type has, for "must be ...". */
static const char *form_of(const struct setting *setting)
{
    switch (setting->type) {
    case SETTING_BOOL:
        return "true or false";
    case SETTING_INTEGER:
        return "a whole number";
    case SETTING_DECIMAL:
        return "a number such as 0.5";
    case SETTING_SIZE:
        return "a size: digits and B, KiB, MiB or GiB, such as 64KiB";
    case SETTING_DURATION:
        return "a duration: digits and ms, s, m, h or d, such as 500ms or 1m30s";
    case SETTING_RATE:
        return setting->flags & SETTING_FRACTION
                   ? "a rate: a number above 0 and /second, /minute, /hour, /day or /month, such as 0.5/day"
                   : "a rate: a whole number above 0 and /second, /minute, /hour, /day or /month, such as 100/minute";
    case SETTING_URL:
        return "a URL";
    case SETTING_PATH:
        return "a path";
    case SETTING_ADDRESS:
        return "an address such as 127.0.0.1:4610 or unix:/run/postern/postern.sock";
    case SETTING_LIST:
    case SETTING_ENUMS:
    case SETTING_NETWORKS:
        return "a list: [a, b]";
    case SETTING_PAIRS:
    case SETTING_JSONS:
        return "a map: {name: value}";
    case SETTING_SECRET:
        return "{file: PATH} or {env: NAME}; a secret is never written into the configuration";
    default:
        return "text";
    }
}

const char *reader_kind(const struct node *node)
{
    return node->kind == NODE_LIST ? "a list" : node->kind == NODE_MAP ? "a map" : "a single value";
}

static void *slot(const struct setting *setting, void *out)
{
    return (char *)out + setting->offset;
}

/* Stores `size` bytes of `value`: the struct's own type is not known here, so no pointer to it may be dereferenced. */
static void store(const struct setting *setting, void *out, const void *value, size_t size)
{
    memcpy(slot(setting, out), value, size);
}

static bool must_be(struct reader *reader, const struct setting *setting, const struct node *node)
{
    if (node->kind != NODE_SCALAR)
        report_error(reader->report, node->place, "\"%s\" must be %s; this is %s", setting->name, form_of(setting),
                     reader_kind(node));
    else
        report_error(reader->report, node->place, "\"%s\" must be %s, not \"%.*s\"", setting->name, form_of(setting),
                     (int)(node->text.len < 80 ? node->text.len : 80), node->text.ptr);
    return false;
}

static void print_number(const struct setting *setting, uint64_t number, struct buffer *out)
{
    if (setting->type == SETTING_SIZE)
        value_print_size(number, out);
    else if (setting->type == SETTING_DURATION)
        value_print_duration(number, out);
    else
        buffer_format(out, "%llu%s%s", (unsigned long long)number, setting->unit ? " " : "",
                      setting->unit ? setting->unit : "");
}

static bool in_range(struct reader *reader, const struct setting *setting, const struct node *node, uint64_t number)
{
    if (number >= setting->min && (setting->max == 0 || number <= setting->max))
        return true;
    struct buffer range = {0};
    buffer_append(&range, setting->max ? SPAN("between ") : SPAN("at least "));
    print_number(setting, setting->min, &range);
    if (setting->max) {
        buffer_append(&range, SPAN(" and "));
        print_number(setting, setting->max, &range);
    }
    report_error(reader->report, node->place, "\"%s\" must be %.*s, not %.*s", setting->name,
                 SPAN_ARG(buffer_span(&range)), SPAN_ARG(node->text));
    buffer_finish(&range);
    return false;
}

/* Quoted text is text: a number or truth value in quotes comes from a template that lost its type. */
static bool quoted(struct reader *reader, const struct setting *setting, const struct node *node)
{
    if (node->style == STYLE_PLAIN)
        return false;
    report_error(reader->report, node->place, "\"%s\" must be %s; write it without quotes", setting->name,
                 form_of(setting));
    return true;
}

static bool read_bool(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    bool value;
    if (quoted(reader, setting, node))
        return false;
    if (value_bool(node->text, &value)) {
        store(setting, out, &value, sizeof(value));
        return true;
    }
    if (!value_is_yaml_bool(node->text, &value))
        return must_be(reader, setting, node);
    report_error(reader->report, node->place, "\"%s\" must be true or false; write %s instead of \"%.*s\"",
                 setting->name, value ? "true" : "false", SPAN_ARG(node->text));
    return false;
}

static bool read_number(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    uint64_t number;
    if (setting->type == SETTING_INTEGER) {
        if (quoted(reader, setting, node))
            return false;
        if (!span_to_u64(node->text, &number) || number >= SETTING_ABSENT_INTEGER)
            return must_be(reader, setting, node);
    } else if (setting->type == SETTING_SIZE ? !value_size(node->text, &number)
                                             : !value_duration(node->text, &number)) {
        return must_be(reader, setting, node);
    }
    if (!in_range(reader, setting, node, number))
        return false;
    if (setting->type == SETTING_INTEGER) {
        unsigned narrow = (unsigned)number;
        store(setting, out, &narrow, sizeof(narrow));
    } else if (setting->type == SETTING_SIZE) {
        size_t size = (size_t)number;
        store(setting, out, &size, sizeof(size));
    } else {
        store(setting, out, &number, sizeof(number));
    }
    return true;
}

static bool read_decimal(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    double number;
    if (quoted(reader, setting, node))
        return false;
    if (!value_decimal(node->text, &number))
        return must_be(reader, setting, node);
    if (number < (double)setting->min || (setting->max && number > (double)setting->max)) {
        report_error(reader->report, node->place, "\"%s\" must be between %llu and %llu, not %.*s", setting->name,
                     (unsigned long long)setting->min, (unsigned long long)setting->max, SPAN_ARG(node->text));
        return false;
    }
    store(setting, out, &number, sizeof(number));
    return true;
}

static bool read_rate(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    struct setting_rate rate;
    if (!value_rate(node->text, (setting->flags & SETTING_FRACTION) != 0, &rate))
        return must_be(reader, setting, node);
    store(setting, out, &rate, sizeof(rate));
    return true;
}

/* Text as text: no empty text, no word that another YAML reader would turn into a truth value. */
static bool text_of(struct reader *reader, const char *name, const struct node *node, struct span *ret)
{
    bool truth;
    if (node->kind != NODE_SCALAR) {
        report_error(reader->report, node->place, "\"%s\" must be text; this is %s", name, reader_kind(node));
        return false;
    }
    if (node->style == STYLE_PLAIN && node->text.len && value_is_yaml_bool(node->text, &truth)) {
        report_error(reader->report, node->place,
                     "\"%s\" must be text; quote \"%.*s\", since other tools read it as a truth value", name,
                     SPAN_ARG(node->text));
        return false;
    }
    if (node->text.len == 0) {
        report_error(reader->report, node->place, "\"%s\" is empty; leave it out or write a value", name);
        return false;
    }
    *ret = node->text;
    return true;
}

/* Templates of shells and CI systems; whoever writes one believes that somebody fills it in. */
static bool has_template(struct reader *reader, const char *name, struct span text, struct place place)
{
    if (span_search(text, SPAN("${")) == text.len)
        return false;
    report_error(reader->report, place,
                 "\"%s\" holds \"${\": nothing is substituted here; for a secret use {file: PATH} or {env: NAME}",
                 name);
    return true;
}

/*
 * The index of `text` among the choices, or -1. `false` is taken as off: a YAML 1.1 tool that rewrites a file
 * turns the word off into it.
 */
static int known_choice(const struct setting *setting, struct span text)
{
    bool truth;
    for (int i = 0; setting->choices[i]; i++)
        if (span_equal(text, span_str(setting->choices[i])))
            return i;
    for (int i = 0; setting->choices[i] && span_equal(text, SPAN("false")); i++)
        if (value_is_yaml_bool(span_str(setting->choices[i]), &truth) && !truth)
            return i;
    return -1;
}

static bool read_string(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    struct span text;
    int word = setting->choices && node->style == STYLE_PLAIN ? known_choice(setting, node->text) : -1;
    if (word >= 0)
        text = span_str(setting->choices[word]);
    else if (!text_of(reader, setting->name, node, &text))
        return false;
    if (setting->max && text.len > setting->max) {
        report_error(reader->report, node->place, "\"%s\" must have at most %llu characters", setting->name,
                     (unsigned long long)setting->max);
        return false;
    }
    if (setting->refers)
        names_refer(reader->names, setting->refers, text, node->place);
    store(setting, out, &text, sizeof(text));
    return true;
}

/* As known_choice, but says so when there is none. */
static int choice_of(struct reader *reader, const struct setting *setting, struct span text, struct place place)
{
    struct suggest suggest;
    int choice = known_choice(setting, text);
    if (choice >= 0)
        return choice;
    suggest_init(&suggest, reader->arena, text);
    for (int i = 0; setting->choices[i]; i++)
        suggest_add(&suggest, span_str(setting->choices[i]));
    report_error(reader->report, place, "\"%s\" cannot be \"%.*s\"%.*s", setting->name,
                 (int)(text.len < 80 ? text.len : 80), text.ptr, SPAN_ARG(suggest_text(&suggest)));
    return -1;
}

static bool read_enum(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    int choice = choice_of(reader, setting, node->text, node->place);
    if (choice < 0)
        return false;
    store(setting, out, &choice, sizeof(choice));
    return true;
}

static bool read_url(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    struct setting_url url;
    const char *reason;
    if (has_template(reader, setting->name, node->text, node->place))
        return false;
    if (!value_url(reader->arena, node->text, &url, &reason)) {
        report_error(reader->report, node->place, "\"%s\": the URL %s", setting->name, reason);
        return false;
    }
    for (size_t i = 0; setting->choices; i++) {
        if (!setting->choices[i]) {
            report_error(reader->report, node->place, "\"%s\": the URL must begin with %s://", setting->name,
                         setting->choices[0]);
            return false;
        }
        if (span_equal(url.scheme, span_str(setting->choices[i])))
            break;
    }
    store(setting, out, &url, sizeof(url));
    return true;
}

/* Relative to the directory of the file it is written in. */
static struct span whole_path(struct reader *reader, struct span path, struct place place)
{
    size_t directory = place.file.len;
    while (directory > 0 && place.file.ptr[directory - 1] != '/')
        directory--;
    if (path.ptr[0] == '/' || directory == 0)
        return arena_copy(reader->arena, path);
    return arena_format(reader->arena, "%.*s%.*s", (int)directory, place.file.ptr, SPAN_ARG(path));
}

static bool path_of(struct reader *reader, const char *name, const struct node *node, struct span *ret)
{
    struct span text;
    if (!text_of(reader, name, node, &text) || has_template(reader, name, text, node->place))
        return false;
    *ret = whole_path(reader, text, node->place);
    return true;
}

static bool read_path(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    struct span path;
    if (!path_of(reader, setting->name, node, &path))
        return false;
    if (setting->flags & SETTING_MUST_EXIST)
        trace_path(reader->trace, path);
    if ((setting->flags & SETTING_MUST_EXIST) && !reader->offline && access(path.ptr, R_OK) != 0) {
        report_error(reader->report, node->place, "\"%s\": %.*s cannot be read: %s", setting->name, SPAN_ARG(path),
                     strerror(errno));
        return false;
    }
    store(setting, out, &path, sizeof(path));
    return true;
}

static bool read_address(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    struct setting_address address;
    const char *reason;
    if (has_template(reader, setting->name, node->text, node->place))
        return false;
    if (!value_address(reader->arena, node->text, &address, &reason)) {
        report_error(reader->report, node->place, "\"%s\" must be %s", setting->name, reason);
        return false;
    }
    store(setting, out, &address, sizeof(address));
    return true;
}

static bool read_env(struct reader *reader, const struct node *node, struct span *ret)
{
    if (!text_of(reader, "env", node, ret) || has_template(reader, "env", *ret, node->place))
        return false;
    for (size_t i = 0; i < ret->len; i++) {
        char c = ret->ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9' && i > 0))) {
            report_error(reader->report, node->place, "\"env\" must be the name of an environment variable");
            return false;
        }
    }
    return true;
}

static bool read_secret(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    struct setting_secret secret = {0};
    struct span reason;
    /* Never echoes what stands there: it may be the secret. */
    if (node->kind != NODE_MAP || node->count != 1) {
        report_error(reader->report, node->place, "\"%s\" must be %s", setting->name, form_of(setting));
        return false;
    }
    const struct node *source = node->first;
    bool file = span_equal(source->key, SPAN("file"));
    if (!file && !span_equal(source->key, SPAN("env"))) {
        report_error(reader->report, source->key_place, "\"%s\" must be %s", setting->name, form_of(setting));
        return false;
    }
    if (file ? !path_of(reader, "file", source, &secret.file) : !read_env(reader, source, &secret.env))
        return false;
    if (file)
        trace_path(reader->trace, secret.file);
    if (!reader->offline && !secret_read(&secret, reader->arena, &secret.value, &reason)) {
        report_error(reader->report, source->place, "\"%s\": %s %.*s %.*s", setting->name,
                     file ? "the file" : "the environment variable", SPAN_ARG(file ? secret.file : secret.env),
                     SPAN_ARG(reason));
        return false;
    }
    if (file)
        trace_content(reader->trace, secret.file, secret.value);
    store(setting, out, &secret, sizeof(secret));
    return true;
}

static bool (*const scalar_readers[])(struct reader *, const struct setting *, const struct node *, void *) = {
    [SETTING_BOOL] = read_bool,       [SETTING_INTEGER] = read_number,  [SETTING_DECIMAL] = read_decimal,
    [SETTING_SIZE] = read_number,     [SETTING_DURATION] = read_number, [SETTING_STRING] = read_string,
    [SETTING_ENUM] = read_enum,       [SETTING_URL] = read_url,         [SETTING_PATH] = read_path,
    [SETTING_ADDRESS] = read_address, [SETTING_RATE] = read_rate,
};

bool reader_value(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    if (setting->type == SETTING_SECRET)
        return read_secret(reader, setting, node, out);
    if (setting->type == SETTING_JSON) {
        struct span json;
        if (!reader_json(reader, node, &json))
            return false;
        store(setting, out, &json, sizeof(json));
        return true;
    }
    if (setting->type >= SETTING_LIST)
        return reader_collection(reader, setting, node, out);
    if (node->kind != NODE_SCALAR)
        return must_be(reader, setting, node);
    if (node->style == STYLE_PLAIN && value_is_yaml_null(node->text)) {
        report_error(reader->report, node->place, "\"%s\" has no value; leave it out for the default", setting->name);
        return false;
    }
    return scalar_readers[setting->type](reader, setting, node, out);
}

static void store_absent(const struct setting *setting, void *out)
{
    static const unsigned integer = SETTING_ABSENT_INTEGER;
    static const size_t size = SETTING_ABSENT_SIZE;
    static const uint64_t duration = SETTING_ABSENT_DURATION;
    const double decimal = (double)NAN;
    if (setting->type == SETTING_INTEGER)
        store(setting, out, &integer, sizeof(integer));
    else if (setting->type == SETTING_SIZE)
        store(setting, out, &size, sizeof(size));
    else if (setting->type == SETTING_DURATION)
        store(setting, out, &duration, sizeof(duration));
    else if (setting->type == SETTING_DECIMAL)
        store(setting, out, &decimal, sizeof(decimal));
}

void reader_default(struct reader *reader, const struct setting *setting, void *out)
{
    if (!setting->fallback) {
        store_absent(setting, out);
        return;
    }
    struct node node = {.kind = NODE_SCALAR, .text = span_str(setting->fallback)};
    bool good = reader_value(reader, setting, &node, out);
    assert(good);
    (void)good;
}
