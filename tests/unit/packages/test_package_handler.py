# SPDX-License-Identifier: Apache-2.0
"""The look for a Python handler: right findings, and silence where Python may know better."""

from collections.abc import Mapping

import pytest

from longshore.adapters.archives.handler import Sources, look
from longshore.domain.archive import Finding

PLAIN = "def lambda_handler(event, context):\n    return 1\n"


def looked(handler: str, contents: Mapping[str, str]) -> list[Finding]:
    return look(handler, Sources(contents.keys(), lambda name: contents[name].encode()))


def the(handler: str, contents: Mapping[str, str]) -> Finding:
    [finding] = looked(handler, contents)
    return finding


@pytest.mark.parametrize(
    ("handler", "place"),
    [
        ("lambda_function.lambda_handler", "lambda_function.py"),
        ("pkg/mod.lambda_handler", "pkg/mod.py"),
        ("pkg.mod.lambda_handler", "pkg/mod.py"),
        ("pkg.mod.lambda_handler", "pkg/mod/__init__.py"),
        ("a/b.c.lambda_handler", "a/b/c.py"),
        ("my-file.lambda_handler", "my-file.py"),
        (" lambda_function.lambda_handler ", "lambda_function.py"),
    ],
)
def test_a_handler_in_its_place_gives_no_finding(handler: str, place: str) -> None:
    assert looked(handler, {place: PLAIN}) == []


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    from fast import lambda_handler\nexcept ImportError:\n    def lambda_handler(e, c): ...",
        "import sys\nif sys.platform == 'linux':\n    lambda_handler = lambda e, c: 1",
        "lambda_handler, other = make(), 2",
        "lambda_handler: object = make()",
        "from impl import run as lambda_handler",
        "import lambda_handler",
        "from impl import *",
        "def __getattr__(name): ...",
        "globals()['lambda_handler'] = 1",
        "with a() as lambda_handler: pass",
        "for lambda_handler in all_of_them: pass",
        "match 1:\n    case 1:\n        def lambda_handler(e, c): ...",
        "class lambda_handler: ...",
        "@wrapped\ndef lambda_handler(): ...",
        "def lambda_handler(*args): ...",
        "def lambda_handler(event, context, more=1): ...",
        "x = " + "-" * 100_000 + "1",
    ],
)
def test_whatever_can_define_a_handler_gives_no_finding(source: str) -> None:
    assert looked("m.lambda_handler", {"m.py": source}) == []


@pytest.mark.parametrize("place", ["m.so", "m.cpython-311-x86_64-linux-gnu.so", "m.pyc", "m/__init__.pyc"])
def test_a_compiled_module_is_not_judged(place: str) -> None:
    assert looked("m.lambda_handler", {place: ""}) == []


def test_a_handler_of_the_standard_library_is_not_missing() -> None:
    assert looked("json.dumps", {"x.py": PLAIN}) == []
    assert the("json.nothing", {"json.py": PLAIN}).code == "handler_function"


def test_a_missing_module_names_the_handler_that_is_there() -> None:
    finding = the("lambda_function.lambda_handler", {"helpers.py": "x = 1", "post_processing.py": PLAIN})

    assert finding.level == "error"
    assert finding.code == "handler_module"
    assert finding.message == (
        "the package has no file lambda_function.py; it has post_processing.py,"
        " did you mean the handler post_processing.lambda_handler?"
    )


def test_a_missing_module_without_a_likely_other_says_what_there_is() -> None:
    finding = the("a.b", {"u.py": "", "v.py": "", "w.py": "", "x.py": "", "d/y.txt": ""})

    assert (
        finding.message == "the package has no file a.py; at its top level it has u.py, v.py, w.py and 1 more"
    )
    assert "no Python file" in the("a.b", {"index.js": ""}).message


def test_a_zipped_folder_is_recognised() -> None:
    finding = the("lambda_function.lambda_handler", {"my-task/lambda_function.py": PLAIN})

    assert "zip what is inside the folder my-task" in finding.message
    assert "my-task/lambda_function.lambda_handler" in finding.message


@pytest.mark.parametrize("handler", ["lambda_handler", "a.", ".b", "a..b", "/a.b", "", ".", "a/.b"])
def test_a_handler_of_another_shape_is_told_the_right_one(handler: str) -> None:
    assert the(handler, {"a.py": PLAIN}).code == "handler_shape"


def test_a_module_of_the_interpreter_itself_cannot_be_a_handler() -> None:
    assert the("sys.exit", {"sys.py": PLAIN}).code == "handler_module"


def test_a_module_hides_the_directory_of_its_name() -> None:
    assert the("a.b.c", {"a.py": "", "a/b.py": "c = 1"}).code == "handler_module"
    assert looked("a.b.c", {"a.py": "", "a/__init__.py": "", "a/b.py": "c = 1"}) == []


def test_a_syntax_error_is_reported_with_its_line() -> None:
    finding = the("m.f", {"m.py": "x = 1\ny = 2\ndef f(:\n"})

    assert finding.code == "handler_syntax"
    assert finding.message.startswith("m.py, line 3: ")
    assert the("m.f", {"m.py": "x = '\0'"}).code == "handler_syntax"
    assert the("m.f", {"m.py": "# coding: nonsense\n"}).code == "handler_syntax"


def test_syntax_that_is_newer_than_ours_is_not_judged() -> None:
    newer = Sources(["m.py"], lambda name: b"def f(:\n")

    assert look("m.f", newer, python=(3, 99)) == []
    assert [one.code for one in look("m.f", newer, python=(3, 7))] == ["handler_syntax"]


def test_a_missing_function_names_those_that_are_there() -> None:
    finding = the(
        "m.lambda_handler", {"m.py": "def process(e, c): ...\ndef _hidden(): ...\ndef main(e, c): ...\n"}
    )

    assert (
        finding.message
        == "m.py has no function lambda_handler; it has main, process; did you mean the handler m.main?"
    )
    assert "no other function" in the("m.f", {"m.py": "x = 1\nf: int\n"}).message


def test_a_name_inside_a_function_or_class_is_not_at_the_top_level() -> None:
    source = "def outer():\n    def f(e, c): ...\nclass C:\n    def f(self): ...\n"

    assert the("m.f", {"m.py": source}).code == "handler_function"


def test_an_async_handler_and_one_with_other_arguments_are_told() -> None:
    assert the("m.f", {"m.py": "async def f(e, c): ..."}).code == "handler_async"
    for arguments in ("", "event", "a, b, c"):
        finding = the("m.f", {"m.py": f"def f({arguments}): ..."})
        assert (finding.level, finding.code) == ("warning", "handler_arguments")


def test_warnings_of_the_source_are_not_ours() -> None:
    assert looked("m.f", {"m.py": "x = '\\d'\ndef f(e, c): return e is 1"}) == []


def test_nothing_of_the_package_is_imported_or_run() -> None:
    assert looked("m.f", {"m.py": "raise SystemExit(3)\ndef f(e, c): ..."}) == []
