# SPDX-License-Identifier: Apache-2.0
"""The short way in for the request that is made most: POST .../tasks/NAME/runs with a bearer token.

It does what the route does (api/runs.submit_run), with a tenth of the work around it. Whatever is not plain
(a session, an escaped name, a large or odd body, a query that it does not know) it leaves to the route, which
sees the request as if nobody had looked at it before. So there is one place that says what is wrong.
"""

import asyncio
import re
from dataclasses import dataclass

from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longshore.domain.errors import LongshoreError
from longshore.domain.project import Scope as Right
from longshore.domain.run import Run
from longshore.http.api.run_models import Run as ShownRun
from longshore.http.context import House
from longshore.http.errors import answer_to
from longshore.http.permissions import PROJECT, rule_of
from longshore.http.strict_json import strict_json
from longshore.http.submitting import Asked, event_of, run_of, trigger_of

SMALL_BYTES = 64 * 1024
_PATH = re.compile(r"/api/v1/projects/([a-z0-9][a-z0-9-]{0,62})/tasks/([A-Za-z0-9_-]{1,64})/runs")
_WAIT = re.compile(rb"wait=([0-9]{1,3}(?:\.[0-9]{1,6})?)")
_TOKEN = re.compile(rb"Bearer ([A-Za-z0-9_-]{1,256})")
_MEMBERS = frozenset({"event", "parameters"})
_LONGEST_WAIT_S = 300.0


class _Unplain(Exception):
    """The route is to look at this."""


@dataclass(slots=True)
class _Request:
    """What a plain request says before its body."""

    project: str
    task: str
    token: str
    wait: float
    trigger: str | None


class Front:
    """Stands before the application `app`. `patience_s` is how long a body may bring nothing."""

    def __init__(self, app: ASGIApp, house: House, patience_s: float) -> None:
        right = rule_of("POST", f"{PROJECT}/tasks/{{name}}/runs")
        assert isinstance(right, Right)  # noqa: S101  (the table has a scope there)
        self._app, self._house, self._right, self._patience_s = app, house, right, patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass it on."""
        asked = _plain(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if asked is None:
            await self._app(scope, receive, send)
            return
        replayed = _Replayed(receive, self._patience_s)
        try:
            run = await self._run(asked, replayed)
        except _Unplain:
            replayed.rewind()
            await self._app(scope, replayed, send)
        except LongshoreError as error:
            await answer_to(error)(scope, receive, send)
        else:
            await self._answer(run, send)

    async def _run(self, asked: _Request, receive: "_Replayed") -> Run:
        access = self._house.access
        actor = await access.authenticate(asked.token)
        project = await access.project(asked.project, actor)
        actor.need(self._right)
        body = await receive.body()
        try:
            given = strict_json(body.decode()) if body else {}
        except ValueError:
            raise _Unplain from None
        if not isinstance(given, dict) or not given.keys() <= _MEMBERS:
            raise _Unplain
        parameters = given.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise _Unplain
        asking = Asked(
            project=project,
            task=asked.task,
            event=event_of(given, given.get("event"), parameters),
            trigger=trigger_of(asked.trigger),
            actor=actor,
            wait=asked.wait,
        )
        return await run_of(self._house.runs, asking, receive)

    async def _answer(self, run: Run, send: Send) -> None:
        body = to_json(ShownRun.members(run))
        status = 200 if run.state.is_final else 202
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Replayed:
    """Receives a small body whole, and again from its beginning when it is rewound."""

    def __init__(self, receive: Receive, patience_s: float) -> None:
        self._receive, self._patience_s = receive, patience_s
        self._heard: list[Message] = []
        self._again: list[Message] = []

    async def __call__(self) -> Message:
        """The next message."""
        return self._again.pop(0) if self._again else await self._receive()

    def rewind(self) -> None:
        """Begin again."""
        self._again, self._heard = self._heard, []

    async def body(self) -> bytes:
        """The whole body; raises _Unplain when it takes its time, or ends too early."""
        parts = []
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    message = await self._receive()
                    self._heard.append(message)
                    if message["type"] != "http.request":
                        raise _Unplain
                    parts.append(message.get("body", b""))
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise _Unplain from None


def _plain(scope: Scope) -> _Request | None:
    found = _PATH.fullmatch(scope["path"])
    if found is None:
        return None
    query = scope["query_string"]
    wait = _WAIT.fullmatch(query) if query else None
    seconds = float(wait[1]) if wait else 0.0
    if (query and wait is None) or seconds > _LONGEST_WAIT_S or scope.get("root_path"):
        return None
    token = trigger = None
    size = 0
    for name, value in scope["headers"]:
        if name == b"authorization":
            bearer = _TOKEN.fullmatch(value)
            if bearer is None or token is not None:
                return None
            token = bearer[1].decode()
        elif name == b"content-length":
            size = int(value) if value.isdigit() and len(value) < 8 else SMALL_BYTES + 1
        elif name == b"x-longshore-trigger":
            trigger = value.decode("latin-1")
        elif name in (b"transfer-encoding", b"content-encoding", b"expect", b"origin"):
            return None
    if token is None or size > SMALL_BYTES:
        return None
    return _Request(found[1], found[2], token, seconds, trigger)
