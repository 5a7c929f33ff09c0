# SPDX-License-Identifier: Apache-2.0
"""Which names things may have."""

import pytest

from longshore.domain.errors import Invalid
from longshore.domain.names import checked, checked_key

HOSTILE = ["", " ", "a b", "a/b", "../a", "a\n", "\x00", "a\x00", "'; DROP", "<b>", "\u202ea", "ä", "\ud800"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("task", ["a", "A_b-9", "-", "x" * 64]),
        ("project", ["a", "demo", "9-a", "x" * 63]),
        ("secret", ["A", "9", "_a", "x" * 128]),
        ("parameter", ["a", "_9", "x" * 128]),
        ("environment variable", ["PATH2", "_", "x" * 128]),
        ("bucket", ["tasks", "a.b_c-d", "9", "x" * 63]),
        ("location", ["default", "eu-1", "x" * 63]),
        ("token", ["ci", "Jane's laptop (büro)", "x" * 100]),
    ],
)
def test_a_legal_name_is_returned(kind: str, names: list[str]) -> None:
    assert [checked(kind, name) for name in names] == names


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("task", [*HOSTILE, "x" * 65, "a.b"]),
        ("project", [*HOSTILE, "x" * 64, "A", "-a", "a_b", "a.b"]),
        ("secret", [*HOSTILE, "x" * 129, "a-b", "a.b"]),
        ("parameter", [*HOSTILE, "x" * 129, "9a", "a-b"]),
        ("environment variable", [*HOSTILE, "x" * 129, "9a", "A=B"]),
        ("bucket", [*HOSTILE, "x" * 64, "A", ".a", "-a", "_a"]),
        ("location", [*HOSTILE, "x" * 64, "A", "a.b", "*", ">"]),
        ("token", ["", "a\nb", "\x00", "\x7f", "\x85", "\ud800", "x" * 101]),
    ],
)
def test_another_is_refused_with_the_rule(kind: str, names: list[str]) -> None:
    for name in names:
        with pytest.raises(Invalid, match=f"is not a name for a {kind}: it takes") as caught:
            checked(kind, name, field="where")
        assert caught.value.field == "where"
        assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "key", ["a", "a/b.txt", "ä/🚢", "a b", "...", ".a", "a..b", "-", "x" * 1024, "ä" * 512]
)
def test_a_legal_key_is_returned(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "a\nb",
        "a\x00",
        "\x7f",
        "\x9b31m",
        "\ud800",
        "x" * 1025,
        "ä" * 513,
    ],
)
def test_another_key_is_refused(key: str) -> None:
    with pytest.raises(Invalid) as caught:
        checked_key(key)

    assert caught.value.field == "key"
    assert caught.value.message.isprintable()
