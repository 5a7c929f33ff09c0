# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with results as a whole. What is wrong with single rows is a finding, not an error."""


class BadResults(ValueError):
    """Results that give no numbers at all: the sentence names the file, and what would be right."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
