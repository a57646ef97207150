"""The experiment with a hostile gateway against real processes, with a few of its defects."""

from __future__ import annotations

import json

import pytest

from chaos import corrupt_feed
from chaos.corrupt_feed import CorruptFeed
from chaos.faults.hostile_gateway import Lost, Noise, Withheld
from chaos.lab.experiment import command_line, run_experiment
from tests.stack import PrivateStack


def test_the_defects_of_a_hostile_gateway_are_counted_as_what_they_are(
    stack: PrivateStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADING_VAR_DIR", str(stack.var_dir))  # the frame sets it; put it back
    monkeypatch.setattr(corrupt_feed, "DEFECTS", (Noise, Withheld, Lost))
    figures = stack.directory / "figures.json"
    target = ["--config", str(stack.config), "--var-dir", str(stack.var_dir)]
    arguments = command_line("corrupt_feed", "").parse_args([*target, "--json", str(figures)])
    code = run_experiment(CorruptFeed(1), arguments)
    figures_json = json.loads(figures.read_text())
    assert (code, figures_json["reasons"]) == (0, []), capsys.readouterr().out
    noise, withheld, lost = figures_json["harms"]
    for defect in (noise, withheld, lost):
        assert defect["sent"] == defect["counted"]
    assert noise["counted"]["counts"] == {"malformed_frames": 20}
    assert withheld["counted"]["counts"]["ticks_missed"] >= 20
    assert lost["counted"]["counts"] == {"protocol_error": 20, "disconnected": 20}
    assert figures_json["ticks_at_book"] == {"missed": 0, "repeated": 0, "out_of_order": 0}
    assert list((stack.var_dir / "chaos").iterdir()) == []
