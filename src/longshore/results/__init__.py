# SPDX-License-Identifier: Apache-2.0
"""Load-test result files to numbers: readers, statistics, percentiles, gates.

    files, globs, zips ─▶ sources ─▶ jtl (csv | xml) ─▶ Sample ... ─▶ tallies ─▶ Statistics ─▶ Judgement
                                        └── what was odd on the way ──▶ findings, with file and line

Standard library only, and relative imports only: the same folder is laid into task packages (as `results`)
where the rest of Longshore is not installed. For that reason it has an error of its own, `BadResults`.
"""
