"""The section of the report about the cost of open dashboards."""

from __future__ import annotations

from typing import Final

from bench.report.speed_section import processor, quantiles
from bench.results import WatchedRecording
from lib.reports.markdown import table
from lib.reports.units import whole

TITLE: Final = "## With the dashboard open"


def watched_section(watched: WatchedRecording | None) -> str:
    """Return it in Markdown."""
    if watched is None:
        return f"{TITLE}\n\nNothing is recorded yet: `make watched` records it."
    blocks = [
        TITLE,
        f"From the sending of a tick to its decision at {whole(watched.rate)} ticks/s, in turns. "
        "The browsers draw on the same cores as the stack; the streams are what a page gets, read "
        f"but not drawn. Times are microseconds. Recorded on {watched.began_utc[:10]} on "
        f"{processor(watched.machine)}.",
    ]
    if watched.rounds:
        rows = [
            [
                one.watched_by,
                whole(one.number),
                whole(one.from_sent.count),
                whole(one.missed),
                *quantiles(one.from_sent),
            ]
            for kind in dict.fromkeys(one.watched_by for one in watched.rounds)
            for one in watched.rounds
            if one.watched_by == kind
        ]
        heading = ["watched by", "round", "samples", "missed", "p50", "p90", "p99", "p99.9", "max"]
        blocks.append(table(heading, rows, right_from=1))
    blocks += [f"Not measured: {gap}." for gap in watched.gaps]
    return "\n\n".join(blocks)
