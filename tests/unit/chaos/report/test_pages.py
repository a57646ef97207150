"""The reliability section follows from the recorded figures alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from chaos.faults.hostile_gateway import Known, Withheld
from chaos.lab.experiment import EXIT_NO_TARGET, GOAL_ROUNDS
from chaos.lab.recovery import STEPS
from chaos.report.pages import REPORT, SECTION, main, one_line_summary, section
from chaos.report.recorded import (
    RECORDED,
    RECORDING,
    RecordedExperiments,
    ReliabilityReportError,
    load_recorded,
)
from chaos.report.series import ENOUGH_MISSES, missed_goals
from chaos.slow_consumer import LABELS
from lib.clock import MILLISECOND_NS
from lib.reports.files import RELIABILITY_SUMMARY
from lib.reports.markdown import replace_section


def test_the_section_in_the_repository_is_the_one_that_the_recorded_figures_give():
    text = REPORT.read_text(encoding="utf-8")

    assert text == replace_section(text, SECTION, section(load_recorded(RECORDED)))


def test_the_line_for_the_first_page_is_the_one_that_the_recorded_figures_give():
    assert (
        RELIABILITY_SUMMARY.read_text(encoding="utf-8")
        == f"{one_line_summary(load_recorded(RECORDED))}\n"
    )


def test_every_plot_that_the_section_shows_is_there():
    plots = re.findall(r"!\[.*?\]\((.*?)\)", section(load_recorded(RECORDED)))

    assert plots
    assert all((REPORT.parent / plot).is_file() for plot in plots)


def test_a_recording_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(ReliabilityReportError, match="make chaos"):
        load_recorded(tmp_path)


def test_figures_that_are_no_json_are_named(tmp_path):
    (tmp_path / RECORDING).write_text(json.dumps({"experiments": [{"name": "storm"}]}))
    (tmp_path / "storm.json").write_text("{")

    with pytest.raises(ReliabilityReportError, match=r"storm\.json is no JSON"):
        load_recorded(tmp_path)


@pytest.mark.parametrize("recorded", [{}, {"experiments": [{"name": "storm"}]}])
def test_figures_that_lack_something_are_one_line(recorded, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: requirements-bench.txt")
    (tmp_path / RECORDING).write_text(json.dumps(recorded))
    (tmp_path / "storm.json").write_text("{}")
    monkeypatch.setattr("chaos.report.pages.RECORDED", tmp_path)
    monkeypatch.setattr("sys.argv", ["report"])
    before = REPORT.read_bytes()

    assert main() == EXIT_NO_TARGET

    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"no report: the figures in .* lack '.*'; `make chaos` records .*", line)
    assert REPORT.read_bytes() == before


def test_what_was_lost_is_in_the_row_of_its_experiment():
    found = killed("gateway", [100])
    found["ticks_at_book"] = {"missed": 3, "repeated": 2, "out_of_order": 1}
    found["orders"] = {"sent": 40, "lost": 5, "doubled": 6, "expired": 7, "discarded": 8}

    [row] = rows_of(made({"drop_gateway": found}), "`python chaos/drop_gateway.py`")

    assert row[2:] == ["yes", "3 / 2 / 1", "0 / 0 / 0", "40", "5", "6", "7", "8"]


def test_a_hypothesis_that_does_not_hold_is_marked_counted_and_explained():
    found = killed("gateway", [100]) | {"holds": False, "reasons": ["3 ticks missed at the book"]}

    text = made({"drop_gateway": found, "drop_orderbook": killed("orderbook", [100])})

    assert rows_of(text, "`python chaos/drop_gateway.py`")[0][2] == "**no**"
    assert rows_of(text, "`python chaos/drop_orderbook.py`")[0][2] == "yes"
    assert "**1 of 2**" in text
    assert "- `drop_gateway`: 3 ticks missed at the book" in text


def test_an_experiment_that_left_no_figures_is_shown_as_one_that_does_not_hold():
    text = made({"drop_gateway": killed("gateway", [100]), "storm": None})

    [row] = rows_of(text, "`python chaos/storm.py`")
    assert row[1:3] == ["no figures: exit code 2", "**no**"]
    assert "**1 of 2**" in text


def test_times_are_shown_as_median_nearest_rank_and_maximum():
    text = made({"drop_gateway": killed("gateway", [10, 20, 30, 40, 50, 60, 70, 80, 90, 100])})

    _, steps = rows_of(text, "SIGKILL of gateway")
    assert steps[1] == "10"
    assert steps[2] == "55.0 / 90.0 / 100.0"


def test_a_step_that_some_recoveries_do_not_have_says_how_many_have_it():
    found = killed("gateway", [10, 20])
    found["rounds"][1]["detection_ns"] = None
    for one in found["rounds"]:
        one["respawn_ns"] = None

    _, steps = rows_of(made({"drop_gateway": found}), "SIGKILL of gateway")
    assert steps[2:4] == ["10.0 / 10.0 / 10.0 (1)", "-"]


@pytest.mark.parametrize(
    ("times_ms", "judgement"),
    [
        ([400] * GOAL_ROUNDS, "yes"),
        ([401] * GOAL_ROUNDS, "**no**"),
        ([400] + [401] * (GOAL_ROUNDS - 2), f"fewer than {GOAL_ROUNDS}: not judged"),
        ([401] * (ENOUGH_MISSES - 1), f"fewer than {GOAL_ROUNDS}: not judged"),
        ([401] * ENOUGH_MISSES, "**no**"),
    ],
)
def test_a_median_is_held_against_its_goal_when_there_are_enough(times_ms, judgement):
    text = made({"drop_gateway": killed("gateway", times_ms)})

    judged, _ = rows_of(text, "SIGKILL of gateway")
    assert judged[1:3] == ["first fresh tick at the strategy", str(len(times_ms))]
    assert judged[6:] == ["400", judgement]


def test_freezes_of_all_roles_are_judged_together():
    half = GOAL_ROUNDS // 2
    frozen = {
        f"freeze_{role}": killed(role, [time_ms] * half, "SIGSTOP", "order_possible_ns")
        for role, time_ms in (("gateway", 300), ("strategy", 900))
    }

    [row] = rows_of(made(frozen), "SIGSTOP, all roles together")
    assert row[2:] == [str(GOAL_ROUNDS), "600.0", "900.0", "900.0", "400", "**no**"]


def test_a_role_that_always_misses_its_goal_is_not_hidden_by_the_others():
    frozen = {
        f"freeze_{role}": killed(role, [time_ms] * 5, "SIGSTOP", "order_possible_ns")
        for role, time_ms in (("gateway", 401), ("orderbook", 300), ("strategy", 300), ("x", 300))
    }

    text = made(frozen)

    assert rows_of(text, "SIGSTOP, all roles together")[0][-1] == "yes"
    assert rows_of(text, "SIGSTOP of gateway")[0][-1] == "**no**"
    assert rows_of(text, "SIGSTOP of strategy")[0][-1].endswith("not judged")
    assert "**1 of 2** goals" in text
    assert missed_goals(frozen) == [
        "SIGSTOP of gateway: the median time to first order possible is 401.0 ms, "
        "the goal is 400 ms"
    ]


def test_the_goals_that_are_reached_are_counted():
    killed_twice = {
        "drop_gateway": killed("gateway", [400] * GOAL_ROUNDS),
        "drop_orderbook": killed("orderbook", [401] * GOAL_ROUNDS),
    }

    assert "**1 of 2** goals" in made(killed_twice)


def test_cuts_are_grouped_by_whether_the_client_is_notified():
    cases = [
        cut("price", 50, [4.0, 6.0]),
        cut("news", 50, [8.0]),
        cut("price", 2600, [2500.0]),
        cut("price", None, [None]),
    ]

    text = made({"cut_connection": without_rounds() | {"cases": cases}})

    assert rows_of(text, "a cut connection, notified")[0][1:4] == ["reconnection", "3", "6.0"]
    assert rows_of(text, "a cut connection, silent")[0][2:4] == ["1", "2500.0"]
    assert [row[1:] for row in rows_of(text, "price")] == [
        ["notified", "2", *["5.0 / 6.0 / 6.0"] * 2, "50"],
        ["silent", "1", *["2500.0 / 2500.0 / 2500.0"] * 2, "2600"],
        ["need not notice", "1", "-", "-", "none"],
    ]


def test_starts_after_everything_was_killed_are_recoveries_too():
    departure = {"roles_ns": 5 * MILLISECOND_NS, "price_book_ns": None}
    started = [{"departure": departure, "started_again": recovery(700), "new_orders": 1}]
    found = {"roles_killed": [recovery(900)], "supervisord_killed": started}
    loop = {"fatal_ns": 60_000 * MILLISECOND_NS, "told_ns": None, "recovery": recovery(300)}
    text = made(
        {
            "kill_everything": without_rounds() | found,
            "crash_loop": without_rounds() | {"role": "gateway", "rounds": [loop]},
        }
    )

    for what, shown in (
        ("SIGKILL of all roles at once", "900.0 / 900.0 / 900.0"),
        ("supervisord started again after SIGKILL", "700.0 / 700.0 / 700.0"),
        ("gateway started by hand after a crash loop", "300.0 / 300.0 / 300.0"),
    ):
        assert rows_of(text, what)[0][2] == shown
    ends = [row[1:4] for row in rows_of(text, "SIGKILL of supervisord")]
    assert ends == [["roles gone", "1", "5.0"], ["price book gone", "0", "-"]]
    gave_up = rows_of(text, "gateway that dies at every start")
    assert [row[2:4] for row in gave_up] == [["1", "60000.0"], ["0", "-"]]


def test_the_faults_of_a_storm_are_counted_by_kind_and_victim():
    text = made({"storm": storm()})

    assert rows_of(text, "SIGKILL") == [["SIGKILL", "3", "1", "gateway 2, strategy 1"]]
    assert rows_of(text, "half-open") == [["half-open", "0", "2", ""]]
    assert "evaluated 390 ticks and sent 3 orders" in text
    assert "without a tick was 1.5 s" in text
    assert "steady 0.5 s after the last fault" in text
    assert "(report/chaos/storm.svg)" in text


def test_without_a_storm_there_is_no_plot_of_one():
    assert "storm.svg" not in made({"storm": None})


def test_every_defect_of_a_corrupt_feed_is_compared_with_the_expected_count():
    def defect(name: str, counted_as: str | None, due: int, counted: int) -> dict[str, Any]:
        return {
            "harm": name,
            "done": 20,
            "counted_as": counted_as,
            "sent": {"counts": {"ticks_missed": due, "disconnected": 20}},
            "counted": {"counts": {"ticks_missed": counted, "disconnected": 20}},
            "recovery_ns": 7 * MILLISECOND_NS,
        }

    defects = [defect("Withheld", "ticks_missed", 57, 56)] * 2 + [defect("Known", None, 0, 0)]
    text = made({"corrupt_feed": without_rounds() | {"harms": defects}})

    [lost] = rows_of(text, Withheld.title)
    assert lost[1:] == ["40", "`ticks_missed`", "114", "112", "7.0"]
    [repeated] = rows_of(text, Known.title)
    assert repeated[1:] == ["20", "nothing", "-", "-", "7.0"]


def test_the_longest_waits_beside_clients_that_stop_reading_are_shown_with_those_without():
    waits = dict.fromkeys(LABELS, 20 * MILLISECOND_NS)
    longer = {wait: 2 * time_ns for wait, time_ns in waits.items()}
    rounds = [{"without": waits, "beside": longer}, {"without": waits, "beside": waits}]

    text = made({"slow_consumer": without_rounds() | {"rounds": rounds}})

    for label in LABELS.values():
        assert rows_of(text, label) == [[label, "20.0", "40.0"]]


def test_dropped_connections_in_one_line():
    cut_off = without_rounds() | {
        "cases": [cut("price", 50, [4.0, 6.0]), cut("news", 2600, [2500.0]), cut("news", None, [])]
    }
    lossy = killed("gateway", [170]) | {
        "orders": {"sent": 40, "lost": 5, "doubled": 6, "expired": 7, "discarded": 8},
        "ticks_at_book": {"missed": 3, "repeated": 0, "out_of_order": 0},
    }

    line = one_line_summary(
        RecordedExperiments({}, {"cut_connection": cut_off, "drop_gateway": lossy})
    )

    assert line == (
        "A cut connection whose client is notified is back after 5.0 ms (median of 2, at most "
        "6.0 ms); a cut connection that only falls silent is back after 2500.0 ms (median of 1, at "
        "most 2500.0 ms); a killed gateway's ticks flow again after 170.0 ms; in 2 experiments 5 "
        "of 41 orders were lost and 6 doubled, and the price book missed 3 ticks."
    )


def test_the_machine_of_the_recording_is_described():
    text = made({"drop_gateway": killed("gateway", [100])})

    assert rows_of(text, "processor")[0][1] == "Abacus 3, 2 virtual cores, 4 GiB of memory"
    assert rows_of(text, "recorded")[0][1] == "2026-01-02T03:04:05 to 2026-01-02T03:17:05 UTC"
    assert rows_of(text, "software")[0][1] == "Python 3.11.7, numpy 2.4.6"


def made(figures: dict[str, dict[str, Any] | None]) -> str:
    """The section for these figures; None: the experiment left no figures."""
    recording = {
        "began_utc": "2026-01-02T03:04:05.000006Z",
        "ended_utc": "2026-01-02T03:17:05.000006Z",
        "machine": {
            "cpu": "Abacus 3",
            "cores": 2,
            "virtual": True,
            "memory_gib": 4,
            "kernel": "Linux 6",
            "load_average": 0.5,
        },
        "software": {"Python": "3.11.7", "numpy": "2.4.6"},
        "experiments": [
            {
                "name": name,
                "command": f"python chaos/{name}.py",
                "exit_code": 2 if found is None else int(not found["holds"]),
                "took_s": 60.0,
            }
            for name, found in figures.items()
        ],
    }
    return section(
        RecordedExperiments(recording, {n: found for n, found in figures.items() if found})
    )


def killed(
    role: str, times_ms: list[int], signal: str = "SIGKILL", goal: str = "fresh_tick_ns"
) -> dict[str, Any]:
    """The figures of an experiment that hits a role, with a goal of 400 ms."""
    return without_rounds() | {
        "fault": f"{signal} of {role}",
        "role": role,
        "goal": {"figure": goal, "limit_ns": 400 * MILLISECOND_NS},
        "rounds": [recovery(time_ms) for time_ms in times_ms],
    }


def recovery(time_ms: int) -> dict[str, Any]:
    return {figure: time_ms * MILLISECOND_NS for _, figure in STEPS} | {"pending": []}


def without_rounds() -> dict[str, Any]:
    nothing = {"missed": 0, "repeated": 0, "out_of_order": 0}
    return {
        "title": "something is done",
        "ticks_at_book": nothing,
        "ticks_at_strategy": nothing,
        "orders": {"sent": 1, "lost": 0, "doubled": 0, "expired": 0, "discarded": 0},
        "holds": True,
        "reasons": [],
    }


def storm() -> dict[str, Any]:
    def fault(kind: str, victim: str) -> dict[str, Any]:
        return {"kind": kind, "victim": victim, "to": None, "begin_ns": 0, "end_ns": 1}

    killed = [fault("kill", role) for role in ("gateway", "strategy", "gateway")]
    one = {
        "gusts": [*killed, fault("reset", "price")],
        "skipped": {"kill": 1, "half_open": 2},
        "last_gust_ns": 2000 * MILLISECOND_NS,
        "steady_ns": 2500 * MILLISECOND_NS,
        "stale": [{"begin_ns": 0, "length_ns": 1500 * MILLISECOND_NS}],
        "evaluated_per_s": [200, 0, 190],
        "orders_per_s": [1, 0, 2],
    }
    return without_rounds() | {"minutes": 1.0, "seed": 1, "storms": [one]}


def cut(stream: str, goal_ms: int | None, times_ms: list[float | None]) -> dict[str, Any]:
    times_ns = [None if ms is None else round(ms * MILLISECOND_NS) for ms in times_ms]
    return {
        "stream": stream,
        "goal_ns": None if goal_ms is None else goal_ms * MILLISECOND_NS,
        "cuts": [{"detection_ns": ns, "reconnection_ns": ns} for ns in times_ns],
    }


def rows_of(text: str, first_cell: str) -> list[list[str]]:
    """The rows of all tables that begin with this cell."""
    rows = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0] == first_cell]
