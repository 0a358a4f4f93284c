/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "base/decimal.h"
#include "base/hash.h"
#include "gateway/limits_redis_internal.h"

/* With a sign or a blank. */
#define NUMBER_MOST (DECIMAL_MAX + 1)
/* A kind, three numbers and their like; a month has three more. */
#define PART_MOST (8 * NUMBER_MOST)
/* "postern:c{0123456789abcdef}" */
#define KEY_MOST   32
#define FIXED_MOST 512

static const char hex[] = "0123456789abcdef";

/* ---- words ---- */

void limits_words_begin(struct limits_redis *store, struct limits_words *words, size_t parts, size_t key_bytes)
{
    size_t size = FIXED_MOST + parts * (PART_MOST + KEY_MOST) + key_bytes;
    buffer_consume(&store->words, buffer_len(&store->words));
    words->bytes = buffer_reserve(&store->words, size);
    words->end = words->bytes + size;
    words->keys = words->args = 0;
}

static struct span take(struct limits_words *words, size_t len)
{
    struct span span = span_of(words->bytes, len);
    words->bytes += len;
    assert(words->bytes <= words->end);
    return span;
}

static void argument(struct limits_words *words, struct span text)
{
    assert(words->args < ARRAY_LEN(words->arg));
    words->arg[words->args++] = text;
}

void limits_words_number(struct limits_words *words, uint64_t number)
{
    static const char digits[] = "0123456789";
    if (number < 10) {
        argument(words, span_of(&digits[number], 1));
        return;
    }
    argument(words, take(words, (size_t)(decimal_write(words->bytes, number, 0) - words->bytes)));
}

void limits_words_signed(struct limits_words *words, int64_t number)
{
    char *to = words->bytes;
    if (number < 0)
        *to++ = '-';
    to = decimal_write(to, number < 0 ? (uint64_t)-number : (uint64_t)number, 0);
    argument(words, take(words, (size_t)(to - words->bytes)));
}

void limits_words_text(struct limits_words *words, struct span text)
{
    argument(words, text);
}

/* ---- keys ---- */

static void append(char **to, struct span text)
{
    memcpy(*to, text.ptr, text.len);
    *to += text.len;
}

/* "postern:c{0123456789abcdef}": where the kind stands in it, and how long it is. */
#define TAG_KIND 8
#define TAG_LEN  27

/* The tag decides the slot: the rest of the key has no braces before it. */
static char *append_tag(char *to, char kind, uint64_t tag)
{
    append(&to, SPAN("postern:"));
    *to++ = kind;
    *to++ = '{';
    for (unsigned shift = 64; shift; shift -= 4)
        *to++ = hex[tag >> (shift - 4) & 15];
    *to++ = '}';
    return to;
}

void limits_words_record(struct limits_words *words, uint64_t tag, const uint8_t id[LIMITS_ID_BYTES], unsigned group)
{
    char *start = words->bytes, *to = append_tag(start, 'i', tag), *name = to;
    for (unsigned i = 0; i < LIMITS_ID_BYTES; i++) {
        *to++ = hex[id[i] >> 4];
        *to++ = hex[id[i] & 15];
    }
    struct span text = span_of(name, (size_t)(to - name));
    if (group) {
        *to++ = '.';
        to = decimal_write(to, group, 0);
    }
    words->key[words->keys++] = take(words, (size_t)(to - start));
    argument(words, text);
}

void limits_words_key(struct limits_words *words, enum limit_kind kind, struct span key)
{
    char *start = words->bytes, *to = start;
    append(&to, span_take(words->key[0], TAG_LEN));
    start[TAG_KIND] = "rcwp"[kind];
    append(&to, key);
    assert(words->keys < ARRAY_LEN(words->key));
    words->key[words->keys++] = take(words, (size_t)(to - start));
}

/* Any key will do as long as it is written here: who is counted together is no secret, only spread evenly. */
uint64_t limits_tag(const struct limits_part *part)
{
    static const uint8_t key[16] = "postern limits 1";
    return hash_bytes_keyed(key, part->tag.len ? part->tag : part->key);
}

/* ---- parts ---- */

static void kind(struct limits_words *words, const struct limit_law *law, bool shadow)
{
    unsigned code = law->kind == LIMIT_CALENDAR && law->month ? LIMITS_SCRIPT_MONTH : (unsigned)law->kind;
    limits_words_number(words, code + (shadow ? LIMITS_SCRIPT_SHADOW : 0));
}

static uint64_t ticks(const struct limit_law *law, uint64_t units)
{
    uint64_t all = limit_ticks(law, units);
    return all < LIMITS_SCRIPT_TICKS ? all : LIMITS_SCRIPT_TICKS;
}

static void period(struct limits_words *words, const struct limit_law *law, uint64_t wall)
{
    switch (law->kind) {
    case LIMIT_RATE:
        limits_words_text(words, SPAN("0"));
        return;
    case LIMIT_CONCURRENCY:
        limits_words_text(words, SPAN("60000000"));
        _Static_assert(LIMITS_LEASE == 60000000, "as it is written");
        return;
    case LIMIT_ROLLING:
        limits_words_number(words, law->period / (LIMIT_SLICES - 1));
        return;
    case LIMIT_CALENDAR:
        break;
    }
    if (!law->month) {
        limits_words_number(words, law->period);
        return;
    }
    struct limit_window window = limit_window(law, wall);
    const uint64_t numbers[] = {window.number, window.start, window.end};
    char *to = words->bytes;
    for (unsigned i = 0; i < ARRAY_LEN(numbers); i++) {
        if (i)
            *to++ = ' ';
        to = decimal_write(to, numbers[i], 0);
    }
    argument(words, take(words, (size_t)(to - words->bytes)));
}

void limits_words_reserve(struct limits_words *words, const struct limits_part *part, uint64_t wall)
{
    const struct limit_law *law = &part->law;
    kind(words, law, part->shadow);
    if (law->kind != LIMIT_RATE) {
        limits_words_number(words, part->units);
        limits_words_number(words, law->amount);
    } else {
        if (part->units > law->burst)
            limits_words_signed(words, -1);
        else
            limits_words_number(words, ticks(law, part->units));
        limits_words_number(words, ticks(law, law->burst));
    }
    period(words, law, wall);
}

int64_t limits_difference(const struct limits_part *part)
{
    if (part->law.kind == LIMIT_CONCURRENCY)
        return (int64_t)part->reserved;
    if (part->law.kind == LIMIT_RATE)
        return (int64_t)ticks(&part->law, part->units) - (int64_t)ticks(&part->law, part->reserved);
    return (int64_t)part->units - (int64_t)part->reserved;
}

void limits_words_settle(struct limits_words *words, const struct limits_part *part)
{
    kind(words, &part->law, false);
    limits_words_signed(words, limits_difference(part));
}

void limits_words_charge(struct limits_words *words, const struct limit_law *law, int64_t amount, uint64_t wall,
                         uint64_t window)
{
    kind(words, law, false);
    limits_words_signed(words, amount);
    period(words, law, wall);
    limits_words_number(words, window);
}

/* ---- answers ---- */

unsigned limits_answer_width(const struct limits_part *part)
{
    return part->law.kind == LIMIT_ROLLING ? LIMIT_SLICES : 1;
}

static void rolling_answer(struct limits_part *part, const int64_t *numbers, uint64_t now)
{
    uint64_t words[LIMIT_SLICES];
    uint64_t slice = part->law.period / (LIMIT_SLICES - 1), first = now / slice + 1 - LIMIT_SLICES;
    for (unsigned i = 0; i < LIMIT_SLICES; i++) {
        uint64_t number = first + i;
        /* limit_window keeps 20 bits of a number. */
        uint32_t kept = limit_window(&part->law, number * slice).number;
        words[number % LIMIT_SLICES] = limit_word(kept, (uint64_t)numbers[i]);
    }
    (void)limit_rolling_fits(&part->law, words, now, part->units, &part->answer);
}

void limits_answer_read(struct limits_part *part, const int64_t *numbers, uint64_t now, uint64_t *ret_stood)
{
    uint64_t next, stood = numbers[0] > 0 ? (uint64_t)numbers[0] : 0;
    *ret_stood = stood;
    switch (part->law.kind) {
    case LIMIT_RATE:
        (void)limit_rate_take(&part->law, stood, 0, part->units, &next, &part->answer);
        return;
    case LIMIT_CALENDAR:
        (void)limit_calendar_fits(&part->law, limit_word(limit_window(&part->law, now).number, stood), now, part->units,
                                  &part->answer);
        return;
    case LIMIT_ROLLING:
        rolling_answer(part, numbers, now);
        return;
    case LIMIT_CONCURRENCY:
        break;
    }
    (void)limit_concurrency_fits(&part->law, stood, part->units, &part->answer);
}
