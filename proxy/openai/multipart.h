/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multipart: an incremental reader of multipart/form-data bodies (RFC 7578, framing of RFC 2046 section 5.1). Pieces
 * may be cut at any byte and may vanish after the call.
 *
 * Strict, so that no two readers can see different parts: no preamble, no padding after a delimiter, CRLF only, nothing
 * but one CRLF after the closing delimiter; a delimiter after a bare LF, directly after the blank line, or followed by
 * other bytes is refused rather than guessed at. Each part needs one `Content-Disposition: form-data` with one `name`.
 */
#ifndef POSTERN_OPENAI_MULTIPART_H
#define POSTERN_OPENAI_MULTIPART_H

#include "base/span.h"

enum multipart_event {
    MULTIPART_MORE, /* the piece is used up */
    MULTIPART_PART, /* a part's header is complete: name, is_file, encoded, value_start */
    MULTIPART_DATA, /* some of its content: data */
    MULTIPART_END,  /* the part is complete: value_end */
    MULTIPART_DONE, /* the body was complete; stays */
    MULTIPART_BAD   /* see reason and bad_at; stays */
};

#define MULTIPART_BOUNDARY_LIMIT 70   /* RFC 2046 5.1.1 */
#define MULTIPART_HEADER_LIMIT   2048 /* bytes of one part's header */
#define MULTIPART_NAME_LIMIT     128  /* bytes of a part's name */

struct multipart {
    /* To read after an event: */
    char name[MULTIPART_NAME_LIMIT];
    size_t name_len;
    bool is_file;                  /* has a filename */
    bool encoded;                  /* has a Content-Transfer-Encoding other than 7bit, 8bit, binary */
    struct span data;              /* DATA only; valid until the next call or until the piece goes */
    size_t first_part;             /* offset of the first delimiter: 0 */
    size_t value_start, value_end; /* offsets of the content in the whole body */
    const char *reason;            /* of BAD: static English text */
    size_t bad_at;                 /* of BAD: offset */

    /* The reader's own: */
    int state;
    size_t at;            /* offset of the first byte not yet read */
    size_t matched, held; /* bytes of the delimiter seen; first of those that were in the input */
    bool has_name;
    size_t header_len;
    size_t delimiter_len;
    char delimiter[MULTIPART_BOUNDARY_LIMIT + 4]; /* CRLF "--" boundary */
    char header[MULTIPART_HEADER_LIMIT];
};

/* False when the boundary is empty, too long or has bytes that RFC 2046 does not allow. */
MUST_CHECK bool multipart_init(struct multipart *m, struct span boundary);
/* Reads on in *input, which is advanced. `last`: no byte follows. MORE comes only with *input empty and not after
 * `last`. */
MUST_CHECK enum multipart_event multipart_next(struct multipart *m, struct span *input, bool last);

/*
 * The boundary parameter of a Content-Type value `multipart/form-data; boundary=...` (token or quoted-string; the span
 * points into the value). False when the type is another, the parameter is missing, doubled or malformed.
 */
MUST_CHECK bool multipart_boundary(struct span content_type, struct span *ret);

#endif
