/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema: the language of settings tables. One table says for each setting its name, type, default, limits, help and
 * whether a reload may change it; the parser, the error messages, `postern explain` and the reference page all come
 * from it.
 *
 * A settings struct is plain C and begins with `struct settings`:
 *
 *     struct headers_settings {
 *         struct settings settings;
 *         struct setting_pairs set;
 *         uint64_t delay;
 *     };
 *     static const struct setting headers_table[] = {
 *         {.name = "set", .type = SETTING_PAIRS, .offset = offsetof(struct headers_settings, set),
 *          .help = "Fields to set, replacing what is there.", .example = "{x-team: search}"},
 *         {.name = "delay", .type = SETTING_DURATION, .offset = offsetof(struct headers_settings, delay),
 *          .fallback = "0s", .max = 60 * CLOCK_SECOND, .help = "How long to wait first."},
 *     };
 *     static const struct settings_spec headers_spec = SETTINGS_SPEC("headers", struct headers_settings, headers_table,
 *                                                                    "Edits header fields.");
 *
 * What was read is const from then on and lives, with every text in it, as long as the configuration (struct config).
 * All structs are zeroed first; then every setting that is not given takes its default, which is text in the table and
 * goes through the same parser. Without a default: false, empty span, no items, NULL object, and SETTING_ABSENT_* for
 * numbers.
 */
#ifndef POSTERN_CONFIG_SCHEMA_H
#define POSTERN_CONFIG_SCHEMA_H

#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "base/span.h"
#include "config/report.h"

struct node;
struct settings_spec;

/* The first member of every settings struct: where it was written. */
struct settings {
    const struct node *node; /* NULL when the whole object was absent and consists of defaults */
};

/* Values that are not plain C. */

struct setting_list {
    const struct span *items; /* a NUL follows each text */
    size_t count;
};

/* A map from name to text, in written order. */
struct setting_pair {
    struct span name, value;
};
struct setting_pairs {
    const struct setting_pair *items;
    size_t count;
};

/* An absolute URL without user, query or fragment. `text` is as written; a NUL follows `host`. */
struct setting_url {
    struct span text, scheme; /* scheme: "http" or "https" (whatever the table allows), lower case */
    struct span host;         /* lower case; an IPv6 address without its brackets */
    struct span authority;    /* for Host: the host (IPv6 in brackets), with the port when it is not the scheme's own */
    struct span path;         /* "" or "/v1": no slash at the end */
    uint16_t port;            /* the scheme's own when none is written */
    bool secure;              /* the scheme ends in s */
    bool loopback;            /* 127.0.0.0/8, ::1 or localhost */
};

/* "127.0.0.1:4610", "[::1]:4610" or "unix:/run/postern/postern.sock". */
struct setting_address {
    struct span text;               /* as written; empty: not given */
    struct span path;               /* unix only; a NUL follows */
    struct sockaddr_storage socket; /* ready for bind or connect */
    socklen_t socket_length;
    uint16_t port; /* 0: any free port (tests) */
    bool local;    /* a socket file or a loopback address: only this machine (or pod) gets in */
};

/* "10.0.0.0/8", "fd00::/8"; a single address is a network of one. Bits beyond the prefix are zero. */
struct setting_network {
    bool ip6;
    unsigned char address[16]; /* network order; the first four bytes for IPv4 */
    unsigned bits;
};
struct setting_networks {
    const struct setting_network *items;
    size_t count;
};

/* {file: PATH} or {env: NAME}; see config/secret.h. `value` was read when the configuration was loaded (not with
 * offline). */
struct setting_secret {
    struct span file, env; /* exactly one is given; both empty: the setting is absent */
    struct span value; /* without white space at either end; never empty once loaded; wiped with the configuration */
};

/* "100000/minute". */
enum setting_period { PERIOD_SECOND, PERIOD_MINUTE, PERIOD_HOUR, PERIOD_DAY, PERIOD_MONTH };
struct setting_rate {
    double amount;   /* whole unless the table says SETTING_FRACTION; 0 with `given` false: absent */
    uint64_t micros; /* the period in microseconds; a month counts as 30 days */
    enum setting_period period;
    bool given;
};

/* Numbers that are not given and have no default. */
#define SETTING_ABSENT_INTEGER  UINT_MAX
#define SETTING_ABSENT_SIZE     SIZE_MAX
#define SETTING_ABSENT_DURATION UINT64_MAX

enum setting_type {
    SETTING_BOOL,     /* bool: true or false, nothing else */
    SETTING_INTEGER,  /* unsigned */
    SETTING_DECIMAL,  /* double, not negative; absent: NaN */
    SETTING_SIZE,     /* size_t in bytes: 0, 512B, 64KiB, 32MiB, 1GiB */
    SETTING_DURATION, /* uint64_t in microseconds: 0s, 500ms, 20s, 5m, 1h, 2d */
    SETTING_STRING,   /* struct span; never empty when given; `choices` are words that need no quotes (off) */
    SETTING_ENUM,     /* an enum (int): the index in `choices` */
    SETTING_URL,      /* struct setting_url; `choices` are the schemes allowed */
    SETTING_PATH, /* struct span, a NUL follows: a file or directory, taken relative to the configuration's directory */
    SETTING_ADDRESS,  /* struct setting_address */
    SETTING_RATE,     /* struct setting_rate */
    SETTING_LIST,     /* struct setting_list: strings */
    SETTING_ENUMS,    /* uint64_t: a set of bits, 1 << index in `choices`; written as a list */
    SETTING_NETWORKS, /* struct setting_networks */
    SETTING_SECRET,   /* struct setting_secret */
    SETTING_PAIRS,    /* struct setting_pairs: map from name to string */
    SETTING_JSON,     /* struct span: any value, as compact JSON text */
    SETTING_JSONS,    /* struct setting_pairs: map from name to any value as JSON text */
    SETTING_OBJECT,   /* a struct of `sub`, inline; its defaults hold when it is absent */
    SETTING_OPTIONAL, /* const struct of `sub` *: NULL when absent */
    SETTING_OBJECTS,  /* const struct of `sub` *, `count` items (a size_t at `count`), from a list */
    SETTING_NAMED,    /* the same from a map: the key goes to the setting `name` of `sub` */
    SETTING_VARIANTS, /* const struct settings_variant *, `count`: a map from name to settings of a registered type */
};

/* What a reload can change. */
enum setting_reload {
    RELOAD_LIVE,   /* takes effect for exchanges that begin after the reload */
    RELOAD_RESTART /* needs a restart; a reload that changes it keeps the old value and warns */
};

enum setting_flags {
    SETTING_REQUIRED = 1,     /* an error when absent */
    SETTING_ONE_OF = 2,       /* exactly one of the settings with this flag is given (per spec) */
    SETTING_UNIQUE = 4,       /* list items, or this key among the items of a list of objects, do not repeat */
    SETTING_NOT_EMPTY = 8,    /* lists and maps: at least one item when given */
    SETTING_FRACTION = 16,    /* rates: the amount may have a fraction */
    SETTING_DEFINES = 32,     /* the names in this list of objects or map can be referred to (by `refers`) */
    SETTING_MUST_USE = 64,    /* with DEFINES: a name that nothing refers to is an error */
    SETTING_FIELD_NAME = 128, /* map keys or list items are HTTP field names: tokens, made lower case */
    SETTING_MUST_EXIST = 256  /* paths: readable now, unless CONFIG_OFFLINE */
};

struct setting {
    const char *name;
    enum setting_type type;
    unsigned flags; /* enum setting_flags */
    size_t offset;
    size_t count;              /* OBJECTS, NAMED, VARIANTS: offset of the size_t with the number of items */
    const char *fallback;      /* the default, as a user would write it (scalars only); NULL: none */
    const char *fallback_note; /* for people, when the default depends on something: "3s, azure 60s" */
    uint64_t min, max; /* in base units (count, bytes, microseconds, characters, items); max 0: no limit of its own */
    const char *unit;  /* for people, when the type does not say it: "connections" */
    const char *const *choices; /* NULL-terminated */
    const struct settings_spec *sub;
    const char *refers; /* STRING and LIST: the root setting whose names are meant, e.g. "targets" */
    enum setting_reload reload;
    const char *since; /* the minor version of the configuration that brought it; NULL: "1.0" */
    const char *help;  /* whole sentences: what it does, why one would change it, why the default is what it is */
    const char *example;
};

struct settings_spec {
    const char *name; /* for messages: "a target", without the article: "target" */
    const char *help;
    const struct setting *table;
    size_t count;
    size_t size;
    /* The setting that a mere scalar (or, if it is a list type, a mere list) stands for: `credential: entra` is
     * `credential: {name: entra}`. */
    const char *shorthand;
    /*
     * Cross-checks of one struct, after all of its settings were read without error. Reports through `report` with
     * places from settings_place. May fill in defaults that depend on other settings. Not called for defaults of an
     * absent object.
     */
    void (*check)(void *settings, struct report *report);
};

#define SETTINGS_SPEC(spec_name, type, spec_table, spec_help, ...)                                                     \
    {                                                                                                                  \
        .name = (spec_name), .help = (spec_help), .table = (spec_table), .count = ARRAY_LEN(spec_table),               \
        .size = sizeof(type), __VA_ARGS__                                                                              \
    }

/* What `filters:` may name: main builds it from filters/registry.c. */
enum settings_registry_flags {
    SETTINGS_AUTHENTICATES = 1, /* whoever passes is known: satisfies the rule for listeners that others can reach */
    SETTINGS_SERVES = 2         /* answers everything itself: its listener needs no models, and opens none */
};
struct settings_registry_entry {
    const char *name; /* the type: "headers" */
    const struct settings_spec *spec;
    unsigned flags;
};
struct settings_registry {
    size_t count;
    const struct settings_registry_entry *entries;
};

/* One entry of a VARIANTS map. */
struct settings_variant {
    struct settings settings;
    struct span name;
    const struct settings_registry_entry *entry;
    size_t entry_index; /* in the registry */
    const void *value;  /* a struct of entry->spec */
};

/*
 * Where `key` (or, with index, the index-th item of the list under it) of these settings is written; falls back to the
 * object's own place. For messages in `check` and in a filter's `prepare`.
 */
struct place settings_place(const struct settings *settings, const char *key);
struct place settings_place_at(const struct settings *settings, const char *key, size_t index);
/* Whether `key` is written in the configuration, as opposed to defaulted. */
bool settings_given(const struct settings *settings, const char *key);

#endif
