# SPDX-License-Identifier: Apache-2.0
"""The tables, as SQLAlchemy Core sees them. Times are integers: microseconds since 1970, UTC.

What is searched or changed alone has a column; what is only carried along is JSON text.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

projects = Table(
    "projects",
    metadata,
    Column("id", String, primary_key=True),
    Column("slug", String, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("project_id", String, ForeignKey("projects.id")),
    Column("hash", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("used_at", BigInteger),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, ForeignKey("projects.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("package_name", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Index("uq_tasks_project_id_name", "project_id", "name", unique=True),
    Index("ix_tasks_project_id_package_name", "project_id", "package_name"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("package", String, nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("by", String, nullable=False),
    Column("why", String, nullable=False),
    Column("body", Text, nullable=False),
)

packages = Table(
    "packages",
    metadata,
    Column("project_id", String, ForeignKey("projects.id"), primary_key=True),
    Column("file_name", String, primary_key=True),
    Column("digest", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("uploaded_at", BigInteger, nullable=False),
    Column("uploaded_by", String, nullable=False),
    Index("ix_packages_digest", "digest"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("project_id", String, ForeignKey("projects.id"), primary_key=True),
    Column("bucket", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("digest", String, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", String, nullable=False),
    Column("run_id", String),
)

secrets = Table(
    "secrets",
    metadata,
    Column("project_id", String, ForeignKey("projects.id"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", String, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, ForeignKey("projects.id"), nullable=False),
    Column("task_id", String, nullable=False),
    Column("task_name", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("package", String, nullable=False, index=True),
    Column("location", String, nullable=False),
    Column("cpus", Float, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("limits", Text, nullable=False),
    Column("trigger_kind", String, nullable=False),
    Column("trigger_by", String, nullable=False),
    Column("event", Text, nullable=False),
    Column("expand", Boolean, nullable=False),
    Column("defaulted", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text),
    Column("attempt", Integer, nullable=False),
    Column("fence", String),
    Column("holder", String),
    Column("holder_name", String),
    Column("lease_until", BigInteger),
    Column("cancel_requested", Boolean, nullable=False),
    Column("queued_at", BigInteger, nullable=False),
    Column("claimed_at", BigInteger),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("payload", Text),
    Column("payload_digest", String),
    Column("error", Text),
    Column("usage", Text, nullable=False),
    Column("cold", Boolean),
    Column("steps", Text, nullable=False),
    Column("files", Text, nullable=False),
    Column("notices", Text, nullable=False),
    Index("ix_runs_project_id_id", "project_id", "id"),
    Index("ix_runs_project_id_state_id", "project_id", "state", "id"),
    Index("ix_runs_task_id_id", "task_id", "id"),
    # Partial indexes: of many thousand runs a handful is not over, and only those are looked for by state.
    Index(
        "ix_runs_queued",
        "location",
        "id",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_runs_held",
        "lease_until",
        sqlite_where=text("state IN ('starting', 'running')"),
        postgresql_where=text("state IN ('starting', 'running')"),
    ),
    Index(
        "ix_runs_payload_digest",
        "payload_digest",
        sqlite_where=text("payload_digest IS NOT NULL"),
        postgresql_where=text("payload_digest IS NOT NULL"),
    ),
)

run_objects = Table(
    "run_objects",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("digest", String, primary_key=True, index=True),
)
"""The inputs of runs and the files they left, so that these bytes stay."""

interceptors = Table(
    "interceptors",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("seen_at", BigInteger, nullable=False, index=True),
    Column("body", Text, nullable=False),
)

short_logs = Table(
    "short_logs",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("lines", Text, nullable=False),
)
"""The logs of runs that were over before they had a row: recorded with their end, without a file each."""

editions = Table("editions", metadata, Column("number", BigInteger, primary_key=True, autoincrement=False))
"""One row: how often a project, token, task or secret has changed."""
