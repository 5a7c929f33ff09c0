# SPDX-License-Identifier: Apache-2.0
"""Events inside of one process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from weakref import WeakSet

from longshore.domain.events import RunChanged
from longshore.domain.ids import ProjectId

QUEUED_EVENTS = 256


class MemoryNotifier:
    """Implements ports.notifier.Notifier within one event loop."""

    def __init__(self) -> None:
        self._listeners: WeakSet[_Listener] = WeakSet()

    def notify(self, event: RunChanged) -> None:
        """Put it into every listener's queue."""
        if self._listeners:
            for listener in self._listeners:
                listener.hear(event)

    def listen(self, project: ProjectId | None = None) -> AsyncIterator[RunChanged]:
        """Heard from this call on, not only from the first look at the iterator: who listens first and then
        looks at a row misses nothing. It ends with aclose, or when nobody holds the iterator any more."""
        listener = _Listener(project)
        self._listeners.add(listener)
        return listener


class _Listener(AsyncIterator[RunChanged]):
    """One listener's queue; the oldest event makes room for the newest."""

    def __init__(self, project: ProjectId | None) -> None:
        self._project = project
        self._events: deque[RunChanged] = deque(maxlen=QUEUED_EVENTS)
        self._news = asyncio.Event()
        self._closed = False

    def hear(self, event: RunChanged) -> None:
        """Queue an event, if it is of the listener's project."""
        if not self._closed and self._project in (None, event.run.project_id):
            self._events.append(event)
            self._news.set()

    async def __anext__(self) -> RunChanged:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()

    async def aclose(self) -> None:
        """Listen no longer; whoever waits for the next event is told that there is none."""
        self._closed = True
        self._events.clear()
        self._news.set()
