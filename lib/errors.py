"""The error of a role or program that cannot start."""

from __future__ import annotations


class CannotStartError(Exception):
    """A required resource is unavailable at start. The text is one human-readable line."""
