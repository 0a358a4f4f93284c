/* SPDX-License-Identifier: Apache-2.0 */
/* The Responses API (https://platform.openai.com/docs/api-reference/responses, .../responses-streaming). */
#include "openai/mock_script.h"

struct response_plan {
    struct mock_text text; /* what is said, or a tool's arguments */
    struct span tool;      /* name of the tool called, or empty */
    uint64_t input;
    struct span item;              /* name of the output item: msg_... or fc_... */
    struct span call;              /* call_... */
    struct span settings;          /* the members that repeat the request */
    const char *status, *terminal; /* of the finished response, and its event */
};

/* JSON without the space between its tokens: a line end in it would end the data line of an event. */
static void put_compact(struct buffer *out, struct span json)
{
    bool inside = false;
    size_t start = 0;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        if (inside && c == '\\') {
            i++;
        } else if (c == '"') {
            inside = !inside;
        } else if (!inside && (c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
            buffer_append(out, span_of(json.ptr + start, i - start));
            start = i + 1;
        }
    }
    buffer_append(out, span_skip(json, start));
}

/* Members of a response that repeat what was asked, with OpenAI's defaults. */
static void put_settings(struct mock_script *s, struct buffer *out)
{
    const struct {
        const char *name, *otherwise;
        struct json_value asked;
    } settings[] = {
        {"instructions", "null", s->ask.instructions},
        {"max_output_tokens", "null", s->ask.max_output_tokens},
        {"metadata", "{}", s->ask.metadata},
        {"parallel_tool_calls", "true", s->ask.parallel_tool_calls},
        {"previous_response_id", "null", s->ask.previous_response_id},
        {"store", "true", s->ask.store},
        {"temperature", "1.0", s->ask.temperature},
        {"text", "{\"format\":{\"type\":\"text\"},\"verbosity\":\"medium\"}", s->ask.text},
        {"tool_choice", "\"auto\"", s->ask.tool_choice},
        {"tools", "[]", s->ask.tools},
        {"top_p", "1.0", s->ask.top_p},
        {"user", "null", s->ask.user},
    };
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        buffer_format(out, ",\"%s\":", settings[i].name);
        bool asked = settings[i].asked.kind != JSON_MORE;
        put_compact(out, asked ? settings[i].asked.raw : span_str(settings[i].otherwise));
    }
}

enum phase { BEGUN, FINISHED };

static void put_part(struct buffer *out, struct span text)
{
    MOCK_PUT(out, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":");
    mock_put_string(out, text);
    MOCK_PUT(out, "}");
}

static void put_item(struct buffer *out, const struct response_plan *plan, enum phase phase)
{
    const char *status = phase == FINISHED ? plan->status : "in_progress";
    struct span text = phase == FINISHED ? plan->text.text : SPAN("");
    buffer_format(out, "{\"id\":\"%.*s\",\"status\":\"%s\",", SPAN_ARG(plan->item), status);
    if (plan->tool.len) {
        buffer_format(out, "\"type\":\"function_call\",\"call_id\":\"%.*s\",\"name\":", SPAN_ARG(plan->call));
        mock_put_string(out, plan->tool);
        MOCK_PUT(out, ",\"arguments\":");
        mock_put_string(out, text);
    } else {
        MOCK_PUT(out, "\"type\":\"message\",\"role\":\"assistant\",\"content\":[");
        if (phase == FINISHED)
            put_part(out, text);
        MOCK_PUT(out, "]");
    }
    MOCK_PUT(out, "}");
}

static void put_usage(struct buffer *out, const struct response_plan *plan)
{
    buffer_format(out,
                  "{\"input_tokens\":%llu,\"input_tokens_details\":{\"cached_tokens\":0,\"cache_write_tokens\":0},"
                  "\"output_tokens\":%llu,"
                  "\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%llu}",
                  (unsigned long long)plan->input, (unsigned long long)plan->text.tokens,
                  (unsigned long long)plan->input + plan->text.tokens);
}

static void put_response(struct mock_script *s, struct buffer *out, const struct response_plan *plan, enum phase phase)
{
    bool finished = phase == FINISHED;
    buffer_format(out,
                  "{\"id\":\"resp_%016llx\",\"object\":\"response\",\"created_at\":%llu,\"status\":\"%s\",\"model\":",
                  (unsigned long long)s->id, (unsigned long long)s->created, finished ? plan->status : "in_progress");
    mock_put_string(out, s->model);
    MOCK_PUT(out, ",\"background\":false,\"error\":null,\"incomplete_details\":");
    buffer_append(out, finished && plan->text.shortened ? SPAN("{\"reason\":\"max_output_tokens\"}") : SPAN("null"));
    MOCK_PUT(out, ",\"output\":[");
    if (finished)
        put_item(out, plan, FINISHED);
    MOCK_PUT(out,
             "],\"max_tool_calls\":null,\"reasoning\":{\"effort\":null,\"summary\":null},\"service_tier\":\"default\","
             "\"top_logprobs\":0,\"truncation\":\"disabled\"");
    buffer_append(out, plan->settings);
    MOCK_PUT(out, ",\"usage\":");
    if (finished)
        put_usage(out, plan);
    else
        MOCK_PUT(out, "null");
    MOCK_PUT(out, "}");
}

static void begin_event(struct buffer *out, const char *type, unsigned number)
{
    buffer_format(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u", type, type, number);
}

static void response_event(struct mock_script *s, struct buffer *out, const char *type, unsigned number,
                           enum phase phase)
{
    begin_event(out, type, number);
    MOCK_PUT(out, ",\"response\":");
    put_response(s, out, s->plan, phase);
    MOCK_PUT(out, "}\n\n");
}

static void item_event(struct mock_script *s, struct buffer *out, const char *type, unsigned number, enum phase phase)
{
    begin_event(out, type, number);
    MOCK_PUT(out, ",\"output_index\":0,\"item\":");
    put_item(out, s->plan, phase);
    MOCK_PUT(out, "}\n\n");
}

/* Events inside an item: `member` is delta, text, arguments or part. */
static void inner_event(const struct response_plan *plan, struct buffer *out, const char *type, unsigned number,
                        const char *member, struct span text)
{
    begin_event(out, type, number);
    buffer_format(out, ",\"item_id\":\"%.*s\",\"output_index\":0", SPAN_ARG(plan->item));
    if (!plan->tool.len)
        MOCK_PUT(out, ",\"content_index\":0");
    buffer_format(out, ",\"%s\":", member);
    if (strcmp(member, "part") == 0)
        put_part(out, text);
    else
        mock_put_string(out, text);
    if (!plan->tool.len && strcmp(member, "part") != 0)
        MOCK_PUT(out, ",\"logprobs\":[]");
    else if (plan->tool.len && strcmp(member, "arguments") == 0) {
        MOCK_PUT(out, ",\"name\":");
        mock_put_string(out, plan->tool);
    }
    MOCK_PUT(out, "}\n\n");
}

/* created, in_progress, item added[, part added], deltas, text or arguments done[, part done], item done, completed. */
static void write_event(struct mock_script *s, unsigned index, struct buffer *out)
{
    const struct response_plan *plan = s->plan;
    bool tool = plan->tool.len > 0;
    unsigned deltas = tool ? 3 : 4, after = deltas + plan->text.pieces, last = s->events - 1;
    if (index >= deltas && index < after)
        s->said += mock_characters(mock_text_piece(&plan->text, index - deltas));
    s->reported = index == last;
    if (index == 0)
        response_event(s, out, "response.created", index, BEGUN);
    else if (index == 1)
        response_event(s, out, "response.in_progress", index, BEGUN);
    else if (index == 2)
        item_event(s, out, "response.output_item.added", index, BEGUN);
    else if (index < deltas)
        inner_event(plan, out, "response.content_part.added", index, "part", SPAN(""));
    else if (index < after)
        inner_event(plan, out, tool ? "response.function_call_arguments.delta" : "response.output_text.delta", index,
                    "delta", mock_text_piece(&plan->text, index - deltas));
    else if (index == after)
        inner_event(plan, out, tool ? "response.function_call_arguments.done" : "response.output_text.done", index,
                    tool ? "arguments" : "text", plan->text.text);
    else if (index < last - 1)
        inner_event(plan, out, "response.content_part.done", index, "part", plan->text.text);
    else if (index == last - 1)
        item_event(s, out, "response.output_item.done", index, FINISHED);
    else
        response_event(s, out, plan->terminal, index, FINISHED);
}

static struct span arguments_for(struct mock_script *s, const struct mock_tool *tool)
{
    struct buffer b = {0};
    mock_schema_write(s, tool->schema, tool->schema, &b);
    struct span text = arena_copy(s->arena, buffer_span(&b));
    buffer_finish(&b);
    return text;
}

static struct response_plan *plan_response(struct mock_script *s, const struct mock_talk *talk)
{
    struct response_plan *plan = ARENA_NEW(s->arena, struct response_plan);
    struct json_value format = {0};
    struct mock_tool tool;
    struct buffer settings = {0};
    mock_tool_choose(s, talk, &tool);
    if (!json_value_member(s->ask.text, SPAN("format"), &format))
        format.kind = JSON_MORE;
    struct span said = mock_sentence(s, talk), text = mock_formatted(s, format, said);
    bool prose = !text.len && !tool.name.len;
    text = tool.name.len ? arguments_for(s, &tool) : prose ? said : text;
    mock_text_make(s, text, mock_ask_max_tokens(&s->ask), prose, &plan->text);
    put_settings(s, &settings);
    plan->settings = arena_copy(s->arena, buffer_span(&settings));
    buffer_finish(&settings);
    plan->tool = tool.name;
    plan->input = mock_tokens(talk->characters + mock_characters(mock_ask_text(s, s->ask.instructions)));
    plan->item = arena_format(s->arena, "%s_%016llx", tool.name.len ? "fc" : "msg", (unsigned long long)s->id);
    plan->call = arena_format(s->arena, "call_%016llx", (unsigned long long)s->id);
    plan->status = plan->text.shortened ? "incomplete" : "completed";
    plan->terminal = plan->text.shortened ? "response.incomplete" : "response.completed";
    return plan;
}

void mock_responses(struct mock_script *s)
{
    struct mock_talk talk;
    if (s->ask.input.kind != JSON_STRING && s->ask.input.kind != JSON_ARRAY_OPEN) {
        mock_refuse(s, 400, "input", "missing_required_parameter", "Missing required parameter: 'input'.");
        return;
    }
    mock_talk_read(s, s->ask.input, &talk);
    struct response_plan *plan = plan_response(s, &talk);
    s->plan = plan;
    mock_count(s, plan->input, plan->text.tokens);
    unsigned around = plan->tool.len ? 6 : 8;
    if (s->ask.stream.kind == JSON_TRUE)
        mock_stream(s, write_event, around + plan->text.pieces, around / 2 + plan->text.pieces);
    else
        put_response(s, &s->body, plan, FINISHED);
}

void mock_response_tokens(struct mock_script *s)
{
    struct mock_talk talk;
    mock_talk_read(s, s->ask.input, &talk);
    uint64_t tokens = mock_tokens(talk.characters + mock_characters(mock_ask_text(s, s->ask.instructions)));
    buffer_format(&s->body, "{\"object\":\"response.input_tokens\",\"input_tokens\":%llu}", (unsigned long long)tokens);
}
