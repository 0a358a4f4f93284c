/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gateway/h2_keepalive.h"
#include "http/h2_session.h"

#define PERIOD 100
#define PING   6

static const struct h2_events no_events;

struct fixture {
    struct h2_keepalive keepalive;
    struct h2_session *session;
};

/* PING frames that the session sends now. */
static unsigned pings_sent(struct h2_session *session)
{
    struct buffer out = {0};
    (void)h2_session_send(session, &out, 1 << 20);
    struct span rest = buffer_span(&out);
    unsigned count = 0;
    while (rest.len >= 9) {
        const unsigned char *head = (const unsigned char *)rest.ptr;
        size_t size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        count += head[3] == PING;
        rest = span_skip(rest, 9 + size);
    }
    buffer_finish(&out);
    return count;
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct h2_limits limits;
    h2_limits_server(&limits);
    fixture = (struct fixture){.session = h2_session_create(H2_SERVER, &limits, &no_events, NULL)};
    (void)pings_sent(fixture.session); /* SETTINGS leave */
    h2_keepalive_begin(&fixture.keepalive, 1000);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    h2_session_destroy(((struct fixture *)*state)->session);
    return 0;
}

/* Looks at `now`; the peer is there, the next look is due at `next`, and `pings` have been sent. */
static void look(struct fixture *f, uint64_t now, uint64_t next, unsigned pings)
{
    uint64_t got = UINT64_MAX;
    assert_true(h2_keepalive_look(&f->keepalive, f->session, now, PERIOD, &got));
    assert_int_equal(got, next);
    assert_int_equal(pings_sent(f->session), pings);
}

static void gone(struct fixture *f, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    assert_false(h2_keepalive_look(&f->keepalive, f->session, now, PERIOD, &next));
}

static void test_silence(void **state)
{
    struct fixture *f = *state;
    look(f, 1000, 1100, 0);
    look(f, 1099, 1100, 0);
    look(f, 1100, 1200, 1);
    look(f, 1150, 1200, 0);
    look(f, 1199, 1200, 0);
    gone(f, 1200);
}

/* Anything the peer sends is a sign of life, not only the answer to the PING. */
static void test_sign_of_life(void **state)
{
    struct fixture *f = *state;
    look(f, 1100, 1200, 1);
    h2_keepalive_heard(&f->keepalive, 1199);
    look(f, 1200, 1299, 0);
    look(f, 1298, 1299, 0);
}

static void test_traffic_needs_no_ping(void **state)
{
    struct fixture *f = *state;
    for (uint64_t now = 1000; now < 5000; now += PERIOD - 1) {
        h2_keepalive_heard(&f->keepalive, now);
        look(f, now + PERIOD - 1, now + PERIOD, 0);
    }
}

/* It talks, but the first PING stays unanswered: no second one, the same patience. */
static void test_old_ping_still_out(void **state)
{
    struct fixture *f = *state;
    look(f, 1100, 1200, 1);
    h2_keepalive_heard(&f->keepalive, 1150);
    look(f, 1250, 1350, 0);
    gone(f, 1350);
}

static void test_answered_ping_is_sent_again(void **state)
{
    struct fixture *f = *state;
    look(f, 1100, 1200, 1);
    static const char answer[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                 "\0\0\0\4\0\0\0\0\0"  /* SETTINGS */
                                 "\0\0\10\6\1\0\0\0\0" /* PING, ACK */
                                 "\0\0\0\0\0\0\0\0";
    assert_int_equal(h2_session_receive(f->session, span_of(answer, sizeof(answer) - 1), 1120), H2_OK);
    h2_keepalive_heard(&f->keepalive, 1120);
    look(f, 1219, 1220, 0);
    look(f, 1220, 1320, 1);
}

static void test_an_earlier_look_stays(void **state)
{
    struct fixture *f = *state;
    uint64_t next = 1050;
    assert_true(h2_keepalive_look(&f->keepalive, f->session, 1000, PERIOD, &next));
    assert_int_equal(next, 1050);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sign_of_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_traffic_needs_no_ping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_ping_still_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answered_ping_is_sent_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_earlier_look_stays, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
