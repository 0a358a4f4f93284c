/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "base/clock.h"
#include "config/config.h"

#define AT(member) SETTING_AT(struct config_mock_fault, member)
static const struct setting fault_table[] = {
    {.name = "status",
     .type = SETTING_INTEGER,
     AT(status),
     .fallback = "0",
     .max = 599,
     .help = "Answer with this error status instead. 0: none.",
     .example = "429"},
    {.name = "retry_after",
     .type = SETTING_DURATION,
     AT(retry_after),
     .fallback = "0s",
     .max = 3600 * CLOCK_SECOND,
     .help = "Sent as retry-after-ms and retry-after with status 429 or 503.",
     .example = "500ms"},
    {.name = "every",
     .type = SETTING_INTEGER,
     AT(every),
     .fallback = "1",
     .min = 1,
     .help = "The status hits every n-th request.",
     .example = "10"},
    {.name = "percent",
     .type = SETTING_INTEGER,
     AT(percent),
     .fallback = "0",
     .max = 99,
     .help = "The status hits this share of requests, chosen by seed. 0: every decides."},
    {.name = "seed",
     .type = SETTING_INTEGER,
     AT(seed),
     .fallback = "1",
     .help = "Where the choice by percent begins; the same seed hits the same requests."},
    {.name = "error_after",
     .type = SETTING_INTEGER,
     AT(error_after),
     .fallback_note = "never",
     .unit = "events",
     .help = "After so many events a stream with status 200 carries an error event and ends."},
    {.name = "cut_after",
     .type = SETTING_INTEGER,
     AT(cut_after),
     .fallback_note = "never",
     .unit = "events",
     .help = "After so many events the connection breaks."},
    {.name = "stall_after",
     .type = SETTING_INTEGER,
     AT(stall_after),
     .fallback_note = "never",
     .unit = "events",
     .help = "After so many events nothing more comes."},
};
#undef AT

static void check_fault(void *settings, struct report *report)
{
    const struct config_mock_fault *fault = settings;
    static const char *const keys[] = {"retry_after", "every", "percent", "seed"};
    if (fault->status && fault->status < 400)
        report_error(report, settings_place(&fault->settings, "status"),
                     "\"status\" must be 0 or an error between 400 and 599");
    for (size_t i = 0; i < ARRAY_LEN(keys) && fault->status == 0; i++)
        if (settings_given(&fault->settings, keys[i]))
            report_error(report, settings_place(&fault->settings, keys[i]), "\"%s\" has no effect without \"status\"",
                         keys[i]);
}

static const struct settings_spec fault_spec =
    SETTINGS_SPEC("fault", struct config_mock_fault, fault_table, "What goes wrong on purpose.", .check = check_fault);

#define AT(member) SETTING_AT(struct config_mock, member)
static const struct setting mock_table[] = {
    {.name = "azure",
     .type = SETTING_BOOL,
     AT(azure),
     .fallback = "false",
     .help = "Answer as Azure does: content filter results, a first stream event with empty choices, Azure's errors."},
    {.name = "latency",
     .type = SETTING_DURATION,
     AT(latency),
     .fallback = "0s",
     .max = 3600 * CLOCK_SECOND,
     .help = "Before the head of an answer.",
     .example = "300ms"},
    {.name = "chunk_interval",
     .type = SETTING_DURATION,
     AT(chunk_interval),
     .fallback = "0s",
     .max = 3600 * CLOCK_SECOND,
     .help = "Between two events of a stream.",
     .example = "20ms"},
    {.name = "chunks",
     .type = SETTING_INTEGER,
     AT(chunks),
     .fallback = "0",
     .max = 1000000,
     .help = "Pieces of text in a streamed answer. 0: words_per_chunk decides."},
    {.name = "words_per_chunk",
     .type = SETTING_INTEGER,
     AT(words_per_chunk),
     .fallback = "1",
     .min = 1,
     .max = 1000,
     .unit = "words",
     .help = "How much text a piece holds."},
    {.name = "tokens_per_second",
     .type = SETTING_INTEGER,
     AT(tokens_per_second),
     .fallback = "0",
     .max = 1000000,
     .help = "Pace answers by their tokens, as a model does. 0: no."},
    {.name = "tokens",
     .type = SETTING_RATE,
     AT(tokens),
     .fallback_note = "no limit",
     .help = "Answer 429 with retry-after-ms and x-ratelimit fields above this many tokens.",
     .example = "10000/minute"},
    {.name = "fault", .type = SETTING_OBJECT, AT(fault), .sub = &fault_spec, .help = "What goes wrong on purpose."},
};
#undef AT

const struct settings_spec config_mock_spec =
    SETTINGS_SPEC("mock", struct config_mock, mock_table,
                  "A deterministic model that speaks both dialects, to test applications against. A request can change "
                  "these by header fields x-mock-*.");
