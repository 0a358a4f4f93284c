/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/access_log_line.h"

#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/metrics.h"
#include "gateway/snapshot.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Bytes of a text that are logged, before escaping. */
#define NAME_MAX_BYTES   256
#define AGENT_MAX_BYTES  200
#define PATH_MAX_BYTES   100
#define DETAIL_MAX_BYTES 160
#define ID_MAX_BYTES     128
#define RETRY_MAX_DIGITS 3
/* Tries that are told one by one; a configuration allows no more. */
#define ATTEMPTS_SHOWN 16
/* Kept free for what ends a line, so that it is whole JSON whatever came before. */
#define RESERVE 1024

struct line {
    char *at;
    char *end; /* texts stop here; fixed parts may go RESERVE beyond */
};

/* ---- pieces ---- */

/* Fixed text: keys and words of ours. */
#define PUT(line, literal) put((line), (literal), sizeof(literal) - 1)

static inline void put(struct line *line, const char *bytes, size_t len)
{
    memcpy(line->at, bytes, len);
    line->at += len;
}

/*
 * A word of ours. Most are short: two copies that overlap are cheaper than a call that looks for the best way.
 */
static inline void put_word(struct line *line, struct span word)
{
    char *to = line->at;
    size_t len = word.len;
    line->at += len;
    if (len >= 8 && len <= 16) {
        memcpy(to, word.ptr, 8);
        memcpy(to + len - 8, word.ptr + len - 8, 8);
    } else if (len >= 4 && len < 8) {
        memcpy(to, word.ptr, 4);
        memcpy(to + len - 4, word.ptr + len - 4, 4);
    } else {
        memcpy(to, word.ptr, len);
    }
}

static const char two_digits[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                 "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                 "8081828384858687888990919293949596979899";

static inline size_t count_digits(uint64_t number)
{
    size_t count = 1;
    for (; number >= 10000; number /= 10000)
        count += 4;
    return count + (number >= 10) + (number >= 100) + (number >= 1000);
}

static void put_number(struct line *line, uint64_t number)
{
    char *at = line->at + count_digits(number);
    line->at = at;
    for (; number >= 100; number /= 100) {
        at -= 2;
        memcpy(at, two_digits + 2 * (number % 100), 2);
    }
    if (number >= 10)
        memcpy(at - 2, two_digits + 2 * number, 2);
    else
        at[-1] = (char)('0' + number);
}

/* µs as milliseconds with three decimals. */
static void put_millis(struct line *line, uint64_t micros)
{
    put_number(line, micros / 1000);
    unsigned rest = (unsigned)(micros % 1000);
    line->at[0] = '.';
    line->at[1] = (char)('0' + rest / 100);
    memcpy(line->at + 2, two_digits + 2 * (rest % 100), 2);
    line->at += 4;
}

/* Whether JSON shows all eight bytes as they are. May say no when they are; never yes when not. */
static inline bool plain_word(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);
    uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');
    uint64_t low =
        word - ones * 0x20; /* a byte below 0x20 borrows, as does one above 0x7f, which has its top bit set */
    return (((quote - ones) | (slash - ones) | low | word) & tops) == 0;
}

#if defined(__SSE2__)
/* Copies 16 bytes; false when JSON does not show them all as they are. */
static inline bool copy_plain(char *to, const char *from)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);
    /* Compared as signed, bytes above 0x7f are below space too, and so is the quote once the two have changed places.
     */
    __m128i low = _mm_cmplt_epi8(_mm_xor_si128(bytes, _mm_set1_epi8('"' ^ ' ')), _mm_set1_epi8(' ' + 1));
    _mm_storeu_si128((__m128i *)(void *)to, bytes);
    return !_mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
}
#endif

static inline bool plain_byte(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/*
 * Copies the whole text if none of its bytes needs an escape: eight at a time, the last eight again where the length is
 * no multiple. False when one does; what was written then means nothing.
 */
static inline bool put_plain(struct line *line, struct span text)
{
    char *to = line->at;
#if defined(__SSE2__)
    if (text.len >= 16) {
        for (size_t i = 0; i < text.len - 16; i += 16)
            if (!copy_plain(to + i, text.ptr + i))
                return false;
        if (!copy_plain(to + text.len - 16, text.ptr + text.len - 16))
            return false;
        line->at += text.len;
        return true;
    }
#endif
    uint64_t word;
    if (text.len >= 8) {
        for (size_t i = 0; i < text.len - 8; i += 8) {
            memcpy(&word, text.ptr + i, 8);
            if (!plain_word(word))
                return false;
            memcpy(to + i, &word, 8);
        }
        memcpy(&word, text.ptr + text.len - 8, 8);
        if (!plain_word(word))
            return false;
        memcpy(to + text.len - 8, &word, 8);
    } else if (text.len >= 4) {
        uint32_t first, last;
        memcpy(&first, text.ptr, 4);
        memcpy(&last, text.ptr + text.len - 4, 4);
        if (!plain_word((uint64_t)first << 32 | last))
            return false;
        memcpy(to, &first, 4);
        memcpy(to + text.len - 4, &last, 4);
    } else {
        for (size_t i = 0; i < text.len; i++) {
            if (!plain_byte(text.ptr[i]))
                return false;
            to[i] = text.ptr[i];
        }
    }
    line->at += text.len;
    return true;
}

/* Bytes that texts may still take; fixed parts may have gone beyond the end. */
static inline size_t text_room(const struct line *line)
{
    return line->at < line->end ? (size_t)(line->end - line->at) : 0;
}

static __attribute__((noinline)) void put_escaped(struct line *line, struct span text)
{
    struct buffer escaped = {0};
    buffer_append_json(&escaped, text);
    struct span rest = buffer_span(&escaped);
    if (rest.len <= text_room(line))
        put(line, rest.ptr, rest.len);
    buffer_finish(&escaped);
}

/* The inside of a JSON string. What does not fit is left out. */
static void put_text(struct line *line, struct span text, size_t most)
{
    text = span_take(text, most);
    if (LIKELY(text_room(line) >= text.len) && UNLIKELY(!put_plain(line, text)))
        put_escaped(line, text);
}

/* ,"key":"text" if there is a text. `key` comes with what surrounds it. */
#define PUT_TEXT(line, key, text, most)                                                                                \
    do {                                                                                                               \
        if ((text).len) {                                                                                              \
            PUT(line, ",\"" key "\":\"");                                                                              \
            put_text((line), (text), (most));                                                                          \
            PUT(line, "\"");                                                                                           \
        }                                                                                                              \
    } while (0)

/* Words of ours: nothing to escape. */
#define PUT_WORD(line, key, word)                                                                                      \
    do {                                                                                                               \
        PUT(line, ",\"" key "\":\"");                                                                                  \
        put_word((line), (word));                                                                                      \
        PUT(line, "\"");                                                                                               \
    } while (0)

#define PUT_NUMBER(line, key, number)                                                                                  \
    do {                                                                                                               \
        PUT(line, ",\"" key "\":");                                                                                    \
        put_number((line), (number));                                                                                  \
    } while (0)

#define PUT_MILLIS(line, key, micros)                                                                                  \
    do {                                                                                                               \
        PUT(line, ",\"" key "\":");                                                                                    \
        put_millis((line), (micros));                                                                                  \
    } while (0)

/* ---- groups ---- */

static void put_caller(struct line *line, const struct exchange *exchange)
{
    PUT_TEXT(line, "id", exchange->id, NAME_MAX_BYTES);
    PUT_TEXT(line, "listener", exchange->listener->name, NAME_MAX_BYTES);
    PUT_TEXT(line, "peer", exchange->peer, NAME_MAX_BYTES);
    PUT_TEXT(line, "consumer", exchange->consumer.name, NAME_MAX_BYTES);
}

/* The path alone, and only where it is no operation: a query may hold a key. */
static void put_path(struct line *line, const struct exchange *exchange)
{
    PUT_TEXT(line, "method", exchange->request.method_text, 16);
    PUT_TEXT(line, "path", exchange->request.path, PATH_MAX_BYTES);
}

static void put_call(struct line *line, const struct exchange *exchange)
{
    static const struct span dialects[] = {[DIALECT_OPENAI] = SPAN_INIT("openai"),
                                           [DIALECT_AZURE_DATED] = SPAN_INIT("azure"),
                                           [DIALECT_AZURE_V1] = SPAN_INIT("azure_v1")};
    const struct operation *operation = exchange->call.operation;
    if (operation) {
        PUT_WORD(line, "operation", operation->name);
        PUT_WORD(line, "dialect", dialects[exchange->call.dialect]);
    } else {
        if (exchange->passthrough)
            PUT(line, ",\"operation\":\"passthrough\"");
        put_path(line, exchange);
    }
    if (exchange->operation_streams)
        PUT(line, ",\"stream\":true");
    PUT_TEXT(line, "model", exchange->model_asked, NAME_MAX_BYTES);
    if (exchange->model)
        PUT_TEXT(line, "model_entry", exchange->model->name, NAME_MAX_BYTES);
    if (exchange->cache.len)
        PUT_WORD(line, "cache", exchange->cache);
}

static void put_attempt(struct line *line, const struct attempt_record *record, uint64_t now)
{
    PUT(line, "{\"target\":\"");
    put_text(line, record->target, NAME_MAX_BYTES);
    PUT(line, "\"");
    PUT_TEXT(line, "deployment", record->deployment, NAME_MAX_BYTES);
    if (record->status)
        PUT_NUMBER(line, "status", record->status);
    if (record->fault != FAULT_NONE)
        PUT_WORD(line, "fault", fault_entry(record->fault)->word);
    PUT_TEXT(line, "detail", record->detail, DETAIL_MAX_BYTES);
    if (record->next)
        PUT_TEXT(line, "upstream_request_id", record->request_id, ID_MAX_BYTES);
    uint64_t ended = record->ended ? record->ended : now;
    PUT_MILLIS(line, "ms", ended > record->started ? ended - record->started : 0);
    PUT(line, "}");
}

/* The targets that were not tried, as they were at their limits. */
static void put_passed_over(struct line *line, const struct attempts *attempts)
{
    if (!attempts->passed_count)
        return;
    PUT(line, ",\"passed_over\":[");
    for (unsigned i = 0; i < attempts->passed_count && i < ATTEMPTS_SHOWN && text_room(line) >= RESERVE; i++) {
        const struct model_target *to = attempts->passed[i];
        if (i)
            PUT(line, ",");
        PUT(line, "{\"target\":\"");
        put_text(line, to->target->name, NAME_MAX_BYTES);
        PUT(line, "\"");
        PUT_TEXT(line, "deployment", to->deployment, NAME_MAX_BYTES);
        PUT(line, "}");
    }
    PUT(line, "]");
}

/* The last target is the one whose answer the client got, if it got one. */
static void put_attempts(struct line *line, const struct exchange *exchange, uint64_t now)
{
    const struct attempts *attempts = exchange->attempts;
    if (!attempts)
        return;
    put_passed_over(line, attempts);
    if (!attempts->last)
        return;
    PUT_TEXT(line, "target", attempts->last->target, NAME_MAX_BYTES);
    PUT_TEXT(line, "deployment", attempts->last->deployment, NAME_MAX_BYTES);
    PUT_TEXT(line, "upstream_request_id", attempts->last->request_id, ID_MAX_BYTES);
    PUT_TEXT(line, "response_model", exchange->facts.model, NAME_MAX_BYTES);
    PUT(line, ",\"attempts\":[");
    unsigned shown = 0;
    for (const struct attempt_record *record = attempts->first; record; record = record->next) {
        if (shown == ATTEMPTS_SHOWN || text_room(line) < RESERVE)
            break;
        if (shown++)
            PUT(line, ",");
        put_attempt(line, record, now);
    }
    PUT(line, "]");
}

static void put_outcome(struct line *line, const struct exchange *exchange, enum outcome outcome)
{
    PUT_NUMBER(line, "status", metrics_status(exchange));
    PUT_WORD(line, "outcome", metrics_outcome_word(outcome));
    if (exchange->fault == FAULT_NONE)
        return;
    const struct fault_entry *entry = fault_entry(exchange->fault);
    PUT_WORD(line, "fault", entry->word);
    struct span blame = span_str(fault_blame_name(entry->blame));
    PUT_WORD(line, "blame", blame);
    PUT_TEXT(line, "detail", exchange->fault_detail, DETAIL_MAX_BYTES);
}

/*
 * As the target reported them; else, of an answer that should have, by the rule of thumb of four bytes per token: of
 * the request as it came, and of the text that was delivered. A compressed answer was not read: its own length stands
 * in for its text.
 */
static void put_tokens(struct line *line, const struct exchange *exchange)
{
    const struct usage *usage = &exchange->facts.usage;
    const struct operation *operation = exchange->call.operation;
    if (usage->reported) {
        PUT(line, ",\"tokens\":{\"input\":");
        put_number(line, usage->input);
        PUT_NUMBER(line, "output", usage->output);
        if (usage->cached)
            PUT_NUMBER(line, "cached", usage->cached);
        if (usage->reasoning)
            PUT_NUMBER(line, "reasoning", usage->reasoning);
        PUT(line, "}");
        return;
    }
    bool should = operation && (operation->flags & OPERATION_USAGE) && exchange->response_started &&
                  !exchange->local_answer && exchange->response.status == 200;
    if (!should)
        return;
    uint64_t text = exchange->usage_estimated ? exchange->bytes_out : exchange->facts.text_bytes;
    PUT(line, ",\"tokens\":{\"input\":");
    put_number(line, (exchange->bytes_in + 3) / 4);
    PUT_NUMBER(line, "output", (text + 3) / 4);
    PUT(line, ",\"estimated\":true}");
}

static void put_finish(struct line *line, unsigned finish)
{
    static const struct {
        unsigned bit;
        struct span word;
    } reasons[] = {{FINISH_STOP, SPAN_INIT("stop")},
                   {FINISH_LENGTH, SPAN_INIT("length")},
                   {FINISH_TOOL_CALLS, SPAN_INIT("tool_calls")},
                   {FINISH_CONTENT_FILTER, SPAN_INIT("content_filter")},
                   {FINISH_OTHER, SPAN_INIT("other")}};
    if (!finish)
        return;
    PUT(line, ",\"finish_reason\":\"");
    bool more = false;
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        if (!(finish & reasons[i].bit))
            continue;
        if (more)
            PUT(line, ",");
        put_word(line, reasons[i].word);
        more = true;
    }
    PUT(line, "\"");
}

static void put_times(struct line *line, const struct exchange *exchange)
{
    uint64_t start = exchange->started, overhead;
    if (exchange->first_byte_at >= start && exchange->first_byte_at)
        PUT_MILLIS(line, "time_to_first_byte_ms", exchange->first_byte_at - start);
    if (exchange->first_content_at >= start && exchange->first_content_at)
        PUT_MILLIS(line, "time_to_first_content_ms", exchange->first_content_at - start);
    PUT_MILLIS(line, "total_ms", exchange->ended > start ? exchange->ended - start : 0);
    if (metrics_overhead(exchange, &overhead))
        PUT_NUMBER(line, "overhead_us", overhead);
}

static bool all_digits(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    return text.len > 0;
}

static void put_client(struct line *line, const struct exchange *exchange)
{
    struct span retries = fields_value(&exchange->request.fields, FIELD_X_STAINLESS_RETRY_COUNT);
    uint64_t count;
    if (retries.len <= RETRY_MAX_DIGITS && all_digits(retries) && span_to_u64(retries, &count) && count)
        PUT_NUMBER(line, "retry_count", count);
    struct span agent = fields_value(&exchange->request.fields, FIELD_USER_AGENT);
    PUT_TEXT(line, "user_agent", agent, AGENT_MAX_BYTES);
}

/* Fixed parts of everything but the attempts, whose loop looks after itself, fit into RESERVE after any text. */
size_t access_log_line(char *room, const struct exchange *exchange, enum outcome outcome, struct span time,
                       uint64_t now)
{
    struct line line = {.at = room, .end = room + ACCESS_LOG_LINE_MAX - 2 * RESERVE};
    PUT(&line, "{\"time\":\"");
    put(&line, time.ptr, time.len);
    PUT(&line, "\"");
    put_caller(&line, exchange);
    put_call(&line, exchange);
    put_outcome(&line, exchange, outcome);
    PUT_NUMBER(&line, "request_bytes", exchange->bytes_in);
    PUT_NUMBER(&line, "response_bytes", exchange->bytes_out);
    put_tokens(&line, exchange);
    put_finish(&line, exchange->facts.finish);
    put_times(&line, exchange);
    put_client(&line, exchange);
    put_attempts(&line, exchange, now);
    PUT(&line, "}\n");
    return (size_t)(line.at - room);
}
