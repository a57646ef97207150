"""The report in the repository is what the recorded figures give, and its tables hold them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest

from bench.measure.side_by_side import STACK
from bench.report.comparison import FLOORS
from bench.report.recorded import CLUSTER_RESULTS, RESULTS, WATCHED_RESULTS, load_bench
from chaos.lab.experiment import GOAL_ROUNDS
from chaos.report.recorded import RECORDING, RecordedExperiments, load_recorded
from chaos.slow_consumer import LABELS
from chaos.storms.planned_faults import FaultKind
from lib.reports.machine import processor
from lib.reports.units import digits, megabytes, millions, ms, percent, time_of, times, us, whole
from lib.stack.supervisord_configuration import read_configuration
from report import __main__ as report
from report.__main__ import FIGURES, PAGES, main, outdated_figures, pages
from tests.recordings import (
    NO_CLUSTER_MEASURED,
    NOTHING_MEASURED,
    cluster_recording,
    recorded_bench,
    recording,
)

FRONT = "performance_report.md"
SPEED = "details-speed.md"
RELIABILITY = "details-reliability.md"
CLUSTER = "details-cluster.md"
MOST_LINES = 100
QUESTIONS = ["Latency", "Throughput", "Memory", "Dropped connections"]
RECORDED_CHAOS = load_recorded(FIGURES / "chaos")
NOT_HOLDING = ("drop_strategy", "crash_loop")
BROKEN = RecordedExperiments(
    RECORDED_CHAOS.recording
    | {
        "experiments": [
            entry | {"exit_code": int(entry["name"] in NOT_HOLDING)}
            for entry in RECORDED_CHAOS.recording["experiments"]
        ]
    },
    {name: found for name, found in RECORDED_CHAOS.figures.items() if name != "crash_loop"}
    | {
        "drop_strategy": RECORDED_CHAOS.figures["drop_strategy"]
        | {
            "holds": False,
            "reasons": ["5 orders were lost"],
            "goal": {"figure": "order_possible_ns", "limit_ns": 1},
            "ticks_at_book": {"missed": 3, "repeated": 2, "out_of_order": 1},
            "orders": {"sent": 40, "lost": 5, "doubled": 6, "expired": 7, "discarded": 8},
        }
    },
)
"""The recorded experiments with one that does not hold, and without the figures of another."""


BENCH_FIGURES: dict[str, Any] = json.loads((FIGURES / "bench" / RESULTS).read_bytes())
CHAOS_FIGURES: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_bytes()) for file in FIGURES.glob("chaos/*.json")
}
"""The recorded figures, of the bench and of each experiment, as plain JSON."""


# The report in the repository


@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_the_repository_is_the_one_that_the_recorded_figures_give(name):
    texts = pages(load_bench(FIGURES / "bench"), load_recorded(FIGURES / "chaos"))

    assert (PAGES[name] / name).read_text(encoding="utf-8") == texts[name]


@pytest.mark.parametrize("name", PAGES)
def test_every_row_of_a_table_has_a_cell_for_each_column(name):
    for text in (read(name), pages(recorded_bench(), BROKEN)[name]):
        blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
        assert blocks or "not measured" in text
        for block in blocks:
            heading, *rows = [len(cells(line)) for line in block.splitlines()]
            assert len(rows) > 1
            assert set(rows) == {heading}


def test_the_first_page_is_short_and_answers_four_questions_with_machine_and_day():
    bench, chaos = map(machine_and_day, (BENCH_FIGURES, CHAOS_FIGURES["recording"]))
    watched = json.loads((FIGURES / "bench" / WATCHED_RESULTS).read_bytes())
    answers = table(read(FRONT), "question")

    assert len(read(FRONT).splitlines()) <= MOST_LINES
    assert list(dict.fromkeys(row["question"] for row in answers)) == QUESTIONS
    assert all(row["measured"] not in ("", "-") for row in answers)
    introduction = read(FRONT).partition("\n| ")[0]
    assert (bench in introduction, chaos in introduction) == (True, True)
    assert (bench in read(SPEED), chaos in read(RELIABILITY)) == (True, True)
    assert machine_and_day(watched) in read("details-dashboard.md")


def machine_and_day(recorded: dict[str, Any]) -> str:
    return f"{processor(recorded['machine'])}, {recorded['began_utc'][:10]}"


def test_the_tables_about_speed_hold_the_figures_of_the_recorded_json():
    text = read(SPEED)
    rows = [
        *(
            f"sent to decision | {whole(one['ticks'])} | {whole(one['missed'])} | "
            f"{quantiles(one['from_sent'])}"
            for one in BENCH_FIGURES["tick_to_decision"]
        ),
        *(
            f"| {whole(one['symbols'])} | {one['strategies']} | "
            f"{millions(one['ticks_per_s']) if one['ticks_per_s'] else 'none held'} |"
            for one in BENCH_FIGURES["throughput"]
        ),
        *(
            f" | {whole(trial['published'])} | {whole(trial['evaluated'])} | "
            f"{'yes' if trial['held'] else 'no: ' + trial['why']} |"
            if trial["published"]
            else f" | - | - | - | aborted: {trial['why']} |"
            for one in BENCH_FIGURES["throughput"]
            for trial in one["trials"]
        ),
        *(
            f"| `{one['name']}` | {whole(one['symbols'])} | {digits(one['ns_per_call'])} |"
            for one in BENCH_FIGURES["calls"]
        ),
        *(
            f"| {whole(one['orders'])} | {whole(one['orders'] / one['seconds'])} | "
            f"{quantiles(one['answer'])}"
            for one in BENCH_FIGURES["orders"]
        ),
        *(f"| {whole(one['measured_bytes'])} |" for one in BENCH_FIGURES["segments"]),
        *(
            f"| {one['kind']} | {whole(one['rows'])} | {megabytes(one['file_bytes'])} | "
            f"{millions(one['rows'] / one['seconds'])} | {megabytes(one['peak_bytes'])} |"
            for one in BENCH_FIGURES.get("prepared_files", [])
        ),
        *(
            f"| {one['role']} | {percent(one['cpu_share'])}, {megabytes(one['resident_bytes'])} |"
            for one in BENCH_FIGURES["at_rest"]
        ),
    ]
    assert [row for row in rows if row not in text] == []
    for one in BENCH_FIGURES["stages"]:
        shown = columns(text, "stage", "stage", "ticks a batch", f"{whole(one['symbols'])} symbols")
        [cell] = [cell for *key, cell in shown if key == [one["name"], whole(one["batch_ticks"])]]
        assert cell.startswith(f"{digits(one['ns_per_tick'])} (")
    stack = full_speed(STACK)
    for label, over in columns(text, "", "", "stack over it"):
        speed = full_speed(STACK if label == "**Tradewire**" else label)
        assert over == (times(stack / speed) if stack and speed else "-")


def quantiles(latency: dict[str, int]) -> str:
    least = {"p50": 1, "p90": 1, "p99": 100, "p999": 1_000, "max": 1}
    shown = [
        us(latency[f"{which}_ns"]) if latency["count"] >= samples else "-"
        for which, samples in least.items()
    ]
    return f"{' | '.join(shown)} |"


def test_the_answers_are_the_figures_of_the_recorded_json():
    def latency(rate: float, which: str) -> str:
        [sent] = [
            one[which]
            for one in BENCH_FIGURES["tick_to_decision"]
            if (one["symbols"], one["strategies"], one["rate"]) == (4, 1, rate)
        ]
        return f"{time_of(sent['p50_ns'])}, {time_of(sent['p99_ns'])}"

    def beside_alternatives(quantile: str) -> str:
        medians = {
            name: median(
                hop["latency"][quantile]
                for hop in BENCH_FIGURES["hops"]
                if (hop["name"], hop["rate"]) == (name, 2_000)
            )
            for name in {hop["name"] for hop in BENCH_FIGURES["hops"]}
            if FLOORS not in name
        }
        return f"{time_of(medians.pop(STACK))}, {time_of(min(medians.values()))}"

    def median_and_longest(times_ns: list[int]) -> str:
        return f"{time_of(median(times_ns))}, {time_of(max(times_ns))}"

    [alone] = [one["answer"] for one in BENCH_FIGURES["orders"] if one["under_way"] == 1]
    [many] = [one for one in BENCH_FIGURES["orders"] if one["clients"] == 4]
    [fastest] = [
        one["ticks_per_s"]
        for one in BENCH_FIGURES["throughput"]
        if (one["symbols"], one["strategies"]) == (100, 1)
    ]
    [segment] = [one["measured_bytes"] for one in BENCH_FIGURES["segments"] if one["symbols"] == 4]
    cuts: dict[int, list[int]] = {}
    for case in CHAOS_FIGURES["cut_connection"]["cases"]:
        if case["goal_ns"]:
            times_ns = [cut["reconnection_ns"] for cut in case["cuts"]]
            cuts[case["goal_ns"]] = [*cuts.get(case["goal_ns"], []), *times_ns]
    judged = [one for one in CHAOS_FIGURES.values() if "orders" in one]
    lost, doubled = (sum(one["orders"][what] for one in judged) for what in ("lost", "doubled"))
    killed = [
        [one["fresh_tick_ns"] for one in CHAOS_FIGURES[name]["rounds"]]
        for name in ("drop_gateway", "drop_gateway_large_tape")
        if name in CHAOS_FIGURES
    ]

    assert [row["measured"] for row in table(read(FRONT), "question")] == [
        latency(2_000, "from_sent"),
        latency(200_000, "from_sent"),
        beside_alternatives("p50_ns"),
        beside_alternatives("p99_ns"),
        latency(2_000, "to_report"),
        f"{time_of(alone['p50_ns'])}, {time_of(alone['p99_ns'])}",
        f"{millions(fastest)} million ticks/s",
        f"{whole(many['orders'] / many['seconds'])} orders/s",
        f"{megabytes(segment)} MB",
        f"{megabytes(max(one['resident_bytes'] for one in BENCH_FIGURES['at_rest']))} MB",
        *(median_and_longest(cuts[goal_ns]) for goal_ns in sorted(cuts)),
        *map(median_and_longest, killed),
        f"{lost}, {doubled}",
        *(
            whole(sum(one[where]["missed"] for one in judged))
            for where in ("ticks_at_book", "ticks_at_strategy")
        ),
    ]


def test_the_tables_about_a_cluster_hold_the_figures_of_the_recorded_json():
    recorded = FIGURES / "bench" / CLUSTER_RESULTS
    if not recorded.exists():
        pytest.skip("no cluster is recorded: make cluster-bench")
    figures, text = json.loads(recorded.read_bytes()), read(CLUSTER)
    rows = [
        *(
            f"| sent to decision | {whole(one['ticks'])} | {quantiles(one['from_sent'])}"
            for one in figures["tick_to_decision"]
        ),
        *(
            f"| sent to subscriber | {whole(one['messages'])} | {quantiles(one['to_subscriber'])}"
            for one in figures["tick_messages"]
        ),
        *(
            f"| {whole(one['orders'])} | {whole(one['orders'] / one['seconds'])} | "
            f"{quantiles(one['answer'])}"
            for one in (*figures["orders"], *figures["orders_beside"])
        ),
        *(
            f"| {whole(trial['published'])} | {whole(trial['evaluated'])} |"
            for one in figures["throughput"]
            for trial in one["trials"]
            if trial["published"]
        ),
        *(
            f"| {one['subscribers']} | {whole(one['messages'] / one['seconds'])} |"
            for one in figures["subscriber_loads"]
        ),
    ]
    assert rows
    assert [row for row in rows if row not in text] == []
    assert machine_and_day(figures).rpartition(", ")[0] in text
    assert figures["began_utc"][:10] in text


def test_the_tables_about_reliability_hold_the_figures_of_the_recorded_json():
    text = read(RELIABILITY)
    medians = {row["after"]: row["median"] for row in table(read(FRONT), "after")}
    [storm] = CHAOS_FIGURES["storm"]["storms"]
    waits = CHAOS_FIGURES["slow_consumer"]["rounds"]

    shown = ("experiment", "hypothesis", "orders sent", "lost", "doubled")
    assert columns(text, "experiment", *shown) == [
        (
            f"`{entry['command']}`",
            found["hypothesis"],
            *(str(found["orders"][what]) for what in ("sent", "lost", "doubled")),
        )
        for entry in CHAOS_FIGURES["recording"]["experiments"]
        for found in [CHAOS_FIGURES[entry["name"]]]
    ]
    not_judged = section(read(FRONT), "Reliability").partition("not judged: ")[2].splitlines()[0]
    for one in CHAOS_FIGURES.values():
        if one.get("goal"):
            times_ns = [found[one["goal"]["figure"]] for found in one["rounds"]]
            if len(times_ns) >= GOAL_ROUNDS:
                assert medians[one["fault"]] == ms(median(times_ns))
            else:
                assert (one["fault"] in medians, one["fault"] in not_judged) == (False, True)
    cut_connections = section(text, "Cut connections").partition("Every cut")[2]
    assert [time for (time,) in columns(cut_connections, "connection", "reconnection")] == [
        "-" if cut["reconnection_ns"] is None else ms(cut["reconnection_ns"])
        for case in CHAOS_FIGURES["cut_connection"]["cases"]
        for cut in case["cuts"]
    ]
    for kind, done, skipped in columns(text, "fault", "fault", "done", "skipped"):
        name = FaultKind(kind).name.lower()
        assert done == str(sum(fault["kind"] == name for fault in storm["gusts"]))
        assert skipped == str(storm["skipped"].get(name, 0))
    assert columns(text, "defect", "done", "longest recovery (ms)") == [
        (str(one["done"]), ms(one["recovery_ns"])) for one in CHAOS_FIGURES["corrupt_feed"]["harms"]
    ]
    assert columns(text, "longest time", "longest time", "without them", "with them") == [
        (label, *(ms(max(one[when][wait] for one in waits)) for when in ("without", "beside")))
        for wait, label in LABELS.items()
    ]


# Made-up figures


@pytest.mark.parametrize("made", [recording(), NOTHING_MEASURED, recording(quick=True)])
def test_what_was_not_measured_leaves_no_hole_in_the_pages(made):
    texts = pages(recorded_bench(made), BROKEN)

    for text in texts.values():
        assert "None" not in text
        assert "\n\n\n" not in text
    rows = table(texts[FRONT], "question")
    assert list(dict.fromkeys(row["question"] for row in rows)) == QUESTIONS
    assert (rows[0]["measured"] == "not measured") == (made is NOTHING_MEASURED)
    assert all(gap in texts[FRONT] for gap in made.gaps)
    assert ("quick run" in texts[FRONT]) == made.quick


@pytest.mark.parametrize("made", [NO_CLUSTER_MEASURED, cluster_recording(orders=[]), None])
def test_what_was_not_measured_of_a_cluster_leaves_no_hole_in_its_page(made):
    figures = replace(recorded_bench(), cluster=made)
    texts = pages(figures, BROKEN)

    assert ("`make cluster-bench`" in texts[CLUSTER], "None" in texts[CLUSTER]) == (True, False)
    assert "\n\n\n" not in texts[CLUSTER]
    assert "not measured" in texts[CLUSTER].lower()
    assert ("of many hosts: " in texts[FRONT]) == (made is not None)
    assert all(gap in texts[CLUSTER] for gap in (made.gaps if made else []))


def test_an_experiment_that_does_not_hold_is_on_the_first_page_with_its_reasons():
    texts = pages(recorded_bench(), BROKEN)
    front, entries = texts[FRONT], BROKEN.recording["experiments"]

    targets, holding, goals = re.findall(r"\*\*(\d+) of (\d+)\*\*", front)
    judged = [row["reached"] for row in table(front, "after")]
    assert targets == ("15", "15")
    assert holding == (str(len(entries) - len(NOT_HOLDING)), str(len(entries)))
    assert goals == (str(judged.count("yes")), str(len(judged)))
    assert "**no**" in judged
    assert "5 orders were lost" in front
    assert "chaos/crash_loop.py" in front
    shown = columns(texts[RELIABILITY], "experiment", "experiment", "holds")
    assert [name for name, holds in shown if holds == "**no**"] == [
        f"`{entry['command']}`" for entry in entries if entry["exit_code"]
    ]
    lost, missed, _ = (row["measured"] for row in table(front, "question")[-3:])
    assert (lost, missed) == ("5, 6", "3")


# From files to files


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A directory in the place of `report`, with made-up figures in it."""
    pytest.importorskip("matplotlib", reason="plots need matplotlib: requirements-bench.txt")
    bench, chaos = recorded_bench(), BROKEN
    for name, content in (
        (f"bench/{RESULTS}", bench.recording),
        (f"bench/{WATCHED_RESULTS}", bench.watched),
        (f"bench/{CLUSTER_RESULTS}", bench.cluster),
        (f"chaos/{RECORDING}", chaos.recording),
        *((f"chaos/{name}.json", found) for name, found in chaos.figures.items()),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(msgspec.json.encode(content))
    monkeypatch.setattr(report, "FIGURES", tmp_path)
    monkeypatch.setattr(report, "PAGES", dict.fromkeys(PAGES, tmp_path))
    monkeypatch.setattr("sys.argv", ["report"])
    return tmp_path


def written(directory: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in directory.rglob("*.*") if file.is_file()}


@pytest.mark.parametrize("made", [recording(), NOTHING_MEASURED])
def test_the_same_figures_give_the_same_pages_and_plots_to_the_byte(made, elsewhere, capsys):
    (elsewhere / "bench" / RESULTS).write_bytes(msgspec.json.encode(made))

    assert main() == report.EXIT_OUTDATED
    once = written(elsewhere)
    assert main() == report.EXIT_OUTDATED

    assert written(elsewhere) == once
    assert sum(name.endswith(".svg") for name in once) == 5
    assert sum(name.endswith(".md") for name in once) == len(PAGES)
    assert "`make bench`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (f"bench/{RESULTS}", "make bench"),
        (f"bench/{WATCHED_RESULTS}", "make watched"),
        (f"bench/{CLUSTER_RESULTS}", "make cluster-bench"),
        (f"chaos/{RECORDING}", "make chaos"),
    ],
)
@pytest.mark.parametrize("content", ["{", "{}", None])
def test_figures_that_cannot_be_read_leave_everything_as_it_is(
    name, command, content, elsewhere, capsys
):
    if content is None and name.endswith(CLUSTER_RESULTS):
        pytest.skip("a cluster need not be recorded")
    (elsewhere / name).unlink()
    if content is not None:
        (elsewhere / name).write_text(content)
    before = written(elsewhere)

    assert main() == report.EXIT_NOT_WRITTEN

    assert written(elsewhere) == before
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("no report: ")
    assert f"`{command}`" in line or f"{Path(name).name} is no JSON" in line


def test_the_recorded_figures_are_of_the_plan_and_the_roles_of_today():
    bench, chaos = load_bench(FIGURES / "bench"), load_recorded(FIGURES / "chaos")

    assert outdated_figures(bench, chaos, read_configuration()) == []


def full_speed(name: str) -> float | None:
    """The median ticks/s of a program with one message a tick; None without such rounds."""
    speeds = [
        hop["ticks"] / hop["seconds"]
        for hop in BENCH_FIGURES["hops"]
        if (hop["name"], hop["rate"]) == (name, 0) and hop["ticks_a_message"] <= 1
    ]
    return median(speeds) if speeds else None


def read(name: str) -> str:
    return (PAGES[name] / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """The text from a heading to the next one."""
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def table(text: str, first_heading: str) -> list[dict[str, str]]:
    """The rows of the first table whose first column has this heading, by heading."""
    lines = iter(text.splitlines())
    for line in lines:
        headings = cells(line)
        if line.startswith("|") and headings[0] == first_heading:
            assert set(next(lines)) <= set("|-: ")
            rows = []
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append(dict(zip(headings, cells(row), strict=True)))
            return rows
    raise AssertionError(f"no table begins with {first_heading!r}")


def columns(text: str, first_heading: str, *headings: str) -> list[tuple[str, ...]]:
    """Columns of the first table whose first column has this heading."""
    return [tuple(row[heading] for heading in headings) for row in table(text, first_heading)]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
