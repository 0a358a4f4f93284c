/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/request_parts.h"

#include "base/json_value.h"
#include "base/table.h"

/*
 * The top-level members that are read, by rising length of their names (length_start below depends on it):
 * id, name, what is done with the value, where it goes.
 */
#define KNOWN_LIST(X)                                                                                                  \
    X(N, "n", COUNT, n)                                                                                                \
    X(USER, "user", GIVEN, user)                                                                                       \
    X(MODEL, "model", MODEL, model)                                                                                    \
    X(STORE, "store", TRI, store)                                                                                      \
    X(STREAM, "stream", FLAG, stream)                                                                                  \
    X(BACKGROUND, "background", TRI, background)                                                                       \
    X(DIMENSIONS, "dimensions", COUNT, dimensions)                                                                     \
    X(MAX_TOKENS, "max_tokens", COUNT, max_tokens)                                                                     \
    X(TEMPERATURE, "temperature", NUMBER, temperature)                                                                 \
    X(CONVERSATION, "conversation", GIVEN, conversation)                                                               \
    X(STREAM_OPTIONS, "stream_options", OPTIONS, stream_options)                                                       \
    X(MAX_OUTPUT_TOKENS, "max_output_tokens", COUNT, max_output_tokens)                                                \
    X(PREVIOUS_RESPONSE_ID, "previous_response_id", GIVEN, previous_response_id)                                       \
    X(MAX_COMPLETION_TOKENS, "max_completion_tokens", COUNT, max_completion_tokens)

enum known {
#define X(id, name, reading, place) KNOWN_##id,
    KNOWN_LIST(X)
#undef X
        KNOWN_COUNT
};
_Static_assert(KNOWN_COUNT <= 32, "request_reader.seen has a bit for each");

/* How a value is read. FLAG, MODEL and OPTIONS refuse a wrong type; the others leave that to the upstream. */
enum reading {
    READ_COUNT, /* struct request_count */
    READ_GIVEN, /* bool: there and not null */
    READ_MODEL,
    READ_TRI,    /* enum tri */
    READ_FLAG,   /* bool */
    READ_NUMBER, /* temperature */
    READ_OPTIONS,
    READ_NOTHING /* not known */
};

static const struct known_member {
    struct span name;
    enum reading reading;
    size_t place; /* in struct request_info */
} known_members[KNOWN_COUNT + 1] = {
#define X(id, name, reading, place) {SPAN_INIT(name), READ_##reading, offsetof(struct request_info, place)},
    KNOWN_LIST(X)
#undef X
        {{NULL, 0}, READ_NOTHING, 0}, /* KNOWN_COUNT stands for every other name */
};

/* The first known member whose name has at least that length. */
#define NAME_LENGTH_MAX 21
static const unsigned char length_start[NAME_LENGTH_MAX + 1] = {
    KNOWN_N,
    KNOWN_N,
    KNOWN_USER,
    KNOWN_USER,
    KNOWN_USER,
    KNOWN_MODEL,
    KNOWN_STREAM,
    KNOWN_BACKGROUND,
    KNOWN_BACKGROUND,
    KNOWN_BACKGROUND,
    KNOWN_BACKGROUND,
    KNOWN_TEMPERATURE,
    KNOWN_CONVERSATION,
    KNOWN_STREAM_OPTIONS,
    KNOWN_STREAM_OPTIONS,
    KNOWN_MAX_OUTPUT_TOKENS,
    KNOWN_MAX_OUTPUT_TOKENS,
    KNOWN_MAX_OUTPUT_TOKENS,
    KNOWN_PREVIOUS_RESPONSE_ID,
    KNOWN_PREVIOUS_RESPONSE_ID,
    KNOWN_PREVIOUS_RESPONSE_ID,
    KNOWN_MAX_COMPLETION_TOKENS,
};

enum section { SECTION_START, SECTION_MEMBERS, SECTION_OPTIONS, SECTION_PASS, SECTION_END };

#define MEMBERS_USUAL 12 /* room at first: with it the list lies in the arena's first block */
#define NAMES_SCANNED 32 /* so many unknown names are compared one by one, more by hash */
#define OPTIONS_LIMIT 16 /* members of stream_options */

static enum known known_name(struct span name)
{
    if (name.len > NAME_LENGTH_MAX)
        return KNOWN_COUNT;
    unsigned i = length_start[name.len];
    while (known_members[i].name.len == name.len &&
           (known_members[i].name.ptr[0] != name.ptr[0] || memcmp(known_members[i].name.ptr, name.ptr, name.len) != 0))
        i++;
    return known_members[i].name.len == name.len && name.len ? (enum known)i : KNOWN_COUNT;
}

static void *place_of(struct request_reader *reader)
{
    return (char *)reader->info + known_members[reader->known].place;
}

static struct request_member *member_now(struct request_reader *reader)
{
    return &reader->members[reader->info->member_count - 1];
}

/* --- top-level members --- */

static void names_finish(void *names)
{
    table_finish(names);
}

/* Whether an unknown name was there before. Many names are kept by hash, so that hostile ones cost no more than their
 * bytes. */
static bool name_repeats(struct request_reader *reader, struct span name)
{
    size_t count = reader->info->member_count;
    if (!reader->names) {
        for (size_t i = 0; i < count; i++)
            if (span_equal(reader->members[i].name, name))
                return true;
        if (count < NAMES_SCANNED)
            return false;
        reader->names = ARENA_NEW(reader->arena, struct table);
        table_init(reader->names);
        arena_defer(reader->arena, ARENA_NEW(reader->arena, struct arena_cleanup), names_finish, reader->names);
        for (size_t i = 0; i < count; i++)
            (void)table_put(reader->names, reader->members[i].name, reader);
    }
    return table_get(reader->names, name) != NULL;
}

static void member_add(struct request_reader *reader, struct span name)
{
    size_t count = reader->info->member_count;
    if (count == reader->member_cap) {
        size_t cap = count ? count * 2 : MEMBERS_USUAL;
        struct request_member *grown = arena_alloc(reader->arena, cap * sizeof(*grown));
        if (count)
            memcpy(grown, reader->members, count * sizeof(*grown));
        reader->members = grown;
        reader->member_cap = cap;
        reader->info->members = grown;
    }
    reader->members[count] = (struct request_member){
        .name = name, .name_start = reader->json.token_start, .name_end = reader->json.token_end, .kind = JSON_MORE};
    reader->info->member_count = count + 1;
    if (reader->names)
        (void)table_put(reader->names, name, reader);
}

/* A name was read: is it new, and does its value need a look? */
static enum fault member_started(struct request_reader *reader)
{
    struct json *json = &reader->json;
    struct span name = json->text;
    if (json->text_long)
        return request_refuse(reader, FAULT_BAD_PARAMETER, SPAN(""),
                              SPAN("the name of a top-level member is too long"));
    enum known known = known_name(name);
    bool repeats = known < KNOWN_COUNT ? reader->seen >> known & 1 : name_repeats(reader, name);
    if (repeats)
        return request_refuse_duplicate(reader, "member", name);
    if (reader->info->member_count == REQUEST_MEMBERS_LIMIT)
        return request_refuse(reader, FAULT_BAD_PARAMETER, SPAN(""), SPAN("the body has too many top-level members"));
    reader->known = (unsigned char)known;
    if (known < KNOWN_COUNT) {
        reader->seen |= UINT32_C(1) << known;
        name = known_members[known].name;
    } else {
        name = arena_copy(reader->arena, name);
    }
    member_add(reader, name);
    switch (known_members[known].reading) {
    case READ_NOTHING:
    case READ_GIVEN:
        json_skip(json);
        break;
    case READ_MODEL:
        reader->capture = arena_bytes(reader->arena, REQUEST_MODEL_LIMIT);
        json_capture(json, reader->capture, REQUEST_MODEL_LIMIT);
        break;
    default:
        break;
    }
    return FAULT_NONE;
}

static enum fault model_value(struct request_reader *reader, enum json_event kind)
{
    struct request_member *member = member_now(reader);
    reader->info->model_start = member->value_start;
    reader->info->model_end = member->value_end;
    if (kind == JSON_NULL)
        return FAULT_NONE;
    if (kind != JSON_STRING)
        return request_refuse_type(reader, member->name, "a string");
    if (reader->json.text_long)
        return request_refuse(reader, FAULT_BAD_PARAMETER, member->name, SPAN("'model' is too long"));
    return request_model_name(reader, reader->json.text);
}

static void number_value(struct request_reader *reader, enum json_event kind)
{
    struct request_info *info = reader->info;
    if (kind != JSON_NUMBER || !json_number_double(reader->json.text, &info->temperature))
        return;
    info->has_temperature = true;
    info->temperature_raw = arena_copy(reader->arena, reader->json.text);
}

/* A top-level value is complete; `kind` is what it was. */
static enum fault member_ended(struct request_reader *reader, enum json_event kind)
{
    struct request_member *member = member_now(reader);
    struct json *json = &reader->json;
    bool boolean = kind == JSON_TRUE || kind == JSON_FALSE;
    if (kind != JSON_OBJECT_OPEN && kind != JSON_ARRAY_OPEN)
        member->value_start = json->token_start;
    member->value_end = json->token_end;
    member->kind = kind;
    reader->section = SECTION_MEMBERS;
    switch (known_members[reader->known].reading) {
    case READ_COUNT: {
        struct request_count *count = place_of(reader);
        count->present = kind == JSON_NUMBER && json_number_u64(json->text, &count->value);
        break;
    }
    case READ_GIVEN:
        *(bool *)place_of(reader) = kind != JSON_NULL;
        break;
    case READ_MODEL:
        return model_value(reader, kind);
    case READ_TRI:
        *(enum tri *)place_of(reader) = boolean ? (kind == JSON_TRUE ? TRI_TRUE : TRI_FALSE) : TRI_ABSENT;
        break;
    case READ_FLAG:
        if (!boolean && kind != JSON_NULL)
            return request_refuse_type(reader, member->name, "a boolean");
        *(bool *)place_of(reader) = kind == JSON_TRUE;
        break;
    case READ_NUMBER:
        number_value(reader, kind);
        break;
    case READ_OPTIONS:
        if (kind != JSON_OBJECT_OPEN && kind != JSON_NULL)
            return request_refuse_type(reader, member->name, "an object");
        break;
    case READ_NOTHING:
        break;
    }
    return FAULT_NONE;
}

/* A known member's value is a container: whether it is walked or passed over. */
static void container_started(struct request_reader *reader, enum json_event event)
{
    struct request_member *member = member_now(reader);
    enum reading reading = known_members[reader->known].reading;
    member->value_start = reader->json.token_start;
    member->kind = event;
    if (reading == READ_OPTIONS && event == JSON_OBJECT_OPEN) {
        reader->section = SECTION_OPTIONS;
        reader->info->has_stream_options = true;
        reader->info->stream_options.open = reader->json.token_start;
        reader->info->stream_options.empty = true;
    } else {
        reader->section = SECTION_PASS;
        json_leave(&reader->json);
    }
}

static enum fault in_members(struct request_reader *reader, enum json_event event)
{
    switch (event) {
    case JSON_KEY:
        return member_started(reader);
    case JSON_OBJECT_OPEN:
    case JSON_ARRAY_OPEN:
        container_started(reader, event);
        return FAULT_NONE;
    case JSON_OBJECT_CLOSE:
        reader->info->object_close = reader->json.token_start;
        reader->section = SECTION_END;
        return FAULT_NONE;
    case JSON_SKIPPED:
        if (reader->json.kind == JSON_OBJECT_OPEN || reader->json.kind == JSON_ARRAY_OPEN)
            member_now(reader)->value_start = reader->json.token_start;
        return member_ended(reader, reader->json.kind);
    default:
        return member_ended(reader, event);
    }
}

/* --- stream_options --- */

static enum fault option_key(struct request_reader *reader)
{
    struct json *json = &reader->json;
    struct span name = json->text, param = known_members[KNOWN_STREAM_OPTIONS].name;
    if (json->text_long || reader->option_count == OPTIONS_LIMIT)
        return request_refuse(reader, FAULT_BAD_PARAMETER, param,
                              SPAN("'stream_options' has too many or too long members"));
    if (!reader->options)
        reader->options = ARENA_ARRAY(reader->arena, struct span, OPTIONS_LIMIT);
    for (size_t i = 0; i < reader->option_count; i++)
        if (span_equal(reader->options[i], name))
            return request_refuse_duplicate(reader, "member of stream_options:", name);
    reader->options[reader->option_count++] = arena_copy(reader->arena, name);
    reader->info->stream_options.empty = false;
    if (!span_equal(name, SPAN("include_usage")))
        json_skip(json);
    return FAULT_NONE;
}

static enum fault in_options(struct request_reader *reader, enum json_event event)
{
    struct request_info *info = reader->info;
    if (event == JSON_KEY)
        return option_key(reader);
    if (event == JSON_OBJECT_CLOSE)
        return member_ended(reader, JSON_OBJECT_OPEN);
    if (event == JSON_SKIPPED)
        return FAULT_NONE;
    if (event != JSON_TRUE && event != JSON_FALSE && event != JSON_NULL)
        return request_refuse_type(reader, SPAN("stream_options.include_usage"), "a boolean");
    info->include_usage = event == JSON_TRUE ? TRI_TRUE : event == JSON_FALSE ? TRI_FALSE : TRI_ABSENT;
    info->stream_options.usage_start = reader->json.token_start;
    info->stream_options.usage_end = reader->json.token_end;
    return FAULT_NONE;
}

static enum fault handle_json(struct request_reader *reader, enum json_event event)
{
    switch ((enum section)reader->section) {
    case SECTION_START:
        if (event != JSON_OBJECT_OPEN)
            return request_refuse(reader, FAULT_MALFORMED_BODY, SPAN(""), SPAN("the body must be a JSON object"));
        reader->info->object_open = reader->json.token_start;
        reader->section = SECTION_MEMBERS;
        return FAULT_NONE;
    case SECTION_MEMBERS:
        return in_members(reader, event);
    case SECTION_OPTIONS:
        return in_options(reader, event);
    default: /* SECTION_PASS: the close of what was left */
        return member_ended(reader, member_now(reader)->kind);
    }
}

static enum fault read_json(struct request_reader *reader, struct span bytes, bool last)
{
    for (;;) {
        enum json_event event = json_next(&reader->json, &bytes, last);
        if (UNLIKELY(event == JSON_MORE || event == JSON_DONE))
            return FAULT_NONE;
        if (UNLIKELY(event == JSON_BAD)) {
            struct json_error error = json_error(&reader->json);
            return request_refuse(reader, FAULT_MALFORMED_BODY, SPAN(""),
                                  arena_format(reader->arena, "invalid JSON at byte %zu (line %zu, column %zu): %s",
                                               error.offset, error.line, error.column, error.reason));
        }
        if (UNLIKELY(handle_json(reader, event) != FAULT_NONE))
            return reader->fault;
    }
}

/* --- both --- */

void request_init(struct request_reader *reader, enum request_kind kind, struct span boundary, struct arena *arena,
                  struct request_info *info)
{
    *info = (struct request_info){.kind = kind};
    memset(reader, 0, sizeof(*reader));
    reader->arena = arena;
    reader->info = info;
    reader->known = KNOWN_COUNT;
    if (kind == REQUEST_JSON) {
        json_init(&reader->json, REQUEST_DEPTH_LIMIT);
        return;
    }
    struct multipart *m = ARENA_NEW(arena, struct multipart);
    if (!multipart_init(m, boundary))
        return;
    reader->multipart = m;
    info->boundary = arena_copy(arena, boundary);
}

static enum fault read_body(struct request_reader *reader, struct span bytes, bool last)
{
    if (reader->fault != FAULT_NONE)
        return reader->fault;
    return reader->info->kind == REQUEST_JSON ? read_json(reader, bytes, last) : request_read_form(reader, bytes, last);
}

enum fault request_feed(struct request_reader *reader, struct span bytes)
{
    return read_body(reader, bytes, false);
}

enum fault request_finish(struct request_reader *reader)
{
    return read_body(reader, span_of(NULL, 0), true);
}

const struct request_member *request_member(const struct request_info *info, struct span name)
{
    for (size_t i = 0; i < info->member_count; i++)
        if (span_equal(info->members[i].name, name))
            return &info->members[i];
    return NULL;
}
