/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/h2_keepalive.h"

#include "http/h2_session.h"

bool h2_keepalive_look(struct h2_keepalive *keepalive, struct h2_session *session, uint64_t now, uint64_t period,
                       uint64_t *next)
{
    if (keepalive->asked && now >= keepalive->asked + period)
        return false;
    if (!keepalive->asked && now >= keepalive->heard + period) {
        keepalive->asked = now;
        /* An older PING may still be out, at a peer that talks and does not answer it: that one serves as well. */
        (void)h2_session_ping(session, now);
    }
    uint64_t look = (keepalive->asked ? keepalive->asked : keepalive->heard) + period;
    if (look < *next)
        *next = look;
    return true;
}
