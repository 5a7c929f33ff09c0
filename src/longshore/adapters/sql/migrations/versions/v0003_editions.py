# SPDX-License-Identifier: Apache-2.0
"""A number that grows with every change of projects, tokens, tasks and secrets"""

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
    op.bulk_insert(editions, [{"number": 1}])
