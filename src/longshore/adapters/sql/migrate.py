# SPDX-License-Identifier: Apache-2.0
"""Brings a database to the schema of this version: Alembic, one tree for every engine, run at each start."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from longshore.adapters.sql.engine import READS
from longshore.domain.errors import Unavailable

MIGRATIONS = Path(__file__).with_name("migrations")


def configured() -> Config:
    """Alembic's settings; whoever migrates adds the connection as an attribute."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def migrate(engine: Engine, path: Path) -> None:
    """Upgrade to the newest schema; raises Unavailable for a database that a newer version has written.

    A database that is up to date is only looked at, so that opening one waits for nobody. All steps are one
    transaction: another process that opens the same file sees the old schema or the new one.
    """
    config = configured()
    script = ScriptDirectory.from_config(config)
    with engine.connect().execution_options(**{READS: True}) as connection:
        now = MigrationContext.configure(connection).get_current_revision()
    if now == script.get_current_head():
        return
    if now is not None and now not in {one.revision for one in script.walk_revisions()}:
        raise Unavailable(
            f"the database {path} was written by a newer Longshore (schema {now}); start that version, or"
            " restore a backup that is older"
        )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
