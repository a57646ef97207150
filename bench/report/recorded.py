"""The recordings of the bench that the report is made from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bench.measure.side_by_side import RIVALS, STACK, loads_of
from bench.plan import CLUSTER, FULL, WATCHED, Plan
from bench.results import ClusterRecording, Recording, WatchedRecording
from bench.run import ROLES
from lib.reports.errors import ReportError

RESULTS: Final = "results.json"
WATCHED_RESULTS: Final = "watched.json"
CLUSTER_RESULTS: Final = "cluster.json"

_T = TypeVar("_T")


@dataclass(frozen=True)
class RecordedBench:
    """All that `make bench`, `make watched` and `make cluster-bench` recorded."""

    recording: Recording
    watched: WatchedRecording
    cluster: ClusterRecording | None
    """None if it was not recorded: not everybody has brokers."""


def load_bench(directory: Path) -> RecordedBench:
    """Read the recordings. Raises ReportError for one that is missing or cannot be read."""
    cluster = directory / CLUSTER_RESULTS
    return RecordedBench(
        _read(directory / RESULTS, Recording, "make bench"),
        _read(directory / WATCHED_RESULTS, WatchedRecording, "make watched"),
        _read(cluster, ClusterRecording, "make cluster-bench") if cluster.exists() else None,
    )


def _read(file: Path, kind: type[_T], command: str) -> _T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        raise ReportError(f"{file} is missing; `{command}` records it") from None
    except msgspec.MsgspecError as error:
        raise ReportError(f"{file}: {error}; `{command}` records it again") from None


def outdated(bench: RecordedBench, roles: Collection[str]) -> list[str]:
    """Say what in the recordings is not of today's plan, programs and roles, a line each.

    Figures of another plan, or of a stack with other roles, do not say how the stack of today does.
    What is missing and has a gap with the reason is not outdated.
    """
    recording, differences = bench.recording, []
    gaps = {gap.partition(":")[0] for gap in recording.gaps}
    for part in Plan.__struct_fields__:
        if getattr(recording.plan, part) != getattr(FULL, part):
            differences.append(f"{RESULTS}: another plan of {part}")
    found = {usage.role for usage in recording.at_rest}
    if found != set(roles) and ROLES not in gaps:
        differences.append(f"{RESULTS}: other roles: {', '.join(sorted(found ^ set(roles)))}")
    loads = {
        (rival.name, load.rate, load.ticks_a_message)
        for rival in RIVALS
        for load in loads_of(rival, FULL.side_by_side)
    }
    hops = {(hop.name, hop.rate, hop.ticks_a_message) for hop in recording.hops}
    if others := {load[0] for load in loads ^ hops} - gaps - {STACK}:
        differences.append(f"{RESULTS}: other loads of {', '.join(sorted(others))}")
    if bench.watched.plan != WATCHED:
        differences.append(f"{WATCHED_RESULTS}: another plan")
    if bench.cluster and bench.cluster.plan != CLUSTER:
        differences.append(f"{CLUSTER_RESULTS}: another plan")
    return differences
