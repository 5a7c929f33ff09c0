# SPDX-License-Identifier: Apache-2.0
"""What the web layer sees of the house: services, and where it stands."""

from typing import Annotated, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from longshore.services.access import AccessService
from longshore.services.buckets import BucketService
from longshore.services.fleet import FleetService
from longshore.services.packages import PackageService
from longshore.services.runs import RunService
from longshore.services.secrets import SecretService
from longshore.services.tasks import TaskService


class House(Protocol):
    """The services that routes call. Whoever composes the program hands over something with these."""

    @property
    def access(self) -> AccessService: ...
    @property
    def packages(self) -> PackageService: ...
    @property
    def buckets(self) -> BucketService: ...
    @property
    def tasks(self) -> TaskService: ...
    @property
    def secrets(self) -> SecretService: ...
    @property
    def runs(self) -> RunService: ...
    @property
    def fleet(self) -> FleetService: ...
    @property
    def version(self) -> str: ...
    @property
    def base_url(self) -> str: ...


def house_of(connection: HTTPConnection) -> House:
    """The house that this application was made for."""
    house: House = connection.app.state.house
    return house


async def _house(connection: HTTPConnection) -> House:
    return house_of(connection)  # async: FastAPI takes any other function to a thread and back


HouseDep = Annotated[House, Depends(_house)]
