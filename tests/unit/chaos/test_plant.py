"""What is planted in each round, and what counts as a reason."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from chaos import plant
from chaos.faults.planted_files import OPEN_TO_ALL, OWNER, Planted
from chaos.faults.second_user import Kind, NoSecondUserError
from chaos.lab.experiment import RoundContext
from chaos.lab.target import TargetStack
from chaos.plant import Plant, PlantOutcome
from lib.settings import Settings
from lib.stack.private_stack import PrivateStack, private_settings

NAMES = ("gateway.state", "log/gateway.jsonl", "orders.sqlite", "supervisor.sock")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RoundContext:
    """A stack with a few files, as an experiment sees it."""
    for name in NAMES:
        (tmp_path / "var" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "var" / name).touch()
    book = Settings().price_book.name
    shm = [Path("/dev/shm", name) for name in (book, f"{book}.lock")]
    monkeypatch.setattr(plant, "files_in_shm", lambda _: shm)
    target = TargetStack(msgspec.structs.replace(Settings(), var_dir=tmp_path / "var"))
    return cast(RoundContext, SimpleNamespace(target=target, show_progress=lambda *_: None))


def plan(context: RoundContext, directory: Path, number: int) -> list[Planted]:
    directory.mkdir()
    settings = private_settings(context.target.settings, directory, "tw-test-")
    return Plant(1)._plan(context, PrivateStack(settings, directory), number)


def test_in_four_rounds_everything_is_planted_under_each_name_of_a_running_stack(
    context: RoundContext, tmp_path: Path
) -> None:
    rounds = [plan(context, tmp_path / f"stack-{number}", number) for number in range(4)]
    kinds: dict[str, set[str]] = {}
    for planted in rounds:
        for one in planted:
            kinds.setdefault(one.name, set()).add(one.kind)
            assert bool(one.victim) == (one.kind == Kind.LINK)
    assert kinds.pop("price book") == {Kind.FILE}  # always forged
    directories = {"the var directory", "its log directory"}
    assert all(kinds.pop(name) == {OWNER, OPEN_TO_ALL} for name in directories)
    assert all(found == set(Kind) for found in kinds.values())
    assert kinds.keys() > {*NAMES, "price book.lock", "price book.reader-00", "price book.new-1"}


def test_without_a_second_user_it_is_skipped_with_the_reason_and_does_not_fail(
    context: RoundContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise NoSecondUserError("only root can act as a second user (nobody)")

    monkeypatch.setattr(plant, "SecondUser", refuse)
    experiment = Plant(1)
    experiment.run_round(context, 0)
    experiment.put_back()
    assert experiment.table() == ["skipped: only root can act as a second user (nobody)"]
    assert experiment.reasons() == []
    assert experiment.figures()["skipped"]


def test_what_was_adopted_is_a_reason_and_takes_the_place_of_the_outcome() -> None:
    experiment = Plant(1)
    experiment.found = [
        PlantOutcome("a", "FIFO", plant.BEFORE, "not adopted"),
        PlantOutcome("b", "file", plant.BEFORE, "not adopted", "in use by gateway"),
    ]
    assert experiment.reasons() == ["b: file, before the start: in use by gateway"]
    *_, first, second = experiment.table()
    assert first.endswith("not adopted")
    assert second.endswith("in use by gateway")
