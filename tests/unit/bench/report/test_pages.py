"""The speed parts of the report say what the recorded figures say, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from statistics import median

import msgspec
import pytest
from msgspec.structs import replace

from bench.profile_results import DaemonProfile, HotFunction, LoadProfile, Profile
from bench.report.appendix import SHOWN, appendix
from bench.report.comparison import FLOOR, STACK, ZEROMQ
from bench.report.first_page import first_page
from bench.report.pages import (
    EXIT_NO_REPORT,
    EXIT_WRITTEN,
    PROFILE,
    RECORDED,
    REPORT,
    RESULTS,
    WATCHED,
    Recorded,
    ReportError,
    load,
    main,
    write_parts,
)
from bench.report.speed_section import NOT_MEASURED, NOT_RECORDED, speed_section
from bench.report.watched_section import watched_section
from bench.results import (
    CallCost,
    SegmentSize,
    StageCost,
    Throughput,
    Usage,
    WatchedRecording,
    WatchedRound,
)
from lib.clock import SECOND_NS
from lib.reports.files import RELIABILITY_SUMMARY
from lib.reports.units import digits, megabytes, millions, percent, us, whole
from tests.helpers import PROJECT_ROOT
from tests.recordings import hops, latency, recording, tick_to_decision, usages, with_hops

MARKED = "# Title\n" + "".join(
    f"<!-- {name}: begin -->\nold\n<!-- {name}: end -->\n"
    for name in ("summary", "speed", "watched", "appendix")
)
NOTHING_MEASURED = recording(
    tick_to_decision=(),
    throughput=(),
    stages=(),
    calls=(),
    orders=(),
    at_rest=(),
    segments=(),
    hops=(),
)


# The report in the repository


def test_the_parts_in_the_repository_are_those_that_the_recorded_figures_give():
    text = REPORT.read_text(encoding="utf-8")

    assert text == write_parts(text, load(RECORDED, RELIABILITY_SUMMARY))


def test_the_tables_in_the_repository_hold_the_figures_of_the_recorded_json():
    if not (RECORDED / RESULTS).exists():
        pytest.skip("nothing is recorded yet: make bench")
    results = json.loads((RECORDED / RESULTS).read_bytes())
    text = REPORT.read_text(encoding="utf-8")

    throughput = text.partition("### Throughput")[2].partition("<details>")[0]
    for one in results["throughput"]:
        [row] = rows_of(throughput, whole(one["symbols"]), whole(one["strategies"]))
        assert row[2] == (millions(one["ticks_per_s"]) if one["ticks_per_s"] else "none held")
    for one in results["tick_to_decision"]:
        sent = one["from_sent"]
        quantiles = [us(sent[f"{which}_ns"]) for which in ("p50", "p90", "p99", "p999", "max")]
        assert (
            f"| sent to decision | {whole(sent['count'])} | {whole(one['missed'])} | "
            + (" | ".join(quantiles))
            in text
        )
    for stage in results["stages"]:
        rows = rows_of(text, stage["name"], whole(stage["batch_ticks"]))
        figure = digits(stage["ns_per_tick"])
        assert any(cell.startswith(f"{figure} (") for row in rows for cell in row), stage
    for call in results["calls"]:
        [row] = rows_of(text, f"`{call['name']}`", whole(call["symbols"]))
        assert row[2] == digits(call["ns_per_call"])
    for one in results["orders"]:
        [row] = rows_of(text, *(whole(one[key]) for key in ("clients", "under_way", "orders")))
        assert row[3:5] == [whole(one["orders"] / one["seconds"]), us(one["answer"]["p50_ns"])]
    for one in results["segments"]:
        [row] = rows_of(text, whole(one["symbols"]), whole(one["ring_capacity"]))
        assert row[2:4] == [whole(one["formula_bytes"]), whole(one["measured_bytes"])]
    for usage in results["at_rest"]:
        share, size = percent(usage["cpu_share"]), megabytes(usage["resident_bytes"])
        [row] = rows_of(text, usage["role"])
        assert row[1] == f"{share}, {size}"
    for name in {hop["name"] for hop in results["hops"]} - {STACK}:
        of_it = [hop for hop in results["hops"] if hop["name"] == name]
        medians = sorted(hop["latency"]["p50_ns"] for hop in of_it if hop["latency"])
        row = rows_of(text, name, "1")[0]
        assert row[2].startswith(f"{us(median(medians))} (")


def test_every_plot_that_the_report_shows_is_there():
    plots = re.findall(r"!\[.*?\]\((.*?)\)", REPORT.read_text(encoding="utf-8"))

    assert plots
    assert all((REPORT.parent / plot).is_file() for plot in plots)


# The first page


def test_the_first_page_begins_with_four_answers():
    lines = first_page(recording(), "As nothing had happened.").splitlines()

    assert [re.match(r"- \*\*(.*?)\.\*\* \S", line)[1] for line in lines[:4]] == [
        "Latency",
        "Throughput",
        "Memory",
        "Dropped connections",
    ]
    assert lines[4] == ""
    assert "100 µs (p50), 200 µs (p99)" in lines[0]
    assert "1.25 × the bare floor's and 0.498 × ZeroMQ's" in lines[0]
    assert "8.50 million ticks/s" in lines[1]
    assert "20.0 × the fastest alternative with one message a tick (ZeroMQ)" in lines[1]
    assert "57,143 durable orders/s from 4 clients" in lines[1]
    assert "12.6 MB of shared memory" in lines[2]
    assert "(gateway) has 50.0 MB" in lines[2]
    assert lines[3].endswith("As nothing had happened.")


def test_unmeasured_answers_say_so():
    lines = first_page(NOTHING_MEASURED, None).splitlines()[:4]

    assert all(line.lower().endswith("** not measured.") for line in lines)


def test_the_first_page_counts_the_targets_and_names_each_that_is_missed():
    page = first_page(with_hops(ZEROMQ, 2e3, figure=150), None)

    assert "**13 of 14** targets are reached." in page
    [missed] = re.findall(r"- Missed: .*", page)
    assert missed.startswith("- Missed: tick to decision at 2,000 ticks/s, p50 is 0.667 ×")
    assert "(#where-each-microsecond-goes)" in page
    assert "Missed" not in first_page(recording(), None)


def test_targets_that_were_not_measured_are_counted():
    page = first_page(replace(recording(), calls=()), None)

    assert "**12 of 12** targets are reached, 2 not measured." in page
    [row] = rows_of(page, "`SharedPriceBook.read`, per call")
    assert row == ["`SharedPriceBook.read`, per call", "under 1 µs", "-", "not measured", "-"]


def test_a_quick_run_is_said_to_be_one():
    assert "quick run" in first_page(recording(quick=True), None)
    assert "quick run" not in first_page(recording(), None)


# The speed section


def test_each_rate_has_a_row_for_each_way_to_look_at_it():
    one = tick_to_decision(2e3, missed=3, from_intended=latency(200, 1_500))

    rows = rows_of(speed_section(recording(tick_to_decision=(one,))), "2,000")

    assert rows == [
        ["2,000", "sent to decision", "100", "3", "100", "100", "200", "200", "200"],
        ["2,000", "intended to decision", "100", "3", "200", "200", "1,500", "1,500", "1,500"],
        ["2,000", "sent to report", "100", "3", "700", "700", "1,400", "1,400", "1,400"],
    ]


def test_a_rate_without_orders_has_no_times_to_a_report():
    one = tick_to_decision(2e3, to_report=None)

    row = rows_of(speed_section(recording(tick_to_decision=(one,))), "2,000")[2]

    assert row == ["2,000", "sent to report", "0", "0", "", "", "", "", ""]


def test_latencies_with_more_strategies_are_shown_apart():
    alone, four = tick_to_decision(2e3), tick_to_decision(2e3, strategies=4)

    text = speed_section(recording(tick_to_decision=(alone, four)))

    assert len(rows_of(text, "2,000")) == 3
    assert rows_of(text, "4", "4")[0][:3] == ["4", "4", "2,000"]


def test_every_trial_of_the_search_is_there():
    text = speed_section(recording())

    assert rows_of(text, "100", "1", columns=6)[0][:4] == ["100", "1", "8.50", "1 of 2"]
    trials = rows_of(text, "100", "1", columns=7)
    assert trials[0][2:] == ["20.0", "10.0", "200,000,000", "199,999,993", "no: 7 ticks lapped"]
    assert trials[1][2:] == ["8.50", "10.0", "85,000,000", "85,000,000", "yes"]


def test_a_search_that_no_rate_held_says_so():
    text = speed_section(recording(throughput=(Throughput(100, 1, 0.0, (), ()),)))

    assert rows_of(text, "100", "1", columns=4) == [["100", "1", "none held", "0 of 0"]]


def test_a_stage_has_its_figures_by_symbols():
    stages = (
        StageCost("encode", 4, 64, 40.0),
        StageCost("encode", 100, 64, 50.0),
        StageCost("x", 4, 64, 2.0),
    )

    text = speed_section(recording(stages=stages, calls=(CallCost("read", 4, 912.3),)))

    assert rows_of(text, "encode") == [["encode", "64", "40.0 (25.0)", "50.0 (20.0)"]]
    assert rows_of(text, "x") == [["x", "64", "2.00 (500)", "-"]]
    assert rows_of(text, "`read`") == [["`read`", "4", "912"]]


def test_the_size_of_the_shared_memory_is_a_formula_and_a_measurement():
    made = recording()

    text = speed_section(made)

    assert re.search(r"\*\*[\d,]+ \+ \d+ S \+ \d+ C bytes\*\*", text)
    [row] = rows_of(text, "4", "262,144")
    assert row[2] == row[3] == whole(made.segments[0].measured_bytes)
    other = SegmentSize(4, 262_144, 1_000_000, 1_000_000)
    assert "C bytes" not in speed_section(recording(segments=(other,)))


def test_a_daemon_has_a_cell_for_each_load():
    one = tick_to_decision(2e3, usage=(Usage("gateway", 0.5, 41_000_000),))

    text = speed_section(recording(tick_to_decision=(one,), at_rest=usages(0.01, 50)))

    assert rows_of(text, "gateway") == [["gateway", "1.00 %, 50.0", "50.0 %, 41.0"]]
    assert rows_of(text, "watchdog") == [["watchdog", "0.100 %, 25.0", "-"]]


def test_a_program_has_its_median_of_the_rounds_with_least_and_most():
    text = speed_section(recording())

    one, best = rows_of(text, "ZeroMQ")
    assert one == [
        "ZeroMQ",
        "1",
        "201 (200 to 202)",
        "402 (400 to 404)",
        "0.400 (0.390 to 0.410)",
        "20.0 ×",
        "0",
    ]
    assert best == ["ZeroMQ", "1,024", "4.00 (3.99 to 4.01)", "2.00 ×", "0"]


def test_latencies_in_batches_are_those_of_the_size_that_is_fastest():
    made = recording()
    slower = hops(ZEROMQ, 2e3, figure=900, ticks_a_message=64)
    fastest = hops(ZEROMQ, 2e3, figure=500, ticks_a_message=1024, missing=2)

    text = speed_section(replace(made, hops=(*made.hops, *slower, *fastest)))

    best = rows_of(text, "ZeroMQ", "1,024")
    assert [row[2] for row in best] == ["500 (499 to 501)"]
    assert best[0][-1] == "6"
    assert rows_of(text, "ZeroMQ", "64") == []


def test_the_stack_comes_first_and_the_alternatives_from_the_fastest_on():
    text = speed_section(recording())

    names = [line[2:].split(" | ")[0] for line in text.splitlines() if re.match(r"\| .* ×", line)]
    table = ["**Tradewire**", "ZeroMQ", "NATS"]
    assert names == [*table, *table]
    everyone = text[text.index("ticks a message") :]
    assert everyone.index("**Tradewire**") < everyone.index(FLOOR) < everyone.index("ZeroMQ")


def test_what_was_not_measured_is_said_where_it_would_stand():
    text = speed_section(NOTHING_MEASURED)

    for heading in ("Tick to decision", "Throughput", "The stages alone", "Orders"):
        assert f"### {heading}\n\n{NOT_MEASURED}" in text
    assert "daemons: not measured" in text
    assert f"### The floor and the alternatives\n\n{NOT_MEASURED}" in text


def test_the_report_names_machine_and_software():
    text = speed_section(recording(gaps=("the C floor: no compiler",)))

    assert rows_of(text, "processor")[0][1] == "Abacus 3, 2 virtual cores, 4 GiB of memory"
    assert rows_of(text, "recorded")[0][1] == "2026-01-02T03:04:05 to 2026-01-02T03:17:05 UTC"
    assert rows_of(text, "with")[0][1] == "`python -m bench` (13.0 minutes)"
    assert rows_of(text, "software")[0][1] == "Python 3.11.7, numpy 2.4.6"
    assert rows_of(text, "`gateway`")[0][1:] == ["`news_interval`", "`0.05`"]
    assert "- the C floor: no compiler" in text
    assert "What could not be measured" not in speed_section(recording())


# The appendix


def test_the_time_of_a_daemon_is_divided_among_its_functions():
    functions = tuple(
        HotFunction(f"lib/x.py f{n}", 0.5 / 2**n, f"x = {n}") for n in range(SHOWN + 2)
    )
    daemon = DaemonProfile("gateway", SECOND_NS // 2, SECOND_NS // 10, 1_000, functions)
    made = Profile(
        "2026-01-02T", "py-spy 1", 200, (LoadProfile(0.0, 100, 2.0, 1_000_000, (daemon,)),), ()
    )

    text = appendix(made)

    assert "### As fast as it goes: 500,000 ticks/s, 100 symbols" in text
    assert "**gateway**: 25.0 % of a core, 500 ns a tick, 20.0 % of it in the kernel" in text
    assert rows_of(text, "`lib/x.py f0`") == [["`lib/x.py f0`", "`x = 0`", "50.0 %", "250"]]
    assert len(rows_of(text, "the rest")) == 1
    assert f"f{SHOWN}" not in text


def test_what_could_not_be_profiled_is_listed():
    text = appendix(Profile("2026-01-02T", "", 200, (), ("py-spy is not there",)))

    assert "- py-spy is not there" in text


# With the dashboard open


def test_rounds_with_the_same_watchers_stand_together():
    found = ((1, "no browser", 0, 100), (1, "3 browsers", 2, 300), (2, "no browser", 0, 110))
    rounds = tuple(WatchedRound(*one, latency(p50)) for *one, p50 in found)
    made = WatchedRecording(
        "2026-01-02T", {"cpu": "Abacus 3", "cores": 2}, 2e3, rounds, ("a page: gone",)
    )

    text = watched_section(made)

    assert [row[:5] for row in rows_of(text, columns=9)[2:]] == [
        ["no browser", "1", "100", "0", "100"],
        ["no browser", "2", "100", "0", "110"],
        ["3 browsers", "1", "100", "2", "300"],
    ]
    assert "Recorded on 2026-01-02 on Abacus 3, 2 cores." in text
    assert "Not measured: a page: gone." in text


# From files to the report


def test_nothing_is_written_outside_of_the_marks():
    text = write_parts(MARKED, Recorded(recording(), None, None, None))

    assert text.startswith("# Title\n<!-- summary: begin -->\n\n- **Latency.**")
    assert write_parts(text, Recorded(recording(), None, None, None)) == text


def test_a_report_without_a_recording_says_that_there_is_none(tmp_path):
    text = write_parts(MARKED, load(tmp_path, tmp_path / "summary.txt"))

    assert text.count(NOT_RECORDED) == 3
    assert "`make watched` records it" in text


def test_a_recording_survives_its_way_through_json(tmp_path):
    made = recording()
    (tmp_path / RESULTS).write_bytes(msgspec.json.encode(made))

    assert load(tmp_path, tmp_path / "summary.txt").recording == made


@pytest.mark.parametrize("name", [RESULTS, PROFILE, WATCHED])
@pytest.mark.parametrize("content", ["{", "{}", '{"began_utc": 3}'])
def test_a_file_that_is_no_recording_is_named(name, content, tmp_path):
    (tmp_path / name).write_text(content)

    with pytest.raises(ReportError, match=rf"{name}.*make bench"):
        load(tmp_path, tmp_path / "summary.txt")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A directory that stands for report/bench, and a report in it."""
    pytest.importorskip("matplotlib", reason="plots need matplotlib: requirements-bench.txt")
    (tmp_path / "report.md").write_text(MARKED)
    monkeypatch.setattr("bench.report.pages.RECORDED", tmp_path)
    monkeypatch.setattr("bench.report.pages.REPORT", tmp_path / "report.md")
    monkeypatch.setattr("sys.argv", ["report"])
    return tmp_path


@pytest.mark.parametrize("made", [recording(), NOTHING_MEASURED])
def test_the_same_recording_gives_the_same_report_and_plots_to_the_byte(made, elsewhere):
    (elsewhere / RESULTS).write_bytes(msgspec.json.encode(made))

    def written():
        assert main() == EXIT_WRITTEN
        return {file.name: file.read_bytes() for file in sorted(elsewhere.iterdir())}

    once = written()
    assert sum(name.endswith(".svg") for name in once) == 3
    assert written() == once


def test_figures_that_cannot_be_read_leave_the_report_as_it_is(elsewhere, capsys):
    (elsewhere / RESULTS).write_text("{")

    assert main() == EXIT_NO_REPORT

    assert (elsewhere / "report.md").read_text() == MARKED
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("no report: ")


def test_every_module_that_make_runs_does_something_when_it_is_run():
    modules = re.findall(
        r"-m ((?:bench|chaos|lib|tests|video)[\w.]*)", (PROJECT_ROOT / "Makefile").read_text()
    )
    assert {"bench.report", "chaos.report"} <= set(modules)
    for module in modules:
        found = importlib.util.find_spec(module)
        assert found
        assert found.origin
        source = Path(found.origin)
        is_runnable = (
            (source.parent / "__main__.py").exists()
            if source.name == "__init__.py"
            else 'if __name__ == "__main__":' in source.read_text()
        )
        assert is_runnable, f"python -m {module} does nothing"


def test_the_answer_about_dropped_connections_comes_from_the_chaos_lab():
    recorded = load(RECORDED, RELIABILITY_SUMMARY)
    assert recorded.dropped_connections

    text = write_parts(MARKED, Recorded(recording(), None, None, recorded.dropped_connections))

    assert f"- **Dropped connections.** {recorded.dropped_connections}" in text


def rows_of(text: str, *first_cells: str, columns: int | None = None) -> list[list[str]]:
    """The rows of all tables that begin with these cells, and have so many if that is said."""
    rows = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [
        row
        for row in rows
        if row[: len(first_cells)] == list(first_cells) and columns in (None, len(row))
    ]


def test_the_stack_is_never_taken_for_an_alternative():
    assert STACK not in first_page(recording(), None)
