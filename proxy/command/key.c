/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key new: makes an API key. The key and the line for the keys file go to standard output, one each, so that a script
 * can take them apart; what they are is said on standard error.
 */
#include <stdio.h>

#include "base/buffer.h"
#include "command/command.h"
#include "config/secret.h"
#include "gateway/keys.h"

#define GROUPS_MAX 64

struct order {
    struct span consumer, expires;
    struct span groups[GROUPS_MAX];
    unsigned group_count;
    struct setting_secret pepper;
};

static bool is_option(const char *word, const char *name)
{
    return span_equal(span_str(word), span_str(name));
}

/* NULL, or what is wrong. */
static const char *read_option(struct order *order, const char *name, const char *value)
{
    struct span text = span_str(value);
    if (!value || !*value)
        return "an option lacks its value";
    if (is_option(name, "--group")) {
        if (order->group_count == GROUPS_MAX)
            return "too many groups";
        order->groups[order->group_count++] = text;
    } else if (is_option(name, "--expires")) {
        order->expires = text;
    } else if (is_option(name, "--pepper-file")) {
        order->pepper.file = text;
    } else if (is_option(name, "--pepper-env")) {
        order->pepper.env = text;
    } else {
        return "there is no such option";
    }
    return NULL;
}

static const char *read_order(int argc, char **argv, struct order *order)
{
    for (int i = 2; i < argc; i++) {
        if (argv[i][0] == '-') {
            const char *problem = read_option(order, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
            if (problem)
                return problem;
            i++;
        } else if (order->consumer.len) {
            return "one consumer at a time";
        } else {
            order->consumer = span_str(argv[i]);
        }
    }
    if (order->pepper.file.len && order->pepper.env.len)
        return "--pepper-file and --pepper-env exclude each other";
    return order->consumer.len ? NULL : "whose key is it? name the consumer";
}

static void append_text(struct buffer *line, const char *name, struct span value)
{
    buffer_format(line, ", \"%s\": \"", name);
    buffer_append_json(line, value);
    buffer_append(line, SPAN("\""));
}

static void stored_line(const struct order *order, struct span id, struct span digest, struct buffer *line)
{
    buffer_format(line, "- {\"id\": \"%.*s\", \"digest\": \"%.*s\"", SPAN_ARG(id), SPAN_ARG(digest));
    append_text(line, "consumer", order->consumer);
    for (unsigned i = 0; i < order->group_count; i++) {
        buffer_append(line, i ? SPAN(", \"") : SPAN(", \"groups\": [\""));
        buffer_append_json(line, order->groups[i]);
        buffer_append(line, SPAN("\""));
    }
    if (order->group_count)
        buffer_append(line, SPAN("]"));
    if (order->expires.len)
        append_text(line, "expires", order->expires);
    buffer_append(line, SPAN("}"));
}

/* What would not be read back is not given out. */
static bool is_readable(struct span line)
{
    struct report report;
    struct buffer text = {0};
    report_init(&report);
    struct keys *keys = keys_parse(SPAN("key new"), line, &report);
    if (!keys) {
        report_print(&report, &text);
        (void)fwrite(buffer_span(&text).ptr, 1, buffer_len(&text), stderr);
    }
    bool good = keys != NULL;
    keys_unref(keys);
    buffer_finish(&text);
    report_finish(&report);
    return good;
}

static bool make(const struct order *order, struct span pepper)
{
    struct buffer text = {0}, id = {0}, digest = {0}, line = {0};
    key_make(&text, &id);
    key_digest(pepper, buffer_span(&text), &digest);
    stored_line(order, buffer_span(&id), buffer_span(&digest), &line);
    bool good = is_readable(buffer_span(&line));
    if (good) {
        (void)printf("%.*s\n", SPAN_ARG(buffer_span(&text)));
        (void)printf("%.*s\n", SPAN_ARG(buffer_span(&line)));
        (void)fprintf(stderr,
                      "The first line is the key of %.*s: hand it over, it is not shown again. The second line goes "
                      "into the keys "
                      "file%s.\n",
                      SPAN_ARG(order->consumer), pepper.len ? "" : "; its digest has no pepper");
    }
    buffer_wipe(&text);
    buffer_finish(&id);
    buffer_finish(&digest);
    buffer_finish(&line);
    return good;
}

int command_key(int argc, char **argv)
{
    struct order order = {0};
    if (argc < 2 || !is_option(argv[1], "new"))
        return command_usage("key", "there is `key new`");
    const char *problem = read_order(argc, argv, &order);
    if (problem)
        return command_usage("key", problem);
    struct arena arena;
    struct span pepper = {0}, reason;
    arena_init(&arena);
    bool given = order.pepper.file.len || order.pepper.env.len;
    bool good = !given || secret_read(&order.pepper, &arena, &pepper, &reason);
    if (good)
        good = make(&order, pepper);
    else
        (void)fprintf(stderr, "postern key: the pepper %.*s\n", SPAN_ARG(reason));
    arena_finish(&arena);
    return good ? 0 : 1;
}
