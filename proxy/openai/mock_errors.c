/* SPDX-License-Identifier: Apache-2.0 */
/* The error bodies of OpenAI (https://platform.openai.com/docs/guides/error-codes) and Azure, as their services word
 * them. */
#include "openai/mock_errors.h"

#define OPENAI(message, type, param, code)                                                                             \
    SPAN_INIT("{\"error\":{\"message\":\"" message "\",\"type\":" type ",\"param\":" param ",\"code\":" code "}}")
#define AZURE(code, message) SPAN_INIT("{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}")

#define AZURE_FILTERED                                                                                                 \
    "{\"error\":{\"message\":\"The response was filtered due to the prompt triggering Azure OpenAI's content "         \
    "management "                                                                                                      \
    "policy. Please modify your prompt and retry. To learn more about our content filtering policies please read our " \
    "documentation: https://go.microsoft.com/fwlink/?linkid=2198766\",\"type\":null,\"param\":\"prompt\","             \
    "\"code\":\"content_filter\",\"status\":400,\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\","            \
    "\"content_filter_result\":{\"hate\":{\"filtered\":false,\"severity\":\"safe\"},\"jailbreak\":{\"detected\":true," \
    "\"filtered\":true},\"self_harm\":{\"filtered\":false,\"severity\":\"safe\"},\"sexual\":{\"filtered\":false,"      \
    "\"severity\":\"safe\"},\"violence\":{\"filtered\":false,\"severity\":\"safe\"}}}}}"

#define SORRY "The server had an error while processing your request. Sorry about that!"

static const struct {
    unsigned status;
    struct span openai, azure;
} bodies[] = {
    {400, OPENAI("This is an error the mock was asked for.", "\"invalid_request_error\"", "null", "null"),
     SPAN_INIT(AZURE_FILTERED)},
    {401, OPENAI("Incorrect API key provided.", "\"invalid_request_error\"", "null", "\"invalid_api_key\""),
     AZURE(
         "401",
         "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
         "active subscription and use a correct regional API endpoint for your resource.")},
    {403, OPENAI("You are not allowed to do this.", "\"invalid_request_error\"", "null", "\"permission_denied\""),
     AZURE("403", "Access denied due to Virtual Network/Firewall rules.")},
    {404,
     OPENAI("The model does not exist or you do not have access to it.", "\"invalid_request_error\"", "\"model\"",
            "\"model_not_found\""),
     AZURE("DeploymentNotFound",
           "The API deployment for this resource does not exist. If you created the deployment within the "
           "last 5 minutes, please wait a moment and try again.")},
    {429,
     OPENAI("Rate limit reached for the mock model. Please try again later.", "\"tokens\"", "null",
            "\"rate_limit_exceeded\""),
     AZURE(
         "429",
         "Requests to the mock model have exceeded token rate limit of your current OpenAI S0 pricing tier. Please go "
         "here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.")},
    {500, OPENAI(SORRY, "\"server_error\"", "null", "null"), OPENAI(SORRY, "\"server_error\"", "null", "null")},
    {503, OPENAI("The server is overloaded; slow down.", "\"service_unavailable_error\"", "null", "\"slow_down\""),
     SPAN_INIT("{\"statusCode\":503,\"message\":\"Service "
               "Unavailable\",\"activityId\":\"00000000-0000-4000-8000-000000000000\"}")},
};

void mock_error_body(struct buffer *out, unsigned status, bool azure)
{
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        if (bodies[i].status == status) {
            buffer_append(out, azure ? bodies[i].azure : bodies[i].openai);
            return;
        }
    }
    buffer_format(
        out,
        "{\"error\":{\"message\":\"This is status %u, as the mock was asked for.\",\"type\":\"%s\",\"param\":null,"
        "\"code\":null}}",
        status, status < 500 ? "invalid_request_error" : "server_error");
}

void mock_error_event(struct buffer *out, bool responses, unsigned number)
{
    if (responses)
        buffer_format(out,
                      "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"" SORRY
                      "\",\"param\":null,\"sequence_number\":%u}\n\n",
                      number);
    else
        buffer_append(out, SPAN("data: {\"error\":{\"message\":\"" SORRY
                                "\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n"));
}
