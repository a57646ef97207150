"""The files that a recipe reads, and what changes when one of them does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from glob import has_magic
from itertools import islice
from pathlib import Path
from typing import Final

from lib.settings import PROJECT_ROOT
from lib.tapes.recipe import Recipe
from lib.tapes.tape import digest

MAX_SOURCE_FILES: Final = 10_000
"""The most files of a recipe whose changes are noticed."""

_QUOTED: Final = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")""")
"""A string or a name in SQL: DuckDB reads a file that either of them names. Its quotation mark is
doubled inside."""


def source_files(recipe: Recipe) -> list[Path]:
    """Return the regular files of a recipe: what `path` names, or what is quoted in `query`.

    By name or by a pattern, in order. A relative name is relative to the project's root, where the
    roles run.
    """
    names = [recipe.path]
    if recipe.query:
        quoted = _QUOTED.findall(recipe.query)
        names = [text[1:-1].replace(2 * text[0], text[0]) for text in quoted]
    files = (file for name in names if name for file in _named(name))
    return sorted(set(islice(files, MAX_SOURCE_FILES)))


def _named(name: str) -> Iterator[Path]:
    path = PROJECT_ROOT / name
    try:
        if path.is_file():
            yield path
        elif has_magic(name) and not os.path.lexists(path):
            pattern = str(path.relative_to(path.anchor))
            yield from filter(Path.is_file, Path(path.anchor).glob(pattern))
    except (OSError, ValueError):  # no name of a file: too long, or with a NUL
        return


def source_state(recipe: Recipe) -> str:
    """Return a digest that changes when a file of the recipe changes, comes or goes.

    Like make and rsync, it trusts sizes and times: a file of gigabytes is not read for it.
    """
    states: list[tuple[str, tuple[int, ...]]] = []
    for file in source_files(recipe):
        try:
            status = file.stat()
        except OSError:  # it has just been removed
            continue
        # The time of the last change of the inode sees a file that got its old time back, or its
        # permissions.
        times = status.st_mtime_ns, status.st_ctime_ns
        states.append((str(file), (status.st_ino, status.st_size, *times)))
    return digest(repr(states).encode())
