/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_protocol.h"

#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "base/buffer.h"
#include "base/decimal.h"
#include "base/log.h"
#include "base/memory.h"

/* A mark, as many digits as a size can have, and two line ends. */
#define COUNT_ROOM 25
/* How many arrays may lie within each other. */
#define NESTING 7

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/* Numbers in an array that is read without hiredis, and digits in each, which fit whatever they are. */
#define PLAIN_NUMBERS 32
#define PLAIN_DIGITS  18

/*
 * What hiredis is given at a time. With each answer that it has found it moves what is left to the front: of a whole
 * read, when many answers come in it, that is some ten times what the answers are.
 */
#define PART ((size_t)4096)

struct redis_reader {
    redisReader *parser;
    size_t most;
    size_t elements; /* of the answer under way */
    struct arena arena;
    bool has_value;
    const char *why;
    struct buffer plain; /* not shown to hiredis yet */
    bool handed;         /* hiredis has the beginning of an answer, or more answers */
    struct redis_value number;
    struct redis_value numbers[PLAIN_NUMBERS];
};

/* ---- values, made as hiredis finds them ---- */

static struct redis_reader *reader_of(const redisReadTask *task)
{
    return task->privdata;
}

/* The place of a value: its own slot in the array around it, or new memory for the outermost. */
static struct redis_value *place_of(const redisReadTask *task)
{
    if (task->parent) {
        const struct redis_value *around = task->parent->obj;
        struct redis_value *items = (struct redis_value *)(uintptr_t)around->items;
        return &items[task->idx];
    }
    return ARENA_NEW(&reader_of(task)->arena, struct redis_value);
}

static void *make_string(const redisReadTask *task, char *text, size_t len)
{
    struct redis_value *value = place_of(task);
    value->kind = task->type == REDIS_REPLY_STRING   ? REDIS_STRING
                  : task->type == REDIS_REPLY_STATUS ? REDIS_STATUS
                                                     : REDIS_FAILURE;
    if (task->type != REDIS_REPLY_STRING && task->type != REDIS_REPLY_STATUS && task->type != REDIS_REPLY_ERROR)
        return NULL;
    value->text = arena_copy(&reader_of(task)->arena, span_of(text, len));
    return value;
}

/* Arrays within arrays: hiredis 0.14 stops at about as many, later versions at none. */
static bool too_deep(const redisReadTask *task)
{
    unsigned depth = 0;
    for (const redisReadTask *around = task->parent; around; around = around->parent)
        depth++;
    return depth >= NESTING;
}

static void *make_array(const redisReadTask *task, element_count elements)
{
    struct redis_reader *reader = reader_of(task);
    if (too_deep(task)) {
        reader->why = "arrays nested too deeply";
        return NULL;
    }
    /* A negative count, where the type has one, becomes larger than any limit. */
    if (task->type != REDIS_REPLY_ARRAY || (size_t)elements > REDIS_ELEMENTS - reader->elements) {
        reader->why = "an array too large";
        return NULL;
    }
    struct redis_value *value = place_of(task);
    reader->elements += (size_t)elements;
    value->kind = REDIS_ARRAY;
    value->count = (size_t)elements;
    if (elements)
        value->items = ARENA_ARRAY(&reader->arena, struct redis_value, (size_t)elements);
    return value;
}

static void *make_integer(const redisReadTask *task, long long number)
{
    struct redis_value *value = place_of(task);
    value->kind = REDIS_INTEGER;
    value->integer = number;
    return value;
}

static void *make_nil(const redisReadTask *task)
{
    struct redis_value *value = place_of(task);
    value->kind = REDIS_NIL;
    return value;
}

/* The arena does it. */
static void free_value(void *value)
{
    (void)value;
}

#if HIREDIS_MAJOR >= 1
/* RESP3 is never asked for. */
static void *refuse_double(const redisReadTask *task, double number, char *text, size_t len)
{
    (void)number;
    (void)text;
    (void)len;
    reader_of(task)->why = "a type of RESP3";
    return NULL;
}

static void *refuse_bool(const redisReadTask *task, int truth)
{
    (void)truth;
    reader_of(task)->why = "a type of RESP3";
    return NULL;
}
#endif

static const redisReplyObjectFunctions makers = {
    .createString = make_string,
    .createArray = make_array,
    .createInteger = make_integer,
    .createNil = make_nil,
    .freeObject = free_value,
#if HIREDIS_MAJOR >= 1
    .createDouble = refuse_double,
    .createBool = refuse_bool,
#endif
};

/* ---- numbers, and flat arrays of them ---- */

/*
 * Scripts answer with nothing else, and a busy connection carries hardly anything but answers of scripts. What is not
 * exactly of this kind and complete is left to hiredis, good or bad, so there is one judge of the protocol.
 */

/* A number without leading zeros and its line end; returns what follows it, NULL: not plain. */
static const char *plain_number(const char *at, const char *end, int64_t *ret)
{
    bool minus = at < end && *at == '-';
    const char *first = at += minus;
    int64_t number = 0;
    while (at < end && *at >= '0' && *at <= '9' && at - first < PLAIN_DIGITS)
        number = number * 10 + (*at++ - '0');
    if (at == first || (*first == '0' && (minus || at - first > 1)) || end - at < 2 || at[0] != '\r' || at[1] != '\n')
        return NULL;
    *ret = minus ? -number : number;
    return at + 2;
}

static const char *plain_integer(const char *at, const char *end, struct redis_value *value)
{
    if (at == end || *at != ':')
        return NULL;
    value->kind = REDIS_INTEGER;
    return plain_number(at + 1, end, &value->integer);
}

static const struct redis_value *next_plain(struct redis_reader *reader)
{
    struct span bytes = buffer_span(&reader->plain);
    if (bytes.len == 0)
        return NULL;
    const char *start = bytes.ptr, *end = start + bytes.len, *at;
    struct redis_value *value = &reader->number;
    int64_t count;
    if (*start == '*') {
        at = plain_number(start + 1, end, &count);
        if (!at || count < 1 || count > PLAIN_NUMBERS)
            return NULL;
        for (int64_t i = 0; at && i < count; i++)
            at = plain_integer(at, end, &reader->numbers[i]);
        value->kind = REDIS_ARRAY;
        value->items = reader->numbers;
        value->count = (size_t)count;
    } else
        at = plain_integer(start, end, value);
    if (!at)
        return NULL;
    buffer_consume(&reader->plain, (size_t)(at - start));
    return value;
}

/* ---- reading ---- */

struct redis_reader *redis_reader_create(size_t most)
{
    struct redis_reader *reader = memory_zalloc(sizeof(*reader));
    arena_init(&reader->arena);
    reader->most = most;
    reader->why = "";
    /* hiredis does not write to the table, but takes no pointer to const. */
    reader->parser = redisReaderCreateWithFunctions((redisReplyObjectFunctions *)(uintptr_t)&makers);
    if (!reader->parser) {
        log_write(LOG_ERROR, "memory", "out of memory");
        exit(1);
    }
    reader->parser->privdata = reader;
    return reader;
}

void redis_reader_destroy(struct redis_reader *reader)
{
    if (!reader)
        return;
    redisReaderFree(reader->parser);
    buffer_finish(&reader->plain);
    arena_finish(&reader->arena);
    free(reader);
}

/* Bytes of answers that have not been found yet. */
static size_t unread(const struct redis_reader *reader)
{
    return reader->parser->len - reader->parser->pos + buffer_len(&reader->plain);
}

bool redis_reader_feed(struct redis_reader *reader, struct span bytes)
{
    if (unread(reader) + bytes.len > reader->most + LOOP_SCRATCH) {
        reader->why = "an answer too large";
        return false;
    }
    buffer_append(&reader->plain, bytes);
    return true;
}

/* False: there is nothing left. When hiredis does not take it, it says so at the next answer. */
static bool hand_over(struct redis_reader *reader)
{
    struct span part = span_take(buffer_span(&reader->plain), PART);
    if (part.len == 0)
        return false;
    (void)redisReaderFeed(reader->parser, part.ptr, part.len);
    buffer_consume(&reader->plain, part.len);
    reader->handed = true;
    return true;
}

/* False: bad. */
static bool find_value(struct redis_reader *reader, void **ret)
{
    do {
        if (redisReaderGetReply(reader->parser, ret) != REDIS_OK) {
            if (!*reader->why)
                reader->why = reader->parser->errstr;
            return false;
        }
    } while (!*ret && hand_over(reader));
    return true;
}

enum redis_read redis_reader_next(struct redis_reader *reader, const struct redis_value **ret)
{
    if (reader->has_value) {
        arena_finish(&reader->arena);
        reader->has_value = false;
        reader->elements = 0;
    }
    const struct redis_value *plain = reader->handed ? NULL : next_plain(reader);
    if (plain) {
        *ret = plain;
        return REDIS_READ_VALUE;
    }
    void *value = NULL;
    if (!find_value(reader, &value))
        return REDIS_READ_BAD;
    if (!value) {
        /* Whatever has come and is of no whole element yet, and what the elements so far have taken. */
        if (unread(reader) <= reader->most && reader->arena.bytes <= 8 * reader->most + 4 * MEMORY_BLOCK)
            return REDIS_READ_MORE;
        reader->why = "an answer too large";
        return REDIS_READ_BAD;
    }
    reader->handed = reader->parser->pos < reader->parser->len;
    reader->has_value = true;
    *ret = value;
    return REDIS_READ_VALUE;
}

const char *redis_reader_error(const struct redis_reader *reader)
{
    return reader->why;
}

/* ---- commands ---- */

/* "$123\r\n" and "*3\r\n"; returns what follows it. */
static char *put_count(char *at, char mark, size_t count)
{
    *at++ = mark;
    if (count < 10)
        *at++ = (char)('0' + count);
    else
        at = decimal_write(at, count, 0);
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

void redis_command_format(struct redis_command *command, const struct span *argv, unsigned argc)
{
    size_t room = COUNT_ROOM;
    for (unsigned i = 0; i < argc; i++)
        room += COUNT_ROOM + argv[i].len;
    if (room > command->room) {
        free(command->bytes);
        command->bytes = memory_alloc(room);
        command->room = room;
    }
    char *at = put_count(command->bytes, '*', argc);
    for (unsigned i = 0; i < argc; i++) {
        at = put_count(at, '$', argv[i].len);
        if (argv[i].len)
            memcpy(at, argv[i].ptr, argv[i].len);
        at += argv[i].len;
        *at++ = '\r';
        *at++ = '\n';
    }
    command->len = (size_t)(at - command->bytes);
}

void redis_command_free(struct redis_command *command, bool secret)
{
    if (secret && command->bytes)
        memory_wipe(command->bytes, command->len);
    free(command->bytes);
    *command = (struct redis_command){0};
}

/* ---- errors ---- */

static const char *const error_words[REDIS_ERRORS] = {
#define X(name, word) [REDIS_ERROR_##name] = word,
    REDIS_ERROR_LIST(X)
#undef X
};

const char *redis_error_name(enum redis_error error)
{
    return error_words[error < REDIS_ERRORS ? error : REDIS_ERROR_OTHER];
}

bool redis_error_is_refusal(enum redis_error error)
{
    return error == REDIS_ERROR_FULL || error > REDIS_ERROR_PROTOCOL;
}

static const struct error_prefix {
    struct span word;
    enum redis_error error;
} prefixes[] = {
    {SPAN_INIT("READONLY"), REDIS_ERROR_READONLY},
    {SPAN_INIT("LOADING"), REDIS_ERROR_LOADING},
    {SPAN_INIT("MASTERDOWN"), REDIS_ERROR_MASTERDOWN},
    {SPAN_INIT("CLUSTERDOWN"), REDIS_ERROR_CLUSTERDOWN},
    {SPAN_INIT("MOVED"), REDIS_ERROR_MOVED},
    {SPAN_INIT("ASK"), REDIS_ERROR_MOVED},
    {SPAN_INIT("TRYAGAIN"), REDIS_ERROR_TRYAGAIN},
    {SPAN_INIT("CROSSSLOT"), REDIS_ERROR_CROSSSLOT},
    {SPAN_INIT("OOM"), REDIS_ERROR_OOM},
    {SPAN_INIT("NOAUTH"), REDIS_ERROR_NOAUTH},
    {SPAN_INIT("WRONGPASS"), REDIS_ERROR_NOAUTH},
    {SPAN_INIT("NOPERM"), REDIS_ERROR_NOPERM},
    {SPAN_INIT("NOSCRIPT"), REDIS_ERROR_NOSCRIPT},
    {SPAN_INIT("WRONGTYPE"), REDIS_ERROR_WRONGTYPE},
    {SPAN_INIT("BUSY"), REDIS_ERROR_BUSY},
    {SPAN_INIT("MISCONF"), REDIS_ERROR_BUSY},
    {SPAN_INIT("NOREPLICAS"), REDIS_ERROR_BUSY},
};

/* Redis 6 and before wrap what a script ran into: "ERR Error running script (call to f_..): @user_script:1: -OOM ..."
 */
static enum redis_error wrapped_error(struct span text)
{
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t at = span_search(text, prefixes[i].word);
        if (at < text.len && at > 0 && (text.ptr[at - 1] == '-' || text.ptr[at - 1] == ' '))
            return prefixes[i].error;
    }
    return REDIS_ERROR_OTHER;
}

enum redis_error redis_error_of(struct span text)
{
    struct span word = span_take(text, span_find(text, ' '));
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (span_equal(word, prefixes[i].word))
            return prefixes[i].error;
    if (span_starts_with(text, SPAN("ERR Error running script")))
        return wrapped_error(text);
    /* Before Redis 6 wrong passwords and missing ones were plain errors. */
    if (span_starts_with(text, SPAN("ERR invalid password")) || span_starts_with(text, SPAN("ERR Client sent AUTH")))
        return REDIS_ERROR_NOAUTH;
    return REDIS_ERROR_OTHER;
}

bool redis_value_integer(const struct redis_value *value, int64_t *ret)
{
    if (value->kind == REDIS_INTEGER) {
        *ret = value->integer;
        return true;
    }
    bool minus = value->kind == REDIS_STRING && value->text.len && value->text.ptr[0] == '-';
    uint64_t amount = 0;
    if (value->kind != REDIS_STRING || !span_to_u64(span_skip(value->text, minus), &amount) || amount > INT64_MAX)
        return false;
    *ret = minus ? -(int64_t)amount : (int64_t)amount;
    return true;
}
