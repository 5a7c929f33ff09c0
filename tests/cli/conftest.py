# SPDX-License-Identifier: Apache-2.0
"""The command in this process, and a terminal to show it."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.cli.answering import Answer, Answering, Request, answering

from longshore.cli.main import ended


@dataclass(frozen=True)
class Done:
    """How a verb ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """stdout as the one JSON document that it has to be."""
        return json.loads(self.out)


Cli = Callable[..., Done]
Served = Callable[[Callable[[Request], Answer]], Any]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in ("URL", "TOKEN", "PROJECT", "DATA", "LISTEN", "SANDBOX"):
        monkeypatch.delenv(f"LONGSHORE_{name}", raising=False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a verb; `stdin` is a pipe with these bytes."""

    def call(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = ended(arguments)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return call


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """A server that answers as told, as the one that LONGSHORE_URL names; we have a token."""

    @contextmanager
    def serve(answer: Callable[[Request], Answer]) -> Iterator[Answering]:
        with answering(answer) as server:
            monkeypatch.setenv("LONGSHORE_URL", server.url)
            monkeypatch.setenv("LONGSHORE_TOKEN", "lsh_test")
            monkeypatch.setattr("longshore.cli.client.PATIENCE", (0.01, 0.01))
            yield server

    return serve
