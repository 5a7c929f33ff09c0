# SPDX-License-Identifier: Apache-2.0
"""Logging in, cookies, and pages of others that try to use them."""

import httpx
import pytest
from tests.web.conftest import P
from tests.web.house import BASE, House

from longshore.domain.project import Project, Role
from longshore.http.edge import HEADERS

pytestmark = pytest.mark.anyio
COOKIE = "longshore_session"


async def logged_in(client: httpx.AsyncClient, token: str) -> None:
    answer = await client.post("/api/v1/login", json={"code": token})
    assert answer.status_code == 200, answer.text


async def test_a_token_opens_a_session_with_its_own_reach(
    stranger: httpx.AsyncClient, house: House, project: Project
) -> None:
    token = await house.token(Role.RUNNER, project)

    answer = await stranger.post("/api/v1/login", json={"code": token})

    assert answer.json() == {"name": "runner", "role": "runner"}
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=lsh_")
    assert all(word in cookie for word in ("HttpOnly", "Path=/", "SameSite=lax"))
    me = await stranger.get("/api/v1/me")
    assert me.json() == {"name": "runner", "role": "runner", "project": "default"}


async def test_over_https_the_cookie_stays_there(
    house: House, stranger: httpx.AsyncClient, token: str
) -> None:
    answer = await stranger.post("https://longshore.test/api/v1/login", json={"code": token})

    assert "Secure" in answer.headers["set-cookie"]


async def test_a_login_link_works_once(stranger: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    url = (await api.post(f"{BASE}/api/v1/login-links")).json()["url"]

    first = await stranger.get(url)
    mine = (await stranger.get("/api/v1/me")).status_code
    second = await stranger.get(url)

    assert url.startswith(f"{BASE}/login?code=lsh_")
    assert (first.status_code, first.headers["location"], mine) == (303, "/", 200)
    assert second.status_code == 401
    assert "does not log in" in second.text
    assert "lsh_" not in second.text


@pytest.mark.parametrize("code", ["", "lsh_wrong", "x" * 400, "\x00", "lsh_\N{RIGHT-TO-LEFT OVERRIDE}"])
async def test_a_wrong_code_gets_the_same_answer_whatever_it_is(
    stranger: httpx.AsyncClient, code: str
) -> None:
    answer = await stranger.post("/api/v1/login", json={"code": code})
    link = await stranger.get("/login", params={"code": code})

    assert answer.status_code == 401
    assert answer.json()["detail"] == "this token is not known here; make one with: longshore token create"
    assert link.status_code == 401
    assert COOKIE not in answer.headers.get("set-cookie", "") + link.headers.get("set-cookie", "")


async def test_a_session_is_no_bearer_token_and_a_token_no_session(
    stranger: httpx.AsyncClient, token: str
) -> None:
    await logged_in(stranger, token)
    session = stranger.cookies[COOKIE]
    stranger.cookies.clear()

    as_bearer = await stranger.get("/api/v1/me", headers={"Authorization": f"Bearer {session}"})
    as_cookie = await stranger.get("/api/v1/me", headers={"Cookie": f"{COOKIE}={token}"})

    assert (as_bearer.status_code, as_cookie.status_code) == (401, 401)


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.test", f"{BASE}.evil.test", f"{BASE}:81", "http://["]
)
async def test_a_foreign_page_changes_nothing_with_a_session(
    stranger: httpx.AsyncClient, token: str, origin: str | None
) -> None:
    await logged_in(stranger, token)
    headers = {} if origin is None else {"Origin": origin}

    answers = [
        await stranger.post("/api/v1/projects", json={"slug": "mine"}, headers=headers),
        await stranger.post("/api/v1/logout", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert (await stranger.get("/api/v1/me", headers=headers)).status_code == 200


async def test_our_own_page_changes_what_it_wants(stranger: httpx.AsyncClient, token: str) -> None:
    await logged_in(stranger, token)

    answer = await stranger.post("/api/v1/projects", json={"slug": "mine"}, headers={"Origin": BASE})

    assert answer.status_code == 201


async def test_a_bearer_token_needs_no_origin_and_wins_over_a_cookie(
    stranger: httpx.AsyncClient, token: str, house: House, project: Project
) -> None:
    await logged_in(stranger, token)
    viewer = await house.token(Role.VIEWER, project)

    answer = await stranger.get("/api/v1/me", headers={"Authorization": f"bEaReR {viewer}"})

    assert answer.json()["role"] == "viewer"


async def test_a_foreign_page_cannot_log_a_browser_in(stranger: httpx.AsyncClient, token: str) -> None:
    answer = await stranger.post(
        "/api/v1/login", json={"code": token}, headers={"Origin": "http://evil.test"}
    )

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_logging_out_ends_the_session_itself(stranger: httpx.AsyncClient, token: str) -> None:
    await logged_in(stranger, token)
    session = stranger.cookies[COOKIE]

    answer = await stranger.post("/api/v1/logout", headers={"Origin": BASE})

    assert answer.status_code == 204
    assert COOKIE not in stranger.cookies
    late = await stranger.get("/api/v1/me", headers={"Cookie": f"{COOKIE}={session}"})
    assert late.status_code == 401


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "lsh_x", "Bearer \xff\xfe", "Bearer a b"]
)
async def test_a_malformed_header_is_no_token(stranger: httpx.AsyncClient, header: str) -> None:
    answer = await stranger.get("/api/v1/me", headers=[(b"Authorization", header.encode("latin-1"))])

    assert answer.status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/static/app.js", "/static/nothing", "/login", "/api/v1/health", "/api/v1/me", "/nowhere"]
)
async def test_every_answer_has_the_security_headers(stranger: httpx.AsyncClient, path: str) -> None:
    answer = await stranger.get(path)

    for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"):
        assert answer.headers[name] == HEADERS[name]
    assert answer.headers["Cache-Control"] in ("no-store", "no-cache")
    assert "access-control-allow-origin" not in answer.headers


async def test_what_the_api_says_is_stored_nowhere(api: httpx.AsyncClient) -> None:
    assert (await api.get("/secrets")).headers["Cache-Control"] == "no-store"


async def test_tokens_are_made_shown_once_and_revoked(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    made = (await api.post("/tokens", json={"name": "ci", "role": "runner", "expires_in_days": 3})).json()
    headers = {"Authorization": f"Bearer {made.pop('token')}"}
    before = await stranger.get("/api/v1/me", headers=headers)

    listed = (await api.get("/tokens")).json()["items"]
    gone = await api.delete(f"/tokens/{made['id']}")

    assert before.json() == {"name": "ci", "role": "runner", "project": "default"}
    assert [(one["name"], one["project"]) for one in listed] == [("ci", "default")]
    assert "token" not in listed[0]
    assert listed[0]["expires_at"].endswith("Z")
    assert gone.status_code == 204
    assert (await stranger.get("/api/v1/me", headers=headers)).status_code == 401
    assert (await api.delete(f"/tokens/{made['id']}")).status_code == 404


async def test_a_projects_admin_makes_no_projects(
    stranger: httpx.AsyncClient, house: House, project: Project
) -> None:
    headers = {"Authorization": f"Bearer {await house.token(Role.ADMIN, project)}"}

    refused = await stranger.post("/api/v1/projects", json={"slug": "more"}, headers=headers)
    seen = await stranger.get("/api/v1/projects", headers=headers)

    assert refused.status_code == 404
    assert [one["slug"] for one in seen.json()["items"]] == ["default"]


async def test_projects_come_in_parts(api: httpx.AsyncClient) -> None:
    for slug in ("a", "b", "c"):
        assert (await api.post(f"{BASE}/api/v1/projects", json={"slug": slug})).status_code == 201

    first = (await api.get(f"{BASE}/api/v1/projects", params={"limit": 3})).json()
    rest = (await api.get(f"{BASE}/api/v1/projects", params={"limit": 3, "after": first["next"]})).json()

    assert [one["slug"] for one in first["items"]] == ["a", "b", "c"]
    assert [one["slug"] for one in rest["items"]] == ["default"]
    assert rest["next"] is None
    assert (await api.post(f"{BASE}/api/v1/projects", json={"slug": "a"})).status_code == 409


async def test_the_page_and_its_files_are_there(stranger: httpx.AsyncClient) -> None:
    index = await stranger.get("/")
    script = await stranger.get("/static/app.js")
    again = await stranger.get("/static/app.js", headers={"If-None-Match": script.headers["ETag"]})

    assert "text/html" in index.headers["Content-Type"]
    assert "text/javascript" in script.headers["Content-Type"]
    assert again.status_code == 304
    assert P not in index.text
