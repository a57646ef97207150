"""The error that ends a role at its start."""

from __future__ import annotations


class CannotStartError(Exception):
    """Something a role needs is not to be had. The text is one line for people."""
