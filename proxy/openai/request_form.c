/* SPDX-License-Identifier: Apache-2.0 */
/* The multipart half of the request inspector, and the refusals both halves share. */
#include "openai/request_parts.h"

enum fault request_refuse(struct request_reader *reader, enum fault fault, struct span param, struct span message)
{
    reader->fault = fault;
    reader->param = param;
    reader->message = message;
    return fault;
}

enum fault request_refuse_type(struct request_reader *reader, struct span name, const char *what)
{
    return request_refuse(reader, FAULT_BAD_PARAMETER, name,
                          arena_format(reader->arena, "'%.*s' must be %s", SPAN_ARG(name), what));
}

enum fault request_refuse_duplicate(struct request_reader *reader, const char *what, struct span name)
{
    struct span shown = arena_copy(reader->arena, name);
    return request_refuse(reader, FAULT_BAD_PARAMETER, shown,
                          arena_format(reader->arena, "duplicate %s '%.*s'", what, SPAN_ARG(shown)));
}

enum fault request_model_name(struct request_reader *reader, struct span name)
{
    struct span param = SPAN("model");
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == 0x7F)
            return request_refuse(reader, FAULT_BAD_PARAMETER, param,
                                  SPAN("'model' must not contain control characters"));
    reader->info->has_model = name.len > 0;
    reader->info->model = arena_copy(reader->arena, name);
    return FAULT_NONE;
}

/* The form fields that are read, and how many bytes they may have. */
enum form { FORM_MODEL, FORM_STREAM, FORM_RESPONSE_FORMAT, FORM_NONE };

static const struct form_field {
    struct span name;
    size_t limit;
} form_fields[] = {
    [FORM_MODEL] = {SPAN_INIT("model"), REQUEST_MODEL_LIMIT},
    [FORM_STREAM] = {SPAN_INIT("stream"), REQUEST_FIELD_LIMIT},
    [FORM_RESPONSE_FORMAT] = {SPAN_INIT("response_format"), REQUEST_FIELD_LIMIT},
};
_Static_assert(ARRAY_LEN(form_fields) == FORM_NONE, "a row for each field");

static enum fault part_started(struct request_reader *reader)
{
    struct multipart *m = reader->multipart;
    struct span name = span_of(m->name, m->name_len);
    unsigned field = 0;
    if (++reader->info->part_count > REQUEST_MEMBERS_LIMIT)
        return request_refuse(reader, FAULT_BAD_PARAMETER, SPAN(""), SPAN("the body has too many parts"));
    while (field < FORM_NONE && !span_equal(form_fields[field].name, name))
        field++;
    reader->known = (unsigned char)field;
    if (field == FORM_NONE)
        return FAULT_NONE;
    if (reader->seen >> field & 1)
        return request_refuse_duplicate(reader, "form field", name);
    reader->seen |= UINT32_C(1) << field;
    if (m->is_file || m->encoded)
        return request_refuse_type(reader, form_fields[field].name, "a plain text field");
    reader->capture_limit = form_fields[field].limit;
    reader->capture = arena_bytes(reader->arena, reader->capture_limit);
    reader->capture_len = 0;
    return FAULT_NONE;
}

static enum fault part_data(struct request_reader *reader)
{
    struct span data = reader->multipart->data;
    if (reader->known == FORM_NONE)
        return FAULT_NONE;
    if (data.len > reader->capture_limit - reader->capture_len) {
        struct span name = form_fields[reader->known].name;
        return request_refuse(reader, FAULT_BAD_PARAMETER, name,
                              arena_format(reader->arena, "'%.*s' is too long", SPAN_ARG(name)));
    }
    memcpy(reader->capture + reader->capture_len, data.ptr, data.len);
    reader->capture_len += data.len;
    return FAULT_NONE;
}

static enum fault part_ended(struct request_reader *reader)
{
    struct request_info *info = reader->info;
    struct span value = span_of(reader->capture, reader->capture_len);
    switch (reader->known) {
    case FORM_MODEL:
        info->model_start = reader->multipart->value_start;
        info->model_end = reader->multipart->value_end;
        return request_model_name(reader, value);
    case FORM_STREAM:
        info->stream = span_equal_nocase(value, SPAN("true")) || span_equal(value, SPAN("1"));
        if (!info->stream && !span_equal_nocase(value, SPAN("false")) && !span_equal(value, SPAN("0")))
            return request_refuse_type(reader, form_fields[FORM_STREAM].name, "true or false");
        break;
    case FORM_RESPONSE_FORMAT:
        info->response_format = value;
        break;
    default:
        break;
    }
    return FAULT_NONE;
}

static enum fault handle_part(struct request_reader *reader, enum multipart_event event)
{
    switch (event) {
    case MULTIPART_PART:
        return part_started(reader);
    case MULTIPART_DATA:
        return part_data(reader);
    case MULTIPART_END:
        return part_ended(reader);
    default:
        return request_refuse(reader, FAULT_MALFORMED_BODY, SPAN(""),
                              arena_format(reader->arena, "invalid multipart body at byte %zu: %s",
                                           reader->multipart->bad_at, reader->multipart->reason));
    }
}

enum fault request_read_form(struct request_reader *reader, struct span bytes, bool last)
{
    if (!reader->multipart)
        return request_refuse(reader, FAULT_MALFORMED_BODY, SPAN(""),
                              SPAN("Content-Type has no valid multipart boundary"));
    for (;;) {
        enum multipart_event event = multipart_next(reader->multipart, &bytes, last);
        if (event == MULTIPART_MORE || event == MULTIPART_DONE)
            return FAULT_NONE;
        if (handle_part(reader, event) != FAULT_NONE)
            return reader->fault;
    }
}
