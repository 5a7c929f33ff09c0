# SPDX-License-Identifier: Apache-2.0
"""What `./run` does: make sure of the environment, then hand over to the demonstration inside it."""

import argparse
import os

from setup import ROOT, make_venv, say, system_packages

SYSTEM = {"bwrap": "bubblewrap", "pasta": "passt"}


def main() -> None:
    """Prepare, then become `scripts/demo.py` in our own environment."""
    words = argparse.ArgumentParser(
        prog="./run", description="Serve Longshore and show its example task at work."
    )
    words.add_argument("--once", action="store_true", help="end after the example, with its exit code")
    words.add_argument(
        "--data", help="data directory (default: LONGSHORE_DATA, else the system's place for it)"
    )
    words.add_argument(
        "--listen", default="127.0.0.1:8700", help="HOST:PORT; another free port if it is taken"
    )
    given = words.parse_args()
    say("Longshore: looking at this machine ...")
    system_packages(SYSTEM)
    python = str(make_venv())
    command = [python, str(ROOT / "scripts" / "demo.py"), "--listen", given.listen]
    command += ["--once"] if given.once else []
    command += ["--data", given.data] if given.data else []
    os.execv(python, command)


if __name__ == "__main__":
    main()
