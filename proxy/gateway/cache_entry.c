/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cache_entry.h"

#include <endian.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/hash.h"
#include "base/memory.h"

/* ---- in memory ---- */

/* Beside the flaws that are found. */
enum { PUT_OFF = 0xFE, BELIEVED = 0xFF };

static struct span cut(struct span text)
{
    return span_take(text, CACHE_TEXT_BYTES);
}

static struct span settle(char **at, struct span text)
{
    struct span copy = span_of(*at, text.len);
    if (text.len)
        memcpy(*at, text.ptr, text.len);
    *at += text.len;
    return copy;
}

/* With room for the body, which is the caller's to fill: *ret_body. */
static struct cache_entry *entry_with_room(const struct cache_facts *facts, size_t body_len, char **ret_body)
{
    struct span type = cut(facts->type), served = cut(facts->served), model = cut(facts->model),
                consumer = cut(facts->consumer);
    size_t bytes = sizeof(struct cache_entry) + type.len + served.len + model.len + consumer.len + body_len;
    struct cache_entry *entry = memory_alloc(bytes);
    char *at = (char *)(entry + 1);
    atomic_init(&entry->refs, 1);
    atomic_init(&entry->judgement, BELIEVED);
    entry->bytes = bytes;
    entry->facts = *facts;
    entry->facts.type = settle(&at, type);
    entry->facts.served = settle(&at, served);
    entry->facts.model = settle(&at, model);
    entry->facts.consumer = settle(&at, consumer);
    entry->body = span_of(at, body_len);
    *ret_body = at;
    return entry;
}

struct cache_entry *cache_entry_create(const struct cache_facts *facts, struct span body)
{
    char *at;
    struct cache_entry *entry = entry_with_room(facts, body.len, &at);
    if (body.len)
        memcpy(at, body.ptr, body.len);
    return entry;
}

void cache_entry_put_off(struct cache_entry *entry)
{
    atomic_init(&entry->judgement, PUT_OFF);
}

/* Two threads may judge at the same time: they find the same. */
enum replay_flaw cache_entry_flaw(struct cache_entry *entry)
{
    unsigned char known = atomic_load_explicit(&entry->judgement, memory_order_relaxed);
    if (known == BELIEVED)
        return REPLAY_SOUND;
    if (known != PUT_OFF)
        return (enum replay_flaw)known;
    struct replay_facts facts;
    enum replay_form form = entry->facts.form == CACHE_FORM_EVENTS ? REPLAY_EVENTS : REPLAY_JSON;
    replay_scan(entry->facts.operation, form, entry->body, &facts);
    atomic_store_explicit(&entry->judgement, (unsigned char)facts.flaw, memory_order_relaxed);
    return facts.flaw;
}

bool cache_entry_was_judged(const struct cache_entry *entry)
{
    return atomic_load_explicit(&entry->judgement, memory_order_relaxed) == REPLAY_SOUND;
}

struct cache_entry *cache_entry_ref(struct cache_entry *entry)
{
    atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
    return entry;
}

void cache_entry_unref(struct cache_entry *entry)
{
    if (entry && atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) == 1)
        free(entry);
}

/* ---- wire form: writing ---- */

#define WIRE_VERSION     1
#define FLAG_SEALED      1
#define CHECKSUM         8
#define COMPRESSION      1 /* zstd's fastest regular level: it runs between two requests */
#define USAGE_NUMBERS    8
#define AUTHENTIC_LENGTH (CACHE_KEY_BYTES + 6 + CACHE_KEY_ID_BYTES)

struct cache_codec {
    ZSTD_CCtx *compress; /* made when first needed: they are large */
    ZSTD_DCtx *decompress;
    struct buffer rest, packed;
};

struct cache_codec *cache_codec_create(void)
{
    return memory_zalloc(sizeof(struct cache_codec));
}

void cache_codec_destroy(struct cache_codec *codec)
{
    if (!codec)
        return;
    ZSTD_freeCCtx(codec->compress);
    ZSTD_freeDCtx(codec->decompress);
    free(codec);
}

static void put_number(struct buffer *out, uint64_t value, unsigned bytes)
{
    uint64_t wire = htole64(value);
    buffer_append(out, span_of((const char *)&wire, bytes));
}

static void put_text(struct buffer *out, struct span text)
{
    put_number(out, text.len, 2);
    buffer_append(out, text);
}

static void put_facts(struct buffer *out, const struct cache_facts *facts)
{
    const struct usage *u = &facts->usage;
    const uint64_t numbers[] = {u->input,     u->output,      u->total,        u->cached,
                                u->reasoning, u->audio_input, u->audio_output, u->audio_seconds};
    _Static_assert(ARRAY_LEN(numbers) == USAGE_NUMBERS, "as they are read");
    put_number(out, facts->form, 1);
    put_number(out, facts->status, 2);
    put_number(out, facts->created, 8);
    put_number(out, facts->fresh, 8);
    put_number(out, facts->latency, 8);
    put_number(out, facts->usage_start, 8);
    put_number(out, facts->usage_end, 8);
    put_number(out, u->reported, 1);
    for (unsigned i = 0; i < USAGE_NUMBERS; i++)
        put_number(out, numbers[i], 8);
    /* By its name: the numbers of operations may change from one version of the program to the next. */
    put_text(out, operation_entry(facts->operation)->name);
    put_text(out, facts->type);
    put_text(out, facts->served);
    put_text(out, facts->model);
    put_text(out, facts->consumer);
}

/* The body smaller than it is, in codec->packed; false when that cannot be. */
static bool pack(struct cache_codec *codec, struct span body)
{
    if (body.len <= CACHE_COMPRESS_ABOVE)
        return false;
    if (!codec->compress)
        codec->compress = ZSTD_createCCtx();
    if (!codec->compress)
        return false;
    char *to = buffer_reserve(&codec->packed, body.len);
    size_t size = ZSTD_compressCCtx(codec->compress, to, body.len - 1, body.ptr, body.len, COMPRESSION);
    if (ZSTD_isError(size))
        return false;
    buffer_commit(&codec->packed, size);
    return true;
}

static void put_rest(struct cache_codec *codec, const struct cache_entry *entry)
{
    bool packed = pack(codec, entry->body);
    put_facts(&codec->rest, &entry->facts);
    put_number(&codec->rest, packed, 1);
    put_number(&codec->rest, entry->body.len, 8);
    buffer_append(&codec->rest, packed ? buffer_span(&codec->packed) : entry->body);
    buffer_finish(&codec->packed);
}

/* What is authenticated beside the rest: the cache key, and what stands before the nonce. */
static struct span authentic(char out[AUTHENTIC_LENGTH], const uint8_t key[CACHE_KEY_BYTES], struct span head)
{
    memcpy(out, key, CACHE_KEY_BYTES);
    memcpy(out + CACHE_KEY_BYTES, head.ptr, head.len);
    return span_of(out, CACHE_KEY_BYTES + head.len);
}

/* Under both halves of the cache key, so that it is wrong for any other one. */
static uint64_t checksum(const uint8_t key[CACHE_KEY_BYTES], struct span rest)
{
    uint8_t folded[16];
    for (unsigned i = 0; i < sizeof(folded); i++)
        folded[i] = key[i] ^ key[i + sizeof(folded)];
    return hash_bytes_keyed(folded, rest);
}

void cache_entry_write(struct cache_codec *codec, const struct cache_keys *keys, const uint8_t key[CACHE_KEY_BYTES],
                       const struct cache_entry *entry, struct buffer *out)
{
    size_t start = buffer_len(out);
    put_rest(codec, entry);
    buffer_append(out, SPAN("PCE"));
    put_number(out, WIRE_VERSION, 1);
    put_number(out, keys ? FLAG_SEALED : 0, 1);
    if (keys) {
        char extra[AUTHENTIC_LENGTH];
        uint8_t nonce[CRYPTO_AEAD_NONCE];
        struct span id = cache_keys_first(keys);
        put_number(out, id.len, 1);
        buffer_append(out, id);
        struct span bound = authentic(extra, key, span_skip(buffer_span(out), start));
        crypto_random(nonce, sizeof(nonce));
        buffer_append(out, span_of((const char *)nonce, sizeof(nonce)));
        crypto_aead_seal(cache_keys_find(keys, id), nonce, bound, buffer_span(&codec->rest), out);
    } else {
        put_number(out, checksum(key, buffer_span(&codec->rest)), CHECKSUM);
        buffer_append(out, buffer_span(&codec->rest));
    }
    buffer_finish(&codec->rest);
}

/* ---- wire form: reading ---- */

/* Takes from the front of what is left. After too little of it `failed` is set and all is zero and empty. */
struct taker {
    struct span left;
    bool failed;
};

static struct span take(struct taker *t, size_t len)
{
    if (t->failed || t->left.len < len) {
        t->failed = true;
        return (struct span){0};
    }
    struct span taken = span_take(t->left, len);
    t->left = span_skip(t->left, len);
    return taken;
}

static uint64_t take_number(struct taker *t, unsigned bytes)
{
    struct span text = take(t, bytes);
    uint64_t value = 0;
    if (text.len)
        memcpy(&value, text.ptr, text.len);
    return le64toh(value);
}

static struct span take_text(struct taker *t)
{
    size_t len = take_number(t, 2);
    t->failed |= len > CACHE_TEXT_BYTES;
    return take(t, len);
}

static bool take_facts(struct taker *t, struct cache_facts *ret)
{
    struct usage *u = &ret->usage;
    uint64_t *const numbers[USAGE_NUMBERS] = {&u->input,     &u->output,      &u->total,        &u->cached,
                                              &u->reasoning, &u->audio_input, &u->audio_output, &u->audio_seconds};
    uint64_t form = take_number(t, 1);
    ret->form = form == CACHE_FORM_EVENTS ? CACHE_FORM_EVENTS : CACHE_FORM_JSON;
    ret->status = (unsigned)take_number(t, 2);
    ret->created = take_number(t, 8);
    ret->fresh = take_number(t, 8);
    ret->latency = take_number(t, 8);
    ret->usage_start = take_number(t, 8);
    ret->usage_end = take_number(t, 8);
    u->reported = take_number(t, 1) != 0;
    for (unsigned i = 0; i < USAGE_NUMBERS; i++)
        *numbers[i] = take_number(t, 8);
    const struct operation *operation = operation_by_name(take_text(t));
    ret->type = take_text(t);
    ret->served = take_text(t);
    ret->model = take_text(t);
    ret->consumer = take_text(t);
    if (t->failed || !operation || form > CACHE_FORM_EVENTS)
        return false;
    ret->operation = operation->id;
    return true;
}

/* Exactly `size` bytes into `to`. */
static bool unpack(struct cache_codec *codec, struct span packed, char *to, size_t size)
{
    if (!codec->decompress)
        codec->decompress = ZSTD_createDCtx();
    return codec->decompress && ZSTD_decompressDCtx(codec->decompress, to, size, packed.ptr, packed.len) == size;
}

static enum cache_read read_rest(struct cache_codec *codec, struct span rest, size_t body_most,
                                 struct cache_entry **ret)
{
    struct taker t = {.left = rest};
    struct cache_facts facts = {0};
    if (!take_facts(&t, &facts))
        return CACHE_READ_BROKEN;
    uint64_t packed = take_number(&t, 1), size = take_number(&t, 8);
    if (t.failed || packed > 1 || (!packed && size != t.left.len))
        return CACHE_READ_BROKEN;
    if (size > body_most)
        return CACHE_READ_TOO_LARGE;
    char *to;
    struct cache_entry *entry = entry_with_room(&facts, (size_t)size, &to);
    if (!packed && size) {
        memcpy(to, t.left.ptr, (size_t)size);
    } else if (packed && !unpack(codec, t.left, to, (size_t)size)) {
        cache_entry_unref(entry);
        return CACHE_READ_BROKEN;
    }
    *ret = entry;
    return CACHE_READ_GOOD;
}

/* `t` is behind the flags of `wire`. */
static enum cache_read read_sealed(struct cache_codec *codec, const struct cache_keys *keys,
                                   const uint8_t key[CACHE_KEY_BYTES], struct span wire, struct taker *t,
                                   size_t body_most, struct cache_entry **ret)
{
    char extra[AUTHENTIC_LENGTH];
    size_t id_len = take_number(t, 1);
    t->failed |= id_len > CACHE_KEY_ID_BYTES;
    struct span id = take(t, id_len), head = span_take(wire, wire.len - t->left.len);
    struct span nonce = take(t, CRYPTO_AEAD_NONCE);
    if (t->failed)
        return CACHE_READ_BROKEN;
    struct crypto_aead *aead = cache_keys_find(keys, id);
    if (!aead)
        return CACHE_READ_UNKNOWN_KEY;
    enum cache_read result = CACHE_READ_BROKEN;
    if (crypto_aead_open(aead, (const uint8_t *)nonce.ptr, authentic(extra, key, head), t->left, &codec->rest))
        result = read_rest(codec, buffer_span(&codec->rest), body_most, ret);
    buffer_finish(&codec->rest);
    return result;
}

enum cache_read cache_entry_read(struct cache_codec *codec, const struct cache_keys *keys,
                                 const uint8_t key[CACHE_KEY_BYTES], struct span wire, size_t body_most,
                                 struct cache_entry **ret)
{
    struct taker t = {.left = wire};
    struct span magic = take(&t, 3);
    if (!span_equal(magic, SPAN("PCE")) || take_number(&t, 1) != WIRE_VERSION)
        return CACHE_READ_FOREIGN;
    uint64_t flags = take_number(&t, 1);
    if (t.failed || flags > FLAG_SEALED)
        return CACHE_READ_BROKEN;
    if ((flags == FLAG_SEALED) != (keys != NULL))
        return CACHE_READ_UNSEALED;
    if (keys)
        return read_sealed(codec, keys, key, wire, &t, body_most, ret);
    uint64_t sum = take_number(&t, CHECKSUM);
    if (t.failed || sum != checksum(key, t.left))
        return CACHE_READ_BROKEN;
    return read_rest(codec, t.left, body_most, ret);
}

const char *cache_read_name(enum cache_read read)
{
    static const char *const names[] = {
#define X(name, word) [CACHE_READ_##name] = word,
        CACHE_READ_LIST(X)
#undef X
    };
    return names[read];
}
