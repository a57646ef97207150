"""The files of a recording: where they are while it goes on, and after it was cut off.

A recording of FILE.parquet is written in parts, each of them whole, into the directory
FILE.parquet.parts. At its end the parts are joined into FILE.parquet, and removed. Of a recording
that was killed, the parts stay, and are what is played as FILE.parquet.
"""

from __future__ import annotations

import os
from glob import escape
from pathlib import Path
from typing import Final

PARTS_SUFFIX: Final = ".parts"
PART_PATTERN: Final = "part-*.parquet"


def parts_directory(file: Path) -> Path:
    """Return the directory of the parts of `file`."""
    return file.with_name(f"{file.name}{PARTS_SUFFIX}")


def part_file(file: Path, number: int) -> Path:
    """Return a part of `file`; their names sort by number."""
    return parts_directory(file) / f"part-{number:09}.parquet"


def news_file(file: Path) -> Path:
    """Return where the news go that were played with the ticks in `file`."""
    return file.with_stem(f"{file.stem}-news")


def played_path(path: str) -> str:
    """Return what to read where `path` is asked for: the pattern of its parts if only they exist.

    `path` may be a pattern itself, or "" for none.
    """
    # The methods of Path raise for a name that is too long, or in a directory without permission.
    if path and not os.path.exists(path):  # noqa: PTH110
        parts = parts_directory(Path(path))
        if os.path.isdir(parts):  # noqa: PTH112
            return f"{escape(str(parts))}/{PART_PATTERN}"
    return path
