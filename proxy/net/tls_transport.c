/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The BIO below OpenSSL is our own and never touches the socket for single records: it takes up to 64 KiB of ciphertext
 * per read of the transport below and collects the records of one write into one write below. So the system calls per
 * turn are those of a plain connection.
 */
#include "net/tls.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "net/loop.h"
#include "net/tls_internal.h"
#include "net/tls_peer.h"

/* One record's plain text (RFC 8446 section 5.1). */
#define RECORD 16384
/* Plain text handed to OpenSSL between two writes below: what the ciphertext scratch holds with headers and tags. */
#define BATCH (4 * RECORD)

struct tls_transport {
    struct transport base;
    struct transport *lower;
    struct tls_context *context;
    SSL *ssl;
    struct buffer rest;   /* ciphertext that came and was not asked for yet */
    struct buffer unsent; /* ciphertext that the transport below did not take */
    struct span in;       /* during a call: ciphertext in the scratch */
    size_t out;           /* during a call: bytes of ciphertext in the scratch */
    struct task task;     /* what must be told outside of the call that found it */
    bool told_secured;
    bool drained;   /* the transport below has nothing more now */
    bool lower_eof; /* TCP ended, close_notify or not */
    bool eof;       /* close_notify came */
    bool failed, told_failed;
    bool short_write; /* the owner waits for WRITABLE */
    bool told_eof;
    bool blocked;       /* the transport below owes us a WRITABLE */
    bool shut;          /* our direction ends as soon as `unsent` is out */
    struct arena arena; /* of the peer's certificate */
    struct tls_peer *peer;
    char error[160];
};

static struct tls_transport *tls_of(struct transport *t)
{
    return CONTAINER_OF(t, struct tls_transport, base);
}

/* ---- the BIO ---- */

static bool refill(struct tls_transport *tls)
{
    if (tls->drained || tls->lower_eof)
        return false;
    char *scratch = loop_cipher_scratch(tls->base.loop, 0);
    ssize_t got = transport_read(tls->lower, scratch, LOOP_SCRATCH);
    tls->drained = got < LOOP_SCRATCH;
    if (got < 0)
        tls->lower_eof = true; /* a reset is an end without close_notify: the words come from transport_error */
    tls->in = span_of(scratch, got > 0 ? (size_t)got : 0);
    return got > 0;
}

static int bio_read(BIO *bio, char *into, size_t size, size_t *ret_read)
{
    struct tls_transport *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    bool from_rest = buffer_len(&tls->rest) > 0;
    if (!from_rest && !tls->in.len && !refill(tls)) {
        if (!tls->lower_eof)
            BIO_set_retry_read(bio);
        return 0;
    }
    struct span part = span_take(from_rest ? buffer_span(&tls->rest) : tls->in, size);
    if (part.ptr)
        memcpy(into, part.ptr, part.len);
    if (from_rest)
        buffer_consume(&tls->rest, part.len);
    else
        tls->in = span_skip(tls->in, part.len);
    *ret_read = part.len;
    return 1;
}

static int bio_write(BIO *bio, const char *from, size_t size, size_t *ret_written)
{
    struct tls_transport *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (buffer_len(&tls->unsent) || tls->out + size > LOOP_SCRATCH + LOOP_CIPHER_SLACK) {
        /* Behind what waits already; the scratch's own part goes first. */
        if (tls->out)
            buffer_append(&tls->unsent, span_of(loop_cipher_scratch(tls->base.loop, 1), tls->out));
        tls->out = 0;
        buffer_append(&tls->unsent, span_of(from, size));
    } else {
        memcpy(loop_cipher_scratch(tls->base.loop, 1) + tls->out, from, size);
        tls->out += size;
    }
    *ret_written = size;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *method; /* made once, const afterwards, lives as long as the process */

static void method_make(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "postern transport");
    (void)BIO_meth_set_read_ex(method, bio_read);
    (void)BIO_meth_set_write_ex(method, bio_write);
    (void)BIO_meth_set_ctrl(method, bio_ctrl);
}

static BIO *bio_make(struct tls_transport *tls)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, method_make);
    BIO *bio = BIO_new(method);
    if (!bio)
        return NULL;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    return bio;
}

/* ---- flushing ---- */

static void fail(struct tls_transport *tls, const char *what)
{
    if (tls->failed)
        return;
    tls->failed = true;
    (void)snprintf(tls->error, sizeof(tls->error), "%s", what);
}

/* Writes collected ciphertext below; what is not taken waits in `unsent`. */
static void flush(struct tls_transport *tls)
{
    bool waiting = buffer_len(&tls->unsent) > 0;
    char *scratch = tls->out ? loop_cipher_scratch(tls->base.loop, 1) : NULL;
    struct span bytes = waiting ? buffer_span(&tls->unsent) : span_of(scratch, tls->out);
    tls->out = 0;
    if (bytes.len == 0 || tls->failed || tls->blocked)
        return;
    struct iovec iov = {.iov_base = (void *)bytes.ptr, .iov_len = bytes.len};
    ssize_t sent = transport_write(tls->lower, &iov, 1);
    if (sent < 0) {
        fail(tls, transport_error(tls->lower));
        return;
    }
    tls->blocked = (size_t)sent < bytes.len;
    if (waiting)
        buffer_consume(&tls->unsent, (size_t)sent);
    else if ((size_t)sent < bytes.len)
        buffer_append(&tls->unsent, span_skip(bytes, (size_t)sent));
}

/* Bytes left in the scratch belong to this connection and must not be lost to the next reader. */
static void keep_rest(struct tls_transport *tls)
{
    if (tls->in.len)
        buffer_append(&tls->rest, tls->in);
    tls->in = (struct span){0};
}

/* Whether a read could return something without the socket becoming readable again. */
static bool has_more(const struct tls_transport *tls)
{
    return buffer_len(&tls->rest) || (tls->eof && !tls->told_eof) || SSL_pending(tls->ssl) > 0;
}

/* ---- errors ---- */

static void fail_ssl(struct tls_transport *tls, int result)
{
    long verify = SSL_get_verify_result(tls->ssl);
    char text[sizeof(tls->error)];
    if (*transport_error(tls->lower))
        (void)snprintf(text, sizeof(text), "%s", transport_error(tls->lower));
    else if (tls->lower_eof)
        (void)snprintf(text, sizeof(text), "connection closed %s",
                       tls->told_secured ? "without close_notify" : "by the peer");
    else if (result == SSL_ERROR_SSL && verify != X509_V_OK && !tls->told_secured)
        (void)snprintf(text, sizeof(text), "certificate verify failed: %s", X509_verify_cert_error_string(verify));
    else
        (void)snprintf(text, sizeof(text), "%s", tls_take_error());
    ERR_clear_error();
    fail(tls, text);
}

/* ---- handshake ---- */

static void handshake(struct tls_transport *tls)
{
    ERR_clear_error();
    tls->drained = false;
    int done = SSL_do_handshake(tls->ssl);
    keep_rest(tls);
    if (done != 1) {
        int result = SSL_get_error(tls->ssl, done);
        if (result != SSL_ERROR_WANT_READ)
            fail_ssl(tls, result);
    }
    bool failed = tls->failed;
    tls->failed = false; /* the alert that says why still goes out */
    flush(tls);
    tls->failed = tls->failed || failed;
    if (tls->failed) {
        tls->told_failed = true;
        transport_notify(&tls->base, TRANSPORT_FAILED);
        return;
    }
    if (done != 1)
        return;
    tls->told_secured = true;
    if (tls_context_role(tls->context) == TLS_SERVER)
        tls->peer = tls_peer_read(tls->ssl, &tls->arena);
    transport_want(tls->lower, tls->base.want_read);
    transport_notify(&tls->base, TRANSPORT_SECURED);
}

/* ---- ops ---- */

static ssize_t read_result(struct tls_transport *tls, int result)
{
    if (result == SSL_ERROR_ZERO_RETURN)
        tls->eof = true;
    else if (result != SSL_ERROR_WANT_READ && result != SSL_ERROR_WANT_WRITE)
        fail_ssl(tls, result);
    return tls->failed ? TRANSPORT_ERROR : tls->eof ? TRANSPORT_EOF : 0;
}

static ssize_t tls_read(struct transport *t, char *into, size_t size)
{
    struct tls_transport *tls = tls_of(t);
    if (tls->failed) {
        tls->told_failed = true;
        return TRANSPORT_ERROR;
    }
    if (tls->eof) {
        tls->told_eof = true;
        return TRANSPORT_EOF;
    }
    ERR_clear_error();
    tls->drained = false;
    size_t total = 0;
    ssize_t outcome = 1;
    while (total < size && outcome > 0) {
        size_t got = 0;
        int done = SSL_read_ex(tls->ssl, into + total, size - total, &got);
        total += got;
        if (done != 1)
            outcome = read_result(tls, SSL_get_error(tls->ssl, done));
    }
    keep_rest(tls);
    flush(tls); /* alerts and key updates */
    if (total == 0) {
        if (outcome < 0 || tls->failed)
            transport_want(tls->lower, false);
        tls->told_failed = tls->told_failed || tls->failed;
        tls->told_eof = tls->eof;
        return tls->failed ? TRANSPORT_ERROR : outcome;
    }
    if (has_more(tls) || tls->failed)
        loop_post(t->loop, &tls->task);
    return (ssize_t)total;
}

/* Hands up to one record of plain text to OpenSSL: small pieces are put together, so that they make one record. */
static size_t write_record(struct tls_transport *tls, const struct iovec *iov, int count, size_t skip)
{
    char staged[RECORD];
    const char *from = (const char *)iov->iov_base + skip;
    size_t len = iov->iov_len - skip;
    if (len > RECORD)
        len = RECORD;
    if (len < RECORD && count > 1) {
        memcpy(staged, from, len);
        for (int i = 1; i < count && len < RECORD; i++) {
            size_t part = iov[i].iov_len < RECORD - len ? iov[i].iov_len : RECORD - len;
            if (part)
                memcpy(staged + len, iov[i].iov_base, part);
            len += part;
        }
        from = staged;
    }
    size_t written = 0;
    if (len == 0)
        return 0;
    if (SSL_write_ex(tls->ssl, from, len, &written) != 1)
        fail_ssl(tls, SSL_ERROR_SSL);
    return written;
}

/* Sets *iov, *count and *skip on to the byte `taken` further. */
static void advance(const struct iovec **iov, int *count, size_t *skip, size_t taken)
{
    *skip += taken;
    while (*count && *skip >= (*iov)->iov_len) {
        *skip -= (*iov)->iov_len;
        ++*iov;
        --*count;
    }
}

static ssize_t tls_write(struct transport *t, const struct iovec *iov, int count)
{
    struct tls_transport *tls = tls_of(t);
    ERR_clear_error();
    size_t taken = 0, skip = 0, batch = 0;
    advance(&iov, &count, &skip, 0);
    while (count && !tls->failed && !buffer_len(&tls->unsent)) {
        size_t written = write_record(tls, iov, count, skip);
        advance(&iov, &count, &skip, written);
        taken += written;
        batch += written;
        if (batch >= BATCH || !count) {
            flush(tls);
            batch = 0;
        }
    }
    flush(tls);
    if (tls->failed) {
        tls->told_failed = true;
        return TRANSPORT_ERROR;
    }
    tls->short_write = count > 0;
    return (ssize_t)taken;
}

static void tls_want(struct transport *t, bool read)
{
    struct tls_transport *tls = tls_of(t);
    if (!tls->told_secured)
        return;
    if (!tls->eof && !tls->failed)
        transport_want(tls->lower, read);
    if (read && (has_more(tls) || tls->failed))
        loop_post(t->loop, &tls->task);
}

static void shut_now(struct tls_transport *tls)
{
    if (tls->shut && !buffer_len(&tls->unsent) && !tls->failed)
        transport_shutdown(tls->lower);
}

static void close_notify(struct tls_transport *tls)
{
    if (tls->shut || tls->failed)
        return;
    tls->shut = true;
    ERR_clear_error();
    (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
    flush(tls);
}

static void tls_shutdown(struct transport *t)
{
    struct tls_transport *tls = tls_of(t);
    close_notify(tls);
    shut_now(tls);
}

static void tls_free(void *object)
{
    struct tls_transport *tls = object;
    SSL_free(tls->ssl);
    tls_context_unref(tls->context);
    buffer_finish(&tls->rest);
    buffer_finish(&tls->unsent);
    arena_finish(&tls->arena);
    free(tls);
}

static void tls_close(struct transport *t)
{
    struct tls_transport *tls = tls_of(t);
    if (tls->told_secured)
        close_notify(tls); /* on a best effort: nobody waits for the peer's */
    task_cancel(&tls->task);
    transport_close(tls->lower);
    loop_bury(t->loop, tls, tls_free);
}

static struct span tls_alpn(const struct transport *t)
{
    const struct tls_transport *tls = (const void *)t;
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(tls->ssl, &name, &len);
    return span_of((const char *)name, len);
}

static const struct tls_peer *tls_peer(const struct transport *t)
{
    return ((const struct tls_transport *)(const void *)t)->peer;
}

static const char *tls_error(const struct transport *t)
{
    return ((const struct tls_transport *)(const void *)t)->error;
}

static const struct transport_ops tls_ops = {
    .name = "tls",
    .read = tls_read,
    .write = tls_write,
    .want = tls_want,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .alpn = tls_alpn,
    .tls_peer = tls_peer,
    .error = tls_error,
};

/* ---- events ---- */

static void tell_failed(struct tls_transport *tls)
{
    if (tls->told_failed)
        return;
    tls->told_failed = true;
    transport_notify(&tls->base, TRANSPORT_FAILED);
}

/* First step of the handshake, or what a read or write found out on the side. */
static void deferred(struct task *task)
{
    struct tls_transport *tls = CONTAINER_OF(task, struct tls_transport, task);
    if (tls->failed)
        tell_failed(tls);
    else if (!tls->told_secured)
        handshake(tls);
    else if (tls->base.want_read && has_more(tls))
        transport_notify(&tls->base, TRANSPORT_READABLE);
}

static void lower_writable(struct tls_transport *tls)
{
    tls->blocked = false;
    flush(tls);
    if (tls->failed) {
        tell_failed(tls);
        return;
    }
    if (buffer_len(&tls->unsent))
        return;
    shut_now(tls);
    if (tls->short_write) {
        tls->short_write = false;
        transport_notify(&tls->base, TRANSPORT_WRITABLE);
    }
}

static void lower_event(struct transport *lower, enum transport_event event)
{
    struct tls_transport *tls = lower->owner;
    switch (event) {
    case TRANSPORT_READABLE:
        if (!tls->told_secured)
            handshake(tls);
        else
            transport_notify(&tls->base, TRANSPORT_READABLE);
        break;
    case TRANSPORT_WRITABLE:
        lower_writable(tls);
        break;
    case TRANSPORT_CLOSED:
        tls->lower_eof = true;
        if (!tls->eof && !tls->failed)
            transport_notify(&tls->base, TRANSPORT_CLOSED);
        break;
    case TRANSPORT_FAILED:
        fail(tls, transport_error(lower));
        tell_failed(tls);
        break;
    case TRANSPORT_SECURED:
        break;
    }
}

/* ---- start ---- */

struct transport *tls_start(struct tls_context *context, struct transport *lower, struct span server_name,
                            struct span alpn, void *owner, transport_fn *notify)
{
    struct tls_transport *tls = memory_zalloc(sizeof(*tls));
    transport_init(&tls->base, &tls_ops, lower->loop);
    tls->base.peer = lower->peer;
    tls->base.fd = lower->fd;
    tls->base.secure = true;
    tls->lower = lower;
    tls->context = tls_context_ref(context);
    tls->task.run = deferred;
    arena_init(&tls->arena);
    transport_own(&tls->base, owner, notify);
    transport_own(lower, tls, lower_event);
    const char *why = "out of memory";
    tls->ssl = tls_context_new_ssl(context, server_name, alpn, &why);
    BIO *bio = tls->ssl ? bio_make(tls) : NULL;
    if (bio)
        SSL_set_bio(tls->ssl, bio, bio);
    else
        fail(tls, why);
    /* A server waits for the ClientHello; a client speaks first, after this call. */
    if (tls->failed || tls_context_role(context) == TLS_CLIENT)
        loop_post(lower->loop, &tls->task);
    transport_want(lower, !tls->failed);
    return &tls->base;
}

const char *tls_version(const struct transport *t)
{
    return t->ops == &tls_ops ? SSL_get_version(((const struct tls_transport *)(const void *)t)->ssl) : "";
}

bool tls_resumed(const struct transport *t)
{
    return t->ops == &tls_ops && SSL_session_reused(((const struct tls_transport *)(const void *)t)->ssl) == 1;
}
