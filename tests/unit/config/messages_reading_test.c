/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said about a text that cannot be read by the tables: every message verbatim.
 */
#include "unit/config/config_support.h"

#include <stdlib.h>

/* Texts that are no configuration at all. */
static const struct message_case text_cases[] = {
    {"", 0, 0, "c.yaml: is empty; a configuration begins with \"apiVersion: postern/v1\"\n"},
    {"# only a comment\n", 17, 0, "c.yaml: is empty; a configuration begins with \"apiVersion: postern/v1\"\n"},
    {"[]\n", 3, 0, "c.yaml:1:1: a configuration is a map of settings; it begins with \"apiVersion: postern/v1\"\n"},
    {"word\n", 5, 0, "c.yaml:1:1: a configuration is a map of settings; it begins with \"apiVersion: postern/v1\"\n"},
    {"\377\n", 2, 0,
     "c.yaml:1:1: byte 0 is not valid UTF-8 text (invalid leading UTF-8 octet); save the file as UTF-8 without control "
     "characters\n"},
    {"\377\376a\000", 4, 0, "c.yaml: is UTF-16; save the file as UTF-8\n"},
    {"a: \"\\x01\n", 9, 0,
     "c.yaml:2:1: not valid YAML: found unexpected end of stream while scanning a quoted scalar (begun in line 1)\n"},
    {"a: [1,\n", 7, 0,
     "c.yaml:2:1: not valid YAML: did not find expected node content while parsing a flow node (begun in line 2)\n"},
    {"a: 1\n"
     " b: 2\n",
     11, 0, "c.yaml:2:3: not valid YAML: mapping values are not allowed in this context\n"},
    {"a: &x 1\n"
     "b: *x\n",
     14, 0,
     "c.yaml:1:1: configuration has no setting \"a\"; allowed: apiVersion, listeners, admin, filters, credentials, "
     "targets, models, "
     "passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers\n"
     "c.yaml:1:1: configuration needs \"apiVersion\", such as postern/v1\n"
     "c.yaml:1:1: configuration needs \"listeners\", such as [{address: 127.0.0.1:4610}]\n"
     "c.yaml:1:1: no \"models\" and no \"passthrough\": there is nothing clients could ask for\n"
     "c.yaml:1:4: anchors and aliases (\"&x\") are not allowed; write the value out where it is needed\n"
     "c.yaml:2:4: anchors and aliases (\"*x\") are not allowed; quote the text if it begins with an asterisk\n"},
    {"a: !!int 1\n", 11, 0,
     "c.yaml:1:1: configuration has no setting \"a\"; allowed: apiVersion, listeners, admin, filters, credentials, "
     "targets, models, "
     "passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers\n"
     "c.yaml:1:1: configuration needs \"apiVersion\", such as postern/v1\n"
     "c.yaml:1:1: configuration needs \"listeners\", such as [{address: 127.0.0.1:4610}]\n"
     "c.yaml:1:1: no \"models\" and no \"passthrough\": there is nothing clients could ask for\n"
     "c.yaml:1:4: tags (\"tag:yaml.org,2002:int\") are not allowed; the setting itself decides what a value means\n"},
    {"a: 1\n"
     "a: 2\n",
     10, 0,
     "c.yaml:1:1: configuration has no setting \"a\"; allowed: apiVersion, listeners, admin, filters, credentials, "
     "targets, models, "
     "passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers\n"
     "c.yaml:1:1: configuration needs \"apiVersion\", such as postern/v1\n"
     "c.yaml:1:1: configuration needs \"listeners\", such as [{address: 127.0.0.1:4610}]\n"
     "c.yaml:1:1: no \"models\" and no \"passthrough\": there is nothing clients could ask for\n"
     "c.yaml:2:1: key \"a\" was already given in line 1\n"},
    {"a: 1\n"
     "---\n"
     "b: 2\n",
     14, 0,
     "c.yaml:1:1: configuration has no setting \"a\"; allowed: apiVersion, listeners, admin, filters, credentials, "
     "targets, models, "
     "passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers\n"
     "c.yaml:1:1: configuration needs \"apiVersion\", such as postern/v1\n"
     "c.yaml:1:1: configuration needs \"listeners\", such as [{address: 127.0.0.1:4610}]\n"
     "c.yaml:1:1: no \"models\" and no \"passthrough\": there is nothing clients could ask for\n"
     "c.yaml:2:1: a second document begins; put it into a file of its own in the same directory\n"},
    {"? [a]\n"
     ": 1\n",
     10, 0,
     "c.yaml:1:1: configuration needs \"apiVersion\", such as postern/v1\n"
     "c.yaml:1:1: configuration needs \"listeners\", such as [{address: 127.0.0.1:4610}]\n"
     "c.yaml:1:1: no \"models\" and no \"passthrough\": there is nothing clients could ask for\n"
     "c.yaml:1:3: a key must be a word\n"},
    {"<<: {a: 1}\n", 11, 0,
     "c.yaml:1:1: merge keys (\"<<\") are not allowed; write the settings out\n"
     "c.yaml:1:1: configuration needs \"apiVersion\", such as postern/v1\n"
     "c.yaml:1:1: configuration needs \"listeners\", such as [{address: 127.0.0.1:4610}]\n"
     "c.yaml:1:1: no \"models\" and no \"passthrough\": there is nothing clients could ask for\n"},
    {"a: \"x\\0y\"\n", 10, 0,
     "c.yaml:1:1: configuration has no setting \"a\"; allowed: apiVersion, listeners, admin, filters, credentials, "
     "targets, models, "
     "passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers\n"
     "c.yaml:1:1: configuration needs \"apiVersion\", such as postern/v1\n"
     "c.yaml:1:1: configuration needs \"listeners\", such as [{address: 127.0.0.1:4610}]\n"
     "c.yaml:1:1: no \"models\" and no \"passthrough\": there is nothing clients could ask for\n"
     "c.yaml:1:4: NUL bytes are not allowed\n"},
    {"\t- a\n", 5, 0,
     "c.yaml:1:1: not valid YAML: found character that cannot start any token while scanning for the next token (begun "
     "in line 1)\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models:\n"
          "  - name: *all\n",
     115, 0,
     "c.yaml:3:18: target \"m\" is used by nothing; name it where it should act or remove it\n"
     "c.yaml:5:5: model needs \"name\", such as gpt-4o\n"
     "c.yaml:5:5: model needs \"targets\", such as [{target: east}]\n"
     "c.yaml:5:11: anchors and aliases (\"*all\") are not allowed; quote the text if it begins with an asterisk\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models:\n"
          "  - {name: *, targets: [m]}\n",
     128, 0, "c.yaml:5:12: an asterisk begins an alias in YAML; quote the text: \"*\"\n"},
    {"a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n", 84, 0,
     "c.yaml:1:35: maps and lists lie more than 32 deep inside each other\n"},
};

/* apiVersion, and settings that only a newer version knows. */
static const struct message_case version_cases[] = {
    {"listeners: [{address: \"127.0.0.1:1\"}]\n" REST, 105, 0,
     "c.yaml:1:1: configuration needs \"apiVersion\", such as postern/v1\n"},
    {"apiVersion: v1\n"
     "listeners: [{address: \"127.0.0.1:1\"}]\n" REST,
     120, 0, "c.yaml:1:13: \"apiVersion\" must be postern/v1, or postern/v1. and a minor version, not \"v1\"\n"},
    {"apiVersion: postern/v2\n"
     "listeners: [{address: \"127.0.0.1:1\"}]\n" REST,
     128, 0,
     "c.yaml:1:13: \"apiVersion\" must be postern/v1, or postern/v1. and a minor version, not \"postern/v2\"\n"},
    {"apiVersion: postern/v1.x\n"
     "listeners: [{address: \"127.0.0.1:1\"}]\n" REST,
     130, 0,
     "c.yaml:1:13: \"apiVersion\" must be postern/v1, or postern/v1. and a minor version, not \"postern/v1.x\"\n"},
    {"apiVersion: [a]\n"
     "listeners: [{address: \"127.0.0.1:1\"}]\n" REST,
     121, 0, "c.yaml:1:13: \"apiVersion\" must be text; this is a list\n"},
    {"apiVersion: postern/v1.0\n"
     "foo: 1\n"
     "listeners: [{address: \"127.0.0.1:1\"}]\n" REST,
     137, 0,
     "c.yaml:2:1: configuration has no setting \"foo\"; allowed: apiVersion, listeners, admin, filters, credentials, "
     "targets, "
     "models, passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers\n"},
    {"apiVersion: postern/v1.7\n"
     "logs: {level: x}\n"
     "listeners: [{address: \"127.0.0.1:1\"}]\n"
     "targets: [{name: m, mock: {}}]\n"
     "models: [{name: \"*\", tragets: [m], targets: [m]}]\n",
     161, 0,
     "c.yaml:2:1: warning: configuration has no setting \"logs\" in version 1.0, the newest this Postern knows; "
     "ignored because the configuration is written for postern/v1.7; allowed: apiVersion, listeners, admin, filters, "
     "credentials, targets, models, passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers; "
     "did you "
     "mean "
     "\"log\"?\n"
     "c.yaml:5:22: warning: model has no setting \"tragets\" in version 1.0, the newest this Postern knows; ignored "
     "because the configuration is written for postern/v1.7; allowed: name, targets, filters, stateful_target; did you "
     "mean \"targets\"?\n"},
    {"apiVersion: postern/v1.7\n"
     "listeners: [{address: \"127.0.0.1:1\"}]\n"
     "targets: [{name: m, vertex: {}}]\n"
     "models: [{name: \"*\", targets: [m]}]\n",
     132, 0,
     "c.yaml:3:11: target needs exactly one of azure, openai, mock\n"
     "c.yaml:3:21: warning: target has no setting \"vertex\" in version 1.0, the newest this Postern knows; ignored "
     "because the configuration is written for postern/v1.7; allowed: name, azure, openai, mock, credential, tls, "
     "http_version, timeouts, max_connections, limits, parameters, headers, proxy\n"},
    {"apiVersion: postern/v1.7\n"
     "logs: {level: x}\n"
     "listeners: [{address: \"127.0.0.1:1\"}]\n" REST,
     147, CONFIG_CHECK,
     "c.yaml:2:1: configuration has no setting \"logs\"; allowed: apiVersion, listeners, admin, filters, credentials, "
     "targets, "
     "models, passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers; did you mean "
     "\"log\"?\n"},
};

/* Keys and kinds. */
static const struct message_case keys_cases[] = {
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limit: {}\n",
     138, 0,
     "c.yaml:5:1: configuration has no setting \"limit\"; allowed: apiVersion, listeners, admin, filters, credentials, "
     "targets, "
     "models, passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers; did you mean "
     "\"limits\"?\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {bodi: 1MiB, zzzzzz: 1}\n",
     160, 0,
     "c.yaml:5:10: limits has no setting \"bodi\"; allowed: header_bytes, header_count, target_bytes, body, held, "
     "buffered, connections, http2; did you mean \"body\"?\n"
     "c.yaml:5:22: limits has no setting \"zzzzzz\"; allowed: header_bytes, header_count, target_bytes, body, held, "
     "buffered, connections, http2\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - adress: 127.0.0.1:1\n" REST,
     125, 0,
     "c.yaml:3:5: listener has no setting \"adress\"; allowed: name, address, tls, filters, anonymous, http2, "
     "proxy_protocol, trusted_peers, stateful_target, cancel_on_half_close, mode; did you mean \"address\"?\n"
     "c.yaml:3:5: listener needs \"address\", such as 127.0.0.1:4610\n"},
    {"apiVersion: postern/v1\n" REST, 90, 0,
     "c.yaml:1:1: configuration needs \"listeners\", such as [{address: 127.0.0.1:4610}]\n"},
    {"apiVersion: postern/v1\n"
     "listeners: []\n" REST,
     104, 0, "c.yaml:2:12: \"listeners\" is empty; at least one is needed\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n" REST,
     101, 0, "c.yaml:2:11: \"listeners\" has no value; leave it out or write a list, whose items begin with a dash\n"},
    {"apiVersion: postern/v1\n"
     "listeners: {address: x}\n" REST,
     114, 0, "c.yaml:2:12: \"listeners\" must be a list, whose items begin with a dash; this is a map\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "log:\n",
     133, 0, "c.yaml:5:5: log has no value; write {} for all defaults or leave it out\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "log: info\n",
     138, 0, "c.yaml:5:6: log must be a map of settings; this is a single value\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "log: [level]\n",
     141, 0, "c.yaml:5:6: log must be a map of settings; this is a list\n"},
    {HEAD "targets: [{name: m, mock: }]\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     126, 0, "c.yaml:3:27: mock has no value; write {} for all defaults or leave it out\n"},
    {HEAD "targets: [{name: m}]\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     118, 0, "c.yaml:3:11: target needs exactly one of azure, openai, mock\n"},
    {HEAD "targets: [{name: m, mock: {}, openai: \"http://127.0.0.1/v1\"}]\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     159, 0, "c.yaml:3:21: target has both \"openai\" and \"mock\"; exactly one of azure, openai, mock is allowed\n"},
    {HEAD "targets: [{mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     119, 0,
     "c.yaml:3:11: target needs \"name\", such as east\n"
     "c.yaml:4:32: no target is called \"m\"; none is defined\n"},
};

/* Single values. */
static const struct message_case scalars_cases[] = {
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: 32}\n",
     147, 0, "c.yaml:5:16: \"body\" must be a size: digits and B, KiB, MiB or GiB, such as 64KiB, not \"32\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: 32MB}\n",
     149, 0, "c.yaml:5:16: \"body\" must be a size: digits and B, KiB, MiB or GiB, such as 64KiB, not \"32MB\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: -1B}\n",
     148, 0, "c.yaml:5:16: \"body\" must be a size: digits and B, KiB, MiB or GiB, such as 64KiB, not \"-1B\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: 1GiB1MiB}\n",
     153, 0, "c.yaml:5:16: \"body\" must be a size: digits and B, KiB, MiB or GiB, such as 64KiB, not \"1GiB1MiB\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: 2GiB}\n",
     149, 0, "c.yaml:5:16: \"body\" must be between 1KiB and 1GiB, not 2GiB\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: 99999999999999GiB}\n",
     162, 0,
     "c.yaml:5:16: \"body\" must be a size: digits and B, KiB, MiB or GiB, such as 64KiB, not \"99999999999999GiB\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: [1]}\n",
     148, 0, "c.yaml:5:16: \"body\" must be a size: digits and B, KiB, MiB or GiB, such as 64KiB; this is a list\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: }\n",
     145, 0, "c.yaml:5:16: \"body\" has no value; leave it out for the default\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: ~}\n",
     146, 0, "c.yaml:5:16: \"body\" has no value; leave it out for the default\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "drain: {grace: 30}\n",
     147, 0,
     "c.yaml:5:16: \"grace\" must be a duration: digits and ms, s, m, h or d, such as 500ms or 1m30s, not \"30\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "drain: {grace: 1 s}\n",
     148, 0,
     "c.yaml:5:16: \"grace\" must be a duration: digits and ms, s, m, h or d, such as 500ms or 1m30s, not \"1 s\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "drain: {grace: 30s1m}\n",
     150, 0,
     "c.yaml:5:16: \"grace\" must be a duration: digits and ms, s, m, h or d, such as 500ms or 1m30s, not \"30s1m\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "drain: {grace: }\n",
     145, 0, "c.yaml:5:16: \"grace\" has no value; leave it out for the default\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "drain: {grace: 20000000000000d}\n",
     160, 0,
     "c.yaml:5:16: \"grace\" must be a duration: digits and ms, s, m, h or d, such as 500ms or 1m30s, not "
     "\"20000000000000d\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "workers: two\n",
     141, 0, "c.yaml:5:10: \"workers\" must be a whole number, not \"two\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "workers: 257\n",
     141, 0, "c.yaml:5:10: \"workers\" must be between 0 threads and 256 threads, not 257\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "workers: \"2\"\n",
     141, 0, "c.yaml:5:10: \"workers\" must be a whole number; write it without quotes\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "workers: 1.5\n",
     141, 0, "c.yaml:5:10: \"workers\" must be a whole number, not \"1.5\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "workers: 0x10\n",
     142, 0, "c.yaml:5:10: \"workers\" must be a whole number, not \"0x10\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "workers: -1\n",
     140, 0, "c.yaml:5:10: \"workers\" must be a whole number, not \"-1\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "workers: 4294967295\n",
     148, 0, "c.yaml:5:10: \"workers\" must be a whole number, not \"4294967295\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "workers: true\n",
     142, 0, "c.yaml:5:10: \"workers\" must be a whole number, not \"true\"\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", http2: yes}\n" REST,
     142, 0, "c.yaml:3:37: \"http2\" must be true or false; write true instead of \"yes\"\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", http2: Off}\n" REST,
     142, 0, "c.yaml:3:37: \"http2\" must be true or false; write false instead of \"Off\"\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", http2: \"true\"}\n" REST,
     145, 0, "c.yaml:3:37: \"http2\" must be true or false; write it without quotes\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", http2: maybe}\n" REST,
     144, 0, "c.yaml:3:37: \"http2\" must be true or false, not \"maybe\"\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", http2: TRUE}\n" REST,
     143, 0, "c.yaml:3:37: \"http2\" must be true or false; write true instead of \"TRUE\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "log: {level: inf}\n",
     146, 0,
     "c.yaml:5:14: \"level\" cannot be \"inf\"; allowed: error, warning, info, debug; did you mean \"info\"?\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "log: {level: debugging}\n",
     152, 0, "c.yaml:5:14: \"level\" cannot be \"debugging\"; allowed: error, warning, info, debug\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "log: {level: []}\n",
     145, 0, "c.yaml:5:14: \"level\" must be text; this is a list\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {http2: {pings: 100}}\n",
     158, 0,
     "c.yaml:5:25: \"pings\" must be a rate: a whole number above 0 and /second, /minute, /hour, /day or /month, such "
     "as 100/minute, not \"100\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {http2: {pings: 100/minutes}}\n",
     166, 0,
     "c.yaml:5:25: \"pings\" must be a rate: a whole number above 0 and /second, /minute, /hour, /day or /month, such "
     "as 100/minute, not \"100/minutes\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {http2: {pings: 0/second}}\n",
     163, 0,
     "c.yaml:5:25: \"pings\" must be a rate: a whole number above 0 and /second, /minute, /hour, /day or /month, such "
     "as 100/minute, not \"0/second\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {http2: {pings: 1.5/second}}\n",
     165, 0,
     "c.yaml:5:25: \"pings\" must be a rate: a whole number above 0 and /second, /minute, /hour, /day or /month, such "
     "as 100/minute, not \"1.5/second\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {http2: {pings: /second}}\n",
     162, 0,
     "c.yaml:5:25: \"pings\" must be a rate: a whole number above 0 and /second, /minute, /hour, /day or /month, such "
     "as 100/minute, not \"/second\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {http2: {pings: x/second}}\n",
     163, 0,
     "c.yaml:5:25: \"pings\" must be a rate: a whole number above 0 and /second, /minute, /hour, /day or /month, such "
     "as 100/minute, not \"x/second\"\n"},
    {HEAD "targets: [{name: no, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     129, 0,
     "c.yaml:3:18: \"name\" must be text; quote \"no\", since other tools read it as a truth value\n"
     "c.yaml:3:18: target \"no\" is used by nothing; name it where it should act or remove it\n"
     "c.yaml:4:32: no target is called \"m\"; allowed: no\n"},
    {HEAD "targets: [{name: \"\", mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     129, 0,
     "c.yaml:3:18: \"name\" is empty; leave it out or write a value\n"
     "c.yaml:4:32: no target is called \"m\"; none is defined\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "apiVersion2: 1\n",
     143, 0,
     "c.yaml:5:1: configuration has no setting \"apiVersion2\"; allowed: apiVersion, listeners, admin, filters, "
     "credentials, targets, models, passthrough, stores, limits, timeouts, attempts, drain, log, egress, dns, workers; "
     "did you "
     "mean "
     "\"apiVersion\"?\n"},
};

static void text_is_reported(void **state)
{
    (void)state;
    say(text_cases, ARRAY_LEN(text_cases));
}

static void version_is_reported(void **state)
{
    (void)state;
    say(version_cases, ARRAY_LEN(version_cases));
}

static void keys_is_reported(void **state)
{
    (void)state;
    say(keys_cases, ARRAY_LEN(keys_cases));
}

static void scalars_is_reported(void **state)
{
    (void)state;
    say(scalars_cases, ARRAY_LEN(scalars_cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_reported),
        cmocka_unit_test(version_is_reported),
        cmocka_unit_test(keys_is_reported),
        cmocka_unit_test(scalars_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
