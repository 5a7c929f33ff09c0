# SPDX-License-Identifier: Apache-2.0
"""A fresh database and an old one end at the same schema: that of the code."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from tests.contracts.storing import PROJECT, a_digest

from longshore.adapters.sql import SqliteStore
from longshore.adapters.sql.migrate import configured
from longshore.adapters.sql.schema import metadata
from longshore.domain.errors import Unavailable

pytestmark = pytest.mark.anyio
REVISIONS = [one.revision for one in ScriptDirectory.from_config(configured()).walk_revisions()][::-1]
RUN = {
    "id": "r1",
    "project_id": PROJECT.id,
    "task_id": "t1",
    "task_name": "echo",
    "revision": 1,
    "package": a_digest(1),
    "location": "default",
    "cpus": 1.0,
    "memory_mb": 64,
    "limits": "{}",
    "trigger_kind": "api",
    "trigger_by": "me",
    "event": "{}",
    "expand": 1,
    "defaulted": "[]",
    "inputs": "{}",
    "state": "queued",
    "attempt": 1,
    "cancel_requested": 0,
    "queued_at": 1,
    "usage": "{}",
    "steps": "[]",
    "files": f'[{{"bucket":"runs","key":"k","name":"k","size":1,"digest":"{a_digest(8)}"}}]',
    "notices": "[]",
}


def made_at(revision: str, file: Path) -> None:
    """A database as the version with that schema left it, with a project and a run in it."""
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
    with engine.begin() as connection:
        config = configured()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.exec_driver_sql("INSERT INTO projects VALUES (?, 'one', 1)", (PROJECT.id,))
        marks = ", ".join("?" * len(RUN))
        connection.exec_driver_sql(
            f"INSERT INTO runs ({', '.join(RUN)}) VALUES ({marks})", tuple(RUN.values())
        )


def schema_of(file: Path) -> set[tuple[str, str, str]]:
    """Every table and index of a database; an index with the statement that makes it."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        found = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE name <> 'alembic_version'"
        )
        return {
            (kind, name, " ".join((sql or "").split()) if kind == "index" else "")
            for kind, name, sql in found
            if not name.startswith("sqlite_autoindex_alembic")
        }


def schema_of_the_code(tmp_path: Path) -> set[tuple[str, str, str]]:
    engine = create_engine(f"sqlite:///{tmp_path / 'code.db'}", poolclass=NullPool)
    metadata.create_all(engine)
    return schema_of(tmp_path / "code.db")


async def test_a_fresh_database_has_the_schema_of_the_code(tmp_path: Path) -> None:
    await SqliteStore(tmp_path / "a.db").close()

    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}", poolclass=NullPool)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert schema_of(tmp_path / "a.db") == schema_of_the_code(tmp_path)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_an_old_database_ends_at_the_same_schema_with_its_rows(tmp_path: Path, revision: str) -> None:
    made_at(revision, tmp_path / "a.db")

    store = SqliteStore(tmp_path / "a.db")
    try:
        assert (await store.read(lambda work: work.projects.by_slug("one"))).id == PROJECT.id
        assert await store.read(lambda work: work.runs.queued_locations()) == [("default", 1)]
    finally:
        await store.close()
    assert schema_of(tmp_path / "a.db") == schema_of_the_code(tmp_path)


async def test_files_and_inputs_of_old_runs_stay_in_use(tmp_path: Path) -> None:
    made_at("0001", tmp_path / "a.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("INSERT INTO run_inputs VALUES ('r1', ?)", (a_digest(7),))
        connection.commit()

    store = SqliteStore(tmp_path / "a.db")
    try:
        used = await store.read(lambda work: [work.artifacts.is_used(a_digest(n)) for n in (7, 8, 9)])
    finally:
        await store.close()
    assert used == [True, True, False]


async def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    made_at("0001", tmp_path / "a.db")
    before = schema_of(tmp_path / "a.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("UPDATE runs SET files = 'no JSON'")
        connection.commit()

    with pytest.raises(ValueError, match="Expecting value"):
        SqliteStore(tmp_path / "a.db")

    assert schema_of(tmp_path / "a.db") == before


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    await SqliteStore(tmp_path / "a.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    with pytest.raises(Unavailable, match=r"a\.db was written by a newer Longshore"):
        SqliteStore(tmp_path / "a.db")


async def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    await SqliteStore(tmp_path / "a.db").close()
    before = (tmp_path / "a.db").read_bytes()

    await SqliteStore(tmp_path / "a.db").close()

    assert (tmp_path / "a.db").read_bytes() == before
