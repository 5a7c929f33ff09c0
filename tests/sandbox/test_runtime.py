# SPDX-License-Identifier: Apache-2.0
"""A prepared runtime: everything in it can be read by every user, and it works from where it is."""

import os
import stat
import subprocess

from longshore.interceptor.runtimes import PreparedRuntime


def test_every_user_may_read_everything_in_it(runtime: PreparedRuntime) -> None:
    places = [runtime.directory, *([runtime.root] if runtime.root is not None else [])]

    closed = [
        os.path.join(directory, name)
        for place in places
        for directory, directories, files in os.walk(place)
        for name in [*directories, *files]
        if not os.path.islink(os.path.join(directory, name))
        and not os.stat(os.path.join(directory, name)).st_mode & stat.S_IROTH
    ]

    assert closed == []


def test_its_interpreter_finds_the_client_and_boto3(runtime: PreparedRuntime) -> None:
    root = str(runtime.root or "")
    python = runtime.python.replace("/var/lang", root, 1) if root else runtime.python
    code = "import awslambdaric, boto3, ssl, sqlite3; print(awslambdaric.__file__, boto3.__file__)"

    done = subprocess.run(
        [python, "-S", "-c", code],
        env={"PYTHONPATH": str(runtime.directory), "LD_LIBRARY_PATH": f"{root}/lib" if root else ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert [path.startswith(str(runtime.directory)) for path in done.stdout.split()] == [True, True], (
        done.stderr
    )


def test_its_client_is_compiled(runtime: PreparedRuntime) -> None:
    assert list((runtime.directory / "awslambdaric" / "__pycache__").glob("bootstrap.*.pyc"))
