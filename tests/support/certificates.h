/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certificates: a private CA and leaf certificates made on the spot, as PEM files in a directory of their own.
 */
#ifndef POSTERN_TESTS_CERTIFICATES_H
#define POSTERN_TESTS_CERTIFICATES_H

/* NUL-terminated paths inside `directory`. */
struct certificates {
    char directory[64];
    char ca[96];                     /* ca.pem */
    char other_ca[96];               /* other.pem: signed nothing of the rest */
    char server[96], server_key[96]; /* DNS:localhost, DNS:api.example, IP:127.0.0.1, IP:::1 */
    char client[96], client_key[96]; /* CN=worker, URI:spiffe://cluster/ns/search/sa/worker, DNS:worker.example */
    char expired[96];                /* as server, but over; key: server_key */
};

/* Makes all files anew; ends the test program on failure. */
void certificates_create(struct certificates *certificates);
/* Writes a new server certificate (same names, new serial, new key) over the old one. */
void certificates_renew_server(const struct certificates *certificates);
/* Overwrites a file with the given text. */
void certificates_write(const char *path, const char *text);
/* Removes the directory. */
void certificates_destroy(const struct certificates *certificates);

#endif
