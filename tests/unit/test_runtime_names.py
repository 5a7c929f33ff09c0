# SPDX-License-Identifier: Apache-2.0
"""Runtimes by Lambda's ids and by the names that Carrier's users know."""

import pytest

from longshore.domain.errors import Invalid
from longshore.domain.runtime import Runtime, runs_on, runtime, stands_in


@pytest.mark.parametrize(
    ("name", "id_", "version"),
    [
        ("python3.11", "python3.11", (3, 11)),
        ("Python 3.7", "python3.7", (3, 7)),
        (" PYTHON 3.13 ", "python3.13", (3, 13)),
        ("Python3.8", "python3.8", (3, 8)),
        ("python3.0", "python3.0", (3, 0)),
    ],
)
def test_python_has_two_spellings(name: str, id_: str, version: tuple[int, int]) -> None:
    assert runtime(name) == Runtime(id=id_, version=version)
    assert runtime(name).is_python


@pytest.mark.parametrize(
    "name",
    [
        "",
        "python",
        "python3",
        "python3.11.2",
        "python3.110",
        "python3.07",
        "python 2.7",
        "Python 2.7",
        "python4.0",
        "python  3.11",
        "python3.１1",
        "nodejs20.x",
        "java17",
        "provided.al2",
        "python3.11; rm",
        "x" * 1000,
    ],
)
def test_what_nobody_here_can_run_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="is not a runtime here") as caught:
        runtime(name)

    assert caught.value.field == "runtime"
    assert len(caught.value.message) < 200


def test_another_version_stands_in_with_a_sentence() -> None:
    assert stands_in(runtime("python3.11"), "python3.11") is None
    assert stands_in(runtime("Python 3.7"), "python3.11") == (
        "python3.7 is not on this machine; the run uses python3.11"
    )


@pytest.mark.parametrize(
    ("wanted", "present", "gets"),
    [
        ("python3.9", {"python3.9", "python3.11"}, (3, 9)),
        ("Python 3.7", {"python3.11", "python3.9"}, (3, 9)),
        ("python3.13", {"python3.9", "python3.11"}, (3, 11)),
        ("python3.13", {"nodejs22.x"}, (3, 13)),
        ("python3.13", set(), (3, 13)),
    ],
)
def test_a_missing_version_gets_the_nearest_newer_one_else_the_nearest_older(
    wanted: str, present: set[str], gets: tuple[int, int]
) -> None:
    assert runs_on(runtime(wanted), present) == gets
