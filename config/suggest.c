/* SPDX-License-Identifier: Apache-2.0 */
#include "config/suggest.h"

#include "base/buffer.h"

#define WORDS_SHOWN 24

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

/* Damerau-Levenshtein in its optimal-string-alignment form: three rows of the table are enough. */
unsigned suggest_distance(struct span a, struct span b, unsigned limit)
{
    if (a.len > SUGGEST_LENGTH || b.len > SUGGEST_LENGTH)
        return limit + 1;
    unsigned rows[3][SUGGEST_LENGTH + 1];
    unsigned *before = rows[0], *previous = rows[1], *current = rows[2];
    for (size_t j = 0; j <= b.len; j++)
        previous[j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        current[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            unsigned change = lower(a.ptr[i - 1]) != lower(b.ptr[j - 1]);
            current[j] = min3(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + change);
            if (i > 1 && j > 1 && lower(a.ptr[i - 1]) == lower(b.ptr[j - 2]) &&
                lower(a.ptr[i - 2]) == lower(b.ptr[j - 1]) && before[j - 2] + 1 < current[j])
                current[j] = before[j - 2] + 1;
        }
        unsigned *spare = before;
        before = previous;
        previous = current;
        current = spare;
    }
    return previous[b.len] > limit ? limit + 1 : previous[b.len];
}

void suggest_init(struct suggest *suggest, struct arena *arena, struct span word)
{
    *suggest = (struct suggest){.word = word, .arena = arena};
    /* One slip per three letters is a slip; more is another word. */
    suggest->distance = word.len < 3 ? 1 : (unsigned)(word.len > 12 ? 4 : word.len / 3) + 1;
}

void suggest_add(struct suggest *suggest, struct span word)
{
    if (suggest->count == suggest->cap) {
        size_t cap = suggest->cap ? suggest->cap * 2 : 16;
        struct span *words = ARENA_ARRAY(suggest->arena, struct span, cap);
        if (suggest->count)
            memcpy(words, suggest->words, suggest->count * sizeof(*words));
        suggest->words = words;
        suggest->cap = cap;
    }
    suggest->words[suggest->count++] = word;
    if (suggest->distance == 0)
        return;
    unsigned distance = suggest_distance(suggest->word, word, suggest->distance - 1);
    if (distance < suggest->distance) {
        suggest->distance = distance;
        suggest->best = word;
    }
}

struct span suggest_text(const struct suggest *suggest)
{
    if (suggest->count == 0)
        return SPAN("");
    struct buffer text = {0};
    for (size_t i = 0; i < suggest->count && i < WORDS_SHOWN; i++)
        buffer_format(&text, "%s%.*s", i ? ", " : "; allowed: ", SPAN_ARG(suggest->words[i]));
    if (suggest->count > WORDS_SHOWN)
        buffer_format(&text, " and %zu more", suggest->count - WORDS_SHOWN);
    if (suggest->best.len)
        buffer_format(&text, "; did you mean \"%.*s\"?", SPAN_ARG(suggest->best));
    struct span kept = arena_copy(suggest->arena, buffer_span(&text));
    buffer_finish(&text);
    return kept;
}
