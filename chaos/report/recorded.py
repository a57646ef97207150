"""The JSON that `make chaos` recorded, from which the report shows the experiments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lib.reports.errors import ReportError
from lib.settings import PROJECT_ROOT

RECORDED: Final = PROJECT_ROOT / "report" / "chaos"
"""The recorded figures, and the plots that come from them."""
RECORDING: Final = "recording.json"
"""The file with time, commands and machine; beside it is a file NAME.json per experiment."""
Figures = dict[str, Any]
"""The JSON of one experiment (`chaos.lab.experiment.to_json`)."""


class ReliabilityReportError(ReportError):
    """Recorded experiments are missing or incomplete (a one-line message)."""


@dataclass(frozen=True)
class RecordedExperiments:
    """All recorded data that the report is made from."""

    recording: dict[str, Any]
    figures: dict[str, Figures]
    """The JSON of each experiment by name; one that failed before its end has none."""


@contextmanager
def require_figures() -> Iterator[None]:
    """Raise ReliabilityReportError if the block looks up a figure that is missing."""
    try:
        yield
    except KeyError as error:
        raise ReliabilityReportError(
            f"the figures in {RECORDED} lack {error}; `make chaos` records them again"
        ) from None


def load_recorded(directory: Path) -> RecordedExperiments:
    """Read what was recorded. Raises ReliabilityReportError."""
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
