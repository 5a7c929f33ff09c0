# SPDX-License-Identifier: Apache-2.0
"""What the launcher starts for a Python handler: Lambda's own search path, then the official client.

    /var/task · /opt/python/lib/python3.N/site-packages · /opt/python · /var/runtime · the standard library

Not `python -m awslambdaric`: there a package's own `queue.py` or `logging.py` would stand in for the standard
library's while the client itself is being imported.
"""

import os
import site
import sys


def main() -> None:
    """Set the path as Lambda does, import the client before the package can be seen, hand over."""
    runtime, task = os.environ["LAMBDA_RUNTIME_DIR"], os.environ["LAMBDA_TASK_ROOT"]
    sys.path[0] = runtime
    from awslambdaric.__main__ import main as serve

    layers = []
    if "PYTHONPATH" not in os.environ:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        layers = [f"/opt/python/lib/{version}/site-packages", "/opt/python"]
        os.environ["PYTHONPATH"] = runtime
    sys.path[:0] = [task, *layers]
    for place in (task, *layers):
        site.addsitedir(place)
    serve(sys.argv)


if __name__ == "__main__":
    main()
