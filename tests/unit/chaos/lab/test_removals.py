"""What becomes of a removed file: made again, logged, or neither; and that it is put back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from chaos.lab import removals
from chaos.lab.recorder import Event, Recorder, StackRecording
from chaos.lab.removals import Removal, Remover, unmet_expectations
from chaos.lab.target import TargetStack
from lib.settings import Settings
from tests.log_lines import recorded


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> StackRecording:
    monkeypatch.setattr(removals, "NOTICE_S", 0.3)
    monkeypatch.setattr(removals, "HEALED_AFTER_S", 0.05)
    monkeypatch.setattr(removals, "LOOK_S", 0.01)
    return StackRecording()


@pytest.fixture
def remover(tmp_path: Path, recording: StackRecording) -> Remover:
    (tmp_path / "var" / "log").mkdir(parents=True)
    settings = msgspec.structs.replace(Settings(), var_dir=tmp_path / "var")
    recorder = cast(Recorder, SimpleNamespace(recording=recording))
    return Remover(TargetStack(settings), recorder)


def lost(path: Path, source: str = "strategy") -> Event:
    fields = {"path": str(path), "reason": None}
    return recorded(1, source, "state_not_written", fields)


def test_a_file_that_is_made_again_is_healed(tmp_path: Path, remover: Remover) -> None:
    path = tmp_path / "var" / "a.state"
    path.touch()
    [found] = remover.remove([path], meanwhile=path.touch)
    assert found.healed_ns
    assert found.said == ()
    assert found.outcome.startswith("healed in ")


def test_a_loss_that_is_logged_needs_no_healing(
    tmp_path: Path, remover: Remover, recording: StackRecording
) -> None:
    path = tmp_path / "var" / "a.state"
    path.touch()
    recording.events.append(lost(path))  # an earlier loss
    [found] = remover.remove([path], meanwhile=lambda: recording.events.append(lost(path)))
    assert found == Removal("a.state", said=("strategy: state_not_written",))
    assert unmet_expectations([found]) == []


def test_a_loss_that_nobody_notices_is_a_reason(tmp_path: Path, remover: Remover) -> None:
    path = tmp_path / "var" / "a.state"
    path.touch()
    [found] = remover.remove([path])
    assert unmet_expectations([found]) == ["a.state: not healed and not logged within 0.3 s"]


def test_a_loss_is_logged_once_also_after_it_was_healed(
    tmp_path: Path, remover: Remover, recording: StackRecording
) -> None:
    path = tmp_path / "var" / "a.state"
    path.touch()
    remover.remove([path], meanwhile=path.touch)
    recording.events += [lost(path), lost(path)]
    [reason] = unmet_expectations(remover.removals())
    assert reason == "a.state: removed once, and logged 2 times as strategy: state_not_written"


def test_a_file_that_is_removed_again_may_be_logged_again(
    tmp_path: Path, remover: Remover, recording: StackRecording
) -> None:
    path = tmp_path / "var" / "a.state"
    for _ in range(2):
        path.touch()
        remover.remove([path], meanwhile=lambda: recording.events.append(lost(path)))
    assert unmet_expectations(remover.removals()) == []


def test_what_is_logged_about_a_price_book_is_about_its_part_that_was_removed_last(
    tmp_path: Path, remover: Remover, recording: StackRecording
) -> None:
    def log_loss() -> None:
        fields = {"price_book": "book", "reason": "it is damaged"}
        recording.events.append(recorded(1, "strategy", "price_book_unusable", fields))

    for name in ("book.lock", "book.keeper"):
        (tmp_path / "var" / name).touch()
        remover.remove([tmp_path / "var" / name], book="book", meanwhile=log_loss)
    said = [one.said for one in remover.removals()]
    assert said == [("strategy: price_book_unusable",)] * 2
    assert unmet_expectations(remover.removals()) == []


def test_what_is_not_made_again_is_put_back_and_a_log_becomes_a_rotated_part(
    tmp_path: Path, remover: Remover
) -> None:
    lost_log, kept_log = (tmp_path / "var" / "log" / name for name in ("a.jsonl", "b.jsonl"))
    state = tmp_path / "var" / "a.state"
    for path in (lost_log, kept_log, state):
        path.write_text("old")
    remover.remove([lost_log, kept_log, state], meanwhile=lambda: write("new", kept_log, state))
    remover.put_back()
    remover.remove([kept_log], meanwhile=lambda: write("newest", kept_log))
    for _ in range(2):
        remover.put_back()
        remover.return_logs()
    assert lost_log.read_text() == "old"
    assert state.read_text() == "new"
    names = ("b.jsonl.99", "b.jsonl.98", "b.jsonl")  # the oldest first
    assert [kept_log.with_name(name).read_text() for name in names] == ["old", "new", "newest"]
    assert len(list(kept_log.parent.iterdir())) == 4


def test_a_file_that_its_owner_has_just_removed_is_none(tmp_path: Path, remover: Remover) -> None:
    assert remover.remove([tmp_path / "var" / "a.new"]) == []


def write(text: str, *paths: Path) -> None:
    for path in paths:
        path.write_text(text)
