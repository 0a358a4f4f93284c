/* SPDX-License-Identifier: Apache-2.0 */
/*
 * consumers KEYS COUNT: the memory store of limits with KEYS consumers, each of which has had a request; then COUNT
 * more requests of consumers in no order, each let in (`decide`) and settled. Prints one JSON object: ns of one
 * request.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "gateway/limits_memory.h"

#define PLACES 131072
#define NAME   24
/* µs from request to request. */
#define BETWEEN 10

void decide(struct limits_store *store, struct limits_call *call, uint64_t now);

static uint64_t nanoseconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The name callgrind is told to watch: it must stay a function. */
__attribute__((noinline)) void decide(struct limits_store *store, struct limits_call *call, uint64_t now)
{
    if (limits_reserve(store, call, NULL, NULL, now, now) != LIMITS_GRANTED) {
        fprintf(stderr, "consumers: refused\n");
        exit(1);
    }
    limits_settle(store, call, now, now);
}

static void ask(struct limits_store *store, unsigned long consumer, uint64_t now)
{
    char name[NAME];
    int len = snprintf(name, sizeof(name), "limit:%lu", consumer);
    struct limits_part part = {.law = {.kind = LIMIT_RATE, .amount = 1000000, .burst = 1000000, .period = 1000000},
                               .key = span_of(name, (size_t)len),
                               .units = 1};
    part.hash = hash_bytes(part.key);
    struct limits_call call = {.parts = &part, .count = 1};
    decide(store, &call, now);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    unsigned long keys = strtoul(argv[1], NULL, 10), count = strtoul(argv[2], NULL, 10);
    struct limits_memory memory;
    struct limits_table *table = limits_table_get(SPAN("bench"), PLACES);
    uint64_t now = 1000000, random = 1;
    limits_memory_init(&memory, table);
    for (unsigned long i = 0; i < keys; i++)
        ask(&memory.store, i, now += BETWEEN);
    uint64_t start = nanoseconds();
    for (unsigned long i = 0; i < count; i++)
        ask(&memory.store, (unsigned long)(hash_random(&random) % keys), now += BETWEEN);
    printf("{\"ns\": %.1f}\n", count ? (double)(nanoseconds() - start) / (double)count : 0.0);
    limits_table_unref(table);
    return 0;
}
