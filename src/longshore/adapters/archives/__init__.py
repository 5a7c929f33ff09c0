# SPDX-License-Identifier: Apache-2.0
"""Zips and jars: read by our own reader, checked in a child process, unpacked all or nothing.

Everything but `zips` and `unpack` is also imported by that child, which has the standard library only.
"""
