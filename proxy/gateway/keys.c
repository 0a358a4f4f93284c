/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/encoding.h"
#include "base/json_value.h"
#include "base/memory.h"
#include "base/table.h"

#define DIGEST_PREFIX "hmac-sha256:"

struct keys {
    atomic_uint refs;
    uint64_t generation;
    struct arena arena; /* records and their texts */
    struct table by_id;
};

static atomic_uint_fast64_t generations;

/* ---- one line ---- */

struct line {
    struct keys *keys;
    struct report *report;
    struct place place;
    struct key_record *record;
};

/* Reads one member's value into the record. NULL, or what it must be. */
typedef const char *member_fn(struct line *line, struct json_value value);

static bool text_of(struct line *line, struct json_value value, struct span *ret)
{
    struct span text;
    if (!json_value_text(value, &line->keys->arena, &text) || text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
            return false;
    *ret = text;
    return true;
}

static bool is_id(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '-')
            return false;
    }
    return text.len > 0 && text.len <= KEY_ID_BYTES;
}

static const char *read_id(struct line *line, struct json_value value)
{
    struct span text;
    if (!text_of(line, value, &text) || !is_id(text))
        return "the part of the key between \"pk_\" and the next \"_\"";
    line->record->id = text;
    return NULL;
}

static const char *read_digest(struct line *line, struct json_value value)
{
    struct span text;
    struct buffer bytes = {0};
    bool good = text_of(line, value, &text) && span_starts_with(text, SPAN(DIGEST_PREFIX)) &&
                decode_hex(&bytes, span_skip(text, strlen(DIGEST_PREFIX))) && buffer_len(&bytes) == CRYPTO_SHA256_BYTES;
    if (good)
        memcpy(line->record->digest, buffer_span(&bytes).ptr, CRYPTO_SHA256_BYTES);
    buffer_finish(&bytes);
    return good ? NULL : "\"" DIGEST_PREFIX "\" and 64 hex digits, as `postern key new` prints it";
}

static const char *read_consumer(struct line *line, struct json_value value)
{
    return text_of(line, value, &line->record->consumer) ? NULL : "the name of who calls with this key";
}

static const char *read_groups(struct line *line, struct json_value value)
{
    struct json_value one;
    size_t cursor = 0;
    unsigned count = 0;
    while (json_value_each(value, &cursor, NULL, &one))
        count++;
    struct span *groups = ARENA_ARRAY(&line->keys->arena, struct span, count + 1);
    bool good = value.kind == JSON_ARRAY_OPEN;
    cursor = count = 0;
    while (good && json_value_each(value, &cursor, NULL, &one))
        good = text_of(line, one, &groups[count++]);
    line->record->groups = groups;
    line->record->group_count = count;
    return good ? NULL : "a list of names";
}

static const char *read_attributes(struct line *line, struct json_value value)
{
    struct json_value one;
    struct span name;
    size_t cursor = 0;
    unsigned count = 0;
    while (json_value_each(value, &cursor, NULL, &one))
        count++;
    struct setting_pair *pairs = ARENA_ARRAY(&line->keys->arena, struct setting_pair, count + 1);
    bool good = value.kind == JSON_OBJECT_OPEN;
    cursor = count = 0;
    while (good && json_value_each(value, &cursor, &name, &one)) {
        good = text_of(line, (struct json_value){.kind = JSON_STRING, .raw = name}, &pairs[count].name) &&
               text_of(line, one, &pairs[count].value);
        count++;
    }
    line->record->attributes = pairs;
    line->record->attribute_count = count;
    return good ? NULL : "a map from name to text";
}

static const char *read_expires(struct line *line, struct json_value value)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"};
    struct span text = {0};
    if (text_of(line, value, &text))
        for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
            struct tm at = {0};
            const char *end = strptime(arena_copy(&line->keys->arena, text).ptr, forms[i], &at);
            time_t seconds = end && *end == '\0' ? timegm(&at) : -1;
            if (seconds > 0) {
                line->record->expires = (uint64_t)seconds;
                return NULL;
            }
        }
    return "a day (2027-01-31) or a time (2027-01-31T18:00:00Z), in UTC";
}

static const struct {
    struct span name;
    member_fn *read;
    bool required;
} members[] = {
    {SPAN_INIT("id"), read_id, true},
    {SPAN_INIT("digest"), read_digest, true},
    {SPAN_INIT("consumer"), read_consumer, true},
    {SPAN_INIT("groups"), read_groups, false},
    {SPAN_INIT("attributes"), read_attributes, false},
    {SPAN_INIT("expires"), read_expires, false},
};

static bool read_member(struct line *line, struct span name, struct json_value value, unsigned *seen)
{
    for (unsigned i = 0; i < ARRAY_LEN(members); i++) {
        if (!json_value_is((struct json_value){.kind = JSON_STRING, .raw = name}, members[i].name))
            continue;
        const char *must_be = *seen & 1u << i ? "given once" : members[i].read(line, value);
        if (must_be)
            report_error(line->report, line->place, "\"%.*s\" must be %s", SPAN_ARG(members[i].name), must_be);
        *seen |= 1u << i;
        return must_be == NULL;
    }
    report_error(line->report, line->place,
                 "a key has id, digest, consumer, groups, attributes and expires, and no %.*s",
                 (int)(name.len < 80 ? name.len : 80), name.ptr);
    return false;
}

static bool read_object(struct line *line, struct json_value object)
{
    struct json_value value;
    struct span name;
    size_t cursor = 0;
    unsigned seen = 0;
    bool good = true;
    while (json_value_each(object, &cursor, &name, &value))
        good &= read_member(line, name, value, &seen);
    for (unsigned i = 0; i < ARRAY_LEN(members); i++)
        if (members[i].required && !(seen & 1u << i)) {
            report_error(line->report, line->place, "\"%.*s\" is missing", SPAN_ARG(members[i].name));
            good = false;
        }
    return good;
}

static struct span strip(struct span text)
{
    text = span_trim(text);
    if (text.len && text.ptr[text.len - 1] == '\r')
        text = span_trim(span_take(text, text.len - 1));
    return text;
}

static void read_line(struct line *line, struct span text)
{
    struct json_value object;
    text = strip(text);
    if (text.len == 0 || text.ptr[0] == '#' || span_equal(text, SPAN("---")))
        return;
    if (span_starts_with(text, SPAN("- ")))
        text = span_trim(span_skip(text, 2));
    if (text.len > KEY_LINE_BYTES || !json_value_parse(text, &object) || object.kind != JSON_OBJECT_OPEN) {
        report_error(line->report, line->place,
                     "not a key; each line is one, as `postern key new` prints it: - {\"id\": ..., \"digest\": ..., "
                     "\"consumer\": ...}");
        return;
    }
    line->record = ARENA_NEW(&line->keys->arena, struct key_record);
    if (!read_object(line, object))
        return;
    if (table_put(&line->keys->by_id, line->record->id, line->record))
        report_error(line->report, line->place, "the id \"%.*s\" is given twice", SPAN_ARG(line->record->id));
}

/* ---- the file ---- */

/* More would not be read by anybody. */
#define ERRORS_MOST 20

struct keys *keys_parse(struct span file, struct span text, struct report *report)
{
    struct keys *keys = memory_zalloc(sizeof(*keys));
    atomic_init(&keys->refs, 1);
    keys->generation = atomic_fetch_add(&generations, 1) + 1;
    arena_init(&keys->arena);
    table_init(&keys->by_id);
    size_t errors = report->errors;
    struct line line = {.keys = keys, .report = report, .place = {.file = file, .line = 0, .column = 1}};
    struct span part;
    while (text.len && report->errors - errors < ERRORS_MOST && span_split(&text, '\n', &part)) {
        line.place.line++;
        read_line(&line, part);
    }
    if (report->errors == errors && keys->by_id.count == 0)
        report_error(report, (struct place){.file = file}, "holds no key; make one with `postern key new`");
    if (report->errors == errors)
        return keys;
    keys_unref(keys);
    return NULL;
}

static bool read_all(int fd, struct buffer *text)
{
    for (;;) {
        char *room = buffer_reserve(text, 65536);
        ssize_t got = read(fd, room, 65536);
        if (got < 0 && errno != EINTR)
            return false;
        if (got == 0)
            return true;
        if (got > 0)
            buffer_commit(text, (size_t)got);
        if (buffer_len(text) > KEYS_FILE_BYTES) {
            errno = EFBIG;
            return false;
        }
    }
}

struct keys *keys_load(const char *path, struct report *report)
{
    struct buffer text = {0};
    struct stat info;
    struct keys *keys = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool good = fd >= 0 && fstat(fd, &info) == 0;
    if (good && !S_ISREG(info.st_mode)) {
        errno = EISDIR;
        good = false;
    }
    if (good && read_all(fd, &text))
        keys = keys_parse(span_str(path), buffer_span(&text), report);
    else
        report_error(report, (struct place){.file = span_str(path)}, "cannot be read: %s", strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    buffer_wipe(&text);
    return keys;
}

struct keys *keys_ref(struct keys *keys)
{
    atomic_fetch_add_explicit(&keys->refs, 1, memory_order_relaxed);
    return keys;
}

void keys_unref(struct keys *keys)
{
    if (!keys || atomic_fetch_sub_explicit(&keys->refs, 1, memory_order_acq_rel) != 1)
        return;
    table_finish(&keys->by_id);
    arena_finish(&keys->arena);
    free(keys);
}

size_t keys_count(const struct keys *keys)
{
    return keys->by_id.count;
}

uint64_t keys_generation(const struct keys *keys)
{
    return keys->generation;
}

const struct key_record *keys_find(const struct keys *keys, struct span id)
{
    return table_get(&keys->by_id, id);
}
