# SPDX-License-Identifier: Apache-2.0
"""What a cell has taken: the control group's figures where there are any, /proc's otherwise."""

from dataclasses import dataclass

from longshore.adapters.sandbox import kin
from longshore.adapters.sandbox.cgroups import Group
from longshore.ports.sandbox import CellUsage

ENOUGH = 64  # processes to look at one by one for the biggest: a fork bomb must not hold us up
_MB = 2**20


@dataclass(slots=True)
class Meter:
    """Figures only grow. Memory is the most seen at once over all processes, or the most that a single one
    ever held if that is more: a handler of some milliseconds ends between two looks.
    """

    pid: int
    group: Group
    limit: int
    _peak: int = 0
    _cpu_ms: float = 0.0
    _cpu_before: float = 0.0
    _biggest: int | None = None
    _known: tuple[int, ...] = ()

    @property
    def usage(self) -> CellUsage:
        """As last measured."""
        return CellUsage(cpu_ms=max(0.0, self._cpu_ms - self._cpu_before), peak_memory_mb=self._peak / _MB)

    def begin(self) -> None:
        """From here on all is the run's: what it took to build the cell, or to serve others, is not."""
        self._cpu_before = self._cpu_ms = self._measure_cpu()
        self._peak = 0

    def begin_again(self) -> None:
        """The same for a further run: processes that have held more before start afresh."""
        self.begin()
        kin.forget_peaks([] if self._biggest is None else [self._biggest])

    def begin_anew(self) -> None:
        """The same with processes that did not exist before."""
        self._biggest = None
        self.begin()

    def over_limit(self) -> bool:
        """Measure memory; whether it is too much, or the kernel has found it so."""
        used = self.group.anonymous()
        if used is None:
            used = self._by_processes()
        self._peak = max(self._peak, used)
        return used > self.limit or self.group.oom_kills() > 0

    def measure(self) -> None:
        """Everything, for whoever asks."""
        self.over_limit()
        alive = tuple(self.processes()[:ENOUGH])
        if alive != self._known or self._biggest is None:
            self._known = alive
            peaks = kin.peaks(alive)
            self._biggest = max(peaks, key=peaks.__getitem__, default=None)
        else:  # nobody has come or gone, and the others wait: only who was the biggest can have grown
            peaks = kin.peaks([self._biggest])
        self.seen(max(peaks.values(), default=0))
        self._cpu_ms = max(self._cpu_ms, self._measure_cpu())

    def seen(self, peak: int, cpu_ms: float = 0.0) -> None:
        """What somebody else has measured."""
        self._peak = max(self._peak, peak)
        self._cpu_ms = max(self._cpu_ms, self._cpu_before + cpu_ms)

    def end(self, total_cpu_ms: float) -> None:
        """All are gone. The total is the kernel's, over everybody; a group counts to the end by itself."""
        counted = self.group.cpu_ms()
        self._cpu_ms = max(self._cpu_ms, total_cpu_ms if counted is None else counted)

    def processes(self) -> list[int]:
        """Everybody in the cell that is alive."""
        inside = self.group.processes()
        return kin.descendants(self.pid) if inside is None else inside

    def _by_processes(self) -> int:
        pids = kin.descendants(self.pid)
        found = kin.memory(pids)
        self._peak = max(self._peak, found.peak)
        return found.anonymous if found.anonymous <= self.limit else kin.fair_anonymous(pids)

    def _measure_cpu(self) -> float:
        counted = self.group.cpu_ms()
        return kin.cpu_ms(kin.descendants(self.pid)) if counted is None else counted
