/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table language beyond what the root uses: shapes that filters need (limits, methods, seals), every type that has
 * no user yet, shorthand, named maps, exactly-one-of, and places.
 */
#include "unit/config/config_support.h"

#include <math.h>

#include "config/reader.h"

/* `seal: off` or `seal: {key: {file: ...}}` */
enum seal_mode { SEAL_ON, SEAL_OFF };
struct seal {
    struct settings settings;
    enum seal_mode mode;
    struct setting_secret key;
};
static const char *const seal_modes[] = {"on", "off", NULL};
static const struct setting seal_table[] = {
    {.name = "mode",
     .type = SETTING_ENUM,
     .offset = offsetof(struct seal, mode),
     .fallback = "on",
     .choices = seal_modes,
     .help = "."},
    {.name = "key", .type = SETTING_SECRET, .offset = offsetof(struct seal, key), .help = "."},
};
static const struct settings_spec seal_spec = SETTINGS_SPEC("seal", struct seal, seal_table, ".", .shorthand = "mode");

/* {name: burst, per: [consumer], requests: 20/second} */
struct limit {
    struct settings settings;
    struct span name;
    uint64_t per;
    struct setting_rate requests, cost;
    unsigned concurrency;
    double temperature;
};
static const char *const dimensions[] = {"consumer", "model", "group", NULL};
static const struct setting limit_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED | SETTING_UNIQUE,
     .offset = offsetof(struct limit, name),
     .help = "."},
    {.name = "per", .type = SETTING_ENUMS, .offset = offsetof(struct limit, per), .choices = dimensions, .help = "."},
    {.name = "requests",
     .type = SETTING_RATE,
     .flags = SETTING_ONE_OF,
     .offset = offsetof(struct limit, requests),
     .help = "."},
    {.name = "cost",
     .type = SETTING_RATE,
     .flags = SETTING_ONE_OF | SETTING_FRACTION,
     .offset = offsetof(struct limit, cost),
     .help = "."},
    {.name = "concurrency",
     .type = SETTING_INTEGER,
     .flags = SETTING_ONE_OF,
     .offset = offsetof(struct limit, concurrency),
     .min = 1,
     .help = "."},
    {.name = "temperature",
     .type = SETTING_DECIMAL,
     .offset = offsetof(struct limit, temperature),
     .max = 2,
     .help = "."},
};
static const struct settings_spec limit_spec = SETTINGS_SPEC("limit", struct limit, limit_table, ".");

struct shapes {
    struct settings settings;
    struct seal seal;
    const struct limit *limits;
    size_t limit_count;
    const struct limit *named;
    size_t named_count;
    struct span any;
    size_t memory;
};
static const struct setting shapes_table[] = {
    {.name = "seal", .type = SETTING_OBJECT, .offset = offsetof(struct shapes, seal), .sub = &seal_spec, .help = "."},
    {.name = "limits",
     .type = SETTING_OBJECTS,
     .offset = offsetof(struct shapes, limits),
     .count = offsetof(struct shapes, limit_count),
     .sub = &limit_spec,
     .max = 3,
     .help = "."},
    {.name = "named",
     .type = SETTING_NAMED,
     .offset = offsetof(struct shapes, named),
     .count = offsetof(struct shapes, named_count),
     .sub = &limit_spec,
     .help = "."},
    {.name = "any", .type = SETTING_JSON, .offset = offsetof(struct shapes, any), .help = "."},
    {.name = "memory", .type = SETTING_SIZE, .offset = offsetof(struct shapes, memory), .help = "."},
};
static const struct settings_spec shapes_spec = SETTINGS_SPEC("shapes", struct shapes, shapes_table, ".");

struct reading {
    struct arena arena;
    struct report report;
    struct names names;
    struct shapes shapes;
    bool good;
};

static void read_shapes(struct reading *r, const char *text)
{
    *r = (struct reading){0};
    arena_init(&r->arena);
    report_init(&r->report);
    names_init(&r->names, &r->arena);
    struct reader reader = {.arena = &r->arena, .report = &r->report, .names = &r->names, .offline = true};
    const struct node *root = tree_parse(&r->arena, SPAN("s.yaml"), span_str(text), &r->report);
    assert_non_null(root);
    r->good = reader_fill(&reader, &shapes_spec, root, &r->shapes);
}

static void done(struct reading *r)
{
    report_finish(&r->report);
    arena_finish(&r->arena);
}

static void shapes_are_read(void **state)
{
    (void)state;
    struct reading r;
    read_shapes(&r, "seal: off\n"
                    "limits:\n"
                    "  - {name: a, per: [consumer, group], requests: 20/second}\n"
                    "  - {name: b, cost: 0.5/day, temperature: 0.7}\n"
                    "named: {c: {concurrency: 50}}\n"
                    "any: [1, {a: b}, null]\n");
    assert_true(r.good);
    const struct shapes *s = &r.shapes;
    assert_int_equal(s->seal.mode, SEAL_OFF);
    assert_int_equal(s->limit_count, 2);
    assert_int_equal(s->limits[0].per, 1 | 4);
    assert_true(s->limits[0].requests.given && !s->limits[0].cost.given);
    assert_true(isnan(s->limits[0].temperature) && s->limits[1].temperature > 0.69 && s->limits[1].temperature < 0.71);
    assert_int_equal(s->limits[0].concurrency, SETTING_ABSENT_INTEGER);
    assert_int_equal(s->named_count, 1);
    assert_true(span_equal(s->named[0].name, SPAN("c")));
    assert_int_equal(s->named[0].concurrency, 50);
    assert_true(span_equal(s->any, SPAN("[1,{\"a\":\"b\"},null]")));
    assert_true(s->memory == SETTING_ABSENT_SIZE);
    assert_int_equal(settings_place_at(&s->limits[0].settings, "per", 1).column, 31);
    assert_int_equal(settings_place_at(&s->limits[0].settings, "per", 9).column, 20);
    assert_int_equal(settings_place(&s->limits[1].settings, "requests").line, 4);
    assert_int_equal(settings_place(&s->limits[1].settings, NULL).column, 5);
    done(&r);
}

static void defaults_of_nothing(void **state)
{
    (void)state;
    struct reading r;
    read_shapes(&r, "{}\n");
    assert_true(r.good);
    assert_int_equal(r.shapes.seal.mode, SEAL_ON);
    assert_null(r.shapes.seal.settings.node);
    assert_int_equal(settings_place(&r.shapes.seal.settings, "mode").line, 0);
    assert_int_equal(r.shapes.limit_count, 0);
    done(&r);
}

static const struct {
    const char *text, *said;
} refused[] = {
    {"seal: of\n", "s.yaml:1:7: \"seal\" must be on, off, or a map of settings (mode, key), not \"of\"\n"},
    {"seal: []\n", "s.yaml:1:7: seal must be a map of settings; this is a list\n"},
    {"limits: [{name: a, requests: 1/day, concurrency: 1}]\n",
     "s.yaml:1:37: limit has both \"requests\" and \"concurrency\"; exactly one of requests, cost, concurrency is "
     "allowed\n"},
    {"limits: [{name: a}]\n", "s.yaml:1:10: limit needs exactly one of requests, cost, concurrency\n"},
    {"limits: [{name: a, concurrency: 0}]\n", "s.yaml:1:33: \"concurrency\" must be at least 1, not 0\n"},
    {"limits: [{name: a, concurrency: 1}, {name: a, concurrency: 1}]\n",
     "s.yaml:1:44: a second limit has the name \"a\"; the first is at s.yaml:1:17\n"},
    {"limits: [{name: a, concurrency: 1, per: [consumers, [x]]}]\n",
     "s.yaml:1:42: \"per\" cannot hold \"consumers\"; allowed: consumer, model, group; did you mean \"consumer\"?\n"
     "s.yaml:1:53: \"per\" takes text here; this is a list\n"},
    {"limits: [{name: a, concurrency: 1, temperature: 2.5}]\n",
     "s.yaml:1:49: \"temperature\" must be between 0 and 2, not 2.5\n"},
    {"limits: [{name: a, concurrency: 1, temperature: -1}]\n",
     "s.yaml:1:49: \"temperature\" must be a number such as 0.5, not \"-1\"\n"},
    {"limits: [1, 2, 3, 4]\n", "s.yaml:1:9: \"limits\" must have at most 3 items, not 4\n"},
    {"named: [a]\n", "s.yaml:1:8: \"named\" must be a map from names to settings; this is a list\n"},
    {"named: {a: 1}\n", "s.yaml:1:12: limit must be a map of settings; this is a single value\n"},
    {"named: {a: {name: b, concurrency: 1}}\n", "s.yaml:1:13: \"name\" is given by the key \"a\"; remove it\n"},
};

static void mistakes_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct reading r;
        struct buffer lines = {0};
        read_shapes(&r, refused[i].text);
        report_sort(&r.report);
        assert_string_equal(printed(&r.report, &lines), refused[i].said);
        assert_false(r.good);
        buffer_finish(&lines);
        done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_read),
        cmocka_unit_test(defaults_of_nothing),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
