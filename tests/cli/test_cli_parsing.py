# SPDX-License-Identifier: Apache-2.0
"""From what was typed to what the API takes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from longshore.cli import parsing
from longshore.cli.ending import Misused
from longshore.cli.secret import without_line_end
from longshore.cli.task_fields import declaration


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ("file", {"name": "file", "type": "string"}),
        ("file=a.jtl", {"name": "file", "type": "string", "default": "a.jtl"}),
        ("file=", {"name": "file", "type": "string", "default": ""}),
        ("file!", {"name": "file", "type": "string", "required": True}),
        ("ms:number=250", {"name": "ms", "type": "number", "default": "250"}),
        ("ms:number!", {"name": "ms", "type": "number", "required": True}),
        ("ms:number!=250", {"name": "ms", "type": "number", "required": True, "default": "250"}),
        ("on:choice(a| b)=a", {"name": "on", "type": "choice", "choices": ["a", "b"], "default": "a"}),
        ("q=a=b:c!d\ne", {"name": "q", "type": "string", "default": "a=b:c!d\ne"}),
        ("key:secret=secret.K", {"name": "key", "type": "secret", "default": "secret.K"}),
    ],
)
def test_a_declaration_says_name_type_need_and_default(given: str, parameter: dict[str, Any]) -> None:
    assert parsing.declared(given) == parameter


@pytest.mark.parametrize("given", ["", "=x", ":number", "a:blob=1", "a:choice=1", "a:number(1|2)", "a!b=1"])
def test_a_declaration_that_says_nothing_is_refused(given: str) -> None:
    with pytest.raises(Misused):
        parsing.declared(given)


def test_a_parameter_is_shown_as_it_is_declared() -> None:
    for given in ("file", "file=a.jtl", "ms:number!=250", "on:choice(a|b)=a"):
        assert declaration(parsing.declared(given)) == given


def test_parameters_of_a_file_are_overridden_by_name_and_keep_their_order(tmp_path: Path) -> None:
    file = tmp_path / "parameters.json"
    file.write_text(json.dumps([{"name": "a", "unit": "ms"}, {"name": "b"}]))

    found = parsing.parameters(["b=1", "c=2"], file)

    assert [one["name"] for one in found] == ["a", "b", "c"]
    assert found[1]["default"] == "1"


def test_a_file_that_is_no_list_of_parameters_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "parameters.json"
    for text in ("{}", "[1]", "nonsense"):
        file.write_text(text)
        with pytest.raises(Misused):
            parsing.parameters(None, file)


def test_a_value_is_everything_after_the_first_equals_sign() -> None:
    assert parsing.pairs(["a=b=c", "d=", "e= f "], "-p") == {"a": "b=c", "d": "", "e": " f "}


@pytest.mark.parametrize("given", [["a"], ["=b"], ["a=1", "a=2"], ["a=\udc80"]])
def test_a_pair_without_a_name_or_given_twice_is_refused(given: list[str]) -> None:
    with pytest.raises(Misused):
        parsing.pairs(given, "-p")


def test_a_long_value_without_a_name_is_not_repeated_whole() -> None:
    with pytest.raises(Misused) as refused:
        parsing.pairs(["a-password-that-went-wrong"], "-p")

    assert "went-wrong" not in refused.value.sentence


def test_an_event_comes_as_text_from_a_file_or_from_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "event.json"
    file.write_text('\ufeff{"a": [1, null]}')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'"text"')))

    assert parsing.event("-1.5") == -1.5
    assert parsing.event(f"@{file}") == {"a": [1, None]}
    assert parsing.event("-") == "text"


@pytest.mark.parametrize(
    "given", ["", "{", "NaN", "-Infinity", "1e999", "@/nowhere/at/all", "[" * 100_000, '"\udc80"']
)
def test_an_event_that_is_not_strict_json_is_refused(given: str) -> None:
    with pytest.raises(Misused):
        parsing.event(given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("a\r", "a\r"), ("\n", ""), ("", "")],
)
def test_a_secret_loses_one_line_end_and_nothing_else(given: str, kept: str) -> None:
    assert without_line_end(given).reveal() == kept


def test_merging_changes_by_name_adds_and_takes_away() -> None:
    now = [{"name": "a", "default": "1"}, {"name": "b"}]

    found = parsing.merged(now, [{"name": "b", "default": "2"}, {"name": "c"}], ["a"])

    assert found == [{"name": "b", "default": "2"}, {"name": "c"}]
