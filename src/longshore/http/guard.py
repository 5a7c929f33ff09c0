# SPDX-License-Identifier: Apache-2.0
"""Routes with a door: the table of permissions is asked before a single byte of a body is read."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from longshore.http.auth import admit
from longshore.http.body import StrictRequest
from longshore.http.permissions import OPEN_TO_RUNS, RULES, NoRule, rule_of


class GuardedRoute(APIRoute):
    """A route that lets in whom its row of the table lets in; raises NoRule where there is no row."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's function behind its door."""
        answer = super().get_route_handler()
        rules = {method: rule_of(method, self.path_format) for method in self.methods or ()}
        for_runs = {method for method in rules if (method, self.path_format) in OPEN_TO_RUNS}
        takes_json = self.body_field is not None

        async def guarded(request: Request) -> Response:
            request.state.admitted = await admit(
                request, rules[request.method], runs_too=request.method in for_runs
            )
            if not takes_json:
                return await answer(request)
            strict = StrictRequest(request)
            await strict.read()
            return await answer(strict)

        return guarded


def check_routes(app: FastAPI) -> None:
    """Raise NoRule unless every route is guarded by a row of the table, and every row guards a route."""
    found: set[tuple[str, str]] = set()
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, GuardedRoute):
            found |= {(method, route.path_format) for method in route.methods or ()}
        elif isinstance(route, WebSocketRoute):
            rule_of("WS", route.path_format)
            found.add(("WS", route.path_format))
        else:
            raise NoRule(f"{context.path} is a route without a door; make it with route_class=GuardedRoute")
    if idle := sorted(set(RULES) - found):
        raise NoRule(f"these rows of the table have no route: {idle}")
