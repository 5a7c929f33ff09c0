# SPDX-License-Identifier: Apache-2.0
"""Users of cells: each has its own, and nothing ever starts as root."""

import contextlib
import os
from pathlib import Path

import pytest

from longshore.adapters.sandbox import slots
from longshore.adapters.sandbox.home import open_home
from longshore.domain.errors import Unavailable

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has users to hand out")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="for ordinary users")


@as_root
def test_every_live_cell_has_a_user_of_its_own_and_it_can_be_had_again() -> None:
    with contextlib.ExitStack() as stack:
        taken = []
        for _ in range(5):
            slot = slots.take()
            assert slot is not None
            stack.callback(slot.give_back)
            taken.append(slot.uid)
    again = slots.take()
    assert again is not None
    again.give_back()

    assert len(set(taken)) == 5
    assert 0 not in taken
    assert again.uid in taken


@as_root
def test_root_never_starts_anything_without_another_user() -> None:
    with pytest.raises(Unavailable, match="root"):
        slots.drop(None, "/usr/bin/setpriv")


@as_user
def test_an_ordinary_user_stays_who_it_is() -> None:
    assert slots.take() is None
    assert slots.drop(None, "") == []


@as_root
def test_a_directory_that_is_closed_to_cells_is_named_with_the_way_to_open_it(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(Unavailable, match=f"chmod o\\+x {closed}"):
        open_home(closed / "sandbox")


def test_a_directory_below_a_file_cannot_hold_sandboxes(place: Path) -> None:
    (place / "file").touch()

    with pytest.raises(Unavailable, match="cannot hold sandboxes"):
        open_home(place / "file" / "sandbox")
