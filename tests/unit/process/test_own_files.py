"""Which files are trusted: regular, ours, writable by nobody else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.process.own_files import NotOurFileError, check_own, open_own, user_name

READ, CREATE = os.O_RDWR, os.O_RDWR | os.O_CREAT


def test_a_file_of_ours_is_made_for_us_alone_and_opened_again(tmp_path):
    path = tmp_path / "file"
    os.close(open_own(path, CREATE))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.close(open_own(path, READ))


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lambda path: path.symlink_to("elsewhere"), "a symbolic link"),
        (lambda path: path.mkdir(), "a directory"),
        (os.mkfifo, "a FIFO"),
    ],
)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT, CREATE])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path, plant: Callable[[Path], object], kind: str, flags: int
):
    path = tmp_path / "file"
    plant(path)
    with pytest.raises(NotOurFileError, match=f"it is {kind}") as refusal:
        open_own(path, flags)
    assert refusal.value.filename == str(path)


def test_what_cannot_be_made_is_refused_with_the_kernels_reason(tmp_path, monkeypatch):
    def refuse(path: Path, *_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Read-only file system"):
        open_own(tmp_path / "file", CREATE)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_to_is_refused(tmp_path, mode: int):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    with pytest.raises(NotOurFileError, match=f"mode {mode:04o}"):
        open_own(path, READ)


def test_a_file_of_another_user_is_refused_by_name(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.touch()
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(NotOurFileError, match="belongs to user") as refusal:
        open_own(path, READ)
    assert user_name(path.stat().st_uid) in refusal.value.strerror


def test_an_absent_file_stays_an_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_own(tmp_path / "file", READ)


def test_another_kind_of_file_can_be_asked_for(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    check_own(path, path.lstat(), stat.S_IFIFO)
    with pytest.raises(NotOurFileError, match="it is a FIFO, not a directory"):
        check_own(path, path.lstat(), stat.S_IFDIR)
