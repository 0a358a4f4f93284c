/* SPDX-License-Identifier: Apache-2.0 */
#include "support/redis_servers.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"

#define WORDS 64
/* Waits of 20 ms; some under sanitizers on a busy machine. */
#define PATIENCE 3000

static void must(bool good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "redis_servers: %s: %s\n", what, strerror(errno));
    abort();
}

static bool on_path(const char *program)
{
    struct span rest = span_str(getenv("PATH")), folder;
    char path[512];
    while (span_split(&rest, ':', &folder)) {
        (void)snprintf(path, sizeof(path), "%.*s/%s", SPAN_ARG(folder), program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

bool redis_servers_there(void)
{
    return on_path("redis-server") && on_path("redis-sentinel") && on_path("redis-cli");
}

/* ---- ports ---- */

static bool port_is_free(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(fd >= 0, "socket");
    bool free_one = bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0;
    (void)close(fd);
    return free_one;
}

/* A cluster's bus takes the port 10000 above. */
static uint16_t free_port(void)
{
    static unsigned next;
    if (!next)
        next = 12000 + (unsigned)getpid() % 8000;
    while (!port_is_free(++next) || !port_is_free(next + 10000))
        must(next < 32000, "no free port");
    return (uint16_t)next;
}

static bool listens(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(fd >= 0, "socket");
    bool yes = connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0;
    (void)close(fd);
    return yes;
}

static void wait_a_little(struct loop *loop)
{
    if (loop)
        for (unsigned i = 0; i < 20; i++)
            loop_turn(loop, false);
    (void)poll(NULL, 0, loop ? 1 : 20);
}

/* ---- processes ---- */

static unsigned split(char *text, char **words)
{
    unsigned count = 0;
    for (char *at = text; *at && count < WORDS - 1;) {
        words[count++] = at;
        at += strcspn(at, " ");
        if (*at)
            *at++ = '\0';
        at += strspn(at, " ");
    }
    words[count] = NULL;
    return count;
}

static pid_t spawn(char *const *words, const char *output)
{
    pid_t parent = getpid(), pid = fork();
    must(pid >= 0, "fork");
    if (pid)
        return pid;
    /* Whatever becomes of the test, its servers do not stay. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    int fd = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
        _exit(126);
    (void)execvp(words[0], words);
    _exit(127);
}

static void launch(struct redis_server *server)
{
    char *words[REDIS_SERVER_ARGUMENTS + 1];
    for (unsigned i = 0; i < server->argument_count; i++)
        words[i] = server->arguments[i];
    words[server->argument_count] = NULL;
    server->pid = spawn(words, server->log);
    for (unsigned i = 0; !listens(server->port); i++) {
        int status;
        must(i < PATIENCE && waitpid(server->pid, &status, WNOHANG) == 0, server->log);
        wait_a_little(NULL);
    }
}

static void add(struct redis_server *server, const char *word, size_t len)
{
    struct buffer full = {0};
    must(server->argument_count < REDIS_SERVER_ARGUMENTS - 1, "arguments");
    for (size_t i = 0; i < len; i++) {
        if (word[i] == '%' && i + 1 < len && word[i + 1] == 'p')
            buffer_format(&full, "%u", server->port);
        else if (word[i] == '%' && i + 1 < len && word[i + 1] == 'd')
            buffer_append(&full, span_str(server->directory));
        else {
            buffer_append(&full, span_of(word + i, 1));
            continue;
        }
        i++;
    }
    (void)snprintf(server->arguments[server->argument_count++], sizeof(server->arguments[0]), "%.*s",
                   SPAN_ARG(buffer_span(&full)));
    buffer_finish(&full);
}

static void add_all(struct redis_server *server, const char *arguments)
{
    struct span rest = span_str(arguments), word;
    while (span_split(&rest, ' ', &word))
        if (word.len)
            add(server, word.ptr, word.len);
}

static void prepare(struct redis_server *server)
{
    *server = (struct redis_server){.port = free_port(), .directory = "/tmp/postern-redis-XXXXXX"};
    must(mkdtemp(server->directory) != NULL, "mkdtemp");
    (void)snprintf(server->log, sizeof(server->log), "%s/log", server->directory);
}

void redis_server_start(struct redis_server *server, const char *arguments)
{
    prepare(server);
    server->tls_only = strstr(arguments, "--tls-port") != NULL;
    add_all(server, "redis-server --bind 127.0.0.1 --appendonly no --dir %d");
    add(server, "--save", 6);
    add(server, "", 0);
    if (!server->tls_only)
        add_all(server, "--port %p");
    add_all(server, arguments);
    launch(server);
}

void redis_sentinel_start(struct redis_server *server, const char *configuration)
{
    prepare(server);
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/sentinel.conf", server->directory);
    FILE *file = fopen(path, "w");
    must(file != NULL, path);
    (void)fprintf(file, "port %u\nbind 127.0.0.1\ndir %s\n%s", server->port, server->directory, configuration);
    must(fclose(file) == 0, path);
    add_all(server, "redis-sentinel %d/sentinel.conf");
    launch(server);
}

void redis_server_restart(struct redis_server *server)
{
    redis_server_signal(server, SIGKILL);
    launch(server);
}

void redis_server_signal(struct redis_server *server, int signo)
{
    if (!server->pid)
        return;
    must(kill(server->pid, signo) == 0, "kill");
    if (signo != SIGKILL)
        return;
    int status;
    must(waitpid(server->pid, &status, 0) == server->pid, "waitpid");
    server->pid = 0;
}

void redis_server_stop(struct redis_server *server)
{
    redis_server_signal(server, SIGKILL);
    char *const words[] = {(char[]){"rm"}, (char[]){"-rf"}, server->directory, NULL};
    int status;
    pid_t pid = spawn(words, "/dev/null");
    must(waitpid(pid, &status, 0) == pid, "rm");
}

/* ---- redis-cli ---- */

static void read_file(const char *path, struct buffer *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd >= 0, path);
    for (;;) {
        ssize_t got = read(fd, buffer_reserve(out, 4096), 4096);
        must(got >= 0, path);
        buffer_commit(out, (size_t)got);
        if (got == 0)
            break;
    }
    (void)close(fd);
}

int redis_cli(const struct redis_server *server, struct loop *loop, struct buffer *out, const char *text)
{
    char line[1024], output[96], *words[WORDS];
    (void)snprintf(line, sizeof(line), "redis-cli -p %u %s", server->port, text);
    (void)snprintf(output, sizeof(output), "%s/cli", server->directory);
    (void)unlink(output);
    (void)split(line, words);
    pid_t pid = spawn(words, output);
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0)
        wait_a_little(loop);
    if (out)
        read_file(output, out);
    return status;
}

void redis_cli_until(const struct redis_server *server, struct loop *loop, const char *words, const char *wanted)
{
    for (unsigned i = 0;; i++) {
        struct buffer out = {0};
        (void)redis_cli(server, loop, &out, words);
        bool found = span_search(buffer_span(&out), span_str(wanted)) < buffer_len(&out);
        buffer_finish(&out);
        if (found)
            return;
        must(i < PATIENCE, wanted);
        wait_a_little(loop);
    }
}

void redis_cluster_start(struct redis_server *servers, unsigned count, unsigned replicas)
{
    char words[512];
    int len = snprintf(words, sizeof(words), "--cluster create");
    for (unsigned i = 0; i < count; i++) {
        redis_server_start(&servers[i], "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout "
                                        "1000 --cluster-replica-validity-factor 0 --repl-diskless-sync-delay 0");
        len += snprintf(words + len, sizeof(words) - (size_t)len, " 127.0.0.1:%u", servers[i].port);
    }
    (void)snprintf(words + len, sizeof(words) - (size_t)len, " --cluster-replicas %u --cluster-yes", replicas);
    must(redis_cli(&servers[0], NULL, NULL, words) == 0, "redis-cli --cluster create");
    for (unsigned i = 0; i < count; i++)
        redis_cli_until(&servers[i], NULL, "cluster info", "cluster_state:ok");
}
