/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/request_size.h"

#define TYPE_LIMIT 16 /* no type of a part that is counted is longer */

/* Of a string, by the name before it. */
enum role { ROLE_ELEMENT, ROLE_TEXT, ROLE_TYPE, ROLE_LABEL, ROLE_MEDIA };

struct measuring {
    struct json json;
    struct request_size *size;
    enum role role;  /* of the string to come */
    bool list;       /* the member is an array whose elements are counted */
    bool may_be_ids; /* its numbers are token ids */
    char type[TYPE_LIMIT];
};

static enum role role_of(struct span name)
{
    static const struct {
        struct span name;
        enum role role;
    } roles[] = {
        {SPAN_INIT("type"), ROLE_TYPE},          {SPAN_INIT("role"), ROLE_LABEL},
        {SPAN_INIT("id"), ROLE_LABEL},           {SPAN_INIT("url"), ROLE_MEDIA},
        {SPAN_INIT("data"), ROLE_MEDIA},         {SPAN_INIT("detail"), ROLE_LABEL},
        {SPAN_INIT("status"), ROLE_LABEL},       {SPAN_INIT("format"), ROLE_LABEL},
        {SPAN_INIT("call_id"), ROLE_LABEL},      {SPAN_INIT("file_id"), ROLE_LABEL},
        {SPAN_INIT("b64_json"), ROLE_MEDIA},     {SPAN_INIT("file_url"), ROLE_MEDIA},
        {SPAN_INIT("file_data"), ROLE_MEDIA},    {SPAN_INIT("image_url"), ROLE_MEDIA},
        {SPAN_INIT("tool_call_id"), ROLE_LABEL}, {SPAN_INIT("encrypted_content"), ROLE_MEDIA},
    };
    if (name.len == 4 && memcmp(name.ptr, "text", 4) == 0)
        return ROLE_TEXT;
    if (name.len == 7 && memcmp(name.ptr, "content", 7) == 0)
        return ROLE_TEXT;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (span_equal(roles[i].name, name))
            return roles[i].role;
    return ROLE_TEXT;
}

static void part_type(struct request_size *size, struct span type)
{
    if (span_equal(type, SPAN("image_url")) || span_equal(type, SPAN("input_image")))
        size->image_parts++;
    else if (span_equal(type, SPAN("input_audio")))
        size->audio_parts++;
    else if (span_equal(type, SPAN("file")) || span_equal(type, SPAN("input_file")))
        size->file_parts++;
}

static void on_key(struct measuring *m)
{
    m->role = m->json.text.ptr ? role_of(m->json.text) : ROLE_TEXT;
    if (m->role == ROLE_TYPE)
        json_capture(&m->json, m->type, sizeof(m->type));
}

static void on_string(struct measuring *m)
{
    m->size->items += m->list && m->json.depth == 1;
    if (m->role == ROLE_MEDIA)
        m->size->media_bytes += m->json.string_bytes;
    else if (m->role == ROLE_TYPE)
        part_type(m->size, m->json.text);
    else if (m->role != ROLE_LABEL)
        m->size->text_bytes += m->json.string_bytes;
}

/* A list of numbers is one text, given as token ids. */
static void on_number(struct measuring *m)
{
    if (m->may_be_ids && m->role == ROLE_ELEMENT)
        m->size->items += m->size->token_ids++ == 0 && m->json.depth == 1;
}

static void on_event(struct measuring *m, enum json_event event)
{
    switch (event) {
    case JSON_KEY:
        on_key(m);
        break;
    case JSON_STRING:
        on_string(m);
        break;
    case JSON_NUMBER:
        on_number(m);
        break;
    case JSON_OBJECT_OPEN:
    case JSON_ARRAY_OPEN:
        m->size->items += m->list && m->json.depth == 2;
        m->role = event == JSON_ARRAY_OPEN ? ROLE_ELEMENT : ROLE_TEXT;
        break;
    case JSON_OBJECT_CLOSE:
    case JSON_ARRAY_CLOSE:
        m->role = ROLE_ELEMENT; /* an object's next string comes after a name anyway */
        break;
    default:
        break;
    }
}

/* A member of texts. `items`: its elements are counted, or itself if it is a string. */
static void measure_text(const struct request_member *member, struct span value, bool items, bool may_be_ids,
                         struct request_size *size)
{
    struct measuring m;
    m.size = size;
    m.role = ROLE_TEXT;
    m.list = items && member->kind == JSON_ARRAY_OPEN;
    m.may_be_ids = m.list && may_be_ids;
    size->items += items && member->kind == JSON_STRING;
    json_init(&m.json, REQUEST_DEPTH_LIMIT);
    for (;;) {
        enum json_event event = json_next(&m.json, &value, true);
        if (event == JSON_DONE || event == JSON_BAD || event == JSON_MORE)
            return;
        on_event(&m, event);
    }
}

void request_measure(const struct request_info *info, struct span body, struct request_size *ret)
{
    *ret = (struct request_size){0};
    for (size_t i = 0; i < info->member_count; i++) {
        const struct request_member *member = &info->members[i];
        struct span value = span_take(span_skip(body, member->value_start), member->value_end - member->value_start);
        if (span_equal(member->name, SPAN("messages")))
            measure_text(member, value, true, false, ret);
        else if (span_equal(member->name, SPAN("input")) || span_equal(member->name, SPAN("prompt")))
            measure_text(member, value, true, true, ret);
        else if (span_equal(member->name, SPAN("instructions")))
            measure_text(member, value, false, false, ret);
        else if (span_equal(member->name, SPAN("tools")) || span_equal(member->name, SPAN("functions")))
            ret->tools_bytes += value.len;
    }
}
