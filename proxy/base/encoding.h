/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text forms of bytes: base64 (RFC 4648 section 4, padded), base64url as JOSE writes it (section 5, no padding: RFC
 * 7515 section 2) and hexadecimal. Decoding is strict, since two spellings of one token are a way around caches and
 * revocation lists: no white space, no foreign character, exact padding, unused bits zero.
 *
 * All append to `out`; a decoder that returns false has appended nothing.
 */
#ifndef POSTERN_BASE_ENCODING_H
#define POSTERN_BASE_ENCODING_H

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"

void encode_base64(struct buffer *out, struct span bytes);
void encode_base64url(struct buffer *out, struct span bytes);
/* The same into `to`, which has room for ENCODED_BASE64URL(bytes.len); returns the end. */
#define ENCODED_BASE64URL(bytes) (((bytes)*4 + 2) / 3)
MUST_CHECK char *encode_base64url_at(char *to, struct span bytes);
/* Lower case. */
void encode_hex(struct buffer *out, struct span bytes);

/* Padded text only; the empty text is zero bytes. */
MUST_CHECK bool decode_base64(struct buffer *out, struct span text);
/* Unpadded text only. */
MUST_CHECK bool decode_base64url(struct buffer *out, struct span text);
/* Either case, an even number of digits. */
MUST_CHECK bool decode_hex(struct buffer *out, struct span text);

#endif
