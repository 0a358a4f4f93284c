/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What attempt.c (series, sending, time) and attempt_answer.c (the answer: retry or commit, taps, hiding) need of each
 * other.
 */
#ifndef POSTERN_GATEWAY_ATTEMPT_ANSWER_H
#define POSTERN_GATEWAY_ATTEMPT_ANSWER_H

#include "gateway/attempt.h"

/* Tries the next target, or fails the exchange with the last one's fault. The attempt before must be over. */
void attempts_next(struct attempts *all);
/* Whether another target may be tried. */
bool attempts_left(const struct attempts *all);
/* The same target once more, differently: beside what this try has had already. Not a new attempt in the log. */
enum attempt_again {
    AGAIN_FRESH = 1,  /* on a fresh connection */
    AGAIN_PLAIN = 2,  /* without stream_options */
    AGAIN_RENEWED = 4 /* with a newer token */
};
void attempt_again(struct attempt *attempt, enum attempt_again how);
/* The stream is leased: sends the request. */
void attempt_send(struct attempt *attempt);
/* The last byte of the request has been handed over. */
void attempt_sent(struct attempt *attempt);
/* From now on `patience` µs of silence are a timeout. */
void attempt_arm(struct attempt *attempt, uint64_t patience);
void attempt_timed_out(struct timer *timer);
/* Ends it: timer, lease and stream are given back; with FAULT_NONE the stream's connection may be reused. */
void attempt_leave(struct attempt *attempt, enum fault why);
/* The same, and the record gets the fault. */
void attempt_over(struct attempt *attempt, enum fault why, const char *detail);
/* Frees the taps' and held bytes' memory. */
void attempt_answer_finish(struct attempt *attempt);

#endif
