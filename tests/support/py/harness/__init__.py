# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end and conformance tests stand on: the real binary, scripted upstreams, and clients that see every byte."""
