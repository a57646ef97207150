"""What the pages show of the experiments, where the recorded figures do not show it themselves."""

from __future__ import annotations

from chaos.faults.hostile_gateway import Withheld
from chaos.report.figures import defect_rows, planted_rows, recovery_rows, withheld
from tests.recordings import experiment, role_hit


def test_a_step_that_some_recoveries_do_not_have_says_how_many_have_it():
    found = role_hit("gateway", [10, 20])
    found["rounds"][1]["detection_ns"] = None
    for one in found["rounds"]:
        one["respawn_ns"] = None

    [(_, _, steps)] = recovery_rows({"drop_gateway": found})

    assert steps[:2] == ["10.0 / 10.0 / 10.0 (1)", "-"]


def test_a_defect_is_compared_with_the_expected_count_over_all_rounds():
    lost = {
        "harm": Withheld.__name__,
        "done": 20,
        "counted_as": "ticks_missed",
        "sent": {"counts": {"ticks_missed": 57, "disconnected": 20}},
        "counted": {"counts": {"ticks_missed": 56, "disconnected": 20}},
        "recovery_ns": 7,
    }

    assert defect_rows({"corrupt_feed": experiment(harms=[lost, lost])}) == [
        (Withheld.title, 40, "ticks_missed", 114, 112, 7)
    ]


def test_a_tick_that_was_kept_out_of_the_book_on_purpose_counts_once():
    replaced = {"sent": {"numbers": {"malformed_frames": [3, 5]}}}
    lost = {"sent": {"numbers": {"ticks_missed": [5, 6, 7]}}}
    repeated = {"sent": {"numbers": {}}}

    assert withheld({"corrupt_feed": experiment(harms=[replaced, lost, repeated])}) == {3, 5, 6, 7}
    assert withheld({}) == set()


def test_what_is_wrong_with_a_planted_file_takes_the_place_of_what_became_of_it():
    planted = {"file": "a", "kind": "FIFO", "when": "during the run", "outcome": "not adopted"}
    found = [planted | {"trouble": ""}, planted | {"trouble": "in use by gateway"}]

    rows = planted_rows({"plant": experiment(planted=found)})

    assert [outcome for *_, outcome in rows] == ["not adopted", "in use by gateway"]
    assert planted_rows({}) == []
