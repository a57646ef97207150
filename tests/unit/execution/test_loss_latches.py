"""The files of clients at their loss limit: kept on disk, found again, and missed when removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lib.execution import loss_latches
from lib.execution.loss_latches import LOOK_NS, LossLatches, clients_at_limit
from lib.prices import PRICE_SCALE

LOSS = 1234 * PRICE_SCALE + PRICE_SCALE // 2


def logged(latches: LossLatches, now_ns: int = 0) -> list[tuple[str, str, float | None]]:
    """What a look logs: event, client and loss."""
    with capture_logs() as lines:
        latches.on_time(now_ns)
    return [(line["event"], line["client_id"], line.get("loss")) for line in lines]


def test_a_limit_is_kept_logged_and_logged_again_by_the_next_order_manager(tmp_path: Path) -> None:
    latches = LossLatches(tmp_path, 1000.0)
    assert latches.next_deadline_ns() is None
    with capture_logs() as lines:
        latches.hold("strategy", LOSS)
    assert [(e["event"], e["log_level"], e["loss"], e["limit"]) for e in lines] == [
        ("loss_limit_reached", "error", 1234.5, 1000.0)
    ]
    assert latches.is_held("strategy")
    assert not latches.is_held("other")
    assert (tmp_path / "LOSS_LIMIT-strategy").stat().st_mode & 0o777 == 0o600
    assert logged(latches) == []
    assert logged(LossLatches(tmp_path, 500.0)) == [("loss_limit_reached", "strategy", 1234.5)]


def test_a_file_that_is_removed_is_logged_once(tmp_path: Path) -> None:
    latches = LossLatches(tmp_path, 1000.0)
    latches.hold("one", LOSS)
    latches.hold("two", LOSS)
    (tmp_path / "LOSS_LIMIT-one").unlink()
    assert not latches.is_held("one")
    assert logged(latches) == [("loss_limit_lifted", "one", None)]
    assert latches.next_deadline_ns() == LOOK_NS
    assert logged(latches, LOOK_NS) == []
    (tmp_path / "LOSS_LIMIT-two").unlink()
    assert logged(latches, 2 * LOOK_NS) == [("loss_limit_lifted", "two", None)]
    assert latches.next_deadline_ns() is None


@pytest.mark.parametrize("content", [b"", b"[" * 9999, b"\xff", b'{"event":"started","pid":1}'])
def test_a_file_that_a_person_made_counts_whatever_is_in_it(tmp_path: Path, content: bytes) -> None:
    latches = LossLatches(tmp_path, 1000.0)
    (tmp_path / "LOSS_LIMIT-strategy").write_bytes(content)
    assert latches.is_held("strategy")
    for found in (latches, LossLatches(tmp_path, 1000.0)):
        assert logged(found) == [("loss_limit_reached", "strategy", None)]
        assert logged(found) == []


def test_what_is_no_file_of_ours_is_neither_read_nor_written(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (tmp_path / "LOSS_LIMIT-link").symlink_to(secret)
    os.mkfifo(tmp_path / "LOSS_LIMIT-fifo")
    latches = LossLatches(tmp_path, 1000.0)
    assert [client for _, client, _ in logged(latches)] == ["fifo", "link"]
    for client_id in ("link", "fifo"):
        with pytest.raises(OSError, match="it is a "):
            latches.hold(client_id, LOSS)
    assert secret.read_text() == "mine"


def test_there_are_so_many_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_latches, "MAX_LATCHES", 2)
    for name in ("a b", "", "x" * 65):
        (tmp_path / f"LOSS_LIMIT-{name}").touch()
    assert clients_at_limit(tmp_path) == []
    latches = LossLatches(tmp_path, 1000.0)
    latches.hold("one", LOSS)
    latches.hold("two", LOSS)
    with pytest.raises(OSError, match="2 clients have reached max_loss: remove some LOSS_LIMIT-"):
        latches.hold("three", LOSS)
    assert clients_at_limit(tmp_path) == ["one", "two"]
