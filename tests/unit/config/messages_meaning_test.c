/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said about values that cannot be meant: every message verbatim.
 */
#include "unit/config/config_support.h"

#include <stdlib.h>

/* What the parts are to each other. */
static const struct message_case meaning_cases[] = {
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: 0.0.0.0:4610\n" REST,
     127, 0,
     "c.yaml:3:14: others can reach 0.0.0.0:4610: name a filter that authenticates, or say \"anonymous: true\" to "
     "serve anyone\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"[::]:4610\"}\n" REST,
     128, 0,
     "c.yaml:3:15: others can reach [::]:4610: name a filter that authenticates, or say \"anonymous: true\" to serve "
     "anyone\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: 0.0.0.0:1, filters: [gate], anonymous: true}\n"
     "targets: [{name: m, mock: {}}]\n"
     "models: [{name: \"*\", targets: [m]}]\n"
     "filters: {gate: {}}\n",
     180, 0, "c.yaml:3:54: \"anonymous: true\" contradicts filter \"gate\", which authenticates; remove one of them\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: 0.0.0.0:1, filters: [edit]}\n"
     "targets: [{name: m, mock: {}}]\n"
     "models: [{name: \"*\", targets: [m]}]\n"
     "filters: {edit: {}}\n",
     163, 0,
     "c.yaml:3:15: others can reach 0.0.0.0:1: name a filter that authenticates, or say \"anonymous: true\" to serve "
     "anyone\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: 0.0.0.0:1, filters: [gat]}\n"
     "targets: [{name: m, mock: {}}]\n"
     "models: [{name: \"*\", targets: [m]}]\n"
     "filters: {gate: {}}\n",
     162, 0, "c.yaml:3:36: no filter is called \"gat\"; allowed: gate; did you mean \"gate\"?\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", filters: [edit, edit]}\n"
     "targets: [{name: m, mock: {}}]\n"
     "models: [{name: \"*\", targets: [m]}]\n"
     "filters: {edit: {}}\n",
     173, 0, "c.yaml:3:46: \"filters\" names \"edit\" twice\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"127.0.0.1:1\"\n"
     "  - address: \"127.0.0.1:1\"\n" REST,
     155, 0, "c.yaml:4:14: a second listener has the address \"127.0.0.1:1\"; the first is at c.yaml:3:14\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {name: a, address: \"127.0.0.1:1\"}\n"
     "  - {name: a, address: \"127.0.0.1:2\"}\n" REST,
     177, 0, "c.yaml:4:12: a second listener is called \"a\"; the first is at c.yaml:3:12\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "admin: {address: \"127.0.0.1:1\"}\n",
     160, 0, "c.yaml:5:18: 127.0.0.1:1 is a listener's address already; operators need one of their own\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "admin: {control: \"127.0.0.1:2\"}\n",
     160, 0,
     "c.yaml:5:18: \"control\" must be a unix socket such as unix:/run/postern/control.sock: it changes things, and "
     "file permissions say who may\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", proxy_protocol: true}\n" REST,
     152, 0,
     "c.yaml:3:46: \"proxy_protocol\" needs \"trusted_peers\": without it whoever connects could claim any address\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"unix:/tmp/x.sock\", trusted_peers: [10.0.0.0/8]}\n" REST,
     164, 0, "c.yaml:3:50: \"trusted_peers\" has no effect on a unix socket, whose peers have no address; remove it\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", mode: 0666}\n" REST,
     142, 0, "c.yaml:3:36: \"mode\" has no effect on an IP address; it is for unix sockets\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"unix:/tmp/x.sock\", mode: 666}\n" REST,
     146, 0, "c.yaml:3:41: \"mode\" must be four octal digits such as 0660\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"unix:/tmp/x.sock\", mode: 0999}\n" REST,
     147, 0, "c.yaml:3:41: \"mode\" must be four octal digits such as 0660\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "filters: {edit: {}}\n",
     148, 0, "c.yaml:5:11: filter \"edit\" is used by nothing; name it where it should act or remove it\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "filters: {edits: {}}\n",
     149, 0,
     "c.yaml:5:11: filter \"edits\" has no \"type\", and no filter type is called as it is; allowed: edit, gate; did "
     "you mean \"edit\"?\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "filters: {x: {type: edti}}\n",
     155, 0, "c.yaml:5:21: no filter type is called \"edti\"; allowed: edit, gate; did you mean \"edit\"?\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "filters: {x: []}\n",
     145, 0, "c.yaml:5:14: filter \"x\" must be a map of settings; this is a list\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "filters: []\n",
     140, 0, "c.yaml:5:10: \"filters\" must be a map from names to settings; this is a list\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: a, targets: [mm]}, {name: b, targets: [{target: east}]}]\n",
     165, 0,
     "c.yaml:3:18: target \"m\" is used by nothing; name it where it should act or remove it\n"
     "c.yaml:4:30: no target is called \"mm\"; allowed: m\n"
     "c.yaml:4:65: no target is called \"east\"; allowed: m\n"},
    {HEAD "models: [{name: a, targets: [m]}]\n", 95, 0, "c.yaml:3:30: no target is called \"m\"; none is defined\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n", 92, 0,
     "c.yaml:1:1: no \"models\" and no \"passthrough\": there is nothing clients could ask for\n"
     "c.yaml:3:18: target \"m\" is used by nothing; name it where it should act or remove it\n"},
    {HEAD "targets: [{name: m, mock: {}}, {name: m, mock: {}}, {name: idle, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     173, 0,
     "c.yaml:3:39: a second target is called \"m\"; the first is at c.yaml:3:18\n"
     "c.yaml:3:60: target \"idle\" is used by nothing; name it where it should act or remove it\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: a, targets: []}]\n",
     125, 0,
     "c.yaml:3:18: target \"m\" is used by nothing; name it where it should act or remove it\n"
     "c.yaml:4:29: \"targets\" is empty; at least one is needed\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: a}]\n",
     112, 0,
     "c.yaml:3:18: target \"m\" is used by nothing; name it where it should act or remove it\n"
     "c.yaml:4:10: model needs \"targets\", such as [{target: east}]\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: []\n",
     103, 0,
     "c.yaml:3:18: target \"m\" is used by nothing; name it where it should act or remove it\n"
     "c.yaml:4:9: \"models\" is empty; leave it out or name something\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: a, targets: m}]\n",
     124, 0, "c.yaml:4:29: \"targets\" must be a list, whose items begin with a dash; this is a single value\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: a, targets: [m]}, {name: a, targets: [m]}, {name: \"a*\", targets: [m]}, {name: \"ab*\", "
          "targets: [m]}, {name: \"*\", targets: [m]}, {name: \"x*\", targets: [m]}, {name: late, targets: [m]}]\n",
     291, 0,
     "c.yaml:4:42: model \"a\" is never reached: \"a\" at c.yaml:4:17 comes first; put their targets into one entry\n"
     "c.yaml:4:95: model \"ab*\" is never reached: \"a*\" at c.yaml:4:67 comes first; put the general one last\n"
     "c.yaml:4:151: model \"x*\" is never reached: \"*\" at c.yaml:4:124 comes first; put the general one last\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"a*b\", targets: [m]}]\n",
     130, 0, "c.yaml:4:17: \"name\" can have one asterisk, at its end: gpt-4o, gpt-4*, or *\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: a, targets: [m, {target: m}]}]\n",
     139, 0,
     "c.yaml:4:33: model \"a\" names target \"m\" twice with the same deployment; another try there is no other "
     "place\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: a, targets: [{target: m, weight: 0}]}]\n",
     147, 0,
     "c.yaml:4:50: every target of model \"a\" with priority 1 has weight 0; one of them must be the first choice\n"},
    {HEAD "targets: [{name: m, mock: {}}, {name: second, mock: {}}]\n"
          "models: [{name: a, targets: [m], stateful_target: second}, {name: b, targets: [second]}]\n",
     207, 0, "c.yaml:4:51: \"stateful_target\" must be one of the model's own targets; \"second\" is not\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "passthrough: [{path: tokenize, target: m}, {path: \"/a?b\", target: m}, {path: /a/, target: m}, {path: /b, "
          "target: m}, {path: /b, target: m}]\n",
     232, 0,
     "c.yaml:4:22: \"path\" must begin with / and be plain: no query, no escapes, no asterisk, no slash at the end; "
     "everything below it is covered\n"
     "c.yaml:4:51: \"path\" must begin with / and be plain: no query, no escapes, no asterisk, no slash at the end; "
     "everything below it is covered\n"
     "c.yaml:4:78: \"path\" must begin with / and be plain: no query, no escapes, no asterisk, no slash at the end; "
     "everything below it is covered\n"
     "c.yaml:4:125: a second passthrough has the path \"/b\"; the first is at c.yaml:4:102\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: a, targets: [m], filters: [edit]}]\n"
          "filters: {edit: {}}\n",
     163, 0, ""},
    {"apiVersion: postern/v1\n"
     "listeners: [{address: \"127.0.0.1:1\", filters: [edit]}]\n"
     "targets: [{name: m, mock: {}}]\n"
     "models: [{name: a, targets: [m], filters: [edit]}]\n"
     "filters: {edit: {}}\n",
     180, 0, "c.yaml:4:44: filter \"edit\" already acts on listener \"127.0.0.1:1\"; it would run twice\n"},
};

/* Settings that could have no effect. */
static const struct message_case effects_cases[] = {
    {HEAD "targets:\n"
          "  - name: m\n"
          "    mock: {}\n"
          "    credential: {api_key: {env: POSTERN_TEST_KEY}}\n"
          "    http_version: 2\n"
          "    tls: {}\n"
          "    max_connections: 3\n"
          "    proxy: none\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     253, 0,
     "c.yaml:6:17: \"credential\" has no effect with \"mock\"; remove it\n"
     "c.yaml:7:19: \"http_version\" has no effect with \"mock\"; remove it\n"
     "c.yaml:8:10: \"tls\" has no effect with \"mock\"; remove it\n"
     "c.yaml:9:22: \"max_connections\" has no effect with \"mock\"; remove it\n"
     "c.yaml:10:12: \"proxy\" has no effect with \"mock\"; remove it\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"http://127.0.0.1/v1\"}\n"
          "    tls: {server_name: a}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     185, 0, "c.yaml:6:10: \"tls\" has no effect with an http:// URL; write https:// or remove it\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    mock: {fault: {every: 3}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     148, 0, "c.yaml:5:27: \"every\" has no effect without \"status\"\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    mock: {fault: {status: 200}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     151, 0, "c.yaml:5:28: \"status\" must be 0 or an error between 400 and 599\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    mock: {}\n"
          "    timeouts: {total: 10s, first_byte: 20s}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     175, 0, "c.yaml:6:40: \"first_byte\" has no effect: it is longer than \"total\"\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    mock: {}\n"
          "    parameters: {set: {model: x, stream: true}, drop: [a]}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     190, 0,
     "c.yaml:6:23: \"set\" cannot hold \"model\": name a deployment in the model's targets\n"
     "c.yaml:6:23: \"set\" cannot hold \"stream\": the client decides how it is answered\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    mock: {}\n"
          "    parameters: {set: {a: 1}, drop: [a, a]}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     175, 0, "c.yaml:6:41: \"drop\" names \"a\" twice\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    mock: {}\n"
          "    parameters: {set: {a: yes, b: .5, c: 010, d: , e: ~}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     189, 0,
     "c.yaml:6:27: \"yes\" could be a truth value; write true, or quote it as text\n"
     "c.yaml:6:35: \".5\" is not a number as JSON spells it; write one (0.5, 10, 1e3), or quote it as text\n"
     "c.yaml:6:42: \"010\" is not a number as JSON spells it; write one (0.5, 10, 1e3), or quote it as text\n"
     "c.yaml:6:50: no value; write null, or \"\" for an empty text\n"
     "c.yaml:6:55: no value; write null, or \"\" for an empty text\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    mock: {}\n"
          "    parameters: {rename: {a: [b], c: no}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     173, 0,
     "c.yaml:6:30: \"rename\" takes text here; this is a list\n"
     "c.yaml:6:38: \"rename\": quote \"no\", since other tools read it as a truth value\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    mock: {}\n"
          "    headers: {set: {Authorization: x, \"a b\": c, \"x-a\": \"b\\nc\", X-B: 1, x-b: 2}, remove: [A, a]}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     227, 0,
     "c.yaml:6:39: \"set\": \"a b\" is not the name of a header field\n"
     "c.yaml:6:56: \"x-a\" holds a line break or control character\n"
     "c.yaml:6:72: \"set\" names \"x-b\" twice\n"
     "c.yaml:6:93: \"remove\" names \"a\" twice\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {body: 512MiB}\n",
     151, 0, "c.yaml:5:16: \"body\" must not be larger than \"held\": such a body could never be collected\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "limits: {held: 16MiB}\n",
     150, 0, "c.yaml:5:16: \"body\" must not be larger than \"held\": such a body could never be collected\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "egress: {proxy: url}\n",
     149, 0, "c.yaml:5:17: \"proxy: url\" needs \"url\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "egress: {url: \"http://p:1\"}\n",
     156, 0, "c.yaml:5:15: \"url\" has no effect without \"proxy: url\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "egress: {proxy: url, url: \"https://p:1\"}\n",
     169, 0, "c.yaml:5:27: \"url\": the URL must begin with http://\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "egress: {proxy: none, no_proxy: [a]}\n",
     165, 0, "c.yaml:5:33: \"no_proxy\" has no effect with \"proxy: none\"\n"},
    {HEAD "targets: [{name: m, mock: {}}]\n"
          "models: [{name: \"*\", targets: [m]}]\n"
          "dns: {min_ttl: 10m}\n",
     148, 0, "c.yaml:5:16: \"min_ttl\" must not be longer than \"max_ttl\"\n"},
    {"apiVersion: postern/v1\n"
     "listeners: [{address: \"127.0.0.1:1\", tls: {certificate: /dev/null, key: /dev/null, client_certificate: "
     "required}}]\n" REST,
     205, 0,
     "c.yaml:2:104: \"client_certificate\" has no effect without \"client_ca\"; name the authority or remove it\n"},
};

static void meaning_is_reported(void **state)
{
    (void)state;
    say(meaning_cases, ARRAY_LEN(meaning_cases));
}

static void effects_is_reported(void **state)
{
    (void)state;
    say(effects_cases, ARRAY_LEN(effects_cases));
}

int main(void)
{
    setenv("POSTERN_TEST_KEY", "k", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(meaning_is_reported),
        cmocka_unit_test(effects_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
