# SPDX-License-Identifier: Apache-2.0
"""What a cell sees of a file system: the host's /usr, a handful of files of /etc, and what is mounted for it.

/usr, /lib* and /bin     the host's, read-only
/etc                     ours, read-only, with the host's certificates
/var/lang                the interpreter, unless it lives in /usr
/var/runtime, /var/task  the runtime client, the package
/var/input/...           input files; /var itself is a directory of the host, see var.py
/run/longshore           launcher
/tmp, /output, /dev/shm  memory of its own, bounded
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from longshore.domain.errors import Invalid
from longshore.ports.sandbox import Frame

UID, GID = 993, 990
SHM_MB = 64
BOOTSTRAP = "/run/longshore"
LANG = "/var/lang"
_CERTIFICATES = (
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
    "/etc/alternatives",
    "/etc/ld.so.cache",
)
HOSTS = "127.0.0.1 localhost task\n::1 localhost\n"
_FILES = {
    "passwd": f"root:x:0:0:root:/root:/sbin/nologin\nsbx_user:x:{UID}:{GID}::/tmp:/sbin/nologin\n",
    "group": f"root:x:0:\nsbx_user:x:{GID}:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    "hosts": HOSTS,
    "resolv.conf": "",
}


def write_etc(at: Path) -> None:
    """Write our /etc, with empty places where the host's certificates are mounted."""
    at.mkdir()
    for name, text in _FILES.items():
        (at / name).write_text(text, encoding="utf-8")
    for place in _present():
        target = at / place.relative_to("/etc")
        target.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            target.mkdir()
        else:
            target.touch()
    for directory, _, files in os.walk(at):
        Path(directory).chmod(0o755)
        for name in files:
            Path(directory, name).chmod(0o644)


def mounts(
    frame: Frame, package: Path | None, *, var: Path, bootstrap: Path, etc: Path, names: Mapping[str, Path]
) -> list[str]:
    """bwrap's words for all of it; the root itself becomes read-only last. Without a package there is no
    /var/task yet. `names` takes the place of files of /etc."""
    memory = ["--perms", "1777", "--size", str(frame.disk_mb * 2**20), "--tmpfs"]
    words = system(etc)
    for name, source in names.items():
        words += ["--ro-bind", str(source), f"/etc/{name}"]
    words += ["--ro-bind", str(bootstrap), BOOTSTRAP, "--ro-bind", str(var), "/var"]
    if frame.runtime_root is not None:
        words += ["--ro-bind", str(frame.runtime_root), LANG]
    words += ["--ro-bind", str(frame.runtime_dir), "/var/runtime"]
    words += ["--ro-bind", str(package), "/var/task"] if package is not None else []
    return [*words, *memory, "/tmp", *memory, "/output", "--remount-ro", "/"]  # noqa: S108  (the cell's own)


def system(etc: Path) -> list[str]:
    """The part that is the same for every cell."""
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64", "lib32", "libx32", "bin", "sbin"):
        place = Path("/", name)
        if place.is_symlink():
            words += ["--symlink", os.readlink(place), str(place)]
        elif place.is_dir():
            words += ["--ro-bind", str(place), str(place)]
    words += ["--ro-bind", str(etc), "/etc"]
    for place in _present():
        words += ["--ro-bind", str(place), str(place)]
    words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", str(SHM_MB * 2**20)]
    return [*words, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108  (the cell's own)


def checked_name(name: str) -> str:
    """The name of an input, if it stays below its directory."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or path == PurePosixPath():
        raise Invalid(f"an input cannot be called {name!r}; it takes a relative path without '..'")
    return name


def _present() -> Iterator[Path]:
    return (Path(place) for place in _CERTIFICATES if Path(place).exists())
