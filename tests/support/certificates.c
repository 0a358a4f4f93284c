/* SPDX-License-Identifier: Apache-2.0 */
#include "support/certificates.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define DAY 86400L

#define SERVER_NAMES "DNS:localhost,DNS:api.example,IP:127.0.0.1,IP:::1"
#define CLIENT_NAMES "URI:spiffe://cluster/ns/search/sa/worker,DNS:worker.example"

static void must(int good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "certificates: %s\n", what);
    abort();
}

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    must(extension && X509_add_ext(certificate, extension, -1) == 1, value);
    X509_EXTENSION_free(extension);
}

static X509 *make(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, const char *alt_names, long days)
{
    X509 *certificate = X509_new();
    must(certificate != NULL, "X509_new");
    long serial;
    must(RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1, "serial");
    must(X509_set_version(certificate, 2) == 1, "version");
    must(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial & 0x7fffffff) == 1, "serial");
    must(X509_gmtime_adj(X509_getm_notBefore(certificate), days > 0 ? -DAY : days * DAY - DAY) != NULL, "begin");
    must(X509_gmtime_adj(X509_getm_notAfter(certificate), days * DAY) != NULL, "end");
    must(X509_set_pubkey(certificate, key) == 1, "key");
    X509_NAME *subject = X509_get_subject_name(certificate);
    must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) == 1, "name");
    must(X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject) == 1, "issuer");
    X509 *parent = issuer ? issuer : certificate;
    extend(certificate, parent, NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (alt_names)
        extend(certificate, parent, NID_subject_alt_name, alt_names);
    must(X509_sign(certificate, issuer_key, EVP_sha256()) > 0, "sign");
    return certificate;
}

static FILE *create(const char *path)
{
    FILE *file = fopen(path, "we");
    must(file != NULL, path);
    return file;
}

static void write_certificate(const char *path, X509 *certificate)
{
    FILE *file = create(path);
    must(PEM_write_X509(file, certificate) == 1 && fclose(file) == 0, path);
}

static void write_key(const char *path, EVP_PKEY *key)
{
    FILE *file = create(path);
    must(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0, path);
}

static EVP_PKEY *make_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    must(key != NULL, "key");
    return key;
}

static void leaf(const char *path, const char *key_path, const char *name, const char *alt_names, long days, X509 *ca,
                 EVP_PKEY *ca_key, EVP_PKEY *key)
{
    X509 *certificate = make(name, key, ca, ca_key, alt_names, days);
    write_certificate(path, certificate);
    if (key_path)
        write_key(key_path, key);
    X509_free(certificate);
}

static void set_paths(struct certificates *c)
{
    (void)snprintf(c->ca, sizeof(c->ca), "%s/ca.pem", c->directory);
    (void)snprintf(c->other_ca, sizeof(c->other_ca), "%s/other.pem", c->directory);
    (void)snprintf(c->server, sizeof(c->server), "%s/server.pem", c->directory);
    (void)snprintf(c->server_key, sizeof(c->server_key), "%s/server.key", c->directory);
    (void)snprintf(c->client, sizeof(c->client), "%s/client.pem", c->directory);
    (void)snprintf(c->client_key, sizeof(c->client_key), "%s/client.key", c->directory);
    (void)snprintf(c->expired, sizeof(c->expired), "%s/expired.pem", c->directory);
}

static void ca_key_path(const struct certificates *c, char path[96])
{
    (void)snprintf(path, 96, "%s/ca.key", c->directory);
}

void certificates_create(struct certificates *c)
{
    (void)snprintf(c->directory, sizeof(c->directory), "/tmp/postern-test-XXXXXX");
    must(mkdtemp(c->directory) != NULL, "mkdtemp");
    set_paths(c);
    EVP_PKEY *ca_key = make_key(), *other_key = make_key(), *server_key = make_key(), *client_key = make_key();
    X509 *ca = make("Test CA", ca_key, NULL, ca_key, NULL, 30),
         *other = make("Other CA", other_key, NULL, other_key, NULL, 30);
    char path[96];
    ca_key_path(c, path);
    write_key(path, ca_key);
    write_certificate(c->ca, ca);
    write_certificate(c->other_ca, other);
    leaf(c->server, c->server_key, "server", SERVER_NAMES, 30, ca, ca_key, server_key);
    leaf(c->expired, NULL, "expired", SERVER_NAMES, -5, ca, ca_key, server_key);
    leaf(c->client, c->client_key, "worker", CLIENT_NAMES, 30, ca, ca_key, client_key);
    X509_free(ca);
    X509_free(other);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(server_key);
    EVP_PKEY_free(client_key);
}

void certificates_renew_server(const struct certificates *c)
{
    char path[96];
    ca_key_path(c, path);
    FILE *file = fopen(path, "re");
    must(file != NULL, path);
    EVP_PKEY *ca_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    must(ca_key && fclose(file) == 0, path);
    file = fopen(c->ca, "re");
    must(file != NULL, c->ca);
    X509 *ca = PEM_read_X509(file, NULL, NULL, NULL);
    must(ca && fclose(file) == 0, c->ca);
    EVP_PKEY *key = make_key();
    leaf(c->server, c->server_key, "server renewed", SERVER_NAMES, 60, ca, ca_key, key);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    X509_free(ca);
}

void certificates_write(const char *path, const char *text)
{
    FILE *file = create(path);
    must(fputs(text, file) >= 0 && fclose(file) == 0, path);
}

void certificates_destroy(const struct certificates *c)
{
    const char *const paths[] = {c->ca, c->other_ca, c->server, c->server_key, c->client, c->client_key, c->expired};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        (void)unlink(paths[i]);
    char path[96];
    ca_key_path(c, path);
    (void)unlink(path);
    (void)rmdir(c->directory);
}
