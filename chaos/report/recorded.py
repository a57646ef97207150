"""The JSON that `make chaos` and `make cluster-chaos` recorded, for the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lib.reports.errors import ReportError
from lib.settings import PROJECT_ROOT

RECORDED: Final = PROJECT_ROOT / "report" / "chaos"
"""The recorded figures, and the plots that come from them."""
CLUSTER_RECORDED: Final = PROJECT_ROOT / "report" / "cluster_chaos"
"""Those of the experiments with a cluster."""
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
    cluster: RecordedExperiments | None = None
    """The experiments with a cluster, if they are recorded."""


@contextmanager
def require_figures(directory: Path = RECORDED) -> Iterator[None]:
    """Raise ReportError if the block looks up a figure that is missing."""
    try:
        yield
    except KeyError as error:
        raise ReportError(
            f"the figures in {directory} lack {error}; `{_command(directory)}` records them again"
        ) from None


def load_recorded(directory: Path) -> RecordedExperiments:
    """Read what was recorded, and what is recorded of clusters beside it. Raises ReportError."""
    of_clusters = directory.with_name(CLUSTER_RECORDED.name)
    recorded = _load(directory)
    if directory == of_clusters or not (of_clusters / RECORDING).exists():
        return recorded
    return replace(recorded, cluster=_load(of_clusters))


def _load(directory: Path) -> RecordedExperiments:
    try:
        recording = json.loads((directory / RECORDING).read_bytes())
        files = {one["name"]: directory / f"{one['name']}.json" for one in recording["experiments"]}
        return RecordedExperiments(
            recording,
            {name: json.loads(file.read_bytes()) for name, file in files.items() if file.exists()},
        )
    except (FileNotFoundError, ValueError) as error:
        raise ReportError(
            f"{directory}: {error}; `{_command(directory)}` records it again"
        ) from None


def _command(directory: Path) -> str:
    """Return the command that records what is in a directory."""
    return f"make {directory.name.replace('_', '-')}"
