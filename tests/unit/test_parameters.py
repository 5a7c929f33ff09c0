# SPDX-License-Identifier: Apache-2.0
"""How a run's event is bound to what a task declares."""

import ast
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.domain.errors import Invalid
from longshore.domain.parameters import (
    Bound,
    Parameter,
    ParameterType,
    bind,
    carrier_literal,
    typed,
)

T = ParameterType


def parameter(type_: ParameterType, *, required: bool = False, choices: tuple[str, ...] = ()) -> Parameter:
    return Parameter(name="x", type=type_, required=required, choices=choices)


def bound(declared: Parameter, value: Any) -> Any:
    return bind([declared], {declared.name: value}).event[declared.name]


class TestBinding:
    def test_defaults_that_are_absent_are_added_and_named(self) -> None:
        declared = [
            Parameter(name="users", type=T.NUMBER, default=" 10 "),
            Parameter(name="test", default="smoke"),
            Parameter(name="note"),
        ]

        found = bind(declared, {"test": "load", "extra": {"kept": True}})

        assert found == Bound(
            event={"test": "load", "extra": {"kept": True}, "users": 10}, defaulted=("users",), notices=()
        )

    def test_the_given_event_is_left_as_it_was(self) -> None:
        event = {"x": " 1 "}

        bind([parameter(T.NUMBER)], event)

        assert event == {"x": " 1 "}

    @pytest.mark.parametrize("event", [None, True, 5, 1.5, "text", " text ", [], ["secret.X", {"a": 1}]])
    def test_what_is_no_object_passes_verbatim(self, event: Any) -> None:
        declared = [Parameter(name="x", required=True), Parameter(name="y", default="1")]

        assert bind(declared, event) == Bound(event=event)

    def test_a_required_parameter_without_default_must_be_given(self) -> None:
        with pytest.raises(Invalid, match="users is required") as caught:
            bind([Parameter(name="users", required=True)], {})

        assert caught.value.field == "users"
        assert bind([Parameter(name="users", required=True, default="1")], {}).event == {"users": "1"}

    def test_text_is_trimmed_with_a_notice(self) -> None:
        found = bind([Parameter(name="x"), Parameter(name="y")], {"x": "\t a b \r\n", "y": "a"})

        assert found.event == {"x": "a b", "y": "a"}
        assert found.notices == ("spaces around the value of x were removed",)

    def test_a_secret_is_never_trimmed(self) -> None:
        assert bind([parameter(T.SECRET)], {"x": " a\n"}) == Bound(event={"x": " a\n"})

    def test_members_that_nobody_declared_pass_verbatim(self) -> None:
        event = {"y": " 1 ", "z": None, "x.y": [1, " a "]}

        assert bind([Parameter(name="x")], event) == Bound(event=event)

    @pytest.mark.parametrize("type_", list(T))
    def test_a_text_with_a_reference_waits_for_its_secret(self, type_: ParameterType) -> None:
        for text in ("secret.NAME", "{{secret.NAME}}", "secret.{{secret.NAME}}", "{{NAME}}"):
            assert bound(parameter(type_, choices=("a",)), text) == text

    @pytest.mark.parametrize("type_", list(T))
    def test_an_optional_parameter_may_be_left_empty(self, type_: ParameterType) -> None:
        declared = parameter(type_, choices=("a",))

        assert bound(declared, "") == ""
        assert bound(declared, None) is None
        assert Parameter(name="x", type=type_, default="", choices=("a",)).checked()

    @pytest.mark.parametrize("type_", [T.NUMBER, T.BOOLEAN, T.CHOICE, T.JSON, T.ARTIFACT])
    def test_a_required_one_may_not(self, type_: ParameterType) -> None:
        declared = parameter(type_, required=True, choices=("a",))

        for value in ("", "   ", None):
            with pytest.raises(Invalid, match="the parameter x"):
                bound(declared, value)

    @pytest.mark.parametrize(
        "event",
        [
            math.nan,
            {"a": [1, {"b": -math.inf}]},
            {"a": "\ud83d"},
            {"\udc00": 1},
            ["a", "\udfff"],
            pytest.param(10**5000, id="huge"),
            json.loads("[" * 250 + "]" * 250),
            json.loads('{"a":' * 250 + "1" + "}" * 250),
        ],
    )
    def test_what_json_cannot_carry_is_refused(self, event: Any) -> None:
        with pytest.raises(Invalid, match="the event"):
            bind([], event)

    def test_a_wide_and_a_deep_event_are_fine(self) -> None:
        for event in ([0] * 100_000, json.loads("[" * 199 + "1" + "]" * 199), {"🚢": "🚢" * 1000}):
            assert bind([], event).event == event


class TestNumbers:
    @pytest.mark.parametrize(
        ("given", "number"),
        [
            ("5", 5),
            (" 5 ", 5),
            ("00012", 12),
            ("+7", 7),
            ("-0", 0),
            ("1e3", 1000.0),
            ("1E-2", 0.01),
            (".5", 0.5),
            ("5.", 5.0),
            ("0.1", 0.1),
            ("123456789012345678901234567890", 123456789012345678901234567890),
            (5, 5),
            (5.5, 5.5),
            (10**30, 10**30),
        ],
    )
    def test_what_a_person_types_is_a_number(self, given: Any, number: float) -> None:
        found = bound(parameter(T.NUMBER), given)

        assert found == number
        assert type(found) is type(number)

    @pytest.mark.parametrize(
        "given",
        [
            "1_000",
            "1,5",
            "0x10",
            "five",
            "1 000",
            "--1",
            "1e",
            "e3",
            ".",
            "+",
            "²",
            "５",
            "nan",
            "inf",
            "-Infinity",
        ],
    )
    def test_other_text_is_refused(self, given: str) -> None:
        with pytest.raises(Invalid, match="takes a number; this is text"):
            bound(parameter(T.NUMBER), given)

    @pytest.mark.parametrize("given", ["1e999", "-1e400", "9" * 400, "9" * 5000, 10**400])
    def test_a_number_that_is_too_large_is_refused(self, given: Any) -> None:
        with pytest.raises(Invalid, match="up to"):
            bound(parameter(T.NUMBER), given)

    @pytest.mark.parametrize("given", [True, False, [1], {"a": 1}])
    def test_other_values_are_refused(self, given: Any) -> None:
        with pytest.raises(Invalid, match="takes a number"):
            bound(parameter(T.NUMBER), given)

    def test_the_unit_is_named(self) -> None:
        with pytest.raises(Invalid, match="a number of seconds"):
            bind([Parameter(name="x", type=T.NUMBER, unit="seconds")], {"x": "soon"})


class TestOtherTypes:
    @pytest.mark.parametrize(
        ("given", "truth"),
        [
            (True, True),
            ("true", True),
            (" TRUE ", True),
            ("Yes", True),
            ("on", True),
            ("1", True),
            (1, True),
            (False, False),
            ("False", False),
            ("no", False),
            ("off", False),
            ("0", False),
            (0, False),
        ],
    )
    def test_booleans_in_words(self, given: Any, truth: bool) -> None:
        assert bound(parameter(T.BOOLEAN), given) is truth

    @pytest.mark.parametrize("given", ["maybe", "2", 2, 1.5, [], [True], {}, "truefalse"])
    def test_other_words_are_refused(self, given: Any) -> None:
        with pytest.raises(Invalid, match="takes true or false"):
            bound(parameter(T.BOOLEAN), given)

    @pytest.mark.parametrize(("given", "word"), [("a", "a"), (" b ", "b"), (5, "5"), (True, "true")])
    def test_a_choice_is_one_of_its_words(self, given: Any, word: str) -> None:
        assert bound(parameter(T.CHOICE, choices=("a", " b ", "5", "true")), given) == word

    @pytest.mark.parametrize("given", ["c", "A", 1, ["a"], {"a": 1}])
    def test_a_choice_says_what_there_is(self, given: Any) -> None:
        with pytest.raises(Invalid, match="one of a, b"):
            bound(parameter(T.CHOICE, choices=("a", "b")), given)

    @pytest.mark.parametrize(
        ("given", "value"),
        [
            ('{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
            (' "text" ', "text"),
            ("5", 5),
            ([1], [1]),
            (5, 5),
        ],
    )
    def test_json_is_read(self, given: Any, value: Any) -> None:
        assert bound(parameter(T.JSON), given) == value

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("{a: 1}", "JSON; Expecting"),
            ("NaN", "NaN is not JSON"),
            ('{"a": -Infinity}', "Infinity is not JSON"),
            ('{"a": 1, "b": {"c": 1, "c": 2}}', "two members of one name"),
            ("[1e999]", "NaN or infinity"),
            ("[" * 100_000, "nested"),
            ('"\\ud800"', "half a character"),
            ("9" * 5000, "limit"),
        ],
    )
    def test_what_is_not_json_is_refused(self, given: str, words: str) -> None:
        with pytest.raises(Invalid, match=words):
            bound(parameter(T.JSON), given)

    def test_an_artifact_is_a_bucket_and_a_key(self) -> None:
        assert bound(parameter(T.ARTIFACT), " results/2026/run.jtl ") == "results/2026/run.jtl"
        for wrong in ("results", "/key", "results/", 5, ["a/b"]):
            with pytest.raises(Invalid, match="BUCKET/KEY"):
                bound(parameter(T.ARTIFACT), wrong)

    @pytest.mark.parametrize("type_", [T.STRING, T.SECRET])
    def test_text_takes_other_values_as_they_are(self, type_: ParameterType) -> None:
        for value in (5, 1.5, True, [1], {"a": 1}):
            assert bound(parameter(type_), value) == value

    @pytest.mark.parametrize("type_", [T.NUMBER, T.BOOLEAN, T.CHOICE, T.JSON, T.ARTIFACT])
    def test_a_refusal_never_shows_the_value(self, type_: ParameterType) -> None:
        with pytest.raises(Invalid) as caught:
            typed(parameter(type_, choices=("a", "b")), "{hunter22: 1}")

        assert "hunter22" not in caught.value.message


class TestDeclarations:
    @pytest.mark.parametrize(
        "declared",
        [
            Parameter(name="1x"),
            Parameter(name=""),
            Parameter(name="a-b"),
            Parameter(name="x", type=T.CHOICE),
            Parameter(name="x", type=T.CHOICE, choices=("", " ")),
            Parameter(name="x", type=T.CHOICE, choices=("a",), default="b"),
            Parameter(name="x", type=T.NUMBER, default="ten"),
            Parameter(name="x", type=T.BOOLEAN, default="maybe"),
            Parameter(name="x", type=T.JSON, default="{"),
            Parameter(name="x", default="\ud800"),
            Parameter(name="x", description="\udfff"),
        ],
    )
    def test_a_declaration_that_cannot_be_is_refused(self, declared: Parameter) -> None:
        with pytest.raises(Invalid):
            declared.checked()

    @pytest.mark.parametrize(
        "declared",
        [
            Parameter(name="x", type=T.NUMBER, default=" 10 "),
            Parameter(name="x", type=T.NUMBER, default="{{secret.USERS}}"),
            Parameter(name="_x9", type=T.JSON, default='{"a": 1}'),
            Parameter(name="x", type=T.CHOICE, choices=("a", "b"), default="b"),
            Parameter(name="x", type=T.SECRET, default=" secret.TOKEN "),
        ],
    )
    def test_one_that_can_be_is_itself(self, declared: Parameter) -> None:
        assert declared.checked() is declared


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"])),
            st.text(st.characters(exclude_categories=["Cs"])),
        ),
        max_size=5,
    ),
    st.sampled_from(ParameterType),
)
def test_carriers_list_is_read_alike_by_json_and_by_python(
    texts: list[tuple[str, str]], type_: ParameterType
) -> None:
    declared = [
        Parameter(name=f"p{n}", type=type_, description=description, required=True, default=default)
        for n, (default, description) in enumerate(texts)
    ]

    text = carrier_literal(declared, {f"p{n}": default for n, (default, _) in enumerate(texts)})

    expected = [
        {"name": f"p{n}", "default": default, "type": type_.value, "description": description, "action": ""}
        for n, (default, description) in enumerate(texts)
    ]
    assert json.loads(text) == expected
    assert ast.literal_eval(text) == expected
    assert "\n" not in text
    assert "\x00" not in text


def test_a_parameter_without_a_default_is_empty_in_carriers_list() -> None:
    assert json.loads(carrier_literal([Parameter(name="x")], {}))[0]["default"] == ""
