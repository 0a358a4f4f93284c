/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_parts: what request.c (JSON bodies) and request_form.c (multipart bodies) share. Nobody else includes it.
 */
#ifndef POSTERN_OPENAI_REQUEST_PARTS_H
#define POSTERN_OPENAI_REQUEST_PARTS_H

#include "openai/request.h"

/* Keeps the fault in the reader and returns it; `param` and `message` live as long as the arena. */
enum fault request_refuse(struct request_reader *reader, enum fault fault, struct span param, struct span message);
/* BAD_PARAMETER: "'name' must be what". */
enum fault request_refuse_type(struct request_reader *reader, struct span name, const char *what);
/* BAD_PARAMETER: "duplicate what 'name'"; the name is copied. */
enum fault request_refuse_duplicate(struct request_reader *reader, const char *what, struct span name);
/* Takes the decoded model name, which is copied, unless it has control characters. */
enum fault request_model_name(struct request_reader *reader, struct span name);
/* The next bytes of a multipart body. */
enum fault request_read_form(struct request_reader *reader, struct span bytes, bool last);

#endif
