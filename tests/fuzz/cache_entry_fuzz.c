/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway/cache_entry: the input as the wire form of an entry, as it is, and with its checksum made right (behind the
 * checksum everything is read as if it were ours). What is accepted, written again and read again is the same.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "gateway/cache_entry.h"

#define HEAD ((size_t)13)

static const uint8_t key[CACHE_KEY_BYTES] = {0};

static struct cache_codec *the_codec(void)
{
    static struct cache_codec *codec;
    if (!codec)
        codec = cache_codec_create();
    return codec;
}

static void check(struct span wire)
{
    struct cache_entry *entry, *again;
    if (cache_entry_read(the_codec(), NULL, key, wire, 65536, &entry) != CACHE_READ_GOOD)
        return;
    if (entry->body.len > 65536)
        abort();
    struct buffer out = {0};
    cache_entry_write(the_codec(), NULL, key, entry, &out);
    if (cache_entry_read(the_codec(), NULL, key, buffer_span(&out), 65536, &again) != CACHE_READ_GOOD)
        abort();
    if (!span_equal(entry->body, again->body) || !span_equal(entry->facts.model, again->facts.model) ||
        !span_equal(entry->facts.consumer, again->facts.consumer) || entry->facts.created != again->facts.created ||
        memcmp(&entry->facts.usage, &again->facts.usage, offsetof(struct usage, reported)) != 0)
        abort();
    cache_entry_unref(entry);
    cache_entry_unref(again);
    buffer_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(span_of((const char *)data, size));
    if (size < HEAD)
        return 0;
    char *copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    memcpy(copy, "PCE\1\0", 5);
    static const uint8_t folded[16] = {0};
    uint64_t sum = hash_bytes_keyed(folded, span_of(copy + HEAD, size - HEAD));
    for (unsigned i = 0; i < 8; i++)
        copy[5 + i] = (char)(sum >> 8 * i);
    check(span_of(copy, size));
    free(copy);
    return 0;
}
