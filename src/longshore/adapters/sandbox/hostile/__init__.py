# SPDX-License-Identifier: Apache-2.0
"""The hostile probes of `longshore doctor --probe`: programs in real cells that try what no handler may.

program    what goes into a cell as a task's package, and tries one thing
victims    what it is after: a file, a process, listening sockets, made for the occasion and removed
attacks    the table of things to try, and who says whether they came off
sealed     a network of our own, for those that might otherwise send something to somebody
"""
