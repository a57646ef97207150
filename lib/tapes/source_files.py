"""The files that a recipe reads, and what changes when one of them does."""

from __future__ import annotations

import os
import re
from glob import has_magic, iglob
from itertools import islice
from pathlib import Path
from typing import Final

from lib.settings import PROJECT_ROOT
from lib.tapes.recipe import Recipe
from lib.tapes.tape import digest

MAX_SOURCE_FILES: Final = 10_000
"""The most files of a pattern that are looked at."""

_QUOTED: Final = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")""")
"""A string or a name in SQL: DuckDB reads a file that either of them names. Its quotation mark is
doubled inside."""
_OF_ALL_FILES: Final = re.compile(r"[*?/]*")
"""A text that a query hardly means as a pattern: `'*'` is rather a value, or a part of one."""


def files_in_query(query: str) -> dict[str, list[Path]]:
    """Return the regular files that a query may read, by the names and patterns that it quotes.

    A relative name is relative to the project's root, where the roles run.
    """
    quoted = {text[1:-1].replace(2 * text[0], text[0]) for text in _QUOTED.findall(query)}
    names = sorted(name for name in quoted if not _OF_ALL_FILES.fullmatch(name))
    return {name: files for name in names if (files := _named_files(name))}


def _source_files(recipe: Recipe) -> list[Path]:
    """Return the regular files of a recipe, in order, each once."""
    if not recipe.query:
        return _named_files(recipe.path)
    return sorted({file for files in files_in_query(recipe.query).values() for file in files})


def _named_files(name: str) -> list[Path]:
    """Return the regular file of that name, or those of the pattern."""
    path = PROJECT_ROOT / name
    try:
        if path.is_file():
            return [path]
        if not has_magic(name) or os.path.lexists(path):
            return []
        # Unlike Path.glob it follows links to directories, as the reading does.
        names = iglob(  # noqa: PTH207
            name, root_dir=PROJECT_ROOT, recursive=True, include_hidden=True
        )
        found = (PROJECT_ROOT / one for one in names)
        # Path.is_file raises for a file in a directory without permission.
        return sorted(islice(filter(os.path.isfile, found), MAX_SOURCE_FILES))
    except (OSError, ValueError):  # no name of a file: too long, or with a NUL
        return []


def source_state(recipe: Recipe) -> str:
    """Return a digest that changes when a file of the recipe changes, comes or goes.

    Like make and rsync, it trusts sizes and times: a file of gigabytes is not read for it.
    """
    states: list[tuple[str, tuple[int, ...]]] = []
    for file in _source_files(recipe):
        try:
            status = file.stat()
        except OSError:  # it has just been removed
            continue
        # The time of the last change of the inode sees a file that got its old time back, or its
        # permissions.
        times = status.st_mtime_ns, status.st_ctime_ns
        states.append((str(file), (status.st_ino, status.st_size, *times)))
    return digest(repr(states).encode())
