# SPDX-License-Identifier: Apache-2.0
"""What has just happened, for those who listen."""

from dataclasses import dataclass

from longshore.domain.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChanged:
    """A run moved, or learned something."""

    run: Run
