# SPDX-License-Identifier: Apache-2.0
"""What the launcher starts for a Python handler: Lambda's own search path, then the official client.

    /var/task · /opt/python/lib/python3.N/site-packages · /opt/python · /var/runtime · the standard library

Not `python -m awslambdaric`: there a package's own `queue.py` or `logging.py` would stand in for the standard
library's while the client itself is being imported.

usage: python.py HANDLER          environment and working directory are the handler's
       python.py prepared FD      both come through the descriptor, once the client is imported
"""

from __future__ import annotations

import os
import site
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUN_ID = "LONGSHORE_RUN_ID"


def main() -> None:
    """Import the client before the package can be seen, set the path as Lambda does, hand over."""
    runtime = os.environ["LAMBDA_RUNTIME_DIR"]
    sys.path[0] = runtime
    from awslambdaric import bootstrap  # noqa: F401  (what takes long is done before anybody waits)
    from awslambdaric.__main__ import main as serve
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

    if len(sys.argv) == 3:
        become(int(sys.argv[2]))
    name_runs(LambdaRuntimeClient)
    task = os.environ["LAMBDA_TASK_ROOT"]
    layers = []
    if "PYTHONPATH" not in os.environ:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        layers = [f"/opt/python/lib/{version}/site-packages", "/opt/python"]
        os.environ["PYTHONPATH"] = runtime
    sys.path[:0] = [task, *layers]
    for place in (task, *layers):
        site.addsitedir(place)
    serve(sys.argv)


def become(number: int) -> None:
    """Say that we wait, and turn into whose turn it is."""
    os.write(number, b"w")
    size = int.from_bytes(exactly(number, 4), "big")
    handler, *pairs = exactly(number, size).split(b"\0")
    os.close(number)
    os.environ.clear()
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        os.environb[name] = value
    time.tzset()
    os.chdir(os.environ["LAMBDA_TASK_ROOT"])
    sys.argv[1:] = [os.fsdecode(handler)]


def exactly(number: int, size: int) -> bytes:
    """So many bytes; nobody is to be served when they do not come."""
    parts = []
    while size:
        part = os.read(number, min(size, 65536))
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def name_runs(client: Any) -> None:
    """An environment serves run after run: its variable has the one that is under way."""
    wait = client.wait_next_invocation

    def named(self: Any) -> Any:
        call = wait(self)
        if RUN_ID in os.environ:
            os.environ[RUN_ID] = call.invoke_id
        return call

    client.wait_next_invocation = named


if __name__ == "__main__":
    main()
