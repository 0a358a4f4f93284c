/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokens ES256|RS256 mint COUNT ISSUER: a fresh key; prints its key set as one line, then COUNT different tokens of an
 * hour. tokens ES256|RS256 verify COUNT: verifies one signature over a message of a token's size COUNT times, as
 * plainly as OpenSSL lets one: what verification costs without any of Postern.
 */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX   2048
#define COORDINATE 32

static void die(const char *what)
{
    fprintf(stderr, "tokens: %s failed\n", what);
    exit(1);
}

/* Appends data in base64url without padding; returns the new length of text. */
static size_t encode(char *text, size_t at, const unsigned char *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < len; i += 3) {
        unsigned left = len - i < 3 ? (unsigned)(len - i) : 3;
        unsigned word = (unsigned)data[i] << 16;
        if (left > 1)
            word |= (unsigned)data[i + 1] << 8;
        if (left > 2)
            word |= data[i + 2];
        for (unsigned k = 0; k <= left; k++)
            text[at++] = digits[word >> (18 - 6 * k) & 63];
    }
    text[at] = 0;
    return at;
}

static void print_number(EVP_PKEY *key, const char *param, const char *name)
{
    BIGNUM *number = NULL;
    unsigned char bytes[512];
    char text[TEXT_MAX];
    if (!EVP_PKEY_get_bn_param(key, param, &number))
        die(param);
    int len = BN_num_bytes(number);
    /* A coordinate has the width of its curve (RFC 7518 section 6.2.1.2). */
    if (*name == 'x' || *name == 'y')
        len = BN_bn2binpad(number, bytes, COORDINATE);
    else
        BN_bn2bin(number, bytes);
    encode(text, 0, bytes, (size_t)len);
    printf(",\"%s\":\"%s\"", name, text);
    BN_free(number);
}

static void print_key_set(EVP_PKEY *key, bool rsa)
{
    printf("{\"keys\":[{\"kid\":\"bench\",\"use\":\"sig\",\"kty\":\"%s\"", rsa ? "RSA" : "EC");
    if (rsa) {
        print_number(key, OSSL_PKEY_PARAM_RSA_N, "n");
        print_number(key, OSSL_PKEY_PARAM_RSA_E, "e");
    } else {
        printf(",\"crv\":\"P-256\"");
        print_number(key, OSSL_PKEY_PARAM_EC_PUB_X, "x");
        print_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, "y");
    }
    printf("}]}\n");
}

static size_t sign(EVP_PKEY *key, const char *text, size_t len, unsigned char *signature, size_t cap)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSign(ctx, signature, &cap, (const unsigned char *)text, len) != 1)
        die("signing");
    EVP_MD_CTX_free(ctx);
    return cap;
}

/* An ECDSA signature as JWS wants it: r and s beside each other (RFC 7518 section 3.4). */
static size_t flatten(unsigned char *signature, size_t len)
{
    const unsigned char *from = signature;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &from, (long)len);
    if (!pair)
        die("reading a signature");
    BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, COORDINATE);
    BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + COORDINATE, COORDINATE);
    ECDSA_SIG_free(pair);
    return 2 * COORDINATE;
}

/* Head and claims, encoded. */
static size_t message(char *text, bool rsa, const char *issuer, unsigned long number)
{
    char part[TEXT_MAX / 2];
    long now = (long)time(NULL);
    int len =
        snprintf(part, sizeof(part), "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"bench\"}", rsa ? "RS256" : "ES256");
    size_t at = encode(text, 0, (const unsigned char *)part, (size_t)len);
    text[at++] = '.';
    len =
        snprintf(part, sizeof(part),
                 "{\"aud\":\"9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d\",\"iss\":\"%s\",\"iat\":%ld,\"nbf\":%ld,\"exp\":%ld,"
                 "\"azp\":\"6731de76-14a6-49ae-97bc-6eba6914391e\",\"oid\":\"1b5fc1f5-1f2c-4f6a-9a37-0a1b8d5c9e11\","
                 "\"roles\":[\"Models.Apps\"],\"sub\":\"1b5fc1f5-1f2c-4f6a-9a37-0a1b8d5c9e11\","
                 "\"tid\":\"72f988bf-86f1-41af-91ab-2d7cd011db47\",\"uti\":\"%lu\",\"ver\":\"2.0\"}",
                 issuer, now, now, now + 3600, number);
    return encode(text, at, (const unsigned char *)part, (size_t)len);
}

static void mint(EVP_PKEY *key, bool rsa, unsigned long count, const char *issuer)
{
    char text[TEXT_MAX];
    unsigned char signature[512];
    print_key_set(key, rsa);
    for (unsigned long i = 0; i < count; i++) {
        size_t len = message(text, rsa, issuer, i);
        size_t signed_len = sign(key, text, len, signature, sizeof(signature));
        if (!rsa)
            signed_len = flatten(signature, signed_len);
        text[len++] = '.';
        encode(text, len, signature, signed_len);
        puts(text);
    }
}

/* Apart from its caller, so that callgrind can count what happens inside and not the making of the key. */
__attribute__((noinline)) static void verify_once(EVP_PKEY *key, const char *text, size_t len,
                                                  const unsigned char *signature, size_t signed_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestVerify(ctx, signature, signed_len, (const unsigned char *)text, len) != 1)
        die("verifying");
    EVP_MD_CTX_free(ctx);
}

static void verify(EVP_PKEY *key, bool rsa, unsigned long count)
{
    char text[TEXT_MAX];
    unsigned char signature[512];
    size_t len = message(text, rsa, "https://issuer.example", 0);
    size_t signed_len = sign(key, text, len, signature, sizeof(signature));
    for (unsigned long i = 0; i < count; i++)
        verify_once(key, text, len, signature, signed_len);
}

int main(int argc, char **argv)
{
    if (argc < 4 || (strcmp(argv[2], "mint") == 0 && argc < 5)) {
        fprintf(stderr, "usage: tokens ES256|RS256 mint COUNT ISSUER | verify COUNT\n");
        return 2;
    }
    bool rsa = strcmp(argv[1], "RS256") == 0;
    EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    if (!key)
        die("making a key");
    unsigned long count = strtoul(argv[3], NULL, 10);
    if (strcmp(argv[2], "mint") == 0)
        mint(key, rsa, count, argv[4]);
    else
        verify(key, rsa, count);
    EVP_PKEY_free(key);
    return 0;
}
