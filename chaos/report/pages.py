"""Write the reliability section of performance_report.md from the recorded figures.

`chaos.standard_set` records the figures of each experiment, and the machine they were measured on,
as JSON in report/chaos. The tables and the plots (`plots`) are made from these files alone. The
section is between two marks; the text outside of them is kept. Pure except for `main`: the same
JSON gives the same text, so that a test can compare them.

The text here contains no numbers of its own: every figure comes from the JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from chaos.faults.hostile_gateway import DEFECTS
from chaos.lab.experiment import EXIT_HOLDS, EXIT_NO_TARGET, GOAL_ROUNDS, cells
from chaos.lab.figures import OrderCounts
from chaos.lab.recovery import STEPS
from chaos.report.recorded import (
    RECORDED,
    Figures,
    RecordedExperiments,
    ReliabilityReportError,
    load_recorded,
    require_figures,
)
from chaos.report.series import (
    ENOUGH_MISSES,
    MISSED,
    NOTIFIED,
    REACHED,
    all_series,
    cuts_of,
    goal_classes,
    goal_series,
    milliseconds,
    recoveries,
    recovery_series,
    times_of,
)
from chaos.slow_consumer import LABELS
from chaos.storms.planned_faults import FaultKind
from lib.clock import SECOND_NS
from lib.reports.files import RELIABILITY_SUMMARY, REPORT
from lib.reports.markdown import MarkdownError, replace_section, table

SECTION: Final = "reliability"
RECOVERY_PLOT: Final = "recovery.svg"
STORM_PLOT: Final = "storm.svg"

WINDOWS: Final = ("without", "beside")
"""The two windows of `chaos.slow_consumer`: before its stalled clients, and beside them."""


def main() -> int:
    """Write section and plots; return the exit code."""
    argparse.ArgumentParser(
        prog="python -m chaos.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        from chaos.report import (
            plots,  # a test of the tables needs no matplotlib
        )
    except ModuleNotFoundError as error:
        print(f"no plots: {error}; it is in requirements-bench.txt", file=sys.stderr)
        return EXIT_NO_TARGET
    try:
        with require_figures():
            recorded = load_recorded(RECORDED)
            text = replace_section(REPORT.read_text(encoding="utf-8"), SECTION, section(recorded))
            plots.draw_recovery(all_series(recorded.figures), RECORDED / RECOVERY_PLOT)
            if storm := first_storm(recorded.figures):
                plots.draw_storm(storm, RECORDED / STORM_PLOT)
            summary = one_line_summary(recorded)
        REPORT.write_text(text, encoding="utf-8")
        RELIABILITY_SUMMARY.write_text(f"{summary}\n", encoding="utf-8")
    except (OSError, ReliabilityReportError, MarkdownError) as error:
        print(f"no report: {error}", file=sys.stderr)
        return EXIT_NO_TARGET
    return EXIT_HOLDS


def section(recorded: RecordedExperiments) -> str:
    """Return the whole section in Markdown."""
    figures = recorded.figures
    blocks = [
        "## Reliability",
        _summary(recorded),
        "### What was broken, and what was lost",
        _losses(recorded),
        *_reasons(recorded),
        "### Goals",
        _goals(figures),
        "### Recovery, step by step",
        _steps(figures),
        _connections(figures),
        _ends(figures),
        f"![Recovery times after every fault, a dot each, with medians and goals]"
        f"(report/chaos/{RECOVERY_PLOT})",
        *_storm(figures),
        *_hostile_feed(figures),
        *_slow_consumers(figures),
        "### How, and on what",
        _method(recorded.recording),
    ]
    return "\n\n".join(block for block in blocks if block)


def _summary(recorded: RecordedExperiments) -> str:
    experiments = recorded.recording["experiments"]
    holding = sum(entry["exit_code"] == EXIT_HOLDS for entry in experiments)
    judgements = Counter(series.judgement for series in goal_series(recorded.figures))
    reached, missed = judgements[REACHED], judgements[MISSED]
    return (
        f"The hypothesis of **{holding} of {len(experiments)}** experiments holds, and **{reached} "
        f"of {reached + missed}** goals for recovery times are reached. Each experiment breaks a "
        "running stack repeatedly, waits for the recovery, and has a judge check "
        "all records: the tape as an independent client received it, the price book, "
        "the ledger and the logs. Recorded "
        f"on {recorded.recording['began_utc'][:10]}; every number in this section comes from "
        "[report/chaos](report/chaos)."
    )


def one_line_summary(recorded: RecordedExperiments) -> str:
    """Summarize the behaviour under dropped connections, for the report's first page."""
    figures = recorded.figures
    said = []
    cases = figures.get("cut_connection", {}).get("cases", [])
    for goal_ns, notice in goal_classes(cases):
        cuts = cuts_of(cases, goal_ns)
        how = "whose client is notified" if notice == NOTIFIED else "that only falls silent"
        median_ms, _, longest_ms = cells(times_of(cuts, "reconnection_ns"))
        said.append(
            f"a cut connection {how} is back after {median_ms} ms (median of {len(cuts)}, at most "
            f"{longest_ms} ms)"
        )
    for series in recovery_series(figures):
        if series.what == "SIGKILL of gateway" and series.times_ns:
            said.append(f"a killed gateway's ticks flow again after {cells(series.times_ns)[0]} ms")
    counts = Counter[str]()
    for one in figures.values():
        counts.update(one["orders"])
        counts.update(one["ticks_at_book"])
    said.append(
        f"in {len(figures)} experiments {counts['lost']} of {counts['sent']} orders were lost and "
        f"{counts['doubled']} doubled, and the price book missed {counts['missed']} ticks"
    )
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _losses(recorded: RecordedExperiments) -> str:
    rows = []
    for entry in recorded.recording["experiments"]:
        name, command = entry["name"], f"`{entry['command']}`"
        figures = recorded.figures.get(name)
        if figures is None:
            rows.append([command, f"no figures: exit code {entry['exit_code']}", "**no**"])
            continue
        orders = figures["orders"]
        rows.append(
            [
                command,
                figures["title"],
                "yes" if figures["holds"] else "**no**",
                *(_triple(figures[where]) for where in ("ticks_at_book", "ticks_at_strategy")),
                *(str(orders[what]) for what in OrderCounts._fields),
            ]
        )
    heading = [
        "experiment", "what is done", "holds", "ticks at the book", "ticks at the strategy",
        "orders sent", *OrderCounts._fields[1:],
    ]  # fmt: skip
    return (
        table(heading, rows, right_from=3)
        + "\n\nTicks: missed / repeated / out of order. A strategy that was itself ended reports "
        "the ticks of its downtime as missed, by number; it does not trade on them late. An order "
        "that reaches the order manager too late is rejected as expired: it is neither lost nor "
        "filled. Orders that a strategy sent and that were never read because it was ended are "
        "discarded: the new instance decides again."
    )


def _triple(ticks: dict[str, int]) -> str:
    return " / ".join(str(ticks[what]) for what in ("missed", "repeated", "out_of_order"))


def _reasons(recorded: RecordedExperiments) -> Iterable[str]:
    lines = [
        f"- `{name}`: {reason}"
        for name, figures in recorded.figures.items()
        for reason in figures["reasons"]
    ]
    if lines:
        yield "What does not hold:\n\n" + "\n".join(lines)


def _goals(figures: dict[str, Figures]) -> str:
    rows = [
        [
            series.what,
            series.step,
            str(len(series.times_ns)),
            *cells(series.times_ns),
            milliseconds(series.goal_ns),
            series.judgement,
        ]
        for series in goal_series(figures)
    ]
    heading = ["after", "time (ms) to", "n", "median", "p90", "max", "goal", "reached"]
    return (
        table(heading, rows, right_from=2)
        + f"\n\nA goal applies to the median of at least {GOAL_ROUNDS} times; with fewer, it "
        f"counts as missed if each of at least {ENOUGH_MISSES} is above it. p90 is the nearest "
        "rank."
    )


def _steps(figures: dict[str, Figures]) -> str:
    rows = [
        [what, str(len(rounds)), *(_spread(rounds, step) for _, step in STEPS)]
        for what, rounds in recoveries(figures)
    ]
    heading = ["after", "n", *(label for label, _ in STEPS)]
    return (
        "Milliseconds since the fault: median / p90 / max, with the count in parentheses if a step "
        "is not part of every recovery. `chaos/lab/figures.py` defines each step and how it is "
        "measured.\n\n" + table(heading, rows, right_from=1)
    )


def _spread(rounds: Sequence[Figures], figure: str) -> str:
    times_ns = times_of(rounds, figure)
    if not times_ns:
        return "-"
    of = "" if len(times_ns) == len(rounds) else f" ({len(times_ns)})"
    return " / ".join(cells(times_ns)) + of


def _connections(figures: dict[str, Figures]) -> str:
    cases = figures.get("cut_connection", {}).get("cases", [])
    rows = []
    for goal_ns, notice in [*goal_classes(cases), (None, "need not notice")]:
        for stream in dict.fromkeys(case["stream"] for case in cases):
            cuts = cuts_of(cases, goal_ns, stream)
            if not cuts:
                continue
            spreads = [_spread(cuts, figure) for figure in ("detection_ns", "reconnection_ns")]
            rows.append([stream, notice, str(len(cuts)), *spreads, milliseconds(goal_ns)])
    if not rows:
        return ""
    heading = ["connection", "its client is", "n", "detection", "reconnection", "goal"]
    return (
        "A cut connection, in the same format. If the client is not notified, or only when it "
        "sends an order, times count from when something was due to it:\n\n"
        + table(heading, rows, right_from=2)
    )


def _ends(figures: dict[str, Figures]) -> str:
    """Return the table of other times: of the end of supervisord, and of a crash loop."""
    times: list[tuple[str, str, list[int]]] = []
    if everything := figures.get("kill_everything"):
        departures = [killed["departure"] for killed in everything["supervisord_killed"]]
        for figure in dict.fromkeys(figure for departure in departures for figure in departure):
            label = f"{figure.removesuffix('_ns').replace('_', ' ')} gone"
            times.append(("SIGKILL of supervisord", label, times_of(departures, figure)))
    if loop := figures.get("crash_loop"):
        for label, figure in (
            ("supervisord gives up", "fatal_ns"),
            ("the watchdog logs it, from then on", "told_ns"),
        ):
            what = f"{loop['role']} that dies at every start"
            times.append((what, label, times_of(loop["rounds"], figure)))
    if not times:
        return ""
    rows = [[what, label, str(len(ns)), *cells(ns)] for what, label, ns in times]
    heading = ["after", "time (ms) until", "n", "median", "p90", "max"]
    return table(heading, rows, right_from=2)


def first_storm(figures: dict[str, Figures]) -> Figures | None:
    """Return the storm to show: the first one."""
    storms = figures.get("storm", {}).get("storms", [])
    return storms[0] if storms else None


def _storm(figures: dict[str, Figures]) -> Iterable[str]:
    storm = first_storm(figures)
    if storm is None:
        return
    yield "### A storm"
    stale_ns = [stretch["length_ns"] for stretch in storm["stale"]]
    steady_ns = storm["steady_ns"] - storm["last_gust_ns"]
    minutes, seed = figures["storm"]["minutes"], figures["storm"]["seed"]
    yield (
        f"Random faults for {minutes:g} min, by seed {seed}, one after another and overlapping. "
        f"Meanwhile the strategy evaluated {sum(storm['evaluated_per_s'])} ticks and sent "
        f"{sum(storm['orders_per_s'])} orders; the longest time without a tick was "
        f"{max(stale_ns, default=0) / SECOND_NS:.1f} s, and the stack was steady "
        f"{steady_ns / SECOND_NS:.1f} s after the last fault. A fault is skipped if the role is "
        "down or has just started."
    )
    yield f"![The faults of the storm, ticks and orders over time](report/chaos/{STORM_PLOT})"
    victims: dict[str, Counter[str]] = {kind: Counter() for kind in storm["skipped"]}
    for fault in storm["gusts"]:
        victims.setdefault(fault["kind"], Counter())[fault["victim"]] += 1
    rows = [
        [
            FaultKind[kind.upper()],
            str(victims[kind].total()),
            str(storm["skipped"].get(kind, 0)),
            ", ".join(f"{victim} {times}" for victim, times in sorted(victims[kind].items())),
        ]
        for kind in sorted(victims, key=lambda kind: list(FaultKind).index(FaultKind[kind.upper()]))
    ]
    yield table(["fault", "done", "skipped", "to"], rows, right_from=4)


def _hostile_feed(figures: dict[str, Figures]) -> Iterable[str]:
    defects = figures.get("corrupt_feed", {}).get("harms", [])
    if not defects:
        return
    titles = {kind.__name__: kind.title for kind in DEFECTS}
    rows = []
    for kind in dict.fromkeys(one["harm"] for one in defects):
        found = [one for one in defects if one["harm"] == kind]
        counted_as = found[0]["counted_as"]
        counts = [
            str(sum(one[whose]["counts"].get(counted_as, 0) for one in found))
            for whose in ("sent", "counted")
        ]
        rows.append(
            [
                titles.get(kind, kind),
                str(sum(one["done"] for one in found)),
                *([f"`{counted_as}`", *counts] if counted_as else ["nothing", "-", "-"]),
                cells(times_of(found, "recovery_ns"))[2],
            ]
        )
    yield "### A corrupt feed"
    yield "The defects that a hostile gateway injects, and what the orderbook counts them as."
    heading = ["defect", "done", "counted as", "expected", "counted", "longest recovery (ms)"]
    yield table(heading, rows, right_from=3)


def _slow_consumers(figures: dict[str, Figures]) -> Iterable[str]:
    rounds = figures.get("slow_consumer", {}).get("rounds", [])
    if not rounds:
        return
    rows = [
        [label, *(cells(times_of([one[when] for one in rounds], wait))[2] for when in WINDOWS)]
        for wait, label in LABELS.items()
    ]
    yield "### Clients that stop reading"
    yield "Their effect on others: the longest time in any round, in milliseconds."
    yield table(["longest time", "without them", "with them"], rows, right_from=1)


def _method(recording: dict[str, Any]) -> str:
    machine, software = recording["machine"], recording["software"]
    cores = f"{machine['cores']} {'virtual ' if machine['virtual'] else ''}cores"
    took_s = sum(entry["took_s"] for entry in recording["experiments"])
    rows = [
        ["recorded", f"{recording['began_utc'][:19]} to {recording['ended_utc'][:19]} UTC"],
        ["with", f"`make chaos` ({took_s / 60:.1f} minutes)"],
        ["processor", f"{machine['cpu']}, {cores}, {machine['memory_gib']} GiB of memory"],
        ["system", machine["kernel"]],
        ["load before", f"{machine['load_average']}"],
        ["software", ", ".join(f"{name} {version}" for name, version in software.items())],
    ]
    return (
        table(["", ""], rows, right_from=2)
        + "\n\nEvery experiment runs on a private stack with the settings of `etc/trading.toml`, "
        "one after the other. The times come from an independent observer, which polls the logs "
        "and the strategy's state file every few milliseconds, so a time may be late by that much. "
        "Observer and judge share the cores with the stack.\n\n"
        "Limits of these figures: virtual cores are shared with other machines, which may cause "
        "the longest times. SIGKILL ends a process, not a machine: data that was written but not "
        "yet synced survives it, so these figures do not cover a power loss. All connections use "
        "the loopback: no network loses or delays packets."
    )
