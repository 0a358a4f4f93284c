/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/log.h"
#include "base/memory.h"
#include "net/tls_internal.h"

/* Sessions kept per client context: one context serves one target, rarely more names. */
#define SESSIONS 16
/* Server side, TLS 1.2: forward secrecy and authenticated ciphers only (RFC 9325 section 4.2). */
#define SERVER_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"
#define ALPN_MAX       64

/* What tells one version of a file from the next; Kubernetes swaps a symlink, which changes the inode. */
struct file_mark {
    struct timespec changed;
    off_t size;
    ino_t inode;
};

struct marks {
    struct file_mark certificate, key, ca;
};

struct session {
    char *server_name;
    SSL_SESSION *session;
};

struct tls_context {
    atomic_uint references;
    enum tls_role role;
    char *certificate, *key, *ca, *ca_pem;
    bool client_certificate_required;
    bool tls13_only;
    unsigned char alpn[ALPN_MAX];
    size_t alpn_len;
    struct marks seen;    /* at the last load, good or bad; of the thread that reloads */
    pthread_mutex_t lock; /* over what follows: taken once per connection, never per byte */
    SSL_CTX *current;
    bool store_set; /* the system's store is in `current` */
    struct session sessions[SESSIONS];
    unsigned next_session;
};

const char *tls_take_error(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason ? reason : "unknown error";
}

enum tls_role tls_context_role(const struct tls_context *context)
{
    return context->role;
}

size_t tls_alpn_wire(struct span names, unsigned char *into, size_t size)
{
    size_t at = 0;
    struct span name;
    while (names.len && span_split(&names, ',', &name)) {
        name = span_trim(name);
        if (name.len == 0 || name.len > 255 || at + 1 + name.len > size)
            return 0;
        into[at++] = (unsigned char)name.len;
        memcpy(into + at, name.ptr, name.len);
        at += name.len;
    }
    return at;
}

/* ---- the system's CA store ---- */

static pthread_once_t store_once = PTHREAD_ONCE_INIT;
static X509_STORE *system_store; /* loaded once, shared by every client context, lives as long as the process */

static void store_load(void)
{
    system_store = X509_STORE_new();
    if (!system_store || X509_STORE_set_default_paths(system_store) != 1)
        log_write(LOG_WARNING, "tls", "the system's CA store could not be loaded: %s", tls_take_error());
    ERR_clear_error();
}

void tls_warm(void)
{
    (void)pthread_once(&store_once, store_load);
}

/* ---- sessions ---- */

static void session_drop(struct session *slot)
{
    free(slot->server_name);
    SSL_SESSION_free(slot->session);
    *slot = (struct session){0};
}

/* OpenSSL's callback for a session the server granted; returning 1 keeps the reference it came with. */
static int session_keep(SSL *ssl, SSL_SESSION *session)
{
    struct tls_context *context = SSL_get_app_data(ssl);
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    char *ip = name ? NULL : X509_VERIFY_PARAM_get1_ip_asc(param);
    bool keep = false;
    (void)pthread_mutex_lock(&context->lock);
    /* One that was verified by files no longer in force must not open doors later. */
    if ((name || ip) && SSL_get_SSL_CTX(ssl) == context->current) {
        struct session *slot = &context->sessions[context->next_session++ % SESSIONS];
        session_drop(slot);
        *slot = (struct session){.server_name = memory_string(span_str(name ? name : ip)), .session = session};
        keep = true;
    }
    (void)pthread_mutex_unlock(&context->lock);
    OPENSSL_free(ip);
    return keep;
}

/* Takes the newest one out: a TLS 1.3 ticket is for one use (RFC 8446 C.4). NULL if there is none. */
static SSL_SESSION *session_take(struct tls_context *context, const char *server_name)
{
    SSL_SESSION *found = NULL;
    (void)pthread_mutex_lock(&context->lock);
    for (unsigned back = 1; back <= SESSIONS && !found; back++) {
        struct session *slot = &context->sessions[(context->next_session - back) % SESSIONS];
        if (!slot->session || strcmp(slot->server_name, server_name) != 0)
            continue;
        found = slot->session;
        if (SSL_SESSION_get_protocol_version(found) >= TLS1_3_VERSION) {
            free(slot->server_name);
            *slot = (struct session){0};
        } else {
            (void)SSL_SESSION_up_ref(found);
        }
    }
    (void)pthread_mutex_unlock(&context->lock);
    return found;
}

/* ---- building ---- */

static bool refuse(struct net_error *error, const char *what, const char *path)
{
    (void)snprintf(error->text, sizeof(error->text), "%s %.140s: %s", what, path ? path : "", tls_take_error());
    return false;
}

static bool readable(const char *what, const char *path, struct net_error *error)
{
    FILE *file = fopen(path, "re");
    if (file) {
        (void)fclose(file);
        return true;
    }
    (void)snprintf(error->text, sizeof(error->text), "%s %.140s: %s", what, path, strerror(errno));
    return false;
}

/* A key with a pass phrase cannot be asked for here. */
static int no_passphrase(char *into, int size, int writing, void *arg)
{
    (void)into;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static bool load_certificate(SSL_CTX *ctx, const struct tls_context *context, struct net_error *error)
{
    const char *key = context->key ? context->key : context->certificate;
    if (!readable("certificate", context->certificate, error) || !readable("key", key, error))
        return false;
    if (SSL_CTX_use_certificate_chain_file(ctx, context->certificate) != 1)
        return refuse(error, "certificate", context->certificate);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return refuse(error, "key", key);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return refuse(error, "the key does not belong to the certificate", key);
    return true;
}

static bool load_ca(SSL_CTX *ctx, const struct tls_context *context, struct net_error *error)
{
    struct stat st;
    bool directory = stat(context->ca, &st) == 0 && S_ISDIR(st.st_mode);
    if (!directory && !readable("CA", context->ca, error))
        return false;
    if (SSL_CTX_load_verify_locations(ctx, directory ? NULL : context->ca, directory ? context->ca : NULL) != 1)
        return refuse(error, "CA", context->ca);
    if (context->role == TLS_SERVER && !directory)
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(context->ca)); /* the hint which certificate to send */
    return true;
}

/* Authorities that come as text, not as a file. */
static bool load_ca_text(SSL_CTX *ctx, const struct tls_context *context, struct net_error *error)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    BIO *bio = BIO_new_mem_buf(context->ca_pem, -1);
    unsigned count = 0;
    X509 *certificate;
    while (bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        count += X509_STORE_add_cert(store, certificate) == 1;
        X509_free(certificate);
    }
    BIO_free(bio);
    ERR_clear_error(); /* the end of the text counts as one */
    if (count == 0)
        (void)snprintf(error->text, sizeof(error->text), "the text given as CA holds no certificate");
    return count > 0;
}

/* Server: the first of ours that the client speaks; none in common ends the handshake (RFC 7301 section 3.2). */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *arg)
{
    (void)ssl;
    const struct tls_context *context = arg;
    unsigned char *chosen;
    int result = SSL_select_next_proto(&chosen, out_len, context->alpn, (unsigned)context->alpn_len, in, in_len);
    *out = chosen;
    return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool set_up_server(SSL_CTX *ctx, struct tls_context *context, struct net_error *error)
{
    static const unsigned char session_context[] = "postern";
    if (SSL_CTX_set_cipher_list(ctx, SERVER_CIPHERS) != 1 || SSL_CTX_set_num_tickets(ctx, 1) != 1 ||
        SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1) != 1)
        return refuse(error, "TLS set-up", NULL);
    (void)SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    if (context->alpn_len)
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, context);
    if (context->ca)
        SSL_CTX_set_verify(
            ctx, SSL_VERIFY_PEER | (context->client_certificate_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    return true;
}

static SSL_CTX *build(struct tls_context *context, struct net_error *error)
{
    ERR_clear_error();
    bool server = context->role == TLS_SERVER;
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!ctx || SSL_CTX_set_min_proto_version(ctx, context->tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION) != 1) {
        (void)refuse(error, "TLS", NULL);
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    bool good = (!context->certificate || load_certificate(ctx, context, error)) &&
                (!context->ca || load_ca(ctx, context, error)) &&
                (!context->ca_pem || load_ca_text(ctx, context, error)) &&
                (!server || set_up_server(ctx, context, error));
    if (!good) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    if (!server) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, session_keep);
    }
    return ctx;
}

static struct file_mark mark(const char *path)
{
    struct stat st;
    if (!path || stat(path, &st) != 0)
        return (struct file_mark){0};
    return (struct file_mark){.changed = st.st_mtim, .size = st.st_size, .inode = st.st_ino};
}

static struct marks mark_files(const struct tls_context *context)
{
    return (struct marks){
        .certificate = mark(context->certificate), .key = mark(context->key), .ca = mark(context->ca)};
}

static bool same_mark(const struct file_mark *a, const struct file_mark *b)
{
    return a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec && a->size == b->size &&
           a->inode == b->inode;
}

/* ---- contexts ---- */

static char *copy(const char *text)
{
    return text ? memory_string(span_str(text)) : NULL;
}

static void destroy(struct tls_context *context)
{
    for (unsigned i = 0; i < SESSIONS; i++)
        session_drop(&context->sessions[i]);
    SSL_CTX_free(context->current);
    (void)pthread_mutex_destroy(&context->lock);
    free(context->certificate);
    free(context->key);
    free(context->ca);
    free(context->ca_pem);
    free(context);
}

struct tls_context *tls_context_create(const struct tls_options *options, struct net_error *error)
{
    struct tls_context *context = memory_zalloc(sizeof(*context));
    atomic_init(&context->references, 1);
    (void)pthread_mutex_init(&context->lock, NULL);
    context->role = options->role;
    context->certificate = copy(options->certificate);
    context->key = copy(options->key);
    context->ca = copy(options->ca);
    context->ca_pem = options->ca_pem.len ? memory_string(options->ca_pem) : NULL;
    context->client_certificate_required = options->client_certificate_required;
    context->tls13_only = options->tls13_only;
    context->alpn_len = tls_alpn_wire(span_str(options->alpn), context->alpn, sizeof(context->alpn));
    if (options->alpn && !context->alpn_len)
        (void)snprintf(error->text, sizeof(error->text), "ALPN list \"%.100s\" is not valid", options->alpn);
    else if (options->role == TLS_SERVER && !context->certificate)
        (void)snprintf(error->text, sizeof(error->text), "a TLS server needs a certificate");
    else {
        context->seen = mark_files(context);
        context->current = build(context, error);
    }
    if (!context->current) {
        destroy(context);
        return NULL;
    }
    return context;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context && atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) == 1)
        destroy(context);
}

enum tls_reload tls_context_reload(struct tls_context *context, struct net_error *error)
{
    struct marks now = mark_files(context);
    if (same_mark(&now.certificate, &context->seen.certificate) && same_mark(&now.key, &context->seen.key) &&
        same_mark(&now.ca, &context->seen.ca))
        return TLS_UNCHANGED;
    context->seen = now;
    SSL_CTX *fresh = build(context, error);
    if (!fresh)
        return TLS_KEPT;
    (void)pthread_mutex_lock(&context->lock);
    SSL_CTX *old = context->current;
    context->current = fresh;
    context->store_set = false;
    for (unsigned i = 0; i < SESSIONS; i++)
        session_drop(&context->sessions[i]);
    (void)pthread_mutex_unlock(&context->lock);
    SSL_CTX_free(old); /* connections hold references of their own */
    return TLS_RELOADED;
}

static SSL_CTX *current(struct tls_context *context)
{
    bool needs_store = context->role == TLS_CLIENT && !context->ca && !context->ca_pem;
    if (needs_store)
        tls_warm();
    (void)pthread_mutex_lock(&context->lock);
    if (needs_store && !context->store_set && system_store) {
        SSL_CTX_set1_cert_store(context->current, system_store);
        context->store_set = true;
    }
    SSL_CTX *ctx = context->current;
    (void)SSL_CTX_up_ref(ctx);
    (void)pthread_mutex_unlock(&context->lock);
    return ctx;
}

int64_t tls_context_expires(struct tls_context *context)
{
    int64_t end = 0;
    struct tm tm;
    (void)pthread_mutex_lock(&context->lock);
    const X509 *certificate = SSL_CTX_get0_certificate(context->current);
    if (certificate && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1)
        end = (int64_t)timegm(&tm);
    (void)pthread_mutex_unlock(&context->lock);
    return end;
}

/* ---- connections ---- */

/* Name to ask for and to verify: SNI carries host names only (RFC 6066), certificates know addresses apart from names.
 */
static bool set_server_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    struct address literal;
    if (address_parse(span_str(name), &literal))
        return X509_VERIFY_PARAM_set1_ip(param, literal.bytes, literal.family == ADDRESS_IPV4 ? 4 : 16) == 1;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static bool set_up_client(SSL *ssl, struct tls_context *context, struct span server_name, struct span alpn)
{
    char name[256];
    if (server_name.len > 1 && server_name.ptr[server_name.len - 1] == '.')
        server_name.len--; /* an absolute name; certificates and SNI know no trailing dot */
    if (server_name.len == 0 || server_name.len >= sizeof(name) || memchr(server_name.ptr, 0, server_name.len))
        return false;
    memcpy(name, server_name.ptr, server_name.len);
    name[server_name.len] = 0;
    unsigned char wire[ALPN_MAX];
    size_t wire_len = tls_alpn_wire(alpn, wire, sizeof(wire));
    if (!set_server_name(ssl, name) || (alpn.len && !wire_len) ||
        (wire_len && SSL_set_alpn_protos(ssl, wire, (unsigned)wire_len) != 0))
        return false;
    SSL_SESSION *session = session_take(context, name);
    if (session) {
        (void)SSL_set_session(ssl, session);
        SSL_SESSION_free(session);
    }
    return true;
}

SSL *tls_context_new_ssl(struct tls_context *context, struct span server_name, struct span alpn, const char **why)
{
    SSL_CTX *ctx = current(context);
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    if (!ssl) {
        *why = tls_take_error();
        return NULL;
    }
    if (context->role == TLS_SERVER) {
        SSL_set_accept_state(ssl);
        return ssl;
    }
    SSL_set_app_data(ssl, context);
    SSL_set_connect_state(ssl);
    if (set_up_client(ssl, context, server_name, alpn))
        return ssl;
    ERR_clear_error();
    SSL_free(ssl);
    *why = "the server name or ALPN list is not valid";
    return NULL;
}
