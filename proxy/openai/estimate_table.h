/* SPDX-License-Identifier: Apache-2.0 */
/*
 * estimate_table: the classes of characters that estimate.c tells apart, and the table that was fitted for them.
 */
#ifndef POSTERN_OPENAI_ESTIMATE_TABLE_H
#define POSTERN_OPENAI_ESTIMATE_TABLE_H

#include <stdint.h>

/* 0-25 are the small letters; 33-64 the punctuation of ASCII in its order. */
enum {
    CLASS_CAPITAL = 26,
    CLASS_DIGIT, /* first, second, third of a group of three */
    CLASS_DIGIT_2,
    CLASS_DIGIT_3,
    CLASS_SPACE, /* the first of a run */
    CLASS_TAB,
    CLASS_LINE,
    CLASS_PUNCTUATION,
    CLASS_LATIN = CLASS_PUNCTUATION + 32, /* beyond ASCII: umlauts, accents */
    CLASS_CYRILLIC,                       /* and Greek */
    CLASS_TWO_BYTES,                      /* Hebrew, Arabic, Armenian ... */
    CLASS_HAN,
    CLASS_KANA,
    CLASS_HANGUL,
    CLASS_WIDE_PUNCTUATION,
    CLASS_THREE_BYTES, /* Devanagari, Thai ... */
    CLASS_SYMBOL,      /* dashes, quotation marks, arrows */
    CLASS_FOUR_BYTES,  /* emoji, rare Han */
    CLASS_CONTROL,
    CLASS_START,  /* before the first character */
    CLASS_SPACES, /* the second and further ones of a run */
    ESTIMATE_CLASSES
};

/* 64 is one token. */
#define ESTIMATE_TOKEN 64

/* A power of two. */
#define ESTIMATE_HAN 1024

/* Columns of estimate_costs; those beyond the classes are 0. */
#define ESTIMATE_ROW 128
/* Classes in estimate_bytes that depend on what came before or comes behind: digits, bytes beyond ASCII. */
#define ESTIMATE_DIGIT 126
#define ESTIMATE_WIDE  127

extern const uint8_t estimate_bytes[256];
extern const uint8_t estimate_han[ESTIMATE_HAN];
extern const uint8_t estimate_costs[ESTIMATE_CLASSES][ESTIMATE_ROW];

#endif
