# SPDX-License-Identifier: Apache-2.0
"""The reference says everything that there is, and the command loads no more than it needs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from longshore.cli.main import app
from longshore.settings import Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def verbs(group: TyperGroup, words: str) -> Iterator[tuple[str, TyperCommand]]:
    """Every verb of a group with its full name."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from verbs(command, f"{words} {name}")
        elif isinstance(command, TyperCommand):
            yield f"{words} {name}", command


VERBS = dict(verbs(get_group(app), "longshore"))


def section_of(verb: str) -> str:
    """What the reference says under a verb's heading."""
    text = (REFERENCE / "cli.md").read_text()
    _, heading, rest = text.partition(f"### `{verb}`\n")
    assert heading, f"docs/reference/cli.md has no section for {verb}"
    return rest.partition("\n### ")[0].partition("\n## ")[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_stands_in_the_reference_with_an_example_and_its_exit_codes(verb: str) -> None:
    section = section_of(verb)

    assert f"```\n{verb}" in section or f"| {verb}" in section or f"({verb}" in section
    assert "Exit 0" in section


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_stands_in_the_reference(verb: str) -> None:
    is_like_create = verb == "longshore task update"
    section = section_of(verb) + (section_of("longshore task create") if is_like_create else "")

    for parameter in VERBS[verb].params:
        for option in parameter.opts:
            if option.startswith("--") and option not in ("--help", "--json"):
                assert option in section, f"{verb} {option} is not in docs/reference/cli.md"


def test_the_reference_has_no_verb_that_is_not_there() -> None:
    text = (REFERENCE / "cli.md").read_text()

    headings = {line.strip("#` ") for line in text.splitlines() if line.startswith("### `")}

    assert headings == set(VERBS)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_reference(name: str) -> None:
    assert f"| `LONGSHORE_{name.upper()}` |" in (REFERENCE / "settings.md").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_answers_has_json(verb: str) -> None:
    options = {option for parameter in VERBS[verb].params for option in parameter.opts}

    assert verb == "longshore serve" or "--json" in options


def test_help_loads_no_http_library_and_a_verb_no_server() -> None:
    code = (
        "import sys; from longshore.cli.main import ended;"
        "ended(['--help']); print(*sys.modules); sys.stdout.flush();"
        "ended(['task', 'list']); print(*sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"LONGSHORE_URL": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=True,
    )

    *_, for_help, for_verb = done.stdout.splitlines()
    assert "httpx" in for_verb.split()
    assert not {"httpx", "rich.console", "pydantic"} & set(for_help.split())
    assert not {"uvicorn", "sqlalchemy", "fastapi", "pydantic_settings", "uv"} & set(for_verb.split())
