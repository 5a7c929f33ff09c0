# SPDX-License-Identifier: Apache-2.0
"""What the launcher starts for a Python handler: Lambda's own search path, then the official client.

    /var/task · /opt/python/lib/python3.N/site-packages · /opt/python · /var/runtime · the standard library

Not `python -m awslambdaric`: there a package's own `queue.py` or `logging.py` would stand in for the standard
library's while the client itself is being imported.

usage: python.py HANDLER          environment and working directory are the handler's

The launcher may have done what `load` does in a process that this one is a fork of.
"""

from __future__ import annotations

import _socket  # socket itself, and looking up a name with it, would take a third of a cold run's time
import os
import site
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUN_ID = "LONGSHORE_RUN_ID"
HELLO = b"\0longshore-wire-1\n"
BY_WIRE_AT_MOST = 1024 * 1024
REHEARSAL = """
import os
LIMITS = {1: [2]}
class Reader:
    def read(self, size=3):
        return [number for number in range(size)]
def handler(event, context):
    return Reader().read()
"""


def load() -> None:
    """Import the client before the package can be seen; what takes long is done before anybody waits."""
    sys.path[0] = os.environ["LAMBDA_RUNTIME_DIR"]
    from awslambdaric import __main__, bootstrap, lambda_runtime_client  # noqa: F401

    try:
        from awslambdaric import lambda_literals  # noqa: F401  (which is not in every version)
    except ImportError:
        return


def rehearse() -> None:
    """Do what every run does at first, in a process that has nothing to do yet: a fork pays for each page
    that it touches for the first time, together more than loading a small handler takes."""
    import gc
    import importlib.util
    import json
    import logging

    gc.unfreeze()
    gc.collect()
    gc.freeze()
    names: dict[str, Any] = {}
    exec(compile(REHEARSAL, "rehearsal", "exec"), names)  # noqa: S102  (ours, from above)
    names["handler"](json.loads(json.dumps({"a": [1, 2.5, "x", None]})), None)
    importlib.util.find_spec("longshore_rehearsal")
    logging.getLogger().isEnabledFor(logging.DEBUG)


def main() -> None:
    """Set the path as Lambda does, hand over."""
    load()
    from awslambdaric import lambda_runtime_client
    from awslambdaric.__main__ import main as serve

    name_runs(lambda_runtime_client.LambdaRuntimeClient)
    use_wire(lambda_runtime_client)
    task, runtime = os.environ["LAMBDA_TASK_ROOT"], os.environ["LAMBDA_RUNTIME_DIR"]
    layers = []
    if "PYTHONPATH" not in os.environ:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        layers = [f"/opt/python/lib/{version}/site-packages", "/opt/python"]
        os.environ["PYTHONPATH"] = runtime
    sys.path[:0] = [task, *layers]
    for place in (task, *layers):
        site.addsitedir(place)
    serve(sys.argv)


def name_runs(client: Any) -> None:
    """An environment serves run after run: its variable has the one that is under way."""
    wait = client.wait_next_invocation

    def named(self: Any) -> Any:
        call = wait(self)
        if RUN_ID in os.environ:
            os.environ[RUN_ID] = call.invoke_id
        return call

    client.wait_next_invocation = named


class Wire:
    """In the place of the client's own HTTP module, which does what is rare: errors, large responses, and
    everything once the wire has broken. See runtime_api/wire.py for the frames.

    A response goes out with the question for the next event, which follows at once. The connection is made
    with the first question: code that is being loaded finds no descriptor of ours.
    """

    def __init__(self, http: Any, host: str, port: int) -> None:
        self._http, self._host, self._port = http, host, port
        self._connection: Any = None
        self._is_new = True
        self._unsent: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._http, name)

    def next(self) -> Any:
        """The next event and what is said about it."""
        if self._is_new:
            self._is_new = False
            self._connection = self._connected()
        if self._connection is None:
            return self._http.next()
        asked, self._unsent = (self._unsent or b"") + b"\0\0\0\1N", None
        try:
            self._connection.sendall(asked)
            frame = self._exactly(int.from_bytes(self._exactly(4), "big"))
        except (OSError, EOFError):
            self._connection = None
            return self._http.next()
        status, size = int.from_bytes(frame[:2], "big"), int.from_bytes(frame[2:6], "big")
        if status != 200:
            raise RuntimeError(f"the Runtime API refused with status {status}: {frame[6 + size :]!r}")
        words = frame[6 : 6 + size].decode("utf-8", "replace").split("\0")
        return frame[6 + size :], dict(zip(words[::2], words[1::2]))  # noqa: B905  (Python 3.7)

    def post_invocation_result(self, invoke_id: str, data: bytes, content_type: str, *rest: Any) -> Any:
        """Have it sent; a large one is sent at once, by HTTP."""
        if self._connection is None or len(data) > BY_WIRE_AT_MOST:
            return self._http.post_invocation_result(invoke_id, data, content_type, *rest)
        frame = b"R%s\0%s\0%s" % (invoke_id.encode(), content_type.encode(), data)
        self._unsent = len(frame).to_bytes(4, "big") + frame
        return None

    def _connected(self) -> Any:
        connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            connection.connect((self._host, self._port))
            connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            connection.sendall(HELLO)
        except OSError:
            connection.close()
            return None
        return connection

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._connection.recv(min(size, 262144))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def use_wire(module: Any) -> None:
    """Where the client is built as the one that this was written for; by HTTP all works, too."""
    http = getattr(module, "runtime_client", None)
    host, _, port = os.environ.get("AWS_LAMBDA_RUNTIME_API", "").rpartition(":")
    if not hasattr(http, "next") or not hasattr(http, "post_invocation_result") or not port.isdigit():
        return
    module.runtime_client = Wire(http, host, int(port))


if __name__ == "__main__":
    main()
