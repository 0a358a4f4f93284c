/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mock_errors: the errors a mock answers with when it was told to fail; private to the mock. The bodies are the
 * services' own, word for word where applications are known to look at the words.
 */
#ifndef POSTERN_OPENAI_MOCK_ERRORS_H
#define POSTERN_OPENAI_MOCK_ERRORS_H

#include <stdbool.h>

#include "base/buffer.h"

/* Appends the body of an error answer: OpenAI's form, or Azure's (400 is then a filtered prompt). Any status is
 * allowed. */
void mock_error_body(struct buffer *out, unsigned status, bool azure);
/* Appends an error event inside a stream; `number` is the sequence number of the Responses form. */
void mock_error_event(struct buffer *out, bool responses, unsigned number);

#endif
