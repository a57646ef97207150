"""What follows from killing everything: departure and recovery."""

from __future__ import annotations

import pytest

from chaos import kill_everything
from chaos.kill_everything import DEPARTURE_LABELS, KillEverything, departure
from chaos.lab.figures import FaultFigures


def test_what_stays_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_everything, "LEFT_S", 0.0)
    found = departure({"roles_ns": lambda: True, "ports_ns": lambda: False})
    assert found["ports_ns"] is None
    assert found["roles_ns"] is not None


def test_an_incomplete_departure_and_a_missing_recovery_are_listed() -> None:
    experiment = KillEverything(1)
    experiment.departures.append({**dict.fromkeys(DEPARTURE_LABELS, 1), "ports_ns": None})
    experiment.started_again += [
        FaultFigures(1, 1, None, None, 2, 0, ()),
        FaultFigures(1, 1, None, None, None, 0, ("strategy is back",)),
    ]
    assert experiment.reasons() == [
        "start 2: timed out waiting until strategy is back",
        "end 1 of supervisord: not so within 3 s: no port is in use",
    ]
