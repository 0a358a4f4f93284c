/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/mock_script.h"

#define SAID_LIMIT 400 /* characters of the user's message that are repeated */
#define WORD_LIMIT 12  /* bytes; longer words are several pieces, as with real tokens */

uint64_t mock_characters(struct span text)
{
    uint64_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += ((unsigned char)text.ptr[i] & 0xC0) != 0x80;
    return count;
}

uint64_t mock_tokens(uint64_t characters)
{
    return characters / 4 + (characters % 4 != 0);
}

/* The first `characters` characters. */
static struct span cut(struct span text, uint64_t characters)
{
    if (text.len <= characters)
        return text;
    size_t i = 0;
    for (uint64_t seen = 0; i < text.len; i++) {
        seen += ((unsigned char)text.ptr[i] & 0xC0) != 0x80;
        if (seen > characters)
            break;
    }
    return span_take(text, i);
}

struct span mock_sentence(struct mock_script *script, const struct mock_talk *talk)
{
    struct span said = cut(talk->tool_answered ? talk->tool : talk->user, SAID_LIMIT);
    return arena_format(script->arena, "This is the mock model. %s: %.*s",
                        talk->tool_answered ? "The tool said" : "You said", SPAN_ARG(said));
}

static const struct span filler[] = {
    SPAN_INIT(" and"), SPAN_INIT(" so"),   SPAN_INIT(" the"),   SPAN_INIT(" mock"), SPAN_INIT(" goes"),
    SPAN_INIT(" on"),  SPAN_INIT(" word"), SPAN_INIT(" after"), SPAN_INIT(" word"),
};

/* A word begins at a space, and within what is longer than WORD_LIMIT. Returns the count; `words` may be NULL. */
static unsigned find_words(struct span text, uint32_t *words)
{
    unsigned count = 0;
    size_t start = 0;
    for (size_t i = 0; i <= text.len; i++) {
        bool inside = i < text.len && (text.ptr[i] != ' ' || i == start);
        bool whole = i == text.len || ((unsigned char)text.ptr[i] & 0xC0) != 0x80;
        if ((inside && i - start < WORD_LIMIT) || !whole || i == start)
            continue;
        if (words)
            words[count] = (uint32_t)start;
        count++;
        start = i;
    }
    if (words)
        words[count] = (uint32_t)text.len;
    return count;
}

static struct span lengthened(struct mock_script *script, struct span text, unsigned words)
{
    struct buffer b = {0};
    buffer_append(&b, text);
    for (unsigned have = find_words(text, NULL), i = 0; have < words; have++, i++)
        buffer_append(&b, filler[i % ARRAY_LEN(filler)]);
    struct span longer = arena_copy(script->arena, buffer_span(&b));
    buffer_finish(&b);
    return longer;
}

void mock_text_make(struct mock_script *script, struct span text, uint64_t max_tokens, bool lengthen,
                    struct mock_text *ret)
{
    unsigned chunks = script->options.chunks;
    if (lengthen && chunks)
        text = lengthened(script, text, chunks);
    struct span kept = max_tokens < UINT64_MAX / 4 ? cut(text, max_tokens * 4) : text;
    unsigned count = find_words(kept, NULL);
    uint32_t *words = ARENA_ARRAY(script->arena, uint32_t, (size_t)count + 1);
    (void)find_words(kept, words);
    unsigned per_piece = script->options.words_per_chunk ? script->options.words_per_chunk : 1;
    *ret = (struct mock_text){.text = kept,
                              .words = words,
                              .word_count = count,
                              .pieces = chunks ? chunks : count / per_piece + (count % per_piece != 0),
                              .shortened = kept.len < text.len,
                              .tokens = mock_tokens(mock_characters(kept))};
}

struct span mock_text_piece(const struct mock_text *text, unsigned index)
{
    if (index >= text->pieces)
        return SPAN("");
    size_t first = (size_t)((uint64_t)index * text->word_count / text->pieces);
    size_t after = (size_t)((uint64_t)(index + 1) * text->word_count / text->pieces);
    return span_of(text->text.ptr + text->words[first], text->words[after] - text->words[first]);
}

void mock_put_string(struct buffer *out, struct span text)
{
    MOCK_PUT(out, "\"");
    buffer_append_json(out, text);
    MOCK_PUT(out, "\"");
}
