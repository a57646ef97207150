"""Locks on files: one holder, or several that share it, and what cannot be locked."""

from __future__ import annotations

import os

import pytest

from lib.process import file_lock
from lib.process.file_lock import LockHeldError, lock_file


def test_a_lock_is_held_by_one_who_says_who_he_is(tmp_path):
    held = lock_file(tmp_path / "lock", "me")
    with pytest.raises(LockHeldError) as refusal:
        lock_file(tmp_path / "lock", "you")
    assert refusal.value.note == "me"
    os.close(held)
    os.close(lock_file(tmp_path / "lock", "you"))
    assert (tmp_path / "lock").read_text() == "you"


def test_a_lock_can_be_shared_against_those_who_want_it_alone(tmp_path):
    path = tmp_path / "lock"
    first, second = (lock_file(path, note, shared=True) for note in "ab")
    with pytest.raises(LockHeldError):
        lock_file(path, "c")
    os.close(first)
    os.close(second)
    os.close(lock_file(path, "c"))


def test_a_lock_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    flock, removals = file_lock.fcntl.flock, [1, 2]

    def remove_first(fd: int, kind: int) -> None:
        if removals:
            removals.pop()
            path.unlink()
        flock(fd, kind)

    monkeypatch.setattr(file_lock.fcntl, "flock", remove_first)
    held = lock_file(path, "me")
    assert path.read_text() == "me"
    assert os.path.sameopenfile(held, os.open(path, os.O_RDONLY))


def test_a_lock_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path, tmp_path / "link", tmp_path / "no" / "lock"):
        with pytest.raises(OSError, match=r"directory|symbolic"):
            lock_file(path, "me")
