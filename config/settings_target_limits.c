/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "config/config.h"

static const char *const when_lost[] = {[CONFIG_STORE_LOST_LEASE] = "lease",
                                        [CONFIG_STORE_LOST_OPEN] = "open",
                                        [CONFIG_STORE_LOST_CLOSED] = "closed",
                                        NULL};

#define AT(member) SETTING_AT(struct config_target_limits, member)
#define REQUESTS                                                                                                       \
    {                                                                                                                  \
        .name = "requests", .type = SETTING_RATE, AT(requests),                                                        \
        .help = "Requests that are sent to it, those that are tried again elsewhere included.",                        \
        .example = "300/minute"                                                                                        \
    }
#define TOKENS                                                                                                         \
    {                                                                                                                  \
        .name = "tokens", .type = SETTING_RATE, AT(tokens),                                                            \
        .help = "Tokens of input and output: estimated before the call, corrected by what was reported after it.",     \
        .example = "100000/minute"                                                                                     \
    }
#define CONCURRENCY                                                                                                    \
    {                                                                                                                  \
        .name = "concurrency", .type = SETTING_INTEGER, AT(concurrency), .min = 1, .max = 1000000, .unit = "requests", \
        .help = "Requests at a time.", .example = "20"                                                                 \
    }

static const struct setting limits_table[] = {
    REQUESTS,
    TOKENS,
    CONCURRENCY,
    {.name = "store",
     .type = SETTING_STRING,
     AT(store),
     .fallback_note = "the memory of this process",
     .refers = "stores",
     .help = "Where the limits of this target and of its deployments are counted, when several Posterns share them.",
     .example = "shared"},
    {.name = "when_store_lost",
     .type = SETTING_ENUM,
     AT(when_store_lost),
     .fallback = "lease",
     .choices = when_lost,
     .help = "While the store does not answer. lease: each process goes on within its share of what was left. open: "
             "as if there were no limit. closed: as if it were reached."},
};

static const struct setting deployment_table[] = {REQUESTS, TOKENS, CONCURRENCY};
#undef AT

static bool any(const struct config_target_limits *limits)
{
    return limits->requests.given || limits->tokens.given || limits->concurrency != SETTING_ABSENT_INTEGER;
}

static void check_limits(void *settings, struct report *report)
{
    const struct config_target_limits *limits = settings;
    if (settings_given(&limits->settings, "when_store_lost") && !limits->store.len)
        report_error(report, settings_place(&limits->settings, "when_store_lost"),
                     "\"when_store_lost\" has no effect without a \"store\"");
    if (!any(limits) && !limits->store.len)
        report_error(report, settings_place(&limits->settings, NULL),
                     "\"limits\" needs one of requests, tokens and concurrency, or a store for those of deployments");
}

static void check_deployment(void *settings, struct report *report)
{
    const struct config_target_limits *limits = settings;
    if (!any(limits))
        report_error(report, settings_place(&limits->settings, NULL),
                     "\"limits\" needs one of requests, tokens and concurrency");
}

const struct settings_spec config_target_limits_spec = SETTINGS_SPEC(
    "target limits", struct config_target_limits, limits_table,
    "What may be sent to this target, all models together. A request that does not fit goes to the next target; when "
    "none has room it is answered with 429 and the time after which one will. Limits per second and minute are smooth, "
    "longer ones begin anew with each hour, day or month in UTC.",
    .check = check_limits);

const struct settings_spec config_deployment_limits_spec =
    SETTINGS_SPEC("deployment limits", struct config_target_limits, deployment_table,
                  "What may be sent to this deployment, beside what its target allows: the quota that Azure gives it. "
                  "Counted wherever models name this target with this deployment.",
                  .check = check_deployment);
