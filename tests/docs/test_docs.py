# SPDX-License-Identifier: Apache-2.0
"""The documents are true: their links lead somewhere, and the quickstart does what it says."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.e2e.server import LONGSHORE, Server

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/README.md")]
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    broken = [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert broken == []


def test_the_quickstart_does_what_it_says(server: Server, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text()
    handler = next(body for language, body in _BLOCK.findall(text) if language == "python")
    commands = [body for language, body in _BLOCK.findall(text) if not language and "longshore " in body]
    told = [body for body in commands if ".venv/bin" not in body]
    told[-1] = "echo '# changed' >> hello/lambda_function.py\n" + told[-1]  # the person edits it in between
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "lambda_function.py").write_text(handler)
    environment = {
        **os.environ,
        "LONGSHORE_URL": server.url,
        "LONGSHORE_TOKEN": server.token,
        "PATH": f"{Path(LONGSHORE).parent}:{os.environ['PATH']}",
    }

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(told)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert len(told) == 3
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello Ada with the key ***" in done.stdout
    assert "a-long-secret-value" not in done.stdout + done.stderr
