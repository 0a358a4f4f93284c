/* SPDX-License-Identifier: Apache-2.0 */
/* Chat completions and legacy completions (https://platform.openai.com/docs/api-reference/chat, .../completions). */
#include "openai/mock_script.h"

#define CHOICES_LIMIT 128

/* Azure's annotations: nothing was found (content filter reference, "annotations"). */
#define SAFE                                                                                                           \
    "{\"hate\":{\"filtered\":false,\"severity\":\"safe\"},\"self_harm\":{\"filtered\":false,\"severity\":\"safe\"},"   \
    "\"sexual\":{\"filtered\":false,\"severity\":\"safe\"},\"violence\":{\"filtered\":false,\"severity\":\"safe\"}}"
#define PROMPT_SAFE "\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":" SAFE "}]"

struct chat_plan {
    bool legacy;             /* completions: `text` instead of `message` and `delta`, no role event */
    struct mock_text *texts; /* one per prompt; chat has one */
    unsigned choices;        /* altogether */
    unsigned per_text;       /* n: choices of one prompt follow each other */
    unsigned pieces;         /* of the longest text */
    struct span tool;        /* name of the tool called; its arguments are the text */
    bool azure, include_usage;
    uint64_t input, output; /* tokens */
    struct span head, tail; /* of every event: what stands before and after the choices */
};

static const struct mock_text *text_of(const struct chat_plan *plan, unsigned choice)
{
    return &plan->texts[choice / plan->per_text];
}

static const char *finish_of(const struct chat_plan *plan, unsigned choice)
{
    return text_of(plan, choice)->shortened ? "length" : plan->tool.len ? "tool_calls" : "stop";
}

static void put_usage(struct buffer *out, const struct chat_plan *plan)
{
    buffer_format(out,
                  "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
                  "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
                  (unsigned long long)plan->input, (unsigned long long)plan->output,
                  (unsigned long long)plan->input + plan->output);
}

static void put_call_head(struct mock_script *s, struct buffer *out, const struct chat_plan *plan, unsigned choice)
{
    buffer_format(out, "\"id\":\"call_%016llx%02x\",\"type\":\"function\",\"function\":{\"name\":",
                  (unsigned long long)s->id, choice);
    mock_put_string(out, plan->tool);
    MOCK_PUT(out, ",\"arguments\":");
}

static void put_message(struct mock_script *s, struct buffer *out, const struct chat_plan *plan, unsigned choice)
{
    struct span text = text_of(plan, choice)->text;
    MOCK_PUT(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    if (plan->tool.len)
        MOCK_PUT(out, "null");
    else
        mock_put_string(out, text);
    MOCK_PUT(out, ",\"refusal\":null,\"annotations\":[]");
    if (plan->tool.len) {
        MOCK_PUT(out, ",\"tool_calls\":[{");
        put_call_head(s, out, plan, choice);
        mock_put_string(out, text);
        MOCK_PUT(out, "}}]");
    }
    MOCK_PUT(out, "}");
}

static void write_body(struct mock_script *s, const struct chat_plan *plan)
{
    struct buffer *out = &s->body;
    buffer_append(out, plan->head);
    for (unsigned i = 0; i < plan->choices; i++) {
        buffer_format(out, "%s{\"index\":%u,", i ? "," : "", i);
        if (plan->legacy) {
            MOCK_PUT(out, "\"text\":");
            mock_put_string(out, text_of(plan, i)->text);
        } else {
            put_message(s, out, plan, i);
        }
        buffer_format(out, ",\"logprobs\":null,\"finish_reason\":\"%s\"", finish_of(plan, i));
        if (plan->azure)
            MOCK_PUT(out, ",\"content_filter_results\":" SAFE);
        MOCK_PUT(out, "}");
    }
    MOCK_PUT(out, "],\"usage\":");
    put_usage(out, plan);
    if (plan->azure)
        MOCK_PUT(out, "," PROMPT_SAFE);
    MOCK_PUT(out, "}");
}

/* A piece that goes out, and counts. */
static void put_piece(struct mock_script *s, struct buffer *out, struct span piece)
{
    s->said += mock_characters(piece);
    mock_put_string(out, piece);
}

static void put_delta(struct mock_script *s, struct buffer *out, const struct chat_plan *plan, unsigned choice,
                      unsigned step)
{
    MOCK_PUT(out, "\"delta\":{");
    if (step == 0 && plan->tool.len) {
        MOCK_PUT(out, "\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"index\":0,");
        put_call_head(s, out, plan, choice);
        MOCK_PUT(out, "\"\"}}],\"refusal\":null");
    } else if (step == 0) {
        MOCK_PUT(out, "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
    } else if (step <= plan->pieces) {
        struct span piece = mock_text_piece(text_of(plan, choice), step - 1);
        if (plan->tool.len) {
            MOCK_PUT(out, "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":");
            put_piece(s, out, piece);
            MOCK_PUT(out, "}}]");
        } else {
            MOCK_PUT(out, "\"content\":");
            put_piece(s, out, piece);
        }
    }
    MOCK_PUT(out, "}");
}

/* Step 0 is the role (chat only), then the pieces, then the finish. */
static void put_choice(struct mock_script *s, struct buffer *out, const struct chat_plan *plan, unsigned choice,
                       unsigned step)
{
    bool content = step > 0 && step <= plan->pieces;
    buffer_format(out, "{\"index\":%u,", choice);
    if (plan->legacy) {
        MOCK_PUT(out, "\"text\":");
        put_piece(s, out, content ? mock_text_piece(text_of(plan, choice), step - 1) : SPAN(""));
    } else {
        put_delta(s, out, plan, choice, step);
    }
    MOCK_PUT(out, ",\"logprobs\":null,\"finish_reason\":");
    if (step > plan->pieces)
        buffer_format(out, "\"%s\"", finish_of(plan, choice));
    else
        MOCK_PUT(out, "null");
    if (plan->azure && content)
        MOCK_PUT(out, ",\"content_filter_results\":" SAFE);
    else if (plan->azure)
        MOCK_PUT(out, ",\"content_filter_results\":{}");
    MOCK_PUT(out, "}");
}

/* Azure's first event, content events with the choices taking turns, usage, [DONE]. */
static void write_event(struct mock_script *s, unsigned index, struct buffer *out)
{
    const struct chat_plan *plan = s->plan;
    if (plan->azure && index == 0) {
        MOCK_PUT(out,
                 "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\"," PROMPT_SAFE "}\n\n");
        return;
    }
    if (index == s->events - 1) {
        MOCK_PUT(out, "data: [DONE]\n\n");
        return;
    }
    MOCK_PUT(out, "data: ");
    buffer_append(out, plan->head);
    if (plan->include_usage && index == s->events - 2) {
        MOCK_PUT(out, "],\"usage\":");
        put_usage(out, plan);
        MOCK_PUT(out, "}\n\n");
        s->reported = true;
        return;
    }
    unsigned turn = index - (plan->azure ? 1 : 0);
    put_choice(s, out, plan, turn % plan->choices, turn / plan->choices + (plan->legacy ? 1 : 0));
    buffer_append(out, plan->tail);
}

static void finish_plan(struct mock_script *s, struct chat_plan *plan, bool stream)
{
    struct buffer head = {0};
    const char *object = plan->legacy ? "text_completion" : stream ? "chat.completion.chunk" : "chat.completion";
    buffer_format(&head, "{\"id\":\"%s-%016llx\",\"object\":\"%s\",\"created\":%llu,\"model\":",
                  plan->legacy ? "cmpl" : "chatcmpl", (unsigned long long)s->id, object,
                  (unsigned long long)s->created);
    mock_put_string(&head, s->model);
    if (!plan->legacy && !plan->azure)
        MOCK_PUT(&head, ",\"service_tier\":\"default\"");
    MOCK_PUT(&head, ",\"system_fingerprint\":\"fp_mock\",\"choices\":[");
    plan->head = arena_copy(s->arena, buffer_span(&head));
    buffer_finish(&head);
    plan->tail = plan->include_usage ? SPAN("],\"usage\":null}\n\n") : SPAN("]}\n\n");
    for (unsigned i = 0; i < plan->choices; i++) {
        plan->output += text_of(plan, i)->tokens;
        plan->pieces = text_of(plan, i)->pieces > plan->pieces ? text_of(plan, i)->pieces : plan->pieces;
    }
    s->plan = plan;
    mock_count(s, plan->input, plan->output);
}

static void speak(struct mock_script *s, struct chat_plan *plan)
{
    struct json_value include;
    bool stream = s->ask.stream.kind == JSON_TRUE;
    plan->azure = s->options.azure;
    plan->include_usage = stream && json_value_member(s->ask.stream_options, SPAN("include_usage"), &include) &&
                          include.kind == JSON_TRUE;
    finish_plan(s, plan, stream);
    if (!stream) {
        write_body(s, plan);
        return;
    }
    unsigned first = plan->azure ? 1 : 0, steps = plan->pieces + (plan->legacy ? 1 : 2);
    unsigned paced = first + plan->choices * (steps - 1);
    mock_stream(s, write_event, first + plan->choices * steps + (plan->include_usage ? 2 : 1), paced);
}

/* n, or 0 when the request was refused for it. */
static unsigned choices_asked(struct mock_script *s)
{
    uint64_t n = mock_ask_number(s->ask.n, s->ask.n.kind == JSON_MORE ? 1 : 0);
    if (n >= 1 && n <= CHOICES_LIMIT)
        return (unsigned)n;
    mock_refuse(s, 400, "n", "invalid_value", "Invalid 'n': expected a number from 1 to 128.");
    return 0;
}

void mock_chat(struct mock_script *s)
{
    struct mock_talk talk;
    struct mock_tool tool;
    if (s->ask.messages.kind != JSON_ARRAY_OPEN) {
        mock_refuse(s, 400, "messages", "missing_required_parameter", "Missing required parameter: 'messages'.");
        return;
    }
    mock_talk_read(s, s->ask.messages, &talk);
    unsigned n = choices_asked(s);
    if (!talk.messages)
        mock_refuse(s, 400, "messages", "empty_array",
                    "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array "
                    "instead.");
    if (!talk.messages || !n)
        return;
    mock_tool_choose(s, &talk, &tool);
    struct span said = mock_sentence(s, &talk), text = mock_formatted(s, s->ask.response_format, said);
    bool prose = !text.len && !tool.name.len;
    if (tool.name.len) {
        struct buffer arguments = {0};
        mock_schema_write(s, tool.schema, tool.schema, &arguments);
        text = arena_copy(s->arena, buffer_span(&arguments));
        buffer_finish(&arguments);
    }
    struct chat_plan *plan = ARENA_NEW(s->arena, struct chat_plan);
    plan->texts = ARENA_NEW(s->arena, struct mock_text);
    plan->choices = plan->per_text = n;
    plan->tool = tool.name;
    plan->input = mock_tokens(talk.characters);
    mock_text_make(s, prose ? said : text, mock_ask_max_tokens(&s->ask), prose, plan->texts);
    speak(s, plan);
}

/* One prompt: a string, or token numbers, each of which is a token. */
static void add_prompt(struct mock_script *s, struct chat_plan *plan, unsigned index, struct json_value prompt)
{
    struct mock_talk talk = {.user = mock_ask_text(s, prompt)};
    struct json_value number;
    size_t cursor = 0;
    plan->input += mock_tokens(mock_characters(talk.user));
    while (prompt.kind == JSON_ARRAY_OPEN && json_value_each(prompt, &cursor, NULL, &number))
        plan->input++;
    mock_text_make(s, mock_sentence(s, &talk), mock_ask_max_tokens(&s->ask), true, &plan->texts[index]);
}

void mock_completions(struct mock_script *s)
{
    struct json_value prompt = s->ask.prompt, one;
    struct chat_plan *plan = ARENA_NEW(s->arena, struct chat_plan);
    size_t cursor = 0;
    unsigned count = 0, n = choices_asked(s);
    if (!n)
        return;
    bool several =
        prompt.kind == JSON_ARRAY_OPEN && json_value_each(prompt, &cursor, NULL, &one) && one.kind != JSON_NUMBER;
    for (cursor = 0; several && json_value_each(prompt, &cursor, NULL, &one);)
        count++;
    if (count > CHOICES_LIMIT) {
        mock_refuse(s, 400, "prompt", "array_above_max_length",
                    "Invalid 'prompt': array too long; at most 128 prompts.");
        return;
    }
    plan->legacy = true;
    plan->texts = ARENA_ARRAY(s->arena, struct mock_text, several ? count : 1);
    plan->per_text = n;
    plan->choices = n * (several ? count : 1);
    if (!several)
        add_prompt(s, plan, 0, prompt);
    count = 0;
    for (cursor = 0; several && json_value_each(prompt, &cursor, NULL, &one);)
        add_prompt(s, plan, count++, one);
    speak(s, plan);
}
