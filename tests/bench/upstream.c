/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream PORT BODY_BYTES CHUNKS INTERVAL_MS: the answering side of the benchmarks, one thread, HTTP/1.1 keep-alive,
 * as little work per request as possible. A request whose body has "stream":true near its beginning gets CHUNKS
 * server-sent events, one per INTERVAL_MS, each in a write of its own and with the time of that write in it ("t",
 * CLOCK_MONOTONIC in µs), then the finish and [DONE]; any other gets a chat completion padded to BODY_BYTES.
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

#define HEAD_MAX  16384
#define EVENT_MAX 512
#define PEEK      256 /* bytes of a body in which "stream":true is looked for */

struct connection {
    int fd;
    size_t have;      /* bytes of head (and of body behind it) in `head` */
    size_t body_left; /* bytes of the body still to come */
    bool in_body, streaming;
    size_t answer_at; /* bytes of the fixed answer already written */
    bool answering;
    unsigned chunks_left;
    uint64_t due; /* µs */
    struct connection *next;
    char head[HEAD_MAX];
};

static int epoll_fd;
static char *answer;
static size_t answer_len;
static char stream_end[EVENT_MAX];
static size_t stream_end_len;
static unsigned chunk_count;
static uint64_t interval;
/* Streams in the order in which their next event is due: the interval is the same for all. */
static struct connection *due_first, **due_last = &due_first;

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

/* Words in no order, so that the text is about as compressible as people's. */
static void make_text(char *to, size_t len)
{
    static const char *const words[] = {"the",   "model",  "of",    "a",      "request", "which",  "answers", "for",
                                        "it",    "with",   "small", "values", "in",      "order",  "to",      "show",
                                        "that",  "large",  "parts", "are",    "kept",    "where",  "nobody",  "looks",
                                        "again", "before", "and",   "after",  "each",    "stream", "begins",  "anew"};
    uint32_t random = 1;
    for (size_t i = 0; i < len;) {
        random = random * 1664525 + 1013904223;
        for (const char *word = words[random >> 27]; *word && i < len;)
            to[i++] = *word++;
        if (i < len)
            to[i++] = ' ';
    }
}

static void make_answer(size_t size)
{
    static const char start[] =
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    static const char end[] =
        "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":500,\"completion_tokens\":200,"
        "\"total_tokens\":700}}";
    size_t fixed = sizeof(start) + sizeof(end) - 2, pad = size > fixed ? size - fixed : 0;
    answer = malloc(fixed + pad + 256);
    if (!answer)
        die("malloc");
    int head = snprintf(answer, 256, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        fixed + pad);
    char *at = answer + head;
    memcpy(at, start, sizeof(start) - 1);
    make_text(at + sizeof(start) - 1, pad);
    memcpy(at + sizeof(start) - 1 + pad, end, sizeof(end) - 1);
    answer_len = (size_t)head + fixed + pad;
}

static void make_stream_end(void)
{
    static const char events[] =
        "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":"
        "\"bench\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    stream_end_len =
        (size_t)snprintf(stream_end, sizeof(stream_end), "%zx\r\n%s\r\n0\r\n\r\n", sizeof(events) - 1, events);
}

static void drop(struct connection *c)
{
    for (struct connection **at = &due_first; *at; at = &(*at)->next) {
        if (*at != c)
            continue;
        *at = c->next;
        if (due_last == &c->next)
            due_last = at;
        break;
    }
    close(c->fd);
    free(c);
}

static void schedule(struct connection *c)
{
    c->next = NULL;
    *due_last = c;
    due_last = &c->next;
}

/* Small writes to a peer that reads: what does not fit at once is a peer that has stopped, and is dropped. */
static bool put(struct connection *c, const char *bytes, size_t len)
{
    return write(c->fd, bytes, len) == (ssize_t)len;
}

/* One event; false when the peer is gone. */
static bool send_event(struct connection *c)
{
    char event[EVENT_MAX], chunk[EVENT_MAX + 64];
    if (c->chunks_left == 0) {
        c->streaming = false;
        return put(c, stream_end, stream_end_len);
    }
    c->chunks_left--;
    int len = snprintf(
        event, sizeof(event),
        "data: "
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\","
        "\"system_fingerprint\":null,\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,"
        "\"finish_reason\":null}],\"obfuscation\":\"t%llu\"}\n\n",
        (unsigned long long)now());
    int size = snprintf(chunk, sizeof(chunk), "%x\r\n%.*s\r\n", (unsigned)len, len, event);
    return put(c, chunk, (size_t)size);
}

static void continue_answer(struct connection *c)
{
    ssize_t n = write(c->fd, answer + c->answer_at, answer_len - c->answer_at);
    if (n < 0 && errno != EAGAIN) {
        drop(c);
        return;
    }
    c->answer_at += n > 0 ? (size_t)n : 0;
    bool done = c->answer_at == answer_len;
    if (done == c->answering) {
        struct epoll_event want = {.events = done ? EPOLLIN : EPOLLIN | EPOLLOUT, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &want);
        c->answering = !done;
    }
}

static void respond(struct connection *c)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: "
                               "no\r\nTransfer-Encoding: chunked\r\n\r\n";
    if (!c->streaming) {
        c->answer_at = 0;
        continue_answer(c);
        return;
    }
    c->chunks_left = chunk_count;
    c->due = now() + interval;
    if (!put(c, head, sizeof(head) - 1)) {
        drop(c);
        return;
    }
    schedule(c);
}

/* Content-Length of a head that ends at `end`; names come in any case. */
static size_t content_length(const char *head, const char *end)
{
    for (const char *line = head; line && line < end; line = memchr(line, '\n', (size_t)(end - line))) {
        line += *line == '\n';
        if (strncasecmp(line, "content-length:", 15) == 0)
            return strtoull(line + 15, NULL, 10);
    }
    return 0;
}

/* Takes `len` new bytes at the end of c->head. Pipelining is not spoken. */
static void take(struct connection *c, size_t len)
{
    if (c->in_body) {
        c->body_left -= len < c->body_left ? len : c->body_left;
    } else {
        c->have += len;
        c->head[c->have] = 0;
        const char *end = strstr(c->head, "\r\n\r\n");
        if (!end)
            return;
        size_t head = (size_t)(end + 4 - c->head), body = content_length(c->head, end), there = c->have - head;
        if (there < PEEK && there < body)
            return;
        c->streaming = memmem(end, there < PEEK ? there + 4 : PEEK, "\"stream\":true", 13) != NULL;
        c->body_left = body > there ? body - there : 0;
        c->in_body = true;
    }
    if (c->body_left == 0) {
        c->in_body = false;
        c->have = 0;
        respond(c);
    }
}

static void readable(struct connection *c)
{
    static char body[1 << 18];
    char *into = c->in_body ? body : c->head + c->have;
    size_t space = c->in_body ? sizeof(body) : HEAD_MAX - 1 - c->have;
    ssize_t n = read(c->fd, into, space);
    if (n > 0)
        take(c, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        drop(c);
}

static void accept_all(int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = calloc(1, sizeof(*c));
        if (!c)
            die("calloc");
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        struct epoll_event want = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &want);
    }
}

/* Sends what is due; returns the milliseconds until the next event, -1 for none. */
static int run_due(void)
{
    uint64_t time = now();
    while (due_first && due_first->due <= time) {
        struct connection *c = due_first;
        due_first = c->next;
        if (!due_first)
            due_last = &due_first;
        if (!send_event(c)) {
            drop(c);
        } else if (c->streaming) {
            c->due += interval;
            schedule(c);
        }
    }
    return due_first ? (int)((due_first->due - time + 999) / 1000) : -1;
}

static int listen_on(const char *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 16384) != 0)
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: upstream PORT BODY_BYTES CHUNKS INTERVAL_MS\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    make_answer(strtoul(argv[2], NULL, 10));
    make_stream_end();
    chunk_count = (unsigned)strtoul(argv[3], NULL, 10);
    interval = strtoull(argv[4], NULL, 10) * 1000;
    int listener = listen_on(argv[1]);
    epoll_fd = epoll_create1(0);
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &want);
    for (;;) {
        struct epoll_event ready[256];
        int count = epoll_wait(epoll_fd, ready, 256, run_due());
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            if (!c)
                accept_all(listener);
            else if (c->answering && ready[i].events & EPOLLOUT)
                continue_answer(c);
            else
                readable(c);
        }
    }
}
