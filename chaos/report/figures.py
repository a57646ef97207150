"""Everything that the templates show of the experiments, by the name that they use. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from chaos.faults.hostile_gateway import DEFECTS
from chaos.lab.experiment import EXIT_HOLDS, GOAL_ROUNDS, cells
from chaos.lab.figures import OrderCounts
from chaos.lab.recovery import STEPS
from chaos.report.cluster import cluster_figures
from chaos.report.recorded import Figures, RecordedExperiments
from chaos.report.series import (
    ENOUGH_MISSES,
    LARGE_TAPE_SHARE,
    MISSED,
    REACHED,
    connection_series,
    cut_cases,
    cuts_of,
    goal_classes,
    goal_series,
    recoveries,
    recovery_series,
    streams_of,
    times_of,
)
from chaos.slow_consumer import LABELS
from chaos.storms.planned_faults import FaultKind
from lib.clock import SECOND_NS
from lib.reports.machine import processor
from lib.streams.stream_client import SILENCE_LIMIT_NS


def chaos_figures(recorded: RecordedExperiments) -> dict[str, Any]:
    """Return the figures of all pages. Raises KeyError if the recording lacks one."""
    recording, figures = recorded.recording, recorded.figures
    goals = goal_series(figures)
    judged = [series.judgement for series in goals if series.judgement in (REACHED, MISSED)]
    entries = [(entry, figures.get(entry["name"])) for entry in recording["experiments"]]
    cases, storm, loop = cut_cases(figures), first_storm(figures), figures.get("crash_loop")
    return {
        "recording": recording,
        "machine": processor(recording["machine"]),
        "took_s": sum(entry["took_s"] for entry, _ in entries),
        # the answers
        "holding": sum(entry["exit_code"] == EXIT_HOLDS for entry, _ in entries),
        "cuts": connection_series(figures, pooled=True),
        "gateway_kills": [
            series
            for series in recovery_series(figures)
            if (series.experiment, series.role) == ("drop_gateway", "gateway")
        ],
        "totals": totals(figures),
        "withheld": len(withheld(figures)),
        "missed_by_strategy": sum(one["ticks_at_strategy"]["missed"] for one in figures.values()),
        "silence_limit_ns": SILENCE_LIMIT_NS,
        "goals": goals,
        "unjudged": [one for one in goals if one.judgement not in (REACHED, MISSED)],
        "reached": judged.count(REACHED),
        "judged": len(judged),
        "large_tape": any("tape_ticks" in one for one in figures.values()),
        "large_tape_share": LARGE_TAPE_SHARE,
        "goal_rounds": GOAL_ROUNDS,
        "enough_misses": ENOUGH_MISSES,
        # the tables
        "experiments": entries,
        "order_counts": OrderCounts._fields,
        "steps": [label for label, _ in STEPS],
        "recoveries": recovery_rows(figures),
        "cut_groups": cut_groups(cases),
        "cases": cases,
        "notices": dict(goal_classes(cases)),
        "departures": departures(figures),
        "crash_loop": loop,
        "given_up": spread(loop["rounds"], "fatal_ns") if loop else None,
        "logged": spread(loop["rounds"], "told_ns") if loop else None,
        "storm": storm,
        "storm_experiment": figures.get("storm"),
        "storm_rows": storm_rows(storm) if storm else [],
        "longest_stale_ns": max(times_of(storm["stale"], "length_ns"), default=0) if storm else 0,
        "second_ns": SECOND_NS,
        "defects": defect_rows(figures),
        "waits": wait_rows(figures),
        "removals": figures.get("vanish", {}).get("removals", []),
        "planted": planted_rows(figures),
        "cluster": cluster_figures(recorded.cluster),
    }


def totals(figures: dict[str, Figures]) -> Counter[str]:
    """Return what happened to orders, and to ticks at the price book, in all experiments."""
    counts = Counter[str]()
    for one in figures.values():
        counts.update(one["orders"] | one["ticks_at_book"])
    return counts


def withheld(figures: dict[str, Figures]) -> set[int]:
    """Return the ticks that the corrupt feed kept out of the price book, by sequence number."""
    defects = figures.get("corrupt_feed", {}).get("harms", [])
    return {tick for one in defects for ticks in one["sent"]["numbers"].values() for tick in ticks}


def spread(rounds: Sequence[Figures], figure: str) -> str:
    """Return median, p90 and maximum in ms, and of how many rounds if not all have the time."""
    times_ns = times_of(rounds, figure)
    if not times_ns:
        return "-"
    of = "" if len(times_ns) == len(rounds) else f" ({len(times_ns)})"
    return " / ".join(cells(times_ns)) + of


def recovery_rows(figures: dict[str, Figures]) -> list[tuple[str, int, list[str]]]:
    """Return of each fault of processes: its title, how many rounds, the spread of each step."""
    return [
        (one.what, len(one.rounds), [spread(one.rounds, step) for _, step in STEPS])
        for one in recoveries(figures)
    ]


def cut_groups(cases: Sequence[Figures]) -> list[tuple[Any, ...]]:
    """Return the cuts by how their clients notice (None: they need not), and by connection.

    Of each: stream, notice, how many, spread of detection and reconnection, and goal in ns.
    """
    return [
        (
            stream,
            notice,
            len(cuts),
            spread(cuts, "detection_ns"),
            spread(cuts, "reconnection_ns"),
            goal_ns,
        )
        for goal_ns, notice in [*goal_classes(cases), (None, None)]
        for stream in streams_of(cases)
        if (cuts := cuts_of(cases, goal_ns, stream))
    ]


def departures(figures: dict[str, Figures]) -> list[tuple[str, int, str]]:
    """Return after how long each thing was gone in how many ends of supervisord."""
    killed = figures.get("kill_everything", {}).get("supervisord_killed", [])
    found = [one["departure"] for one in killed]
    return [
        (name.removesuffix("_ns").replace("_", " "), len(found), spread(found, name))
        for name in (found[0] if found else ())
    ]


def first_storm(figures: dict[str, Figures]) -> Figures | None:
    """Return the storm to show: the first one."""
    storms = figures.get("storm", {}).get("storms", [])
    return storms[0] if storms else None


def storm_rows(storm: Figures) -> list[tuple[FaultKind, int, int, list[tuple[str, int]]]]:
    """Return of each kind of fault how often it was done and skipped, and its victims."""
    rows = []
    for kind in FaultKind:
        name = kind.name.lower()
        victims = Counter(fault["victim"] for fault in storm["gusts"] if fault["kind"] == name)
        if victims or name in storm["skipped"]:
            skipped = storm["skipped"].get(name, 0)
            rows.append((kind, victims.total(), skipped, sorted(victims.items())))
    return rows


def defect_rows(figures: dict[str, Figures]) -> list[tuple[Any, ...]]:
    """Return of each kind of defect: title, times, event, its expected and real count, worst ns."""
    defects = figures.get("corrupt_feed", {}).get("harms", [])
    titles = {kind.__name__: kind.title for kind in DEFECTS}
    rows = []
    for kind in dict.fromkeys(one["harm"] for one in defects):
        found = [one for one in defects if one["harm"] == kind]
        event = found[0]["counted_as"]
        expected, counted = (
            sum(one[whose]["counts"].get(event, 0) for one in found)
            for whose in ("sent", "counted")
        )
        done = sum(one["done"] for one in found)
        longest_ns = max(times_of(found, "recovery_ns"), default=None)
        rows.append((titles.get(kind, kind), done, event, expected, counted, longest_ns))
    return rows


def wait_rows(figures: dict[str, Figures]) -> list[tuple[str, int, int]]:
    """Return the longest waits of each kind, without and beside clients that stop reading."""
    rounds = figures.get("slow_consumer", {}).get("rounds", [])
    return [
        (label, *(max(one[when][wait] for one in rounds) for when in ("without", "beside")))
        for wait, label in (LABELS.items() if rounds else ())
    ]


def planted_rows(figures: dict[str, Figures]) -> list[tuple[str, str, str, str]]:
    """Return of each thing that another user planted: where, what, when, and what became of it."""
    return [
        (one["file"], one["kind"], one["when"], one["trouble"] or one["outcome"])
        for one in figures.get("plant", {}).get("planted", [])
    ]
