"""Longshore: self-hosted custom tasks for performance engineers."""

__version__ = "0.1.0"
