/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/answer_scan.h"

#include "base/json_value.h"

/* Nothing the API sends is deeper; what is, is not for us. */
#define ANSWER_DEPTH 256

/* A container that is entered. Everything else is skipped whole. */
enum place {
    IN_NOTHING, /* skipped */
    IN_ANSWER,  /* the root of a whole answer */
    IN_ANSWER_CHOICES,
    IN_ANSWER_CHOICE,
    IN_ROOT, /* of an event */
    IN_CHOICES,
    IN_CHOICE,
    IN_DELTA, /* a choice's delta */
    IN_MESSAGE,
    IN_TOOL_CALLS,
    IN_TOOL_CALL,
    IN_FUNCTION,
    IN_RESPONSE, /* the object of a Responses event */
    IN_INCOMPLETE,
    IN_ERROR,
    IN_USAGE,
    IN_INPUT_DETAILS,
    IN_OUTPUT_DETAILS,
    PLACE_COUNT
};

/* What a member's value means to us. */
enum action {
    SKIP,
    ENTER, /* if it is the container of `place`; else skipped */
    TYPE,
    OBJECT,
    MODEL,
    CHOICES,
    ERROR,
    ERROR_CODE,
    ERROR_TYPE,
    FINISH,
    STATUS,
    REASON,
    TEXT,    /* a string the client is after */
    CONTENT, /* anything that is not empty is content */
    PADDING, /* a string of no meaning */
    NUMBER,  /* a number of no meaning */
    SEQUENCE,
    USAGE,
    COUNT /* a number of struct usage, at `field` */
};

struct answer_member {
    struct span name;
    enum action action;
    enum place place; /* what a container here leads to */
    size_t field;     /* COUNT */
};

#define PLAIN(name, action)                                                                                            \
    {                                                                                                                  \
        SPAN_INIT(name), action, IN_NOTHING, 0                                                                         \
    }
#define INTO(name, action, place)                                                                                      \
    {                                                                                                                  \
        SPAN_INIT(name), action, place, 0                                                                              \
    }
#define AMOUNT(name, member)                                                                                           \
    {                                                                                                                  \
        SPAN_INIT(name), COUNT, IN_NOTHING, offsetof(struct usage, member)                                             \
    }

/* Of a whole answer only facts and the length of the text matter; there are no holes in it. */
static const struct answer_member in_answer[] = {
    INTO("choices", CHOICES, IN_ANSWER_CHOICES),
    INTO("usage", USAGE, IN_USAGE),
    INTO("error", ERROR, IN_ERROR),
    PLAIN("model", MODEL),
    PLAIN("object", OBJECT),
    PLAIN("code", ERROR_CODE),
    PLAIN("status", STATUS),
    INTO("incomplete_details", ENTER, IN_INCOMPLETE),
};

static const struct answer_member in_answer_choice[] = {
    INTO("message", ENTER, IN_MESSAGE),
    PLAIN("text", TEXT),
    PLAIN("finish_reason", FINISH),
};

static const struct answer_member in_root[] = {
    INTO("choices", CHOICES, IN_CHOICES),
    INTO("usage", USAGE, IN_USAGE),
    INTO("error", ERROR, IN_ERROR),
    PLAIN("model", MODEL),
    PLAIN("type", TYPE),
    PLAIN("object", OBJECT),
    PLAIN("code", ERROR_CODE),
    PLAIN("created", NUMBER),
    PLAIN("obfuscation", PADDING),
    PLAIN("sequence_number", SEQUENCE),
    PLAIN("delta", CONTENT),
    PLAIN("status", STATUS),
    INTO("incomplete_details", ENTER, IN_INCOMPLETE),
    INTO("response", ENTER, IN_RESPONSE),
};

static const struct answer_member in_response[] = {
    INTO("usage", USAGE, IN_USAGE),
    INTO("error", ERROR, IN_ERROR),
    PLAIN("model", MODEL),
    PLAIN("status", STATUS),
    INTO("incomplete_details", ENTER, IN_INCOMPLETE),
};

static const struct answer_member in_incomplete[] = {
    PLAIN("reason", REASON),
};

static const struct answer_member in_choice[] = {
    PLAIN("index", NUMBER), INTO("delta", ENTER, IN_DELTA), INTO("message", ENTER, IN_MESSAGE),
    PLAIN("text", TEXT),    PLAIN("finish_reason", FINISH),
};

static const struct answer_member in_delta[] = {
    PLAIN("role", SKIP),
    INTO("tool_calls", ENTER, IN_TOOL_CALLS),
    INTO("function_call", ENTER, IN_FUNCTION),
};

static const struct answer_member in_message[] = {
    PLAIN("content", TEXT),
    PLAIN("refusal", TEXT),
    PLAIN("reasoning", TEXT),
    PLAIN("reasoning_content", TEXT),
    INTO("tool_calls", ENTER, IN_TOOL_CALLS),
    INTO("function_call", ENTER, IN_FUNCTION),
};

static const struct answer_member in_tool_call[] = {
    PLAIN("id", SKIP),
    PLAIN("type", SKIP),
    PLAIN("index", NUMBER),
    INTO("function", ENTER, IN_FUNCTION),
};

static const struct answer_member in_function[] = {
    PLAIN("name", TEXT),
    PLAIN("arguments", TEXT),
};

static const struct answer_member in_error[] = {
    PLAIN("code", ERROR_CODE),
    PLAIN("type", ERROR_TYPE),
};

static const struct answer_member in_usage[] = {
    AMOUNT("prompt_tokens", input),
    AMOUNT("input_tokens", input),
    AMOUNT("completion_tokens", output),
    AMOUNT("output_tokens", output),
    AMOUNT("total_tokens", total),
    AMOUNT("seconds", audio_seconds),
    INTO("prompt_tokens_details", ENTER, IN_INPUT_DETAILS),
    INTO("input_tokens_details", ENTER, IN_INPUT_DETAILS),
    INTO("input_token_details", ENTER, IN_INPUT_DETAILS),
    INTO("completion_tokens_details", ENTER, IN_OUTPUT_DETAILS),
    INTO("output_tokens_details", ENTER, IN_OUTPUT_DETAILS),
    INTO("output_token_details", ENTER, IN_OUTPUT_DETAILS),
};

static const struct answer_member in_input_details[] = {
    AMOUNT("cached_tokens", cached),
    AMOUNT("audio_tokens", audio_input),
};

static const struct answer_member in_output_details[] = {
    AMOUNT("reasoning_tokens", reasoning),
    AMOUNT("audio_tokens", audio_output),
};

/* Members that are not in a place's table. Numbers beside an event's choices may differ from one to the next; a delta's
 * count as content, since servers add their own (reasoning, audio
 * ...). */
static const struct answer_member no_member = PLAIN("", SKIP);
static const struct answer_member new_number = PLAIN("", NUMBER);
static const struct answer_member new_member = PLAIN("", CONTENT);
/* The elements of the arrays. */
static const struct answer_member an_answer_choice = INTO("", ENTER, IN_ANSWER_CHOICE);
static const struct answer_member a_choice = INTO("", ENTER, IN_CHOICE);
static const struct answer_member a_tool_call = INTO("", ENTER, IN_TOOL_CALL);

static const struct place_entry {
    const struct answer_member *members; /* NULL: an array */
    size_t count;
    const struct answer_member *others; /* any other member, or the elements */
    uint64_t lengths;                   /* bit = a member's name has that length; 0: others matter too */
} places[PLACE_COUNT] = {
#define OBJECT_PLACE(members, others, lengths)                                                                         \
    {                                                                                                                  \
        members, ARRAY_LEN(members), &(others), lengths                                                                \
    }
#define LENGTH(n) (UINT64_C(1) << (n))
    [IN_ANSWER] = OBJECT_PLACE(in_answer, no_member, LENGTH(4) | LENGTH(5) | LENGTH(6) | LENGTH(7) | LENGTH(18)),
    [IN_ANSWER_CHOICES] = {NULL, 0, &an_answer_choice, 0},
    [IN_ANSWER_CHOICE] = OBJECT_PLACE(in_answer_choice, no_member, LENGTH(4) | LENGTH(7) | LENGTH(13)),
    [IN_ROOT] = OBJECT_PLACE(in_root, new_number, 0),
    [IN_CHOICES] = {NULL, 0, &a_choice, 0},
    [IN_CHOICE] = OBJECT_PLACE(in_choice, no_member, LENGTH(4) | LENGTH(5) | LENGTH(7) | LENGTH(13)),
    [IN_DELTA] = OBJECT_PLACE(in_delta, new_member, 0),
    [IN_MESSAGE] = OBJECT_PLACE(in_message, no_member, LENGTH(7) | LENGTH(9) | LENGTH(10) | LENGTH(13) | LENGTH(17)),
    [IN_TOOL_CALLS] = {NULL, 0, &a_tool_call, 0},
    [IN_TOOL_CALL] = OBJECT_PLACE(in_tool_call, new_member, 0),
    [IN_FUNCTION] = OBJECT_PLACE(in_function, no_member, LENGTH(4) | LENGTH(9)),
    [IN_RESPONSE] = OBJECT_PLACE(in_response, no_member, LENGTH(5) | LENGTH(6) | LENGTH(18)),
    [IN_INCOMPLETE] = OBJECT_PLACE(in_incomplete, no_member, LENGTH(6)),
    [IN_ERROR] = OBJECT_PLACE(in_error, no_member, LENGTH(4)),
    [IN_USAGE] = OBJECT_PLACE(in_usage, no_member,
                              LENGTH(7) | LENGTH(12) | LENGTH(13) | LENGTH(17) | LENGTH(19) | LENGTH(20) | LENGTH(21) |
                                  LENGTH(25)),
    [IN_INPUT_DETAILS] = OBJECT_PLACE(in_input_details, no_member, LENGTH(12) | LENGTH(13)),
    [IN_OUTPUT_DETAILS] = OBJECT_PLACE(in_output_details, no_member, LENGTH(12) | LENGTH(16)),
#undef LENGTH
#undef OBJECT_PLACE
};

static enum place current(const struct answer_scan *scan)
{
    return (enum place)scan->place[scan->depth - 1];
}

static void enter(struct answer_scan *scan, enum place place)
{
    scan->place[scan->depth++] = (unsigned char)place;
    if (place == IN_NOTHING)
        json_leave(&scan->json);
}

static const struct answer_member *find_member(enum place in, const struct json *json)
{
    const struct place_entry *place = &places[in];
    const struct answer_member *member = place->members, *end = member + place->count;
    struct span name = json->text;
    if (UNLIKELY(!name.ptr))
        return place->others;
    for (; member < end; member++)
        if (member->name.len == name.len && memcmp(member->name.ptr, name.ptr, name.len) == 0)
            return member;
    return place->others;
}

/* Prepares for the value of a member. */
static void on_key(struct answer_scan *scan)
{
    scan->member = find_member(current(scan), &scan->json);
    switch (scan->member->action) {
    case SKIP:
        json_skip(&scan->json);
        break;
    case TYPE:
    case OBJECT:
    case MODEL:
    case ERROR_CODE:
    case ERROR_TYPE:
    case FINISH:
    case STATUS:
    case REASON:
        json_capture(&scan->json, scan->capture, sizeof(scan->capture));
        break;
    default:
        break;
    }
}

static void add_hole(struct answer_scan *scan, enum answer_hole_kind kind)
{
    struct answer_holes *holes = scan->holes;
    if (!holes)
        return;
    if (holes->count == ANSWER_HOLES_MAX) {
        holes->overflow = true;
        return;
    }
    holes->at[holes->count++] = (struct answer_hole){
        .kind = kind, .start = (unsigned)scan->json.token_start, .end = (unsigned)scan->json.token_end};
}

/* The first text of its kind stays: an upstream that says another one with each event must not fill the arena. */
static void record(struct answer_scan *scan, struct span *fact)
{
    if (!fact->ptr && scan->json.text.len)
        *fact = arena_copy(scan->arena, scan->json.text);
}

unsigned answer_finish_bit(struct span reason)
{
    static const struct {
        struct span word;
        unsigned bit;
    } words[] = {
        {SPAN_INIT("stop"), FINISH_STOP},
        {SPAN_INIT("completed"), FINISH_STOP},
        {SPAN_INIT("length"), FINISH_LENGTH},
        {SPAN_INIT("max_output_tokens"), FINISH_LENGTH},
        {SPAN_INIT("tool_calls"), FINISH_TOOL_CALLS},
        {SPAN_INIT("function_call"), FINISH_TOOL_CALLS},
        {SPAN_INIT("content_filter"), FINISH_CONTENT_FILTER},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (span_equal(words[i].word, reason))
            return words[i].bit;
    }
    return FINISH_OTHER;
}

static void on_text(struct answer_scan *scan)
{
    scan->text = scan->text || scan->json.string_bytes;
    scan->facts->text_bytes += scan->json.string_bytes;
    add_hole(scan, HOLE_TEXT);
}

static void on_type(struct answer_scan *scan)
{
    struct span type = scan->json.text;
    if (type.len)
        memcpy(scan->type, type.ptr, type.len);
    scan->type_len = (unsigned)type.len;
}

static void on_string(struct answer_scan *scan, enum action action)
{
    struct answer_facts *facts = scan->facts;
    struct span text = scan->json.text;
    switch (action) {
    case TEXT:
    case CONTENT:
        on_text(scan);
        break;
    case PADDING:
        add_hole(scan, HOLE_STRING);
        break;
    case TYPE:
        on_type(scan);
        break;
    case OBJECT:
        scan->flat_error = span_equal(text, SPAN("error"));
        break;
    case MODEL:
        record(scan, &facts->model);
        break;
    case ERROR:
        scan->error = scan->error || scan->json.string_bytes;
        break;
    case ERROR_CODE:
        record(scan, &facts->error_code);
        break;
    case ERROR_TYPE:
        record(scan, &facts->error_type);
        break;
    case FINISH:
        if (!scan->json.string_bytes)
            break; /* some servers say "" for null */
        scan->has_finish = true;
        facts->finish |= answer_finish_bit(text);
        break;
    case REASON:
        facts->finish |= answer_finish_bit(text);
        break;
    case STATUS:
        if (span_equal(text, SPAN("completed")))
            facts->finish |= FINISH_STOP;
        break;
    default:
        break;
    }
}

static void on_count(struct answer_scan *scan, const struct answer_member *member)
{
    uint64_t value;
    double real;
    if (!json_number_u64(scan->json.text, &value)) {
        if (!json_number_double(scan->json.text, &real) || !(real >= 0 && real < 1e15))
            return;
        value = (uint64_t)real + 1; /* a begun second counts */
    }
    memcpy((char *)&scan->usage + member->field, &value, sizeof(value));
    scan->usage.reported = scan->usage.reported || current(scan) == IN_USAGE;
}

/* A number that differs only in its digits can be passed over by looking at digits alone. */
static void add_number_hole(struct answer_scan *scan, enum answer_hole_kind kind)
{
    uint64_t value;
    if (span_to_u64(scan->json.text, &value)) {
        if (kind == HOLE_SEQUENCE) {
            scan->facts->has_sequence = true;
            scan->facts->sequence = value;
        }
        add_hole(scan, kind);
    }
}

static void on_number(struct answer_scan *scan, const struct answer_member *member)
{
    switch (member->action) {
    case COUNT:
        on_count(scan, member);
        break;
    case SEQUENCE:
        add_number_hole(scan, HOLE_SEQUENCE);
        break;
    case NUMBER:
        add_number_hole(scan, HOLE_NUMBER);
        break;
    case ERROR:
        scan->error = scan->error || !span_equal(scan->json.text, SPAN("0"));
        break;
    case ERROR_CODE:
        record(scan, &scan->facts->error_code);
        break;
    default:
        break;
    }
}

static void on_open(struct answer_scan *scan, const struct answer_member *member, bool array)
{
    enum place place = member->place;
    bool fits = place != IN_NOTHING && array == !places[place].members;
    if (member->action == ERROR)
        scan->error = true;
    if (member->action == USAGE && fits) {
        scan->has_usage = true;
        scan->usage = (struct usage){0};
    }
    if (member->action == CHOICES && fits)
        scan->has_choices = scan->choices_empty = true;
    scan->maybe_content = member->action == CONTENT;
    scan->skipped_from = scan->json.token_start;
    enter(scan, fits ? place : IN_NOTHING);
}

static void on_close(struct answer_scan *scan)
{
    enum place place = current(scan);
    scan->depth--;
    if (place == IN_NOTHING && scan->maybe_content && scan->json.token_end - scan->skipped_from > 2)
        scan->other_content = true;
    if (place == IN_USAGE && scan->usage.reported) {
        if (!scan->usage.total)
            scan->usage.total = scan->usage.input + scan->usage.output;
        scan->facts->usage = scan->usage;
    }
}

static void on_value(struct answer_scan *scan, enum json_event event)
{
    const struct answer_member *member = scan->member;
    if (scan->depth == 0) {
        scan->is_object = event == JSON_OBJECT_OPEN;
        if (event == JSON_OBJECT_OPEN || event == JSON_ARRAY_OPEN)
            enter(scan, !scan->is_object ? IN_NOTHING : scan->holes ? IN_ROOT : IN_ANSWER);
        return;
    }
    if (!places[current(scan)].members) {
        member = places[current(scan)].others;
        scan->choices_empty = scan->choices_empty && member != &a_choice;
    }
    if (event == JSON_OBJECT_OPEN || event == JSON_ARRAY_OPEN)
        on_open(scan, member, event == JSON_ARRAY_OPEN);
    else if (event == JSON_STRING)
        on_string(scan, member->action);
    else if (event == JSON_NUMBER)
        on_number(scan, member);
    else if (event == JSON_TRUE && member->action == ERROR)
        scan->error = true;
}

void answer_scan_init(struct answer_scan *scan, struct answer_facts *facts, struct arena *arena,
                      struct answer_holes *holes)
{
    memset(scan, 0, offsetof(struct answer_scan, json));
    scan->facts = facts;
    scan->arena = arena;
    scan->holes = holes;
    json_init(&scan->json, ANSWER_DEPTH);
}

enum json_event answer_scan_feed(struct answer_scan *scan, struct span piece, bool last)
{
    for (;;) {
        enum json_event event = json_next(&scan->json, &piece, last);
        switch (event) {
        case JSON_MORE:
        case JSON_DONE:
        case JSON_BAD:
            return event;
        case JSON_KEY:
            on_key(scan);
            continue;
        case JSON_OBJECT_CLOSE:
        case JSON_ARRAY_CLOSE:
            on_close(scan);
            break;
        case JSON_SKIPPED:
            break;
        default:
            on_value(scan, event);
            break;
        }
        if (scan->depth && places[current(scan)].lengths)
            json_seek(&scan->json, places[current(scan)].lengths);
    }
}
