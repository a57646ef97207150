"""The command line of the bench chooses the plan."""

from __future__ import annotations

import pytest

from bench import __main__ as command
from bench.plan import FULL, QUICK
from tests.recordings import recording


@pytest.mark.parametrize(("arguments", "plan"), [((), FULL), (("--quick",), QUICK)])
def test_the_quick_run_is_another_plan(arguments, plan, tmp_path, monkeypatch) -> None:
    asked = []

    def run(*given):
        asked.append(given)
        return recording()

    monkeypatch.setenv("TRADING_VAR_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    monkeypatch.setattr(command, "run", run)
    assert command.main() == 0
    [(asked_plan, _, named, quick)] = asked
    assert (asked_plan, quick) == (plan, plan is QUICK)
    assert named == " ".join([command.PROGRAM, *arguments])
    assert (tmp_path / "bench" / command.RESULTS).exists()
