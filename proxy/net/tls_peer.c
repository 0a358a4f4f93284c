/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls_peer.h"

#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

/* Longest name taken over, and most names of one kind. */
#define NAME_MAX_BYTES 512
#define NAMES_MAX      64

static struct span subject_of(const X509 *certificate, struct arena *arena)
{
    struct span subject = {0};
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
        char *text;
        long len = BIO_get_mem_data(bio, &text);
        if (len > 0)
            subject = arena_copy(arena, span_of(text, (size_t)len));
    }
    BIO_free(bio);
    return subject;
}

static size_t names_of(const GENERAL_NAMES *all, int kind, struct arena *arena, const struct span **ret_names)
{
    struct span *names = ARENA_ARRAY(arena, struct span, NAMES_MAX);
    size_t count = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(all) && count < NAMES_MAX; i++) {
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type);
        if (type != kind)
            continue;
        struct span name = span_of((const char *)ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
        /* A NUL inside is the old trick of a name that ends early for C functions. */
        if (name.len && name.len <= NAME_MAX_BYTES && span_find(name, 0) == name.len)
            names[count++] = arena_copy(arena, name);
    }
    *ret_names = names;
    return count;
}

struct tls_peer *tls_peer_read(SSL *ssl, struct arena *arena)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    if (!certificate)
        return NULL;
    struct tls_peer *peer = ARENA_NEW(arena, struct tls_peer);
    unsigned len;
    if (X509_digest(certificate, EVP_sha256(), peer->sha256, &len) != 1)
        memset(peer->sha256, 0, sizeof(peer->sha256));
    peer->subject = subject_of(certificate, arena);
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    if (all) {
        peer->uri_count = names_of(all, GEN_URI, arena, &peer->uris);
        peer->name_count = names_of(all, GEN_DNS, arena, &peer->names);
        GENERAL_NAMES_free(all);
    }
    ERR_clear_error();
    return peer;
}
