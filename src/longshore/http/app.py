# SPDX-License-Identifier: Apache-2.0
"""The web application: routers behind doors, inside an edge."""

import functools

from fastapi import FastAPI
from starlette.types import ASGIApp

from longshore.http import web
from longshore.http.api import access, buckets, fleet, logs, packages, projects, runs, secrets, tasks, tokens
from longshore.http.body import PATIENCE_S
from longshore.http.context import House
from longshore.http.edge import Edge
from longshore.http.errors import add_handlers
from longshore.http.front import Front
from longshore.http.guard import check_routes
from longshore.http.openapi import describe

ROUTERS = tuple(
    part.router
    for part in (
        access,
        projects,
        tokens,
        tasks,
        runs,
        logs,
        buckets,
        packages,
        secrets,
        fleet,
        web,
    )
)


def create_server(house: House, *, patience_s: float = PATIENCE_S) -> ASGIApp:
    """What a server serves: the application, with the short way in before it."""
    return Edge(Front(create_app(house, patience_s=patience_s), house, patience_s))


def create_app(house: House, *, patience_s: float = PATIENCE_S) -> FastAPI:
    """The application over a house; raises NoRule when a route and the table of permissions disagree.

    `patience_s` is how long a request's body may bring nothing.
    """
    app = FastAPI(
        title="Longshore",
        version=house.version,
        description="Uploads, runs and watches custom tasks.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for router in ROUTERS:
        app.include_router(router)
    check_routes(app)
    app.state.house = house
    app.state.patience_s = patience_s
    app.state.page = web.load_page()
    add_handlers(app)
    app.add_middleware(Edge)
    app.openapi = functools.cache(lambda: describe(app))  # type: ignore[method-assign]
    return app
