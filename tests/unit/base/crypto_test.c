/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/crypto.h"
#include "base/encoding.h"

static void check_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    struct buffer b = {0};
    encode_hex(&b, span_of((const char *)bytes, len));
    assert_true(span_equal(buffer_span(&b), span_str(hex)));
    buffer_finish(&b);
}

/* FIPS 180-4 examples. */
static void test_sha256(void **state)
{
    (void)state;
    uint8_t digest[CRYPTO_SHA256_BYTES];
    crypto_sha256(SPAN("abc"), digest);
    check_hex(digest, sizeof(digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypto_sha256((struct span){NULL, 0}, digest);
    check_hex(digest, sizeof(digest), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    crypto_sha256(SPAN("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), digest);
    check_hex(digest, sizeof(digest), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* RFC 4231, test cases 1, 2, 3, 6 and 7. */
static void test_mac(void **state)
{
    (void)state;
    char key1[20], key3[20], key6[131], data3[50];
    memset(key1, 0x0b, sizeof(key1));
    memset(key3, 0xaa, sizeof(key3));
    memset(key6, 0xaa, sizeof(key6));
    memset(data3, 0xdd, sizeof(data3));
    const struct {
        struct span key, data;
        const char *mac;
    } cases[] = {
        {span_of(key1, 20), SPAN("Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {SPAN("Jefe"), SPAN("what do ya want for nothing?"),
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {span_of(key3, 20), span_of(data3, 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
        {span_of(key6, 131), SPAN("Test Using Larger Than Block-Size Key - Hash Key First"),
         "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
        {span_of(key6, 131),
         SPAN(
             "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
             "hashed before being used by the HMAC algorithm."),
         "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct crypto_mac *mac = crypto_mac_create(cases[i].key);
        uint8_t code[CRYPTO_SHA256_BYTES], again[CRYPTO_SHA256_BYTES];
        crypto_mac(mac, cases[i].data, code);
        check_hex(code, sizeof(code), cases[i].mac);
        crypto_mac(mac, (struct span){NULL, 0}, again);
        assert_memory_not_equal(code, again, sizeof(code));
        for (size_t cut = 0; cut <= cases[i].data.len; cut++) {
            crypto_mac_start(mac);
            crypto_mac_add(mac, span_take(cases[i].data, cut));
            crypto_mac_add(mac, span_skip(cases[i].data, cut));
            crypto_mac_end(mac, again);
            assert_memory_equal(again, code, sizeof(code));
        }
        crypto_mac(mac, cases[i].data, again); /* the key is as it was */
        assert_memory_equal(code, again, sizeof(code));
        crypto_mac_destroy(mac);
    }
    crypto_mac_destroy(NULL);
}

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13, 14 and 16. */
static void test_aead_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *key, *nonce, *extra, *plain, *sealed;
    } cases[] = {
        {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "",
         "530f8afbc74536b9a963b4f1c4cb738b"},
        {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
         "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
         "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de"
         "657"
         "ba637b39",
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7"
         "a0a"
         "bcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer key = {0}, nonce = {0}, extra = {0}, plain = {0}, expected = {0}, sealed = {0}, opened = {0};
        assert_true(decode_hex(&key, span_str(cases[i].key)) && decode_hex(&nonce, span_str(cases[i].nonce)) &&
                    decode_hex(&extra, span_str(cases[i].extra)) && decode_hex(&plain, span_str(cases[i].plain)) &&
                    decode_hex(&expected, span_str(cases[i].sealed)));
        struct crypto_aead *aead = crypto_aead_create((const uint8_t *)buffer_span(&key).ptr);
        const uint8_t *n = (const uint8_t *)buffer_span(&nonce).ptr;
        for (int round = 0; round < 2; round++) {
            crypto_aead_seal(aead, n, buffer_span(&extra), buffer_span(&plain), &sealed);
            assert_true(span_equal(buffer_span(&sealed), buffer_span(&expected)));
            assert_true(crypto_aead_open(aead, n, buffer_span(&extra), buffer_span(&sealed), &opened));
            assert_true(span_equal(buffer_span(&opened), buffer_span(&plain)));
            buffer_finish(&sealed);
            buffer_finish(&opened);
        }
        crypto_aead_destroy(aead);
        struct buffer *all[] = {&key, &nonce, &extra, &plain, &expected};
        for (size_t b = 0; b < ARRAY_LEN(all); b++)
            buffer_finish(all[b]);
    }
}

/* Any single bit, a cut, or other circumstances: refused, and nothing is left in the output. */
static void test_aead_refuses_what_was_changed(void **state)
{
    (void)state;
    uint8_t key[CRYPTO_AEAD_KEY], nonce[CRYPTO_AEAD_NONCE], other[CRYPTO_AEAD_NONCE];
    crypto_random(key, sizeof(key));
    crypto_random(nonce, sizeof(nonce));
    memcpy(other, nonce, sizeof(other));
    other[11] ^= 1;
    struct crypto_aead *aead = crypto_aead_create(key);
    key[0] ^= 1;
    struct crypto_aead *stranger = crypto_aead_create(key);
    struct buffer sealed = {0}, out = {0};
    buffer_append(&out, SPAN("kept"));
    crypto_aead_seal(aead, nonce, SPAN("id"), SPAN("cached answer"), &sealed);
    struct span good = buffer_span(&sealed);
    assert_int_equal(good.len, 13 + CRYPTO_AEAD_TAG);
    for (size_t bit = 0; bit < good.len * 8; bit++) {
        sealed.ptr[sealed.start + bit / 8] ^= (char)(1 << (bit % 8));
        assert_false(crypto_aead_open(aead, nonce, SPAN("id"), good, &out));
        sealed.ptr[sealed.start + bit / 8] ^= (char)(1 << (bit % 8));
    }
    for (size_t len = 0; len < good.len; len++)
        assert_false(crypto_aead_open(aead, nonce, SPAN("id"), span_take(good, len), &out));
    assert_false(crypto_aead_open(aead, nonce, SPAN("ie"), good, &out));
    assert_false(crypto_aead_open(aead, nonce, SPAN(""), good, &out));
    assert_false(crypto_aead_open(aead, other, SPAN("id"), good, &out));
    assert_false(crypto_aead_open(stranger, nonce, SPAN("id"), good, &out));
    assert_true(span_equal(buffer_span(&out), SPAN("kept")));
    assert_true(crypto_aead_open(aead, nonce, SPAN("id"), good, &out));
    assert_true(span_equal(buffer_span(&out), SPAN("keptcached answer")));
    buffer_finish(&sealed);
    buffer_finish(&out);
    crypto_aead_destroy(aead);
    crypto_aead_destroy(stranger);
    crypto_aead_destroy(NULL);
}

static void test_random(void **state)
{
    (void)state;
    uint8_t a[32] = {0}, b[32] = {0};
    crypto_random(a, sizeof(a));
    crypto_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    crypto_random(a, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),       cmocka_unit_test(test_mac),
        cmocka_unit_test(test_aead_vectors), cmocka_unit_test(test_aead_refuses_what_was_changed),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
