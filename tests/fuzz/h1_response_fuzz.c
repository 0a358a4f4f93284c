/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/h1_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct span input = span_of((const char *)data + 1, size - 1);
    must(fuzz_run(H1_CLIENT, HTTP_POST, input, 0) == fuzz_run(H1_CLIENT, HTTP_POST, input, (size_t)data[0] + 1));
    return 0;
}
