# SPDX-License-Identifier: Apache-2.0
"""The store in a SQL database. SQLAlchemy stays inside this room."""

from longshore.adapters.sql.ballast import Ballast
from longshore.adapters.sql.store import SqliteStore

__all__ = ["Ballast", "SqliteStore"]
