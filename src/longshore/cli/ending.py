# SPDX-License-Identifier: Apache-2.0
"""How a verb ends: an exit code that scripts can rely on, and a sentence for people when it is not 0.

  0  done; a run that was waited for succeeded
  1  refused, or a run that was waited for ended in any other way
  2  the command was not understood: nothing was sent
  3  no Longshore answers at LONGSHORE_URL
130  interrupted
"""


class Stop(Exception):
    """The end of a verb before its answer. The sentence says what to do now."""

    code = 1

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Refused(Stop):
    """The server, or a check on this side, says no. `status` is the server's, where it was the server."""

    def __init__(self, sentence: str, *, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status


class Misused(Stop):
    """What was typed, or an environment variable, cannot be understood."""

    code = 2


class Unreachable(Stop):
    """Nobody answers at the address, or somebody who is not Longshore."""

    code = 3


class AnswerLost(Unreachable):
    """The server was reached and what was asked may have been done, but we do not know."""


class Interrupted(Stop):
    """Ctrl-C while waiting for something that goes on without us."""

    code = 130
