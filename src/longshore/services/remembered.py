# SPDX-License-Identifier: Apache-2.0
"""Answers of the database that hold until somebody changes a project, token, task or secret."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from longshore.ports.store import Store, Work

MOST = 2_000
T = TypeVar("T")


@dataclass(slots=True)
class Remembered:
    """Asks the store once in an edition, which it looks up each time."""

    store: Store
    _edition: int = -1
    _answers: dict[Hashable, Any] = field(default_factory=dict)

    async def answer(self, key: Hashable, question: Callable[[Work], T]) -> T:
        """The answer to a question about projects, tokens, tasks and secrets alone. What it raises is raised,
        and not remembered."""
        edition = await self.store.edition()
        if edition != self._edition or len(self._answers) > MOST:
            self._answers.clear()
            self._edition = edition
        if key in self._answers:
            known: T = self._answers[key]
            return known
        # Should a change come in between, this is of the newer edition, and dropped with the next look.
        found = await self.store.read(question)
        if self._edition == edition:
            self._answers[key] = found
        return found
