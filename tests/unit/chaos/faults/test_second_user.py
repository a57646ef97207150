"""The second user: what the system lets another user do, and what not."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.faults import second_user
from chaos.faults.second_user import Kind, NoSecondUserError, SecondUser
from chaos.lab.target import TargetError
from lib.price_book.segment_files import SHM_DIR
from lib.shared_memory_utils import SharedPriceBook

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def path() -> Iterator[Path]:
    path = SHM_DIR / f"tw-test-{os.getpid()}-{secrets.token_hex(4)}"
    yield path
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def other() -> Iterator[SecondUser]:
    with SecondUser() as other:
        yield other


def test_without_root_there_is_no_second_user_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(second_user.os, "geteuid", lambda: 1000)
    with pytest.raises(NoSecondUserError, match="only root can act as a second user"):
        SecondUser()


@needs_root
@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_planted_is_of_its_kind_and_belongs_to_the_other_user(
    other: SecondUser, path: Path, kind: Kind, tmp_path: Path
) -> None:
    assert other.plant(path, kind, tmp_path) == ""
    status = path.lstat()
    assert status.st_uid == other.uid != os.geteuid()
    is_of_kind = {
        Kind.FILE: stat.S_ISREG,
        Kind.LINK: stat.S_ISLNK,
        Kind.FIFO: stat.S_ISFIFO,
        Kind.DIRECTORY: stat.S_ISDIR,
    }[kind]
    assert is_of_kind(status.st_mode)
    assert other.plant(path, kind, tmp_path) == "File exists"


@needs_root
def test_a_planted_file_is_locked_as_if_its_owner_were_at_work(
    other: SecondUser, path: Path
) -> None:
    other.plant(path, Kind.FILE)
    with path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@needs_root
def test_a_forged_price_book_is_valid_and_has_the_forged_price(
    other: SecondUser, path: Path
) -> None:
    assert other.forge_book(path, ["AAPL", "MSFT"], 99_998.0) == ""
    assert path.stat().st_uid == other.uid
    os.chown(path, os.geteuid(), -1)  # another user's is refused, and what others may write to
    path.chmod(0o600)
    book = SharedPriceBook.attach(path.name)
    assert (book.read("AAPL"), book.read("MSFT")) == (99_998.0, 99_998.0)
    book.close()
    assert list(SHM_DIR.glob("forged-*")) == []


@needs_root
def test_a_private_file_in_shared_memory_can_be_neither_read_nor_written_nor_taken_away(
    other: SecondUser, path: Path
) -> None:
    path.touch(mode=0o600)
    refused = [other.attempt(what, path) for what in ("open", "write", "rename", "remove")]
    assert refused == ["Permission denied"] * 2 + ["Operation not permitted"] * 2
    path.chmod(0o666)
    assert other.attempt("write", path) == ""


@needs_root
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_second_user_that_dies_or_is_silent_is_an_error_and_no_reason_to_skip(
    path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SecondUser() as other:
        assert other.plant(path, Kind.FILE) == ""
        monkeypatch.setattr(second_user, "ANSWER_S", 0.3)
        other._process.send_signal(number)
        if number == signal.SIGKILL:
            other._process.wait()  # then its pipe has no reader
        with pytest.raises(TargetError, match="has died, or does not answer"):
            other.attempt("open", path)
    assert other._process.returncode == -signal.SIGKILL


@needs_root
def test_it_finds_the_project_with_pythonsafepath_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    with SecondUser() as other:
        assert other.plant(path, Kind.FIFO) == ""


def test_a_lock_that_somebody_else_took_first_is_refused_and_not_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals: list[int] = []

    def be_quicker(_fd: int, _text: bytes) -> None:
        rivals.append(os.open(path, os.O_RDWR))
        fcntl.flock(rivals[0], fcntl.LOCK_EX | fcntl.LOCK_NB)

    monkeypatch.setattr(second_user.os, "write", be_quicker)
    with pytest.raises(BlockingIOError):
        second_user.plant(path, Kind.FILE)
    os.close(rivals[0])
