/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list: an intrusive doubly linked list. The link lives inside the element; being on a list owns nothing.
 * A head is made with list_init. A link that is on no list is zeroed (or self-linked by list_init); list_remove on such
 * a link does nothing, so an object can always be taken off whatever list it may be on.
 */
#ifndef POSTERN_BASE_LIST_H
#define POSTERN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

/*
 * May alias: the links of a list lie in structs of many types, and GCC 12 at -O2 takes a link inside one of them for
 * another memory than the head inside another, so that a loop that empties a list never ends.
 */
struct __attribute__((may_alias)) list {
    struct list *prev, *next;
};

static inline void list_init(struct list *head)
{
    head->prev = head->next = head;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head || !head->next;
}

/* Whether this link is on a list. */
static inline bool list_linked(const struct list *link)
{
    return link->next && link->next != link;
}

static inline void list_insert_before(struct list *at, struct list *link)
{
    link->prev = at->prev;
    link->next = at;
    at->prev->next = link;
    at->prev = link;
}

static inline void list_append(struct list *head, struct list *link)
{
    list_insert_before(head, link);
}

static inline void list_prepend(struct list *head, struct list *link)
{
    list_insert_before(head->next, link);
}

static inline void list_remove(struct list *link)
{
    if (!link->next)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = NULL;
}

/* The first element, or NULL when the list is empty. */
#define LIST_FIRST(head, type, member) (list_empty(head) ? NULL : CONTAINER_OF((head)->next, type, member))
#define LIST_LAST(head, type, member)  (list_empty(head) ? NULL : CONTAINER_OF((head)->prev, type, member))

/* Walks the links; the current one may be removed inside the loop. */
#define LIST_EACH(head, link)                                                                                          \
    for (struct list *link = (head)->next, *link##_next = link->next; link != (head);                                  \
         link = link##_next, link##_next = link->next)

#endif
