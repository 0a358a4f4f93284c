/* SPDX-License-Identifier: Apache-2.0 */
#include "config/value.h"

#include <stdlib.h>

#include "base/clock.h"

bool value_bool(struct span text, bool *ret)
{
    if (span_equal(text, SPAN("true")))
        *ret = true;
    else if (span_equal(text, SPAN("false")))
        *ret = false;
    else
        return false;
    return true;
}

bool value_is_yaml_bool(struct span text, bool *ret)
{
    static const char *const words[] = {"no", "yes", "off", "on", "false", "true"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (span_equal_nocase(text, span_str(words[i]))) {
            *ret = i % 2 == 1;
            return true;
        }
    return false;
}

bool value_is_yaml_null(struct span text)
{
    return text.len == 0 || span_equal(text, SPAN("~")) || span_equal_nocase(text, SPAN("null"));
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The number of leading digits. */
static size_t digits(struct span text)
{
    size_t count = 0;
    while (count < text.len && digit(text.ptr[count]))
        count++;
    return count;
}

struct unit {
    struct span name;
    uint64_t factor;
};

/* From the largest to the smallest, which is also the order in which several may follow each other. */
static const struct unit size_units[] = {
    {SPAN_INIT("GiB"), UINT64_C(1) << 30},
    {SPAN_INIT("MiB"), UINT64_C(1) << 20},
    {SPAN_INIT("KiB"), UINT64_C(1) << 10},
    {SPAN_INIT("B"), 1},
};
static const struct unit duration_units[] = {
    {SPAN_INIT("d"), 86400 * CLOCK_SECOND}, {SPAN_INIT("h"), 3600 * CLOCK_SECOND}, {SPAN_INIT("m"), 60 * CLOCK_SECOND},
    {SPAN_INIT("s"), CLOCK_SECOND},         {SPAN_INIT("ms"), CLOCK_MS},
};

/* One number with its unit off the front of *rest; *first is the first unit allowed and moves behind the one found. */
static bool take_unit(struct span *rest, const struct unit *units, size_t count, size_t *first, uint64_t *sum)
{
    size_t len = digits(*rest);
    uint64_t number;
    if (!span_to_u64(span_take(*rest, len), &number))
        return false;
    *rest = span_skip(*rest, len);
    for (len = 0; len < rest->len && !digit(rest->ptr[len]);)
        len++;
    for (size_t i = *first; i < count; i++)
        if (span_equal(units[i].name, span_take(*rest, len))) {
            *first = i + 1;
            *rest = span_skip(*rest, len);
            return !__builtin_mul_overflow(number, units[i].factor, &number) &&
                   !__builtin_add_overflow(*sum, number, sum);
        }
    return false;
}

bool value_size(struct span text, uint64_t *ret)
{
    uint64_t sum = 0;
    size_t first = 0;
    if (!span_equal(text, SPAN("0")) &&
        (!take_unit(&text, size_units, ARRAY_LEN(size_units), &first, &sum) || text.len))
        return false;
    *ret = sum;
    return true;
}

bool value_duration(struct span text, uint64_t *ret)
{
    uint64_t sum = 0;
    size_t first = 0;
    do {
        if (!take_unit(&text, duration_units, ARRAY_LEN(duration_units), &first, &sum))
            return false;
    } while (text.len);
    *ret = sum;
    return true;
}

/* The length of digits['.' digits] at the start; 0 if there is none. */
static size_t decimal_length(struct span text)
{
    size_t whole = digits(text);
    if (whole == 0 || whole == text.len || text.ptr[whole] != '.')
        return whole;
    size_t fraction = digits(span_skip(text, whole + 1));
    return fraction ? whole + 1 + fraction : 0;
}

bool value_decimal(struct span text, double *ret)
{
    char copy[32];
    if (text.len == 0 || text.len >= sizeof(copy) || decimal_length(text) != text.len)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *ret = strtod(copy, NULL);
    return true;
}

bool value_rate(struct span text, bool fraction, struct setting_rate *ret)
{
    static const struct unit periods[] = {
        [PERIOD_SECOND] = {SPAN_INIT("second"), CLOCK_SECOND},
        [PERIOD_MINUTE] = {SPAN_INIT("minute"), 60 * CLOCK_SECOND},
        [PERIOD_HOUR] = {SPAN_INIT("hour"), 3600 * CLOCK_SECOND},
        [PERIOD_DAY] = {SPAN_INIT("day"), 86400 * CLOCK_SECOND},
        [PERIOD_MONTH] = {SPAN_INIT("month"), 30 * 86400 * CLOCK_SECOND},
    };
    size_t slash = span_find(text, '/');
    struct span amount = span_take(text, slash), period = span_skip(text, slash + 1);
    double number;
    if (!value_decimal(amount, &number) || number <= 0 || (!fraction && digits(amount) != amount.len))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(periods); i++)
        if (span_equal(period, periods[i].name)) {
            *ret = (struct setting_rate){
                .amount = number, .micros = periods[i].factor, .period = (enum setting_period)i, .given = true};
            return true;
        }
    return false;
}

bool value_is_json_number(struct span text)
{
    if (text.len && text.ptr[0] == '-')
        text = span_skip(text, 1);
    size_t whole = digits(text);
    if (whole == 0 || (whole > 1 && text.ptr[0] == '0'))
        return false;
    text = span_skip(text, whole);
    if (text.len && text.ptr[0] == '.') {
        size_t fraction = digits(span_skip(text, 1));
        if (fraction == 0)
            return false;
        text = span_skip(text, 1 + fraction);
    }
    if (text.len && (text.ptr[0] == 'e' || text.ptr[0] == 'E')) {
        text = span_skip(text, 1);
        if (text.len && (text.ptr[0] == '+' || text.ptr[0] == '-'))
            text = span_skip(text, 1);
        size_t exponent = digits(text);
        return exponent > 0 && exponent == text.len;
    }
    return text.len == 0;
}

bool value_is_yaml_number(struct span text)
{
    /* Underscores group digits in YAML 1.1; what remains is a number if strtod, which knows hex and infinities, says
     * so. */
    char copy[64];
    size_t len = 0;
    if (text.len && (text.ptr[0] == '+' || text.ptr[0] == '-'))
        text = span_skip(text, 1);
    if (text.len == 0 || (!digit(text.ptr[0]) && text.ptr[0] != '.'))
        return false;
    if (span_equal_nocase(text, SPAN(".inf")) || span_equal_nocase(text, SPAN(".nan")))
        return true;
    if (span_starts_with(text, SPAN("0o")) || span_starts_with(text, SPAN("0b")))
        text = span_skip(text, 2);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '_')
            continue;
        if (len + 1 == sizeof(copy))
            return false;
        copy[len++] = text.ptr[i];
    }
    copy[len] = '\0';
    char *end;
    (void)strtod(copy, &end);
    return len > 0 && *end == '\0';
}

void value_print_size(uint64_t bytes, struct buffer *out)
{
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(size_units) && (bytes == 0 || bytes % size_units[i].factor))
        i++;
    if (bytes == 0)
        buffer_append(out, SPAN("0"));
    else
        buffer_format(out, "%llu%.*s", (unsigned long long)(bytes / size_units[i].factor),
                      SPAN_ARG(size_units[i].name));
}

void value_print_duration(uint64_t micros, struct buffer *out)
{
    const struct unit *seconds = &duration_units[3];
    if (micros == 0) {
        buffer_append(out, SPAN("0s"));
        return;
    }
    /* The largest unit that divides the value: 90s stays 90s, 120s becomes 2m. */
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(duration_units) && micros % duration_units[i].factor)
        i++;
    const struct unit *unit = micros % CLOCK_MS ? seconds : &duration_units[i];
    buffer_format(out, "%llu%.*s", (unsigned long long)(micros / unit->factor), SPAN_ARG(unit->name));
}
