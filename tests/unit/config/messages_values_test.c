/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said about addresses, URLs and secrets: every message verbatim.
 */
#include "unit/config/config_support.h"

#include <stdlib.h>

/* Addresses, networks and URLs. */
static const struct message_case addresses_cases[] = {
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"127.0.0.1\"\n" REST,
     126, 0,
     "c.yaml:3:14: \"address\" must be an address with a port, such as 127.0.0.1:4610, [::1]:4610 or "
     "unix:/run/postern/postern.sock\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"localhost:4610\"\n" REST,
     131, 0,
     "c.yaml:3:14: \"address\" must be an IP address with a port, not a name: 127.0.0.1:4610 for this machine, "
     "0.0.0.0:4610 for all\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \":4610\"\n" REST,
     122, 0,
     "c.yaml:3:14: \"address\" must be an address with a port, such as 127.0.0.1:4610, [::1]:4610 or "
     "unix:/run/postern/postern.sock\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"*:4610\"\n" REST,
     123, 0,
     "c.yaml:3:14: \"address\" must be an address with a port, such as 127.0.0.1:4610, [::1]:4610 or "
     "unix:/run/postern/postern.sock\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"127.0.0.1:99999\"\n" REST,
     132, 0,
     "c.yaml:3:14: \"address\" must be an address with a port, such as 127.0.0.1:4610, [::1]:4610 or "
     "unix:/run/postern/postern.sock\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"::1:4610\"\n" REST,
     125, 0,
     "c.yaml:3:14: \"address\" must be an address with a port, such as 127.0.0.1:4610, [::1]:4610 or "
     "unix:/run/postern/postern.sock\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"unix:\"\n" REST,
     122, 0, "c.yaml:3:14: \"address\" must be an absolute path after unix:, such as unix:/run/postern/postern.sock\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"unix:relative\"\n" REST,
     130, 0, "c.yaml:3:14: \"address\" must be an absolute path after unix:, such as unix:/run/postern/postern.sock\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: "
     "\"unix:/"
     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxxxxx\"\n" REST,
     243, 0, "c.yaml:3:14: \"address\" must be a unix: path of at most 107 bytes (the kernel's limit)\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"${ADDR}\"\n" REST,
     124, 0,
     "c.yaml:3:14: \"address\" holds \"${\": nothing is substituted here; for a secret use {file: PATH} or {env: "
     "NAME}\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"[::1]\"\n" REST,
     122, 0,
     "c.yaml:3:14: \"address\" must be an address with a port, such as 127.0.0.1:4610, [::1]:4610 or "
     "unix:/run/postern/postern.sock\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - address: \"300.1.1.1:1\"\n" REST,
     128, 0,
     "c.yaml:3:14: \"address\" must be an IP address with a port, not a name: 127.0.0.1:4610 for this machine, "
     "0.0.0.0:4610 for all\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", trusted_peers: [10.0.0.1/8]}\n" REST,
     159, 0,
     "c.yaml:3:46: \"trusted_peers\" must be a network such as 10.0.0.0/8 or fd00::/8 with zeros after the prefix, not "
     "\"10.0.0.1/8\"\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", trusted_peers: [10.0.0.0/33]}\n" REST,
     160, 0,
     "c.yaml:3:46: \"trusted_peers\" must be a network such as 10.0.0.0/8 or fd00::/8 with zeros after the prefix, not "
     "\"10.0.0.0/33\"\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", trusted_peers: [host]}\n" REST,
     153, 0,
     "c.yaml:3:46: \"trusted_peers\" must be a network such as 10.0.0.0/8 or fd00::/8 with zeros after the prefix, not "
     "\"host\"\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", trusted_peers: 10.0.0.0/8}\n" REST,
     157, 0, "c.yaml:3:45: \"trusted_peers\" must be a list: [a, b]; this is a single value\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", trusted_peers: [[a]]}\n" REST,
     152, 0, "c.yaml:3:46: \"trusted_peers\" takes text here; this is a list\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"ftp://x/v1\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     150, 0, "c.yaml:5:19: \"url\": the URL must begin with http:// or https://\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"http://\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     147, 0, "c.yaml:5:19: \"url\": the URL has no host\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"https://user@x/v1\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     157, 0, "c.yaml:5:19: \"url\": the URL must not hold a user name or password\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"https://x/v1?a=b\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     156, 0, "c.yaml:5:19: \"url\": the URL must not have a query\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"x\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     141, 0, "c.yaml:5:19: \"url\": the URL must begin with http:// or https://\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"https://api.openai.com/v1/chat/completions\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     182, 0, "c.yaml:5:19: \"url\" must be the base URL, without the operation: remove /chat/completions\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"http://10.0.0.1:8000\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     160, 0,
     "c.yaml:5:19: warning: the URL has no path; most servers, vLLM and api.openai.com among them, expect /v1 at its "
     "end\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"http://${HOST}/v1\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     157, 0,
     "c.yaml:5:19: \"url\" holds \"${\": nothing is substituted here; for a secret use {file: PATH} or {env: NAME}\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com/openai/v1\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_KEY}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     231, 0,
     "c.yaml:5:23: \"endpoint\" must end before /openai: operation, deployment and version are added; write "
     "https://c.openai.azure.com\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com/openai\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_KEY}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     228, 0,
     "c.yaml:5:23: \"endpoint\" must end before /openai: operation, deployment and version are added; write "
     "https://c.openai.azure.com\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"c.openai.azure.com\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_KEY}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     213, 0, "c.yaml:5:23: \"endpoint\": the URL must begin with http:// or https://\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\", api: \"2024\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_KEY}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     234, 0, "c.yaml:5:58: \"api\" must be v1, as-client or a dated version such as 2024-10-21, not \"2024\"\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\", api: \"v2\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_KEY}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     232, 0, "c.yaml:5:58: \"api\" must be v1, as-client or a dated version such as 2024-10-21, not \"v2\"\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\", api: \"2024-10-21-beta\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_KEY}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     245, 0,
     "c.yaml:5:58: \"api\" must be v1, as-client or a dated version such as 2024-10-21, not \"2024-10-21-beta\"\n"},
};

/* Credentials, files, and what of them is said. */
static const struct message_case secrets_cases[] = {
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: s3cr3t}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     204, 0,
     "c.yaml:6:27: \"api_key\" must be {file: PATH} or {env: NAME}; a secret is never written into the "
     "configuration\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: \"${KEY}\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     206, 0,
     "c.yaml:6:27: \"api_key\" must be {file: PATH} or {env: NAME}; a secret is never written into the "
     "configuration\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: {file: /nonexistent/key}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     222, 0, "c.yaml:6:34: \"api_key\": the file /nonexistent/key cannot be read: No such file or directory\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: {file: /dev/null}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     215, 0, "c.yaml:6:34: \"api_key\": the file /dev/null is not a file\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_UNSET}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     223, 0, "c.yaml:6:33: \"api_key\": the environment variable POSTERN_TEST_UNSET is not set\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_EMPTY}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     223, 0, "c.yaml:6:33: \"api_key\": the environment variable POSTERN_TEST_EMPTY is empty\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_LINES}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     223, 0,
     "c.yaml:6:33: \"api_key\": the environment variable POSTERN_TEST_LINES holds a line break or control character\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: {env: \"a-b\"}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     210, 0, "c.yaml:6:33: \"env\" must be the name of an environment variable\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: {env: \"${X}\"}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     211, 0,
     "c.yaml:6:33: \"env\" holds \"${\": nothing is substituted here; for a secret use {file: PATH} or {env: NAME}\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: {file: a, env: b}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     215, 0,
     "c.yaml:6:27: \"api_key\" must be {file: PATH} or {env: NAME}; a secret is never written into the "
     "configuration\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: {value: s3cr3t}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     213, 0,
     "c.yaml:6:28: \"api_key\" must be {file: PATH} or {env: NAME}; a secret is never written into the "
     "configuration\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: []}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     200, 0,
     "c.yaml:6:27: \"api_key\" must be {file: PATH} or {env: NAME}; a secret is never written into the "
     "configuration\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {api_key: }\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     198, 0,
     "c.yaml:6:27: \"api_key\" must be {file: PATH} or {env: NAME}; a secret is never written into the "
     "configuration\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     189, 0,
     "c.yaml:6:17: credential needs exactly one of name, api_key, workload_identity, managed_identity, client_secret, "
     "client_certificate, service_account_token, client\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: {key: {env: X}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     202, 0,
     "c.yaml:6:18: credential has no setting \"key\"; allowed: name, api_key, workload_identity, managed_identity, "
     "client_secret, client_certificate, service_account_token, client\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: word\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     191, 0, "c.yaml:6:17: no credential is called \"word\"; none is defined\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: sk-proj-1\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     196, 0,
     "c.yaml:6:17: this is no credential's name, and looks like a key: keys stand in files or the environment, as in "
     "{api_key: {file: PATH}}\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "    credential: 0123456789abcdef0123456789abcdef\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     219, 0,
     "c.yaml:6:17: this is no credential's name, and looks like a key: keys stand in files or the environment, as in "
     "{api_key: {file: PATH}}\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    azure: {endpoint: \"https://c.openai.azure.com\"}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     170, 0,
     "c.yaml:5:12: warning: no credential: Azure refuses requests without one, and what clients send is not passed "
     "on\n"},
    {HEAD "targets:\n"
          "  - name: m\n"
          "    openai: {url: \"http://10.0.0.1/v1\"}\n"
          "    credential: {api_key: {env: POSTERN_TEST_KEY}}\n"
          "models: [{name: \"*\", targets: [m]}]\n",
     209, 0, "c.yaml:6:17: warning: the credential crosses the network unencrypted: the URL is http://\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", tls: {certificate: /nonexistent/tls.crt}}\n" REST,
     172, 0,
     "c.yaml:3:35: tls needs \"key\", such as tls.key\n"
     "c.yaml:3:49: \"certificate\": /nonexistent/tls.crt cannot be read: No such file or directory\n"},
    {"apiVersion: postern/v1\n"
     "listeners:\n"
     "  - {address: \"127.0.0.1:1\", tls: {certificate: no.crt, key: \"${K}\"}}\n" REST,
     171, 0,
     "c.yaml:3:49: \"certificate\": no.crt cannot be read: No such file or directory\n"
     "c.yaml:3:62: \"key\" holds \"${\": nothing is substituted here; for a secret use {file: PATH} or {env: NAME}\n"},
};

static void addresses_is_reported(void **state)
{
    (void)state;
    say(addresses_cases, ARRAY_LEN(addresses_cases));
}

static void secrets_is_reported(void **state)
{
    (void)state;
    say(secrets_cases, ARRAY_LEN(secrets_cases));
}

int main(void)
{
    setenv("POSTERN_TEST_KEY", "k", 1);
    setenv("POSTERN_TEST_EMPTY", " \n", 1);
    setenv("POSTERN_TEST_LINES", "a\nb", 1);
    unsetenv("POSTERN_TEST_UNSET");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_is_reported),
        cmocka_unit_test(secrets_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
