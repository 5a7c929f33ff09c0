# SPDX-License-Identifier: Apache-2.0
"""What `./run` and `./test` share: a virtual environment and the system's packages. Standard library only."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


def must(command: Sequence[str | Path], **more: object) -> None:
    """Run a command; end with its exit code and a sentence when it fails."""
    done = subprocess.run([str(word) for word in command], check=False, **more)  # type: ignore[call-overload]
    if done.returncode:
        say(f"failed with exit code {done.returncode}: {' '.join(str(word) for word in command)}")
        sys.exit(done.returncode if done.returncode > 0 else 1)


def python_in_venv() -> Path:
    """The interpreter of our own environment."""
    return VENV / "bin" / "python"


def make_venv(*, extras: str = "") -> Path:
    """Our environment with Longshore in it, made or brought up to date; quick when nothing has changed."""
    stamp = VENV / f".longshore-{extras or 'run'}"
    want = hashlib.sha256(
        (ROOT / "pyproject.toml").read_bytes() + sys.version.encode() + str(ROOT).encode()
    ).hexdigest()
    if python_in_venv().exists() and stamp.exists() and stamp.read_text() == want:
        return python_in_venv()
    began = time.monotonic()
    if not python_in_venv().exists():
        say("Making a virtual environment in .venv ...")
        must([sys.executable, "-m", "venv", VENV])
    say("Installing Longshore and what it stands on (a minute or two the first time) ...")
    target = f"{ROOT}[{extras}]" if extras else str(ROOT)
    must(
        [python_in_venv(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", target],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    stamp.write_text(want)
    say(f"Installed in {time.monotonic() - began:.0f} s.")
    return python_in_venv()


def privileges() -> list[str] | None:
    """The words to put before a command that needs root, or None where there is no way."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    return None


INSTALLERS = {
    "apt-get": ["apt-get", "install", "-y", "--no-install-recommends"],
    "dnf": ["dnf", "install", "-y"],
    "pacman": ["pacman", "-S", "--noconfirm"],
    "apk": ["apk", "add"],
    "zypper": ["zypper", "--non-interactive", "install"],
}


def system_packages(wanted: dict[str, str]) -> list[str]:
    """Install the packages whose program is missing ({program: package}); returns what is still missing."""
    missing = {program: package for program, package in wanted.items() if not shutil.which(program)}
    if not missing:
        return []
    installer = next((name for name in INSTALLERS if shutil.which(name)), None)
    names = sorted(set(missing.values()))
    before = privileges()
    if installer is None or before is None:
        command = " ".join(
            [*(INSTALLERS[installer] if installer else ["your package manager: install"]), *names]
        )
        say(f"Missing: {', '.join(names)}. Install with: sudo {command}")
        return names
    say(f"Installing {', '.join(names)} through {installer} ...")
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    if installer == "apt-get":
        subprocess.run([*before, "apt-get", "update", "-qq"], check=False, **quiet)  # type: ignore[call-overload]
    subprocess.run([*before, *INSTALLERS[installer], *names], check=False, **quiet)  # type: ignore[call-overload]
    still = [package for program, package in missing.items() if not shutil.which(program)]
    if still:
        say(f"Could not install {', '.join(still)}; try: {' '.join(INSTALLERS[installer])} {' '.join(still)}")
    return still
