/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "base/clock.h"
#include "config/config.h"
#include "config/value.h"

#define AT(member) SETTING_AT(struct config_attempts, member)
static const struct setting attempts_table[] = {
    {.name = "max",
     .type = SETTING_INTEGER,
     AT(max),
     .fallback = "3",
     .min = 1,
     .max = 16,
     .unit = "attempts",
     .help = "Tries of one exchange at different targets, the first included. What the client gets in the end is the "
             "last one's own answer."},
    {.name = "rest",
     .type = SETTING_DURATION,
     AT(rest),
     .fallback = "5s",
     .max = 3600 * CLOCK_SECOND,
     .help = "A target that refuses to connect is left alone for so long while others can answer."},
    {.name = "max_cooldown",
     .type = SETTING_DURATION,
     AT(max_cooldown),
     .fallback = "60s",
     .max = 86400 * CLOCK_SECOND,
     .help = "The longest pause that a target's retry-after can ask for."},
};
#undef AT

const struct settings_spec config_attempts_spec = SETTINGS_SPEC(
    "attempts", struct config_attempts, attempts_table,
    "What happens when a target fails before it has begun to answer: connection errors, 408, 429 and 5xx.");

#define AT(member) SETTING_AT(struct config_drain, member)
static const struct setting drain_table[] = {
    {.name = "delay",
     .type = SETTING_DURATION,
     AT(delay),
     .fallback = "5s",
     .max = 600 * CLOCK_SECOND,
     .help =
         "After SIGTERM the process is unready but still accepts for so long: endpoints take seconds to leave every "
         "node. 0s in a sidecar, whose application has ended already."},
    {.name = "grace",
     .type = SETTING_DURATION,
     AT(grace),
     .fallback = "30s",
     .max = 86400 * CLOCK_SECOND,
     .help = "Then exchanges may finish for so long. delay and grace together must fit into the pod's "
             "terminationGracePeriodSeconds."},
};
#undef AT

const struct settings_spec config_drain_spec =
    SETTINGS_SPEC("drain", struct config_drain, drain_table, "The end of the process on SIGTERM.");

static const char *const levels[] = {
    [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug", NULL};
static const char *const formats[] = {[LOG_TEXT] = "text", [LOG_JSON] = "json", NULL};

static const char *const access_words[] = {"-", "off", NULL};

#define AT(member) SETTING_AT(struct config_log, member)
static const struct setting log_table[] = {
    {.name = "level",
     .type = SETTING_ENUM,
     AT(level),
     .fallback = "info",
     .choices = levels,
     .help = "How much the process's own log on standard error says."},
    {.name = "format",
     .type = SETTING_ENUM,
     AT(format),
     .fallback = "text",
     .choices = formats,
     .help = "Lines for people or JSON for collectors."},
    {.name = "access",
     .type = SETTING_STRING,
     AT(access),
     .fallback = "-",
     .choices = access_words,
     .max = 4096,
     .help = "One JSON line per exchange: - for standard output, a path (relative ones from the working directory), or "
             "off. Never holds prompts, completions or secrets.",
     .example = "/var/log/postern/access.log"},
};
#undef AT

static void check_log(void *settings, struct report *report)
{
    struct config_log *log = settings;
    (void)report;
    log->access_kind = span_equal(log->access, SPAN("-"))     ? ACCESS_LOG_STDOUT
                       : span_equal(log->access, SPAN("off")) ? ACCESS_LOG_OFF
                                                              : ACCESS_LOG_FILE;
}

const struct settings_spec config_log_spec =
    SETTINGS_SPEC("log", struct config_log, log_table, "What is written down.", .check = check_log);

static const char *const egress_kinds[] = {
    [EGRESS_ENVIRONMENT] = "environment", [EGRESS_NONE] = "none", [EGRESS_URL] = "url", NULL};
static const char *const egress_schemes[] = {"http", NULL};

#define AT(member) SETTING_AT(struct config_egress, member)
static const struct setting egress_table[] = {
    {.name = "proxy",
     .type = SETTING_ENUM,
     AT(kind),
     .fallback = "environment",
     .choices = egress_kinds,
     .help =
         "Where the HTTP CONNECT proxy for targets comes from: environment (HTTPS_PROXY and NO_PROXY), none, or url "
         "(below). Loopback is never reached through a proxy."},
    {.name = "url",
     .type = SETTING_URL,
     AT(proxy),
     .choices = egress_schemes,
     .help = "The proxy, with proxy: url.",
     .example = "http://proxy.internal:3128"},
    {.name = "no_proxy",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE,
     AT(no_proxy),
     .max = 256,
     .help = "Hosts, domain suffixes (.svc) and networks to reach directly, beside what NO_PROXY says.",
     .example = "[.svc, 10.0.0.0/8]"},
};
#undef AT

static void check_egress(void *settings, struct report *report)
{
    const struct config_egress *egress = settings;
    if (egress->kind == EGRESS_URL && egress->proxy.text.len == 0)
        report_error(report, settings_place(&egress->settings, "proxy"), "\"proxy: url\" needs \"url\"");
    if (egress->kind != EGRESS_URL && egress->proxy.text.len)
        report_error(report, settings_place(&egress->settings, "url"), "\"url\" has no effect without \"proxy: url\"");
    if (egress->kind == EGRESS_NONE && settings_given(&egress->settings, "no_proxy"))
        report_error(report, settings_place(&egress->settings, "no_proxy"),
                     "\"no_proxy\" has no effect with \"proxy: none\"");
}

const struct settings_spec config_egress_spec =
    SETTINGS_SPEC("egress", struct config_egress, egress_table, "How targets are reached.", .check = check_egress);

#define AT(member) SETTING_AT(struct config_dns, member)
static const struct setting dns_table[] = {
    {.name = "min_ttl",
     .type = SETTING_DURATION,
     AT(min_ttl),
     .fallback = "5s",
     .max = 3600 * CLOCK_SECOND,
     .help = "Addresses are kept at least so long, whatever their time to live."},
    {.name = "max_ttl",
     .type = SETTING_DURATION,
     AT(max_ttl),
     .fallback = "5m",
     .min = 1 * CLOCK_SECOND,
     .max = 86400 * CLOCK_SECOND,
     .help = "And at most so long, so that a failover by DNS is noticed."},
    {.name = "timeout",
     .type = SETTING_DURATION,
     AT(timeout),
     .fallback = "5s",
     .min = 10 * CLOCK_MS,
     .max = 60 * CLOCK_SECOND,
     .help = "For one lookup, all servers together. The last good addresses are used while DNS is down, after half a "
             "second."},
};
#undef AT

static void check_dns(void *settings, struct report *report)
{
    const struct config_dns *dns = settings;
    if (dns->min_ttl > dns->max_ttl)
        report_error(report,
                     settings_place(&dns->settings, settings_given(&dns->settings, "min_ttl") ? "min_ttl" : "max_ttl"),
                     "\"min_ttl\" must not be longer than \"max_ttl\"");
}

const struct settings_spec config_dns_spec =
    SETTINGS_SPEC("dns", struct config_dns, dns_table, "Names of targets; servers are those of /etc/resolv.conf.",
                  .check = check_dns);
