"""Write the first page, the speed section and the appendix of performance_report.md.

`make bench` records `bench.results` and `bench.profile` as JSON in report/bench; `make watched`
records `bench.watched` there. The parts of the report and the plots (`bench.report.plots`) are made
from these files alone (and the first page also from report/chaos). Each part replaces the text
between two marks; the text outside of the marks stays. Pure but for `main` and `load`: the same
records give the same text, so that a test can compare it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bench.profile_results import Profile
from bench.report.appendix import appendix
from bench.report.first_page import first_page
from bench.report.speed_section import COMPARISON_PLOT, LATENCY_PLOT, SCALE_PLOT, speed_section
from bench.report.watched_section import watched_section
from bench.results import Recording, WatchedRecording
from lib.reports.files import RELIABILITY_SUMMARY, REPORT
from lib.reports.markdown import MarkdownError, replace_section
from lib.settings import PROJECT_ROOT

RECORDED: Final = PROJECT_ROOT / "report" / "bench"
"""The recorded figures, and the plots that come from them."""
RESULTS: Final = "results.json"
PROFILE: Final = "profile.json"
WATCHED: Final = "watched.json"

EXIT_WRITTEN: Final = 0
EXIT_NO_REPORT: Final = 2

_T = TypeVar("_T")


class ReportError(Exception):
    """The report cannot be written (one human-readable line)."""


@dataclass(frozen=True)
class Recorded:
    """All records of the report; None for what is not recorded."""

    recording: Recording | None
    profile: Profile | None
    watched: WatchedRecording | None
    dropped_connections: str | None
    """The chaos lab's line about dropped connections."""


def main() -> int:
    """Write the parts and the plots; return the exit code."""
    argparse.ArgumentParser(
        prog="python -m bench.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        from bench.report import (
            plots,  # here, because the tables alone do not need matplotlib
        )
    except ModuleNotFoundError as error:
        print(f"no plots: {error}; it is in requirements-bench.txt", file=sys.stderr)
        return EXIT_NO_REPORT
    try:
        recorded = load(RECORDED, RELIABILITY_SUMMARY)
        text = write_parts(REPORT.read_text(encoding="utf-8"), recorded)
        if recorded.recording is None:
            print(f"{RECORDED / RESULTS} is missing; `make bench` records it", file=sys.stderr)
        else:
            plots.draw_latency(recorded.recording, RECORDED / LATENCY_PLOT)
            plots.draw_scale(recorded.recording, RECORDED / SCALE_PLOT)
            plots.draw_comparison(recorded.recording, RECORDED / COMPARISON_PLOT)
        REPORT.write_text(text, encoding="utf-8")
    except (OSError, ReportError, MarkdownError) as error:
        print(f"no report: {error}", file=sys.stderr)
        return EXIT_NO_REPORT
    return EXIT_WRITTEN


def load(bench: Path, reliability: Path) -> Recorded:
    """Read the records. Raises ReportError for a file that cannot be read."""
    return Recorded(
        _read(bench / RESULTS, Recording),
        _read(bench / PROFILE, Profile),
        _read(bench / WATCHED, WatchedRecording),
        reliability.read_text(encoding="utf-8").strip() if reliability.exists() else None,
    )


def _read(file: Path, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ReportError(f"{file}: {error}; `make bench` records it anew") from None


def write_parts(text: str, recorded: Recorded) -> str:
    """Return the report with its parts replaced. Raises MarkdownError if a mark is missing."""
    parts = {
        "summary": first_page(recorded.recording, recorded.dropped_connections),
        "speed": speed_section(recorded.recording),
        "watched": watched_section(recorded.watched),
        "appendix": appendix(recorded.profile),
    }
    for name, part in parts.items():
        text = replace_section(text, name, part)
    return text
