# SPDX-License-Identifier: Apache-2.0
"""Logs of runs: as a stream for curl, over a WebSocket for browsers.

Nothing is held in memory for a slow reader: the next batch is read from the log when the one before is sent.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from json.encoder import encode_basestring
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from longshore.domain.errors import Forbidden, LongshoreError, NotFound, Unauthenticated
from longshore.domain.ids import RunId
from longshore.domain.logs import Level, Stream
from longshore.domain.logs import LogLine as Line
from longshore.domain.project import Project
from longshore.http.api.models import LogLine
from longshore.http.api.run_models import Run
from longshore.http.auth import ProjectDep, admit, admitted_of
from longshore.http.context import House, HouseDep, house_of
from longshore.http.guard import GuardedRoute
from longshore.http.permissions import PROJECT, rule_of
from longshore.http.waiting import closing, put_away

router = APIRouter(prefix=f"{PROJECT}/runs/{{id}}/log", route_class=GuardedRoute, tags=["logs"])

MOST_SEQ = 2**53
MESSAGE_BYTES = 256 * 1024
"""A WebSocket message is closed once it holds this much; with the longest line it stays below the 1 MiB that
common clients take."""
CLOSE_CODES: dict[type[LongshoreError], int] = {Unauthenticated: 4401, Forbidden: 4403, NotFound: 4404}

After = Annotated[int, Query(ge=0, le=MOST_SEQ, description="only lines with a higher number")]


@router.get(
    "",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The log; with `follow` it goes on until the run is over.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        }
    },
)
async def get_log(
    id: str,
    house: HouseDep,
    project: ProjectDep,
    after: After = 0,
    follow: bool = False,
    format: Literal["text", "json"] = "text",
    download: Annotated[bool, Query(description="answer as a file to save")] = False,
) -> StreamingResponse:
    """A run's log as lines of text, or of JSON."""
    run = await house.runs.get(project, RunId(id))
    in_words = format == "text"
    lines = _sent(house, project, run.id, after, follow=follow, in_words=in_words)
    ending = "log" if in_words else "ndjson"
    return StreamingResponse(
        lines,
        media_type="text/plain; charset=utf-8" if in_words else "application/x-ndjson",
        headers={"Content-Disposition": f'attachment; filename="{run.id}.{ending}"'} if download else None,
    )


async def _sent(
    house: House, project: Project, run: RunId, after: int, *, follow: bool, in_words: bool
) -> AsyncIterator[bytes]:
    async with closing(house.runs.log(project, run, after=after, follow=follow)) as batches:
        async for batch in batches:
            lines = _in_words(batch) if in_words else _in_json(batch)
            yield "".join([f"{line}\n" for line in lines]).encode("utf-8", "replace")


def _in_words(lines: Sequence[Line]) -> Iterator[str]:
    """Hundreds of lines in a row share their time and stream, which are spelled once."""
    same, begins = None, ""
    for _, _, _, at, stream, _, text in lines:
        if (at, stream) != same:
            same = at, stream
            begins = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z {stream.value} "
        yield begins + text


def _in_json(lines: Sequence[Line]) -> Iterator[str]:
    """Each as models.LogLine has it, with the same economy."""
    same, begins, goes_on = None, "", ""
    for _, attempt, seq, at, stream, level, text in lines:
        if (attempt, at, stream, level) != same:
            same = attempt, at, stream, level
            begins, goes_on = _spelled(attempt, at, stream, level)
        yield f"{begins}{seq}{goes_on}{encode_basestring(text)}}}"


def _spelled(attempt: int, at: datetime, stream: Stream, level: Level | None) -> tuple[str, str]:
    """A line as JSON up to its number, and from there to its text."""
    model = LogLine(attempt=attempt, seq=0, at=at, stream=stream, level=level, text="")
    before, _, after = model.model_dump_json().partition('"seq":0')
    return f'{before}"seq":', after.removesuffix('""}')


@router.websocket("/ws")
async def watch_log(socket: WebSocket, id: str, after: After = 0) -> None:
    """Messages of lines while the run goes on, then one with the run as it ended."""
    await socket.accept()
    try:
        socket.state.admitted = await admit(socket, rule_of("WS", f"{router.prefix}/ws"))
        house, project = house_of(socket), admitted_of(socket).project
        if project is None:
            raise NotFound("there is no project here")
        await house.runs.get(project, RunId(id))
    except LongshoreError as error:
        codes = [CLOSE_CODES[kind] for kind in type(error).__mro__ if kind in CLOSE_CODES]
        await socket.close(codes[0] if codes else 1011, error.message.encode()[:120].decode(errors="ignore"))
        return
    await _until_either_ends(socket, house, project, RunId(id), after)


async def _until_either_ends(
    socket: WebSocket, house: House, project: Project, run: RunId, after: int
) -> None:
    """Send until the log is over or the watcher is gone, whichever comes first."""
    sending = asyncio.ensure_future(_send_log(socket, house, project, run, after))
    leaving = asyncio.ensure_future(_gone(socket))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    except WebSocketDisconnect:
        return
    finally:
        await put_away(sending, leaving)


async def _gone(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _send_log(socket: WebSocket, house: House, project: Project, run: RunId, after: int) -> None:
    async with closing(house.runs.log(project, run, after=after, follow=True)) as batches:
        async for batch in batches:
            for message in _messages(batch):
                await socket.send_text(message)
    ended = Run.of(await house.runs.get(project, run)).model_dump(mode="json", exclude={"event"})
    await socket.send_text(json.dumps({"end": ended}, ensure_ascii=False))
    await socket.close()


def _messages(batch: Sequence[Line]) -> Iterator[str]:
    lines: list[str] = []
    size = 0
    for line in _in_json(batch):
        lines.append(line)
        size += len(line) if line.isascii() else len(line.encode("utf-8", "replace"))
        if size >= MESSAGE_BYTES:
            yield _message(lines)
            lines, size = [], 0
    if lines:
        yield _message(lines)


def _message(lines: Sequence[str]) -> str:
    """Half characters cannot travel."""
    text = f'{{"lines":[{",".join(lines)}]}}'
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
