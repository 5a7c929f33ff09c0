# SPDX-License-Identifier: Apache-2.0
"""A process of ours, watched through a pidfd: no thread waits for it, and any event loop will do."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longshore.domain.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: an exit code, or a signal's number below zero; and the time of all it waited for."""

    code: int
    cpu_ms: float


class Child:
    """A running program. To be made in the event loop's thread: bubblewrap ends with its thread."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: int,
        stderr: int,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        cwd: str = "/",
    ) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                close_fds=True,
                env=dict(environment or {}),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"{command[0]} cannot be started: {error}") from error
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self._held = self._over = False
        self._loop.add_reader(self._pidfd, self._ended)

    def hold(self) -> None:
        """Keep its number from becoming somebody else's until `release`; its end is not told before that."""
        self._held = True

    def release(self) -> None:
        """Go on."""
        self._held = False
        if self._over:
            self._bury()

    def send(self, number: int) -> None:
        """Send a signal; harmless when it is over."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._over = True
        if not self._held:
            self._bury()

    def _bury(self) -> None:
        os.close(self._pidfd)
        _, status, took = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        if not self.ended.done():
            self.ended.set_result(Ended(code, (took.ru_utime + took.ru_stime) * 1000))
