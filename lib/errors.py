"""The errors of a role or program that cannot start."""

from __future__ import annotations

from typing import Final

EXIT_CANNOT_START: Final = 1
"""The exit code of a role that cannot start."""
EXIT_BAD_INPUT: Final = 65
"""The exit code of a role that cannot use its input: EX_DATAERR of sysexits.h."""


class CannotStartError(Exception):
    """A required resource is unavailable at start. The text is one human-readable line."""

    exit_code = EXIT_CANNOT_START


class BadInputError(CannotStartError):
    """What the role is to work on cannot be used. As long as it stays so, no retry can help."""

    exit_code = EXIT_BAD_INPUT
