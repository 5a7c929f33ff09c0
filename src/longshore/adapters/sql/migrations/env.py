# SPDX-License-Identifier: Apache-2.0
"""What Alembic runs: the connection comes from `migrate`, the tables from `schema`."""

from alembic import context

from longshore.adapters.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()
