/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams without a maximum that grow beyond what their limits have left: with `over_budget: finish` they end as if the
 * maximum were reached, in the words of each operation.
 */
#include <stdio.h>

#include "support/rig.h"

#define LIMIT(more)                                                                                                    \
    {                                                                                                                  \
        .filters = "limit: {type: rate_limit, assumed_output: 10" more ", limits: [{name: day, tokens: 100/day}]}",    \
        .order = "limit"                                                                                               \
    }
static const struct rig_setup finish = LIMIT(", over_budget: finish"), go_on = LIMIT("");
static const struct rig_setup shadow = {.filters = "limit: {type: rate_limit, over_budget: finish, assumed_output: 10,"
                                                   " limits: [{name: day, tokens: 100/day, shadow: true}]}",
                                        .order = "limit"};

#define CHAT      "/v1/chat/completions"
#define COMPLETE  "/v1/completions"
#define RESPONSES "/v1/responses"
#define STREAM    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

/* ---- what the target sends: forty characters, numbered, again and again ---- */

#define PIECES 15

static char script[8192];

static void add_event(size_t *at, const char *name, const char *data)
{
    char event[600];
    int length =
        snprintf(event, sizeof(event), "%s%s%sdata: %s\n\n", name[0] ? "event: " : "", name, name[0] ? "\n" : "", data);
    *at += (size_t)snprintf(script + *at, sizeof(script) - *at, "%x\r\n%s\r\n", (unsigned)length, event);
}

static const char *stream(const char *first_name, const char *first, const char *name, const char *format, bool done)
{
    size_t at = (size_t)snprintf(script, sizeof(script), "%s", STREAM);
    char data[500];
    if (first)
        add_event(&at, first_name, first);
    for (unsigned i = 0; i < PIECES; i++) {
        char text[41];
        (void)snprintf(text, sizeof(text), "piece %02u of a very long answer, no end ", i);
        (void)snprintf(data, sizeof(data), format, text);
        add_event(&at, name, data);
    }
    if (done)
        add_event(&at, "", "[DONE]");
    (void)snprintf(script + at, sizeof(script) - at, "0\r\n\r\n");
    return script;
}

static const char *chat_stream(void)
{
    return stream("", "{\"id\":\"\",\"model\":\"\",\"choices\":[],\"prompt_filter_results\":[]}", "",
                  "{\"id\":\"chatcmpl-7\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"gpt\","
                  "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}",
                  true);
}

static const struct rig_message *ask(struct rig *rig, const char *path, const char *body, const char *reply)
{
    rig_reply(rig, "east", reply);
    struct rig_client *client = rig_client(rig);
    rig_post(client, path, body);
    rig_settle(rig);
    const struct rig_message *answer = rig_answer(client, 0);
    assert_int_equal(answer->head.status, 200);
    return answer;
}

/* About ninety tokens are there for the answer, ten for each piece; the first always gets through, the last never. */
static void assert_cut(const struct rig_message *answer)
{
    assert_true(rig_body_has(answer, "piece 00"));
    assert_true(rig_body_has(answer, "piece 07"));
    assert_false(rig_body_has(answer, "piece 12"));
}

/* ---- ends ---- */

static void chat(struct rig *rig)
{
    const struct rig_message *answer =
        ask(rig, CHAT, "{\"model\":\"only\",\"stream\":true,\"messages\":[]}", chat_stream());
    assert_cut(answer);
    assert_true(rig_body_has(answer, "no end \"},\"finish_reason\":null}]}\n\n"
                                     "data: {\"id\":\"chatcmpl-7\",\"object\":\"chat.completion.chunk\",\"created\":5,"
                                     "\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                                     "\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n"));
    assert_false(rig_body_has(answer, "usage"));
    /* What was delivered is charged: nothing is left for another. */
    struct rig_client *next = rig_client(rig);
    rig_post(next, CHAT, "{\"model\":\"only\",\"messages\":[],\"max_tokens\":10}");
    rig_settle(rig);
    assert_int_equal(rig_answer(next, 0)->head.status, 429);
}

static void chat_with_usage(struct rig *rig)
{
    const struct rig_message *answer = ask(rig, CHAT,
                                           "{\"model\":\"only\",\"stream\":true,\"n\":2,\"messages\":[],"
                                           "\"stream_options\":{\"include_usage\":true}}",
                                           chat_stream());
    assert_true(rig_body_has(answer, "{\"index\":1,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}],"
                                     "\"usage\":null}\n\n"));
    assert_true(rig_body_has(answer, "\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":"));
    assert_true(rig_body_has(answer, "}}\n\ndata: [DONE]\n\n"));
}

/* A choice that has ended is not ended again; the other one is. */
static void one_choice_has_ended(struct rig *rig)
{
    const struct rig_message *answer =
        ask(rig, CHAT, "{\"model\":\"only\",\"stream\":true,\"n\":3,\"messages\":[]}",
            stream("", "{\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}", "",
                   "{\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},"
                   "\"finish_reason\":null}]}",
                   true));
    assert_cut(answer);
    assert_true(rig_body_has(answer, "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":"
                                     "\"length\"},{\"index\":2,\"delta\":{},"));
    assert_false(rig_body_has(answer, "{\"index\":1,\"delta\":{},\"logprobs\":null"));
}

static void all_choices_have_ended(struct rig *rig)
{
    const struct rig_message *answer =
        ask(rig, CHAT, "{\"model\":\"only\",\"stream\":true,\"n\":2,\"messages\":[]}",
            stream("",
                   "{\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"},{\"index\":0,\"delta\":{},"
                   "\"finish_reason\":\"stop\"}]}",
                   "", "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}", true));
    assert_true(rig_body_has(answer, "piece 14"));
    assert_false(rig_body_has(answer, "\"length\""));
}

static void completions(struct rig *rig)
{
    const struct rig_message *answer =
        ask(rig, COMPLETE, "{\"model\":\"only\",\"stream\":true,\"prompt\":\"Go\"}",
            stream("", NULL, "",
                   "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"%s\","
                   "\"finish_reason\":null}]}",
                   true));
    assert_cut(answer);
    assert_true(rig_body_has(answer,
                             "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,"
                             "\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"length\"}]}\n\n"
                             "data: [DONE]\n\n"));
}

static void responses(struct rig *rig)
{
    const struct rig_message *answer = ask(
        rig, RESPONSES, "{\"model\":\"only\",\"stream\":true,\"input\":\"Go\"}",
        stream("response.created",
               "{\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_9\",\"object\":"
               "\"response\",\"status\":\"in_progress\",\"model\":\"gpt\",\"output\":[],\"usage\":null}}",
               "response.output_text.delta",
               "{\"type\":\"response.output_text.delta\",\"sequence_number\":6,\"item_id\":\"i\",\"output_index\":0,"
               "\"content_index\":0,\"delta\":\"%s\"}",
               false));
    assert_cut(answer);
    assert_true(rig_body_has(answer, "event: response.incomplete\ndata: {\"type\":\"response.incomplete\","
                                     "\"sequence_number\":7,\"response\":{\"id\":\"resp_9\",\"object\":\"response\","
                                     "\"model\":\"gpt\",\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":"
                                     "\"max_output_tokens\"},\"output\":[],\"usage\":{\"input_tokens\":"));
    assert_false(rig_body_has(answer, "[DONE]"));
}

/* ---- who is left alone ---- */

static void assert_whole(struct rig *rig, const char *body)
{
    const struct rig_message *answer = ask(rig, CHAT, body, chat_stream());
    assert_true(rig_body_has(answer, "piece 14"));
    assert_false(rig_body_has(answer, "\"length\""));
}

static void with_a_maximum(struct rig *rig)
{
    assert_whole(rig, "{\"model\":\"only\",\"stream\":true,\"messages\":[],\"max_tokens\":20}");
}

static void without_the_setting(struct rig *rig)
{
    assert_whole(rig, "{\"model\":\"only\",\"stream\":true,\"messages\":[]}");
}

/* ---- the list ---- */

#define CASE(setup, name)                                                                                              \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&(setup), name);                                                                                       \
    }
#define CASES(X)                                                                                                       \
    X(finish, chat)                                                                                                    \
    X(finish, chat_with_usage)                                                                                         \
    X(finish, one_choice_has_ended)                                                                                    \
    X(finish, all_choices_have_ended)                                                                                  \
    X(finish, completions)                                                                                             \
    X(finish, responses)                                                                                               \
    X(finish, with_a_maximum)                                                                                          \
    X(go_on, without_the_setting)
CASES(CASE)

static void test_in_shadow(void **state)
{
    (void)state;
    rig_run(&shadow, without_the_setting);
}

#define LISTED(setup, name) cmocka_unit_test(test_##name),

int main(void)
{
    const struct CMUnitTest tests[] = {CASES(LISTED) cmocka_unit_test(test_in_shadow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
