"""Which files are removed together, and what counts as a reason."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from chaos import vanish
from chaos.lab.experiment import RoundContext
from chaos.lab.removals import Removal, Remover
from chaos.lab.target import TargetStack
from chaos.vanish import Vanish
from lib.settings import Settings

FILES = (
    *("log/gateway.jsonl", "log/gateway.out", "gateway.heartbeat", "supervisor.sock"),
    *("orders.sqlite", "orders.sqlite-wal", "orders.sqlite.lock", "a.file.of.a.later.version"),
)


class Recorded:
    """A remover that only remembers what it was to remove."""

    def __init__(self) -> None:
        self.removed: list[list[str]] = []

    def remove(self, paths: list[Path], **_: Any) -> list[Removal]:
        self.removed.append([path.name for path in paths])
        return [Removal(path.name, healed_ns=1) for path in paths]


def test_every_file_is_removed_once_and_the_ledger_from_another_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Settings().price_book.name
    shm = [Path("/dev/shm", name) for name in (book, f"{book}.lock", f"{book}.reader-00")]
    monkeypatch.setattr(vanish, "files_in_shm", lambda _: shm)
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    target = TargetStack(msgspec.structs.replace(Settings(), var_dir=tmp_path))
    context = SimpleNamespace(target=target, random=Random(1))
    remover = Recorded()
    experiment = Vanish(1)
    monkeypatch.setattr(experiment, "_freeze", lambda _: None)
    monkeypatch.setattr(experiment, "_remove_book_for_good", lambda *_: None)
    steps = experiment._steps(cast(RoundContext, context), cast(Remover, remover))
    for _, remove in steps:
        remove()
    alone = [[path.name] for path in (shm[1], shm[2], shm[0])]
    assert [sorted(names) for names in remover.removed] == [
        ["gateway.jsonl", "gateway.out"],
        ["a.file.of.a.later.version", "gateway.heartbeat"],
        ["supervisor.sock"],
        *alone,
    ]


def test_the_table_has_a_line_for_each_file_and_a_loss_without_a_word_is_a_reason() -> None:
    experiment = Vanish(1)
    experiment._of_ledgers = [
        Removal("a.state", healed_ns=1_200_000_000),
        Removal("b.state", said=("watchdog: file_lost",)),
        Removal("c.state"),
    ]
    _, *lines = experiment.table()
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        "healed in 1.2 s",
        "watchdog: file_lost",
        "-",
    ]
    [reason] = experiment.reasons()
    assert reason.startswith("c.state: not healed and not logged")
    assert [one["outcome"] for one in experiment.figures()["removals"]] == [
        "healed in 1.2 s",
        "watchdog: file_lost",
        "",
    ]
