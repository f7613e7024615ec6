"""Lookups: one concept for every list of things."""

from __future__ import annotations

from .source import Source, Table, Unavailable

__all__ = ["Source", "Table", "Unavailable"]
