"""The recordings of the bench that the report is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bench.profile_results import Profile
from bench.results import Recording, WatchedRecording
from lib.reports.errors import ReportError

RESULTS: Final = "results.json"
PROFILE: Final = "profile.json"
WATCHED: Final = "watched.json"

_T = TypeVar("_T")


@dataclass(frozen=True)
class RecordedBench:
    """All that `make bench` and `make watched` recorded."""

    recording: Recording
    profile: Profile
    watched: WatchedRecording


def load_bench(directory: Path) -> RecordedBench:
    """Read the recordings. Raises ReportError for one that is missing or cannot be read."""
    return RecordedBench(
        _read(directory / RESULTS, Recording, "make bench"),
        _read(directory / PROFILE, Profile, "make bench"),
        _read(directory / WATCHED, WatchedRecording, "make watched"),
    )


def _read(file: Path, kind: type[_T], command: str) -> _T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        raise ReportError(f"{file} is missing; `{command}` records it") from None
    except msgspec.MsgspecError as error:
        raise ReportError(f"{file}: {error}; `{command}` records it again") from None
