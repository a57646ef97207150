"""Write performance_report.md, the pages report/details-*.md and the plots from recorded figures.

`make bench`, `make watched`, `make cluster-bench` and `make chaos` record the figures as JSON in
report/bench and report/chaos; the words are in report/*.md.j2. The same figures give the same
pages and plots.

Exit codes: 0 all is written; 1 all is written, but figures are of another plan, or of other roles,
than those of today; 2 nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from bench.report.cluster import cluster_figures
from bench.report.figures import bench_figures
from bench.report.recorded import RecordedBench, load_bench, outdated
from chaos.cluster_set import CLUSTER_SET
from chaos.report.figures import chaos_figures, first_storm
from chaos.report.recorded import RecordedExperiments, load_recorded, require_figures
from chaos.report.series import all_series
from chaos.standard_set import STANDARD_SET
from lib.errors import CannotStartError
from lib.reports.errors import ReportError
from lib.reports.templates import render
from lib.settings import PROJECT_ROOT
from lib.stack.supervisord_configuration import read_configuration, started_programs

FIGURES: Final = PROJECT_ROOT / "report"
PAGES: Final = {
    "performance_report.md": PROJECT_ROOT,
    "details-speed.md": FIGURES,
    "details-dashboard.md": FIGURES,
    "details-profile.md": FIGURES,
    "details-cluster.md": FIGURES,
    "details-reliability.md": FIGURES,
}
"""Each page, with the directory that it is written to."""

EXIT_WRITTEN: Final = 0
EXIT_OUTDATED: Final = 1
EXIT_NOT_WRITTEN: Final = 2


def main() -> int:
    """Write the report; return the exit code."""
    argparse.ArgumentParser(
        prog="python -m report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        with require_figures():
            bench, chaos = load_bench(FIGURES / "bench"), load_recorded(FIGURES / "chaos")
            texts = pages(bench, chaos)
            draw_plots(bench, chaos, FIGURES)
        for name, text in texts.items():
            (PAGES[name] / name).write_text(text, encoding="utf-8")
        differences = outdated_figures(bench, chaos, read_configuration())
    except ModuleNotFoundError as error:
        print(f"no plots: {error}; it is in requirements-bench.txt", file=sys.stderr)
        return EXIT_NOT_WRITTEN
    except (OSError, ReportError, CannotStartError) as error:
        print(f"no report: {error}", file=sys.stderr)
        return EXIT_NOT_WRITTEN
    for difference in differences:
        print(difference, file=sys.stderr)
    return EXIT_OUTDATED if differences else EXIT_WRITTEN


def pages(bench: RecordedBench, chaos: RecordedExperiments) -> dict[str, str]:
    """Return the text of each page. Pure. Raises KeyError if a figure is missing."""
    figures = {
        "bench": bench_figures(bench),
        "cluster": cluster_figures(bench.cluster),
        "chaos": chaos_figures(chaos),
    }
    return {name: render(name, **figures) for name in PAGES}


def draw_plots(bench: RecordedBench, chaos: RecordedExperiments, figures: Path) -> None:
    """Draw all plots. Raises ModuleNotFoundError without matplotlib."""
    from bench.report import plots as bench_plots  # here, because the pages need no matplotlib
    from chaos.report import plots as chaos_plots

    bench_plots.draw_latency(bench.recording, figures / "bench" / "latency.svg")
    bench_plots.draw_scale(bench.recording, figures / "bench" / "scale.svg")
    bench_plots.draw_comparison(bench.recording, figures / "bench" / "comparison.svg")
    chaos_plots.draw_recovery(all_series(chaos.figures), figures / "chaos" / "recovery.svg")
    if storm := first_storm(chaos.figures):
        chaos_plots.draw_storm(storm, figures / "chaos" / "storm.svg")


def outdated_figures(
    bench: RecordedBench, chaos: RecordedExperiments, configuration: str
) -> list[str]:
    """Say which figures are of another plan or of other roles; the last line says what to run."""
    roles = started_programs(configuration)
    differences = [f"report/bench/{difference}" for difference in outdated(bench, roles)]
    if differences:
        differences.append(
            "report/bench: outdated: run `make bench`, `make watched` and `make cluster-bench`"
        )
    commands = [entry["command"] for entry in chaos.recording["experiments"]]
    if commands != [experiment.command for experiment in STANDARD_SET]:
        differences.append("report/chaos: outdated, not of today's standard set: run `make chaos`")
    if chaos.cluster:
        commands = [entry["command"] for entry in chaos.cluster.recording["experiments"]]
        if commands != [experiment.command for experiment in CLUSTER_SET]:
            differences.append("report/cluster_chaos: outdated: run `make cluster-chaos`")
    return differences


if __name__ == "__main__":
    sys.exit(main())
