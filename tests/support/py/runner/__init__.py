# SPDX-License-Identifier: Apache-2.0
"""The suite runner behind `./dev test`: Python's standard library only."""
