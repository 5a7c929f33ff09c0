# SPDX-License-Identifier: Apache-2.0
"""How secrets are named in parameters and environment, and put in."""

import copy
import pickle
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.domain.secret import Plaintext, Reference, expand, references

SECRETS = {
    "TOKEN": "t0ken",
    "HOST": "db.example",
    "_9": "x",
    "LOOP": "{{secret.LOOP}} secret.TOKEN {{TOKEN}}",
}


def found(text: str) -> list[tuple[str, bool]]:
    return [(reference.name, reference.explicit) for reference in references(text)]


@pytest.mark.parametrize(
    ("text", "expanded", "named"),
    [
        ("secret.TOKEN", "t0ken", [("TOKEN", True)]),
        (" secret.TOKEN\n", "t0ken", [("TOKEN", True)]),
        ("{{secret.TOKEN}}", "t0ken", [("TOKEN", True)]),
        ("{{ secret.TOKEN }}", "t0ken", [("TOKEN", True)]),
        ("{{TOKEN}}", "t0ken", [("TOKEN", False)]),
        ("{{ TOKEN }}", "t0ken", [("TOKEN", False)]),
        ("secret.{{secret.TOKEN}}", "t0ken", [("TOKEN", True)]),
        ("secret.{{TOKEN}}", "t0ken", [("TOKEN", True)]),
        ("secret._9", "x", [("_9", True)]),
        ("Bearer {{secret.TOKEN}}", "Bearer t0ken", [("TOKEN", True)]),
        ("a {{secret.TOKEN}} b {{HOST}} c", "a t0ken b db.example c", [("TOKEN", True), ("HOST", False)]),
        ("{{TOKEN}}{{TOKEN}}", "t0kent0ken", [("TOKEN", False), ("TOKEN", False)]),
        ("${{secret.TOKEN}}", "$t0ken", [("TOKEN", True)]),
        ("{{{TOKEN}}}", "{t0ken}", [("TOKEN", False)]),
        ('{"a": "{{secret.TOKEN}}"}', '{"a": "t0ken"}', [("TOKEN", True)]),
        ("is secret.{{secret.TOKEN}} it", "is t0ken it", [("TOKEN", True)]),
        ("topsecret.{{secret.HOST}}", "topsecret.db.example", [("HOST", True)]),
        ("my.secret.{{HOST}}", "my.secret.db.example", [("HOST", False)]),
    ],
)
def test_every_spelling_is_understood(text: str, expanded: str, named: list[tuple[str, bool]]) -> None:
    assert found(text) == named
    assert expand(text, SECRETS.get) == expanded


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret.",
        "secret",
        "secret.TOKEN and more",
        "the secret.TOKEN",
        "secret.TO-KEN",
        "secret.TÖKEN",
        "secret.A.B",
        "Secret.TOKEN",
        "{{}}",
        "{{secret.}}",
        "{{TO KEN}}",
        "{{TÖKEN}}",
        "{TOKEN}",
        "{{TOKEN}",
        "{ {TOKEN}}",
        "{{secret.secret.TOKEN}}",
        "secret." + "A" * 129,
    ],
)
def test_what_only_looks_like_one_is_text(text: str) -> None:
    assert found(text) == []
    assert expand(text, SECRETS.get) == text


@pytest.mark.parametrize(
    "text", ["secret.NOBODY", "{{secret.NOBODY}}", "{{NOBODY}}", "secret.{{secret.NOBODY}}", "a {{NOBODY}} b"]
)
def test_an_unknown_name_stays_as_it_is(text: str) -> None:
    assert expand(text, SECRETS.get) == text
    assert expand(text + " {{TOKEN}}", SECRETS.get) == text + " t0ken"


@pytest.mark.parametrize("text", ["secret.LOOP", "{{secret.LOOP}}", "{{LOOP}}", "secret.{{LOOP}}"])
def test_a_value_is_never_searched_again(text: str) -> None:
    assert expand(text, SECRETS.get) == SECRETS["LOOP"]


texts = st.lists(
    st.sampled_from(["secret.", "{{", "}}", " ", "A", "B", "x", ".", "secret.A", "{{A}}", "{{secret.B}}"]),
    max_size=8,
).map("".join)


@given(texts, st.dictionaries(st.sampled_from(["A", "B"]), texts))
def test_only_what_is_named_is_looked_up(text: str, known: Mapping[str, str]) -> None:
    asked = []

    def lookup(name: str) -> str | None:
        asked.append(name)
        return known.get(name)

    expanded = expand(text, lookup)

    assert asked == [reference.name for reference in references(text)]
    assert expanded == text or set(asked) & set(known)


def test_a_reference_is_a_value() -> None:
    assert list(references("{{secret.A}}")) == [Reference(name="A", explicit=True)]


def test_a_plaintext_shows_itself_only_when_asked() -> None:
    plain = Plaintext("hunter22")

    assert plain.reveal() == "hunter22"
    for shown in (repr(plain), str(plain), f"{plain}", f"{plain!r}", repr([plain]), repr({"a": plain})):
        assert "hunter22" not in shown
    assert plain != Plaintext("hunter22")
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copying(plain)
