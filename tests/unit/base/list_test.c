/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
    int name;
    struct list link;
};

static int as_number(const struct list *head)
{
    int number = 0;
    LIST_EACH(head, link)
    number = number * 10 + CONTAINER_OF(link, struct item, link)->name;
    int back = 0, place = 1;
    for (const struct list *link = head->prev; link != head; link = link->prev) {
        back += place * CONTAINER_OF((struct list *)(uintptr_t)link, struct item, link)->name;
        place *= 10;
    }
    assert_int_equal(number, back); /* both directions agree */
    return number;
}

static void test_order(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(LIST_FIRST(&head, struct item, link));
    assert_null(LIST_LAST(&head, struct item, link));
    struct item items[4] = {{.name = 1}, {.name = 2}, {.name = 3}, {.name = 4}};
    list_append(&head, &items[1].link);
    list_append(&head, &items[3].link);
    list_prepend(&head, &items[0].link);
    list_insert_before(&items[3].link, &items[2].link);
    assert_int_equal(as_number(&head), 1234);
    assert_ptr_equal(LIST_FIRST(&head, struct item, link), &items[0]);
    assert_ptr_equal(LIST_LAST(&head, struct item, link), &items[3]);
    list_remove(&items[1].link);
    assert_false(list_linked(&items[1].link));
    assert_int_equal(as_number(&head), 134);
    list_remove(&items[1].link); /* again does nothing */
    assert_int_equal(as_number(&head), 134);
    list_remove(&items[0].link);
    list_remove(&items[3].link);
    list_remove(&items[2].link);
    assert_true(list_empty(&head));
}

static void test_loose_links(void **state)
{
    (void)state;
    struct list zeroed = {0}, own;
    list_init(&own);
    assert_false(list_linked(&zeroed));
    assert_false(list_linked(&own));
    assert_true(list_empty(&zeroed));
    list_remove(&zeroed);
    list_remove(&own);
    assert_false(list_linked(&own));
}

static void test_removing_while_walking(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    struct item items[5];
    for (int i = 0; i < 5; i++) {
        items[i] = (struct item){.name = i + 1};
        list_append(&head, &items[i].link);
    }
    LIST_EACH(&head, link)
    if (CONTAINER_OF(link, struct item, link)->name % 2)
        list_remove(link);
    assert_int_equal(as_number(&head), 24);
    LIST_EACH(&head, link)
    list_remove(link);
    assert_true(list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_loose_links),
        cmocka_unit_test(test_removing_while_walking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
