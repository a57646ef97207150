"""What `make chaos` has recorded: the JSON that the reliability section is made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lib.settings import PROJECT_ROOT

RECORDED: Final = PROJECT_ROOT / "report" / "chaos"
"""The recorded figures, and the plots that come from them."""
RECORDING: Final = "recording.json"
"""What was recorded when, how and on what; beside it a file NAME.json for each experiment."""
Figures = dict[str, Any]
"""The JSON of one experiment (`chaos.lab.experiment.to_json`)."""


class ReliabilityReportError(Exception):
    """The report cannot be written (one line for people)."""


@dataclass(frozen=True)
class RecordedExperiments:
    """All that the report is made of."""

    recording: dict[str, Any]
    figures: dict[str, Figures]
    """By the name of the run; a run that failed before its end has none."""


@contextmanager
def complete() -> Iterator[None]:
    """Let ReportError be raised where the block looks for a figure in vain."""
    try:
        yield
    except KeyError as error:
        raise ReliabilityReportError(
            f"the figures in {RECORDED} lack {error}; `make chaos` records them anew"
        ) from None


def load(directory: Path) -> RecordedExperiments:
    """Read what was recorded. Raises ReportError."""
    recording = _read_json(directory / RECORDING)
    names = [entry["name"] for entry in recording["experiments"]]
    files = {name: directory / f"{name}.json" for name in names}
    return RecordedExperiments(
        recording, {name: _read_json(file) for name, file in files.items() if file.exists()}
    )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ReliabilityReportError(f"{file} is missing; `make chaos` records it") from None
    except ValueError as error:
        raise ReliabilityReportError(f"{file} is no JSON: {error}") from None
    return content
