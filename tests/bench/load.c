/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load PORT PATH BODY_FILE CONNECTIONS REQUESTS [hold | vary FIRST COUNT]: the asking side of the benchmarks over
 * HTTP/1.1. Each connection sends its next request when the answer to the last has come (a closed loop) until REQUESTS
 * are done. Prints one JSON object: requests, errors, seconds, latencies in µs (p50, p99), and for streams the events
 * and how long each took from the upstream's write to here.
 *
 * With `hold`, REQUESTS streams are only begun: when each has had its first event, "ready" is printed, and the process
 * stays until its standard input ends. Memory is measured meanwhile.
 *
 * With `vary`, the eight zeros in the body become a number: FIRST, FIRST + 1 ..., COUNT of them in turn.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SCRATCH (1 << 18)
#define TAIL    8 /* bytes kept of what was read before, to find marks that are split */
#define DIGITS  8

enum progress { IN_HEAD, IN_LENGTH, IN_CHUNKS };

struct connection {
    int fd;
    size_t sent; /* of the request */
    size_t number;
    bool wants_write, begun;
    enum progress progress;
    size_t left;
    uint64_t started;
    size_t kept;
    char tail[TAIL];
    size_t head_len;
    char head[4096];
};

struct samples {
    uint32_t *values;
    size_t count, cap;
};

static struct sockaddr_in server;
static int epoll_fd;
static char *request;
static size_t request_len, to_send, done, errors, first_events;
static char *varied; /* the digits in the request, NULL: it is always the same */
static size_t vary_first, vary_count, vary_next;
static struct samples latencies, delays;

static uint64_t now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void sample(struct samples *s, uint64_t value)
{
    if (s->count == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 65536;
        s->values = realloc(s->values, s->cap * sizeof(*s->values));
        if (!s->values)
            die("realloc");
    }
    s->values[s->count++] = (uint32_t)value;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static unsigned percentile(struct samples *s, double share)
{
    if (s->count == 0)
        return 0;
    qsort(s->values, s->count, sizeof(*s->values), compare);
    return s->values[(size_t)((double)(s->count - 1) * share)];
}

static void make_request(const char *path, const char *file)
{
    FILE *in = fopen(file, "rb");
    if (!in || fseek(in, 0, SEEK_END) != 0)
        die(file);
    size_t body = (size_t)ftell(in);
    rewind(in);
    request = malloc(body + 512);
    if (!request)
        die("malloc");
    int head =
        snprintf(request, 512,
                 "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
                 "User-Agent: bench\r\nAuthorization: Bearer bench\r\nContent-Length: %zu\r\n\r\n",
                 path, body);
    if (fread(request + head, 1, body, in) != body)
        die(file);
    fclose(in);
    request_len = (size_t)head + body;
}

static void connect_to(struct connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof(server)) != 0)
        die("connect");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &want);
    c->wants_write = false;
}

static void write_number(size_t number)
{
    for (size_t i = DIGITS; i-- > 0; number /= 10)
        varied[i] = (char)('0' + number % 10);
}

static void send_more(struct connection *c)
{
    if (varied)
        write_number(c->number);
    ssize_t n = write(c->fd, request + c->sent, request_len - c->sent);
    c->sent += n > 0 ? (size_t)n : 0;
    bool more = c->sent < request_len;
    if (more != c->wants_write) {
        struct epoll_event want = {.events = more ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &want);
        c->wants_write = more;
    }
}

static void ask(struct connection *c)
{
    if (to_send == 0)
        return;
    to_send--;
    c->sent = c->head_len = c->kept = 0;
    c->progress = IN_HEAD;
    c->begun = false;
    c->started = now();
    if (varied)
        c->number = vary_first + vary_next++ % vary_count;
    send_more(c);
}

static void answered(struct connection *c, bool ok)
{
    sample(&latencies, now() - c->started);
    done++;
    errors += !ok;
    ask(c);
}

/* The events in what was just read: each carries the time of its write where OpenAI pads events ("obfuscation"). */
static void count_events(struct connection *c, const char *bytes, size_t len)
{
    uint64_t time = now();
    static const char mark[] = "\"obfuscation\":\"t";
    const size_t size = sizeof(mark) - 1;
    for (const char *at = bytes; (at = memmem(at, len - (size_t)(at - bytes), mark, size)) != NULL; at += size) {
        uint64_t written = strtoull(at + size, NULL, 10);
        if (written <= time && time - written < 60000000)
            sample(&delays, time - written);
        first_events += !c->begun;
        c->begun = true;
    }
}

/* Whether the body's last chunk is in; keeps the end of what was read. */
static bool chunks_end(struct connection *c, const char *bytes, size_t len)
{
    char end[2 * TAIL];
    size_t take = len < TAIL ? len : TAIL;
    memcpy(end, c->tail, c->kept);
    memcpy(end + c->kept, bytes + len - take, take);
    size_t total = c->kept + take, from = total > TAIL ? total - TAIL : 0;
    c->kept = total - from;
    memcpy(c->tail, end + from, c->kept);
    return c->kept >= 5 && memcmp(c->tail + c->kept - 5, "0\r\n\r\n", 5) == 0;
}

static void take(struct connection *c, char *bytes, size_t len);

static void take_head(struct connection *c, char *bytes, size_t len)
{
    size_t room = sizeof(c->head) - 1 - c->head_len, part = len < room ? len : room;
    memcpy(c->head + c->head_len, bytes, part);
    size_t before = c->head_len;
    c->head_len += part;
    c->head[c->head_len] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (room == part)
            die("answer head too large");
        return;
    }
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strncmp(c->head + 9, "200", 3) != 0)
        errors++;
    c->progress = length && length < end ? IN_LENGTH : IN_CHUNKS;
    c->left = c->progress == IN_LENGTH ? strtoull(length + 17, NULL, 10) : 0;
    size_t used = (size_t)(end + 4 - c->head) - before;
    if (used < len || c->left == 0)
        take(c, bytes + used, len - used);
}

static void take(struct connection *c, char *bytes, size_t len)
{
    switch (c->progress) {
    case IN_HEAD:
        take_head(c, bytes, len);
        break;
    case IN_LENGTH:
        c->left -= len < c->left ? len : c->left;
        if (c->left == 0)
            answered(c, true);
        break;
    case IN_CHUNKS:
        if (len == 0)
            break;
        count_events(c, bytes, len);
        if (chunks_end(c, bytes, len))
            answered(c, true);
        break;
    }
}

static void readable(struct connection *c)
{
    static char scratch[SCRATCH + 1];
    ssize_t n = read(c->fd, scratch, SCRATCH);
    if (n > 0) {
        scratch[n] = 0;
        take(c, scratch, (size_t)n);
        return;
    }
    if (n < 0 && errno == EAGAIN)
        return;
    close(c->fd);
    connect_to(c);
    if (c->progress != IN_HEAD || c->sent)
        answered(c, false);
}

static void turn(void)
{
    struct epoll_event ready[256];
    int count = epoll_wait(epoll_fd, ready, 256, 10000);
    if (count == 0) {
        fprintf(stderr, "no answer for ten seconds\n");
        exit(1);
    }
    for (int i = 0; i < count; i++) {
        struct connection *c = ready[i].data.ptr;
        if (ready[i].events & EPOLLOUT)
            send_more(c);
        if (ready[i].events & ~(uint32_t)EPOLLOUT)
            readable(c);
    }
}

static void vary(const char *first, const char *count)
{
    varied = memmem(request, request_len, "00000000", DIGITS);
    vary_first = strtoul(first, NULL, 10);
    vary_count = strtoul(count, NULL, 10);
    if (!varied || vary_count == 0) {
        fprintf(stderr, "vary: no eight zeros in the body, or a count of none\n");
        exit(2);
    }
}

static void hold(size_t streams)
{
    while (first_events < streams)
        turn();
    printf("ready\n");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: load PORT PATH BODY_FILE CONNECTIONS REQUESTS [hold | vary FIRST COUNT]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    make_request(argv[2], argv[3]);
    size_t count = strtoul(argv[4], NULL, 10), requests = strtoul(argv[5], NULL, 10);
    to_send = requests;
    if (argc == 9)
        vary(argv[7], argv[8]);
    epoll_fd = epoll_create1(0);
    struct connection *connections = calloc(count, sizeof(*connections));
    if (!connections)
        die("calloc");
    for (size_t i = 0; i < count; i++)
        connect_to(&connections[i]);
    uint64_t started = now();
    for (size_t i = 0; i < count; i++)
        ask(&connections[i]);
    if (argc == 7) {
        hold(requests);
        return 0;
    }
    while (done < requests)
        turn();
    double seconds = (double)(now() - started) / 1e6;
    printf("{\"requests\":%zu,\"errors\":%zu,\"seconds\":%.6f,\"p50\":%u,\"p99\":%u,\"events\":%zu,\"event_p50\":%u,"
           "\"event_p99\":%u}\n",
           done, errors, seconds, percentile(&latencies, 0.5), percentile(&latencies, 0.99), delays.count,
           percentile(&delays, 0.5), percentile(&delays, 0.99));
    return errors ? 1 : 0;
}
