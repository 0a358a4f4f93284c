# SPDX-License-Identifier: Apache-2.0
"""Calls that cannot be used safely, in code and tests alike."""
import re

import _tree

BANNED = re.compile(r"\b(strcpy|stpcpy|strcat|strncat|strncpy|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|atof|alloca)\s*\(")

_tree.finish((hit for path in _tree.files(".c", ".h") for hit in _tree.search(path, _tree.code(path), BANNED)),
             "Use spans, buffers, snprintf and span_to_u64.")
