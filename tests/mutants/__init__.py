"""Planted bugs: `mutants.toml` is the table, `python -m tests.mutants` runs tests against each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("mutants.toml")


class Mutant(NamedTuple):
    """A bug to plant; the table says what the fields are."""

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: list[str]

    @property
    def fits(self) -> bool:
        """Whether the text to replace occurs exactly once."""
        path = PROJECT_ROOT / self.file
        return path.is_file() and path.read_text().count(self.old) == 1


def load_mutants() -> list[Mutant]:
    """Read the table."""
    table = tomllib.loads(TABLE.read_text())
    return [Mutant(name, **fields) for name, fields in table.items()]
