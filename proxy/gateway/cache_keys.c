/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cache_keys.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/secret_file.h"

struct cache_key {
    char id[CACHE_KEY_ID_BYTES];
    size_t id_len;
    struct crypto_aead *aead;
};

struct cache_keys {
    struct cache_key keys[CACHE_KEYS_MOST];
    size_t count;
    uint8_t naming[CRYPTO_SHA256_BYTES];
};

static struct span id_of(const struct cache_key *key)
{
    return span_of(key->id, key->id_len);
}

/* A key for one end, from the bytes of a line. */
static void derive(struct span secret, struct span end, uint8_t ret[CRYPTO_SHA256_BYTES])
{
    struct crypto_mac *mac = crypto_mac_create(secret);
    crypto_mac(mac, end, ret);
    crypto_mac_destroy(mac);
}

static bool is_id(struct span id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i], letter = (char)(c | 0x20);
        if (!(c >= '0' && c <= '9') && !(letter >= 'a' && letter <= 'z') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return id.len > 0 && id.len <= CACHE_KEY_ID_BYTES;
}

static void add(struct cache_keys *keys, struct span id, struct span secret)
{
    uint8_t sealing[CRYPTO_SHA256_BYTES];
    struct cache_key *key = &keys->keys[keys->count++];
    memcpy(key->id, id.ptr, id.len);
    key->id_len = id.len;
    derive(secret, SPAN("postern cache: seal"), sealing);
    key->aead = crypto_aead_create(sealing);
    memory_wipe(sealing, sizeof(sealing));
    derive(secret, SPAN("postern cache: name"), keys->naming); /* the last one's stays */
}

/* NULL, or what is wrong with the line. */
static const char *read_line(struct cache_keys *keys, struct span line)
{
    size_t colon = span_find(line, ':');
    struct span id = span_take(line, colon), text = span_trim(span_skip(line, colon + 1));
    struct buffer secret = {0};
    const char *wrong = NULL;
    if (colon == line.len || !is_id(id))
        wrong = "expected `id:base64`, the id of at most 32 letters, digits, '-', '_', '.'";
    else if (cache_keys_find(keys, id))
        wrong = "this id stands above already: give each key another id";
    else if (keys->count == CACHE_KEYS_MOST)
        wrong = "more than 16 keys: take old ones away";
    else if (!decode_base64(&secret, text) || buffer_len(&secret) != CRYPTO_AEAD_KEY)
        wrong = "the key is not 32 bytes in base64: make one with `openssl rand -base64 32`";
    else
        add(keys, id, buffer_span(&secret));
    buffer_wipe(&secret);
    return wrong;
}

struct cache_keys *cache_keys_parse(struct span file, struct span text, struct report *report)
{
    struct cache_keys *keys = memory_zalloc(sizeof(*keys));
    struct place place = {.file = file, .column = 1};
    bool good = true;
    struct span line;
    while (span_split(&text, '\n', &line)) {
        place.line++;
        line = span_trim(line);
        if (line.len && line.ptr[line.len - 1] == '\r')
            line = span_trim(span_take(line, line.len - 1));
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        const char *wrong = read_line(keys, line);
        if (wrong) {
            report_error(report, place, "%s", wrong);
            good = false;
        }
    }
    if (good && keys->count == 0) {
        report_error(report, (struct place){.file = file}, "there is no key in this file: expected lines `id:base64`");
        good = false;
    }
    if (good)
        return keys;
    cache_keys_destroy(keys);
    return NULL;
}

void cache_keys_destroy(struct cache_keys *keys)
{
    if (!keys)
        return;
    for (size_t i = 0; i < keys->count; i++)
        crypto_aead_destroy(keys->keys[i].aead);
    memory_wipe(keys, sizeof(*keys));
    free(keys);
}

size_t cache_keys_count(const struct cache_keys *keys)
{
    return keys->count;
}

struct span cache_keys_first(const struct cache_keys *keys)
{
    return id_of(&keys->keys[0]);
}

struct crypto_aead *cache_keys_find(const struct cache_keys *keys, struct span id)
{
    for (size_t i = 0; i < keys->count; i++)
        if (span_equal(id_of(&keys->keys[i]), id))
            return keys->keys[i].aead;
    return NULL;
}

struct span cache_keys_naming(const struct cache_keys *keys)
{
    return span_of((const char *)keys->naming, sizeof(keys->naming));
}

/* ---- the file, as it changes ---- */

struct cache_key_file {
    struct loop *loop;
    char *path;
    struct cache_keys *keys; /* the last good */
    struct secret_mark mark;
    struct timer timer;
    uint64_t generation;
};

static struct cache_keys *load(const char *path, bool first)
{
    struct report report;
    struct buffer text = {0}, messages = {0};
    const char *reason;
    struct cache_keys *keys = NULL;
    report_init(&report);
    if (secret_file_read(span_str(path), true, &text, &reason))
        keys = cache_keys_parse(span_str(path), buffer_span(&text), &report);
    else
        report_error(&report, (struct place){.file = span_str(path)}, "the file cannot be used: %s", reason);
    if (!keys) {
        report_print(&report, &messages);
        struct span rest = buffer_span(&messages), line;
        while (rest.len && span_split(&rest, '\n', &line))
            if (line.len)
                log_write(LOG_ERROR, "cache", "%.*s%s", SPAN_ARG(line),
                          first ? "" : "; the keys read before stay in force");
    } else if (!first) {
        log_write(LOG_INFO, "cache", "%s: %zu keys, %.*s seals", path, keys->count, SPAN_ARG(id_of(&keys->keys[0])));
    }
    buffer_wipe(&text);
    buffer_finish(&messages);
    report_finish(&report);
    return keys;
}

static void look(struct timer *timer)
{
    struct cache_key_file *file = CONTAINER_OF(timer, struct cache_key_file, timer);
    if (secret_file_changed(span_str(file->path), &file->mark)) {
        struct cache_keys *keys = load(file->path, false);
        if (keys) {
            cache_keys_destroy(file->keys);
            file->keys = keys;
            file->generation++;
        }
    }
    timer_set(file->loop, &file->timer, loop_now(file->loop) + CLOCK_SECOND);
}

struct cache_key_file *cache_key_file_open(struct loop *loop, struct span path)
{
    struct cache_key_file *file = memory_zalloc(sizeof(*file));
    file->loop = loop;
    file->path = memory_string(path);
    file->generation = 1;
    file->timer.fire = look;
    /* Looked at before it is read, so that a change in between is seen later; one that is not there looks unchanged. */
    bool there = secret_file_changed(span_str(file->path), &file->mark);
    file->keys = load(file->path, true);
    if (!there || !file->keys) {
        cache_key_file_close(file);
        return NULL;
    }
    timer_set(loop, &file->timer, loop_now(loop) + CLOCK_SECOND);
    return file;
}

void cache_key_file_close(struct cache_key_file *file)
{
    if (!file)
        return;
    timer_clear(file->loop, &file->timer);
    cache_keys_destroy(file->keys);
    free(file->path);
    free(file);
}

const struct cache_keys *cache_key_file_now(const struct cache_key_file *file)
{
    return file->keys;
}

uint64_t cache_key_file_generation(const struct cache_key_file *file)
{
    return file->generation;
}

struct span cache_key_file_path(const struct cache_key_file *file)
{
    return span_str(file->path);
}
