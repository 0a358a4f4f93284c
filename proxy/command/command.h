/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of the command line, one function each. argv[0] is the command's name. They return the exit code: 0, 1
 * (refused, the reasons said on standard error), 2 (usage).
 */
#ifndef POSTERN_COMMAND_COMMAND_H
#define POSTERN_COMMAND_COMMAND_H

#include "base/compiler.h"
#include "config/config.h"
#include "gateway/snapshot.h"

int command_run(int argc, char **argv);
int command_inject(int argc, char **argv);
int command_demo(int argc, char **argv);
int command_check(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_simulate(int argc, char **argv);
int command_mock(int argc, char **argv);
int command_key(int argc, char **argv);
int command_drain(int argc, char **argv);
int command_version(int argc, char **argv);

/* Says what is wrong with the command line (NULL: nothing in particular) and how it is used. Returns 2. */
int command_usage(const char *name, const char *problem);
/* Further help on a command, "" if there is none. */
const char *command_details(const char *name);

/* The settings of all filters a configuration may name, made from filters/registry.c once. */
const struct settings_registry *command_settings(void);
/*
 * Loads a configuration and makes a snapshot of it; `flags` as config_load. Prints errors and warnings on standard
 * error. NULL when it is refused.
 */
MUST_CHECK struct snapshot *command_load(const char *path, unsigned flags);
/* The same from a text that is part of the program. */
MUST_CHECK struct snapshot *command_load_text(const char *name, struct span text);

#endif
