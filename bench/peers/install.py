# SPDX-License-Identifier: Apache-2.0
"""Peers from PyPI and npm, in a directory of their own: nothing of them gets into Longshore's environment."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CODE = Path(__file__).resolve().parent / "code"
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longshore-bench"
PYTHON = HOME / "python" / "bin"
NODE = HOME / "node" / "node_modules" / ".bin"
FROM_PYPI = {
    "awslambdaric": "4.2.2",
    "celery": "5.7.0",
    "functions-framework": "3.10.2",
    "python-lambda-local": "0.1.13",
    "redis": "8.1.0",
    "taskiq": "0.13.0",
    "taskiq-redis": "1.2.4",
}
FROM_NPM = {"lambda-local": "2.2.0", "serverless": "3.40.0", "serverless-offline": "13.10.1"}
QUIET = {"SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off", "SLS_WARNING_DISABLE": "*"}
HOW = "python -m bench --install-peers"


def install() -> None:
    """Fetch them with pip and npm; what is there already in the right version is left as it is."""
    HOME.mkdir(parents=True, exist_ok=True)
    if not (PYTHON / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", str(PYTHON.parent)], check=True)
    wanted = [f"{name}=={version}" for name, version in FROM_PYPI.items()]
    subprocess.run([str(PYTHON / "pip"), "install", "--quiet", *wanted], check=True)
    if not shutil.which("npm"):
        print("npm is not installed: the peers on Node are left out")
        return
    NODE.parents[1].mkdir(exist_ok=True)
    wanted = [f"{name}@{version}" for name, version in FROM_NPM.items()]
    options = ["--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(NODE.parents[1])]
    subprocess.run(["npm", "install", *options, *wanted], check=True)


def missing(program: Path | str) -> str | None:
    """Why a peer cannot be measured, if so."""
    if isinstance(program, str):
        return None if shutil.which(program) else f"{program} is not installed"
    return None if program.exists() else f"not installed: {HOW}"


def versions() -> str:
    """What is compared with, in one line, or how to get it."""
    if not PYTHON.exists():
        return HOW
    there = {**FROM_PYPI, **(FROM_NPM if NODE.exists() else {})}
    return ", ".join([*(f"{name} {version}" for name, version in sorted(there.items())), *_programs()])


def _programs() -> Iterator[str]:
    for program in ("node", "redis-server", "bwrap"):
        if shutil.which(program):
            said = subprocess.run(
                [program, "--version"], stdout=subprocess.PIPE, text=True, check=True
            ).stdout
            yield f"{program} {said.split()[2 if 'Redis' in said else -1].removeprefix('v=')}"


def copied(directory: Path) -> Path:
    """The peers' code in a directory where they may write and where Node finds its modules."""
    shutil.copytree(CODE, directory / "code")
    (directory / "code" / "node_modules").symlink_to(NODE.parent)
    return directory / "code"
