# SPDX-License-Identifier: Apache-2.0
"""A number that grows with every change of projects, tokens, tasks and secrets; logs of short runs"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Forward."""
    editions = op.create_table(
        "editions",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_editions")),
    )
    op.create_table(
        "short_logs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_short_logs")),
    )
    op.bulk_insert(editions, [{"number": 1}])
