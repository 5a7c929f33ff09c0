# SPDX-License-Identifier: Apache-2.0
"""Lists in parts: `limit` items after the one that `after` names; `next` names the last, if more follow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from longshore.ports.store import Page

MOST = 500
MAX_REVISION = 2**53

T = TypeVar("T")
U = TypeVar("U")


class Listing(BaseModel, Generic[T]):
    """A part of a list."""

    items: list[T]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part that a caller asks for."""

    limit: int
    after: str | None

    @property
    def page(self) -> Page:
        """One more than asked for: whether it is there says whether a next part is."""
        return Page(limit=self.limit + 1, after=self.after)

    def listing(self, found: Sequence[T], shown: Callable[[T], U], key: Callable[[T], str]) -> Listing[U]:
        """The answer, from what `page` brought."""
        kept = found[: self.limit]
        return Listing(
            items=[shown(item) for item in kept],
            next=key(kept[-1]) if len(found) > self.limit else None,
        )

    def cut(self, whole: Sequence[T], shown: Callable[[T], U], key: Callable[[T], str]) -> Listing[U]:
        """The answer, from a list that is short enough to be read whole."""
        ordered = sorted(whole, key=key)
        rest = [item for item in ordered if self.after is None or key(item) > self.after]
        return self.listing(rest[: self.limit + 1], shown, key)


Limit = Annotated[int, Query(ge=1, le=MOST, description="how many items at most")]


async def _part(
    limit: Limit = 50,
    after: Annotated[str | None, Query(max_length=2000, description="`next` of the part before")] = None,
) -> Part:
    return Part(limit=limit, after=after)


async def _numbered_part(
    limit: Limit = 50,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_REVISION, description="`next` of the part before")
    ] = None,
) -> Part:
    return Part(limit=limit, after=None if after is None else str(after))


PartDep = Annotated[Part, Depends(_part)]
NumberedPartDep = Annotated[Part, Depends(_numbered_part)]
