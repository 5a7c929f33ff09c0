# SPDX-License-Identifier: Apache-2.0
"""The REST API as the verbs use it: documents in and out, every failure a sentence and an exit code.

LONGSHORE_URL       where the server is, by default http://127.0.0.1:8700
LONGSHORE_TOKEN     who calls
LONGSHORE_PROJECT   in which project, by default `default`
"""

import contextlib
import ipaddress
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from longshore import __version__
from longshore.cli.ending import AnswerLost, Misused, Refused, Unreachable
from longshore.domain.parameters import type_json

DEFAULT_URL = "http://127.0.0.1:8700"
DEFAULT_PROJECT = "default"
BASE = "/api/v1"
LARGEST_PART = 500
PATIENCE = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses in seconds before asking again for something that a restart of the server cannot spoil."""

Document = dict[str, Any]
"""A JSON object as the API gives it; api docs say which members it has."""

T = TypeVar("T")


@contextlib.contextmanager
def connect() -> Iterator["Api"]:
    """A client for the server, caller and project that the environment names."""
    url = _url()
    headers = {"User-Agent": f"longshore-cli/{__version__}", "Accept": "application/json"}
    token = os.environ.get("LONGSHORE_TOKEN", "").strip()
    if not (token.isascii() and token.isprintable()):
        raise Misused("LONGSHORE_TOKEN holds characters that no token has; it takes lsh_ and what follows")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    with httpx.Client(
        base_url=url,
        headers=headers,
        timeout=httpx.Timeout(60, connect=10),
        trust_env=not _is_loopback(url.host),
    ) as http:
        yield Api(http, os.environ.get("LONGSHORE_PROJECT") or DEFAULT_PROJECT, has_token=bool(token))


def _url() -> httpx.URL:
    given = os.environ.get("LONGSHORE_URL") or DEFAULT_URL
    wrong = Misused("LONGSHORE_URL is not an address; it takes http://HOST:PORT, such as " + DEFAULT_URL)
    try:
        url = httpx.URL(given.strip())
    except (httpx.InvalidURL, ValueError):
        raise wrong from None
    if url.scheme not in ("http", "https") or not url.host:
        raise wrong
    return url


def _is_loopback(host: str) -> bool:
    """Such a server is never behind the proxy that the environment names."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Api:
    """Calls of one caller in one project."""

    def __init__(self, http: httpx.Client, project: str, *, has_token: bool) -> None:
        self._http = http
        self._project = project
        self._has_token = has_token

    @property
    def url(self) -> str:
        """The server's address as errors may show it: without a password in it."""
        base = self._http.base_url
        return f"{base.scheme}://{base.netloc.decode()}{base.path.rstrip('/')}"

    @property
    def projects(self) -> str:
        """The path of all projects."""
        return f"{BASE}/projects"

    def place(self, *segments: str) -> str:
        """The path of something in the project; raises Misused for an empty name."""
        return "/".join((BASE, "projects", *(_quoted(one) for one in (self._project, *segments))))

    def object(self, bucket: str, key: str) -> str:
        """The path of an object, whose key may have slashes."""
        return self.place("buckets", bucket, "objects", *key.split("/"))

    def get(self, place: str, **query: str | int | None) -> Document:
        """A document."""
        return self._document(self.call("GET", place, query=query))

    def post(
        self, place: str, body: type_json = None, *, headers: Mapping[str, str] | None = None
    ) -> Document:
        """What making something answered."""
        return self._document(self.call("POST", place, body=body, headers=headers))

    def patch(self, place: str, body: type_json) -> Document:
        """What changing something answered."""
        return self._document(self.call("PATCH", place, body=body))

    def put(self, place: str, body: type_json) -> Document:
        """What putting something answered."""
        return self._document(self.call("PUT", place, body=body))

    def upload(self, place: str, pieces: Iterator[bytes], size: int) -> Document:
        """Put bytes as they come; `size` is how many there are."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        with self._sentences():
            answer = self._http.put(place, content=pieces, headers=headers)
        return self._document(self._fine(answer))

    def delete(self, place: str) -> None:
        """Remove something."""
        self.call("DELETE", place)

    def digest_of(self, bucket: str, key: str) -> str | None:
        """The sha256 of what a key names now; None when it names nothing."""
        found = self.get(self.place("buckets", bucket, "objects"), prefix=key, limit=1)["items"]
        return str(found[0]["digest"]) if found and found[0]["key"] == key else None

    def listed(self, place: str, *, limit: int, **query: str | int | None) -> Document:
        """As many items of a list as wanted, from as many parts as it takes."""
        items: list[Document] = []
        after: str | None = None
        while True:
            part = self.get(place, limit=min(limit - len(items), LARGEST_PART), after=after, **query)
            items += part["items"]
            after = part["next"]
            if after is None or len(items) >= limit or not part["items"]:
                return {"items": items, "next": after}

    @contextlib.contextmanager
    def stream(
        self, place: str, *, timeout: httpx.Timeout | None = None, **query: str | int | None
    ) -> Iterator[httpx.Response]:
        """An answer whose bytes are read as they come."""
        request = self._http.build_request(
            "GET", place, params=_given(query), timeout=timeout or self._http.timeout
        )
        with self._sentences(), contextlib.closing(self._http.send(request, stream=True)) as answer:
            yield self._fine(answer)

    def call(
        self,
        method: str,
        place: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: type_json = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One request and its answer; with a `wait` in the query we wait as long.

        Raises Refused or Unreachable.
        """
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        kind = {} if content is None else {"Content-Type": "application/json"}
        wait = int((query or {}).get("wait") or 0)
        with self._sentences():
            answer = self._http.request(
                method,
                place,
                params=_given(query or {}),
                content=content,
                headers={**kind, **(headers or {})},
                timeout=httpx.Timeout(60 + wait, connect=10),
            )
        return self._fine(answer)

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """Transport failures in words."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(
                f"Longshore is not reachable at {self.url} ({error or 'no answer'});"
                " start it with: longshore serve, or set LONGSHORE_URL to where it is"
            ) from error
        except httpx.TimeoutException as error:
            raise AnswerLost(f"Longshore at {self.url} did not answer in time; try again") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise AnswerLost(
                f"the connection to {self.url} broke off ({error or type(error).__name__}); try again"
            ) from error

    def _fine(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        with self._sentences():
            answer.read()
        if answer.is_redirect:
            raise Unreachable(
                f"{self.url} sends us to {answer.headers.get('Location')!r};"
                " set LONGSHORE_URL to Longshore's own address"
            )
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise Refused(self._who_are_you(answer), status=answer.status_code)
        problem = _problem(answer)
        if problem is None:
            raise Unreachable(
                f"{self.url} answers with {answer.status_code}, and not as Longshore does;"
                " is LONGSHORE_URL right?"
            )
        raise Refused(str(problem.get("detail") or problem.get("title")), status=answer.status_code)

    def _who_are_you(self, answer: httpx.Response) -> str:
        how = (
            "make a token on the server's machine: longshore token create NAME --role runner --data DIR,"
            " then: export LONGSHORE_TOKEN=lsh_..."
        )
        if not self._has_token:
            return f"LONGSHORE_TOKEN is not set, and the server answers nobody it does not know; {how}"
        problem = _problem(answer) or {}
        return f"{problem.get('detail') or 'the server does not know this token'}\n{how}"

    def _document(self, answer: httpx.Response) -> Document:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Unreachable(f"{self.url} answers, but not as Longshore does; is LONGSHORE_URL right?")
        return found


def patiently(ask: Callable[[], T]) -> T:
    """What asking brings, although the server may be starting again just now."""
    for pause in PATIENCE:
        try:
            return ask()
        except Unreachable:
            time.sleep(pause)
    return ask()


def _quoted(segment: str) -> str:
    """A path segment. Dots are escaped where they would mean a directory."""
    if not segment:
        raise Misused("a name is empty; give the name of what you mean")
    try:
        return "%2E" * len(segment) if segment in (".", "..") else quote(segment, safe="")
    except UnicodeEncodeError:
        raise Misused(f"{segment!r} is not UTF-8; no name here is like that") from None


def _given(query: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in query.items() if value is not None}


def _problem(answer: httpx.Response) -> Document | None:
    if not answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return None
    try:
        found = answer.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
