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


@dataclass(frozen=True)
class RecordedExperiments:
    """All recorded data that the report is made from."""

    recording: dict[str, Any]
    figures: dict[str, Figures]
    """The JSON of each experiment by name; one that failed before its end has none."""


@contextmanager
def require_figures() -> Iterator[None]:
    """Raise ReportError if the block looks up a figure that is missing."""
    try:
        yield
    except KeyError as error:
        raise ReportError(
            f"the figures in {RECORDED} lack {error}; `make chaos` records them again"
        ) from None


def load_recorded(directory: Path) -> RecordedExperiments:
    """Read what was recorded. Raises ReportError."""
    try:
        recording = json.loads((directory / RECORDING).read_bytes())
        files = {one["name"]: directory / f"{one['name']}.json" for one in recording["experiments"]}
        return RecordedExperiments(
            recording,
            {name: json.loads(file.read_bytes()) for name, file in files.items() if file.exists()},
        )
    except (FileNotFoundError, ValueError) as error:
        raise ReportError(f"{directory}: {error}; `make chaos` records it again") from None
