/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probes: filters for tests of the chain. Two types:
 *
 *   probe    notes what it sees in rig->trace ("name:head ", "name:request ", "name:request-body ", "name:response ",
 *            "name:response-body ", "name:end=completed "; bodies once, at their last piece) and does one thing at one
 * hook: {type: probe, at: head|request|request-body|response|response-body, do:
 * pass|answer|fail|wait|upper|append|hold, after: DURATION, then: continue|answer|fail} `wait` completes from the run
 * queue (after: 0s), later, or never (after absent: its deadline of 60 s then fails the exchange). `upper` makes
 * letters large, `append` adds "!" behind the last byte, `hold` keeps all pieces until the last,
 *            `stream` answers by a local source of 100 pieces ("0 " to "99 "), `stream-cut` breaks it off after 50.
 * dribble  passes bodies on in random pieces and waits at random in every hook.
 */
#ifndef POSTERN_TESTS_PROBES_H
#define POSTERN_TESTS_PROBES_H

#include "gateway/snapshot.h"

extern const struct filter_registry probe_registry;
const struct settings_registry *probe_settings(void);

#endif
