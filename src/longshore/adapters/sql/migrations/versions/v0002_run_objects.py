# SPDX-License-Identifier: Apache-2.0
"""Runs point at their files as well as their inputs; runs of one state are found by an index"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Forward."""
    run_objects = op.create_table(
        "run_objects",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "digest", name=op.f("pk_run_objects")),
    )
    with op.batch_alter_table("run_objects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_objects_digest"), ["digest"], unique=False)
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index("ix_runs_project_id_state_id", ["project_id", "state", "id"], unique=False)

    connection = op.get_bind()
    pointers = {tuple(row) for row in connection.execute(sa.text("SELECT run_id, digest FROM run_inputs"))}
    for run, files in connection.execute(sa.text("SELECT id, files FROM runs WHERE files <> '[]'")):
        pointers |= {(run, file["digest"]) for file in json.loads(files)}
    op.bulk_insert(run_objects, [{"run_id": run, "digest": digest} for run, digest in sorted(pointers)])
    op.drop_table("run_inputs")
