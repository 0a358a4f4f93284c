/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/usage.h"

void answer_tap_init(struct answer_tap *tap, struct arena *arena)
{
    tap->facts = (struct answer_facts){0};
    answer_scan_init(&tap->scan, &tap->facts, arena, NULL);
}

void answer_tap_feed(struct answer_tap *tap, struct span piece)
{
    if (piece.len)
        (void)answer_scan_feed(&tap->scan, piece, false);
}

bool answer_tap_end(struct answer_tap *tap)
{
    bool whole = answer_scan_feed(&tap->scan, (struct span){NULL, 0}, true) == JSON_DONE;
    tap->facts.error = tap->scan.error || tap->scan.flat_error;
    return whole;
}
