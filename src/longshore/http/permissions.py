# SPDX-License-Identifier: Apache-2.0
"""Every route and what it takes: the one table that decides.

A route that is not here cannot be made (see `guard.GuardedRoute`), and a row without a route stops the
start, so the table is neither short nor stale. `WS` stands for the opening of a WebSocket.
"""

from collections.abc import Mapping
from enum import StrEnum

from longshore.domain.project import Scope

API = "/api/v1"
PROJECTS = f"{API}/projects"
PROJECT = f"{PROJECTS}/{{project}}"


class Door(StrEnum):
    """What a route takes when it is not a scope."""

    PUBLIC = "public"
    """Nothing."""
    KNOWN = "known"
    """A token or session, whatever its role."""


Rule = Door | Scope

RULES: Mapping[tuple[str, str], Rule] = {
    ("GET", "/"): Door.PUBLIC,
    ("GET", "/login"): Door.PUBLIC,
    ("GET", "/static/{name}"): Door.PUBLIC,
    ("GET", f"{API}/openapi.json"): Door.PUBLIC,
    ("GET", f"{API}/health"): Door.PUBLIC,
    ("GET", f"{API}/me"): Door.KNOWN,
    ("POST", f"{API}/login"): Door.PUBLIC,
    ("POST", f"{API}/logout"): Door.PUBLIC,
    ("POST", f"{API}/login-links"): Door.KNOWN,
    ("GET", PROJECTS): Scope.VIEW,
    ("POST", PROJECTS): Scope.ADMIN,
    ("GET", PROJECT): Scope.VIEW,
    ("GET", f"{PROJECT}/tokens"): Scope.ADMIN,
    ("POST", f"{PROJECT}/tokens"): Scope.ADMIN,
    ("DELETE", f"{PROJECT}/tokens/{{id}}"): Scope.ADMIN,
    ("GET", f"{PROJECT}/tasks"): Scope.VIEW,
    ("POST", f"{PROJECT}/tasks"): Scope.EDIT,
    ("GET", f"{PROJECT}/tasks/{{name}}"): Scope.VIEW,
    ("PATCH", f"{PROJECT}/tasks/{{name}}"): Scope.EDIT,
    ("DELETE", f"{PROJECT}/tasks/{{name}}"): Scope.EDIT,
    ("GET", f"{PROJECT}/tasks/{{name}}/revisions"): Scope.VIEW,
    ("POST", f"{PROJECT}/tasks/{{name}}/rollback"): Scope.EDIT,
    ("POST", f"{PROJECT}/tasks/{{name}}/runs"): Scope.RUN,
    ("POST", f"{PROJECT}/tasks/{{name}}/runs/bulk"): Scope.RUN,
    ("GET", f"{PROJECT}/runs"): Scope.VIEW,
    ("GET", f"{PROJECT}/runs/{{id}}"): Scope.VIEW,
    ("POST", f"{PROJECT}/runs/{{id}}/cancel"): Scope.RUN,
    ("GET", f"{PROJECT}/runs/{{id}}/result"): Scope.VIEW,
    ("GET", f"{PROJECT}/runs/{{id}}/log"): Scope.VIEW,
    ("WS", f"{PROJECT}/runs/{{id}}/log/ws"): Scope.VIEW,
    ("GET", f"{PROJECT}/buckets"): Scope.VIEW,
    ("GET", f"{PROJECT}/buckets/{{bucket}}/objects"): Scope.VIEW,
    ("PUT", f"{PROJECT}/buckets/{{bucket}}/objects/{{key}}"): Scope.EDIT,
    ("GET", f"{PROJECT}/buckets/{{bucket}}/objects/{{key}}"): Scope.VIEW,
    ("HEAD", f"{PROJECT}/buckets/{{bucket}}/objects/{{key}}"): Scope.VIEW,
    ("DELETE", f"{PROJECT}/buckets/{{bucket}}/objects/{{key}}"): Scope.EDIT,
    ("POST", f"{PROJECT}/packages/check"): Scope.EDIT,
    ("GET", f"{PROJECT}/secrets"): Scope.VIEW,
    ("PUT", f"{PROJECT}/secrets/{{name}}"): Scope.EDIT,
    ("GET", f"{PROJECT}/secrets/{{name}}/value"): Scope.EDIT,
    ("DELETE", f"{PROJECT}/secrets/{{name}}"): Scope.EDIT,
    ("GET", f"{API}/interceptors"): Scope.VIEW,
    ("GET", f"{API}/runtimes"): Scope.VIEW,
}

OPEN_TO_RUNS = frozenset({("PUT", f"{PROJECT}/buckets/{{bucket}}/objects/{{key}}")})
"""What a run's token may do beyond its role: leave artifacts, but in no bucket of the platform's own."""


class NoRule(LookupError):
    """A route and the table do not agree; the program does not start like that."""


def rule_of(method: str, path: str) -> Rule:
    """What a route takes; raises NoRule for one that is not in the table."""
    try:
        return RULES[method, path]
    except KeyError:
        raise NoRule(f"{method} {path} has no row in longshore.http.permissions.RULES; add one") from None
