# SPDX-License-Identifier: Apache-2.0
"""Starts things: the only file that does."""

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn

from longshore.compose import House, open_house
from longshore.domain.errors import Unavailable
from longshore.http.app import create_server
from longshore.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Prints `Longshore is ready: URL` once requests are answered and an
    interceptor waits for runs."""
    _log_to_stderr(settings.log_level)
    _open_many_files()
    with _only_one(settings.data), contextlib.closing(listening(settings.listen)) as door:
        try:
            import uvloop

            runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        except ImportError:
            runner = asyncio.Runner()
        with runner:
            runner.run(_serve(settings, door))


async def _serve(settings: Settings, door: socket.socket) -> None:
    host, port = door.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    async with open_house(settings, base_url=url) as house:
        await house.dispatch.recover()
        server = _Server(_config(house))
        waiting = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            beside = (
                group.create_task(house.agent.run(waiting.set)),
                group.create_task(house.sweeper.run()),
                group.create_task(_announce(server, waiting, url)),
            )
            _stop_on_signal(server)
            await server.serve(sockets=[door])
            for task in beside:
                task.cancel()


def _config(house: House) -> uvicorn.Config:
    """No access log: addresses may hold login codes. No tracebacks of uvicorn's either: they could quote what
    was sent, and our edge reports what fails. Whoever still watches a log at the end has 2 seconds."""
    return uvicorn.Config(
        create_server(house),
        log_config=None,
        log_level="critical",
        access_log=False,
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
    )


class _Server(uvicorn.Server):
    """uvicorn, which says when it answers and leaves signals to us: it would raise them again once it has
    stopped, and we end with exit code 0."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets=sockets)
        self.answers.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _announce(server: _Server, waiting: asyncio.Event, url: str) -> None:
    await waiting.wait()
    await server.answers.wait()
    print(f"Longshore is ready: {url}", flush=True)


def _stop_on_signal(server: uvicorn.Server) -> None:
    def stop() -> None:
        server.should_exit = True

    for which in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(which, stop)


def listening(listen: str) -> socket.socket:
    """A bound socket for HOST:PORT; raises Unavailable saying which address is taken or malformed."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, int(port)))
        door.listen(2048)
    except (OSError, ValueError, OverflowError) as error:
        raise Unavailable(
            f"cannot listen on {listen}: {error}; give another with --listen HOST:PORT"
        ) from error
    return door


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    """One server a data directory: it may believe that whoever held a run before is gone."""
    data.mkdir(parents=True, exist_ok=True, mode=0o711)
    handle = os.open(data / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise Unavailable(
            f"another Longshore server uses {data}; stop it, or give this one a --data directory of its own"
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def _open_many_files() -> None:
    """As many as we may: an environment that waits for its next run takes a dozen."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _log_to_stderr(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if not sys.stderr.isatty()
            else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


__all__ = ["House", "listening", "serve"]
