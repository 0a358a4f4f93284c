/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiler attributes used throughout. Works with gcc and clang; nothing here changes behaviour.
 */
#ifndef POSTERN_BASE_COMPILER_H
#define POSTERN_BASE_COMPILER_H

/* The result must be looked at: ignoring it is a compile error under -Werror. */
#define MUST_CHECK __attribute__((warn_unused_result))

/* The function never returns. */
#define NO_RETURN __attribute__((noreturn))

/* printf-style checking: `fmt` and `first` are 1-based argument positions. */
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Number of elements of a real array (not of a pointer). */
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct that contains `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
