# SPDX-License-Identifier: Apache-2.0
"""Brings a database to the schema of this version: Alembic, one tree for every engine, run at each start."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from longshore.domain.errors import Unavailable

MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(engine: Engine, path: Path) -> None:
    """Upgrade to the newest schema; raises Unavailable for a database that a newer version has written."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
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
