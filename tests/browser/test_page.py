# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: log in, upload, create, play, watch the log, cancel; the console is clean."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.e2e.server import Server, a_zip

SHOTS = os.environ.get("LONGSHORE_SHOTS")
"""A directory for screenshots, for whoever wants to look."""
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
COUNTING = """
import time

def handler(event, context):
    for number in range(event["lines"]):
        print("line", number, flush=True)
        time.sleep(event["pause"])
    return {"statusCode": 200, "counted": event["lines"]}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium on this machine; the gate installs it")
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield one
        one.close()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Page]:
    """A page that is logged in, in both themes; anything on its console fails the test."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1200, "height": 800})
    one = context.new_page()
    said: list[str] = []
    one.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    one.on("pageerror", lambda error: said.append(str(error)))
    one.on("request", lambda asked: said.append(asked.url) if server.url not in asked.url else None)
    link = server.api.post(f"{server.url}/api/v1/login-links").json()["url"]
    one.goto(link)
    expect(one.get_by_role("link", name="Tasks")).to_be_visible()
    one.theme = request.param  # type: ignore[attr-defined]
    yield one
    context.close()
    assert said == []


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}-{page.theme}.png")  # type: ignore[attr-defined]


def test_a_task_is_played_and_its_log_is_watched(page: Page, server: Server) -> None:
    name = f"counting-{page.theme}"  # type: ignore[attr-defined]
    parameters = [
        {"name": "lines", "type": "number", "default": "30", "description": "how many"},
        {"name": "pause", "type": "number", "unit": "s", "default": "0.02"},
    ]
    server.task(name, COUNTING, parameters=parameters)
    page.reload()
    shot(page, "tasks")

    page.get_by_role("button", name=f"Run {name}").click()
    page.get_by_label(re.compile("lines")).fill("40")
    shot(page, "play")
    page.get_by_role("dialog").get_by_role("button", name=re.compile("Run|Play|Start")).click()

    expect(page.get_by_text("line 39")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("succeeded").first).to_be_visible(timeout=20_000)
    expect(page.get_by_text('"counted": 40')).to_be_visible()
    shot(page, "run")


def test_a_running_run_is_cancelled(page: Page, server: Server) -> None:
    name = f"endless-{page.theme}"  # type: ignore[attr-defined]
    server.task(name, COUNTING)
    run = server.begin(name, {"lines": 10_000, "pause": 0.05})
    page.goto(f"{server.url}/#/default/runs/{run}")
    expect(page.get_by_text("line 5", exact=False).first).to_be_visible(timeout=20_000)

    page.get_by_role("button", name="Cancel").click()

    expect(page.get_by_text("cancelled").first).to_be_visible(timeout=20_000)


def test_a_package_is_uploaded_and_becomes_a_task(page: Page, server: Server, tmp_path: Path) -> None:
    name = f"dropped-{page.theme}"  # type: ignore[attr-defined]
    package = tmp_path / f"{name}.zip"
    package.write_bytes(
        a_zip({"lambda_function.py": "def lambda_handler(event, context):\n    return 'hi'\n"})
    )

    page.locator("input[type=file]").set_input_files(package)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    shot(page, "create")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name=re.compile("Save|Create")).click()

    expect(page.get_by_role("link", name=name, exact=True)).to_be_visible(timeout=20_000)
    assert server.run(name, {})["result"] == "hi"


def test_markup_in_a_log_is_only_text(page: Page, server: Server) -> None:
    name = f"markup-{page.theme}"  # type: ignore[attr-defined]
    server.task(
        name,
        "def handler(event, context):\n    print('<img src=x onerror=alert(1)>')\n    return '<b>x</b>'\n",
    )
    run = server.run(name, {})

    page.goto(f"{server.url}/#/default/runs/{run['id']}")

    expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible(timeout=20_000)
    assert page.locator("main img").count() == 0


def test_text_that_turns_around_is_shown_as_it_is(page: Page, server: Server) -> None:
    name = f"turning-{page.theme}"  # type: ignore[attr-defined]
    source = """
        def handler(event, context):
            print('\\x1b[31mopen\\x1b[0m \\u202etxt.exe')
            return '\\u2067x'
        """
    server.task(name, source, description="ends \u202ein disguise")
    run = server.run(name, {})

    page.goto(f"{server.url}/#/default/tasks/{name}")
    expect(page.get_by_text("ends \\u202ein disguise")).to_be_visible(timeout=20_000)
    page.goto(f"{server.url}/#/default/runs/{run['id']}")

    expect(page.get_by_text("open \\u202etxt.exe")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("\\u2067x")).to_be_visible()
