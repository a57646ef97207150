"""Locks, creation and removal of the files in /dev/shm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.price_book.segment_files import (
    MAGIC,
    SHM_DIR,
    PriceBookError,
    check_trusted,
    create_segment,
    keeper_path,
    remove_segments,
    retire,
    segment_path,
)
from lib.process.file_lock import lock_file
from lib.process.own_files import NotOurFileError
from tests.helpers import wait_until
from tests.price_books import files_of
from tests.processes import forked

BEGINNING = MAGIC + bytes(24)


class TestCreateSegment:
    def test_makes_a_whole_one_at_once_unless_one_is_there(self, name):
        create_segment(name, BEGINNING, 5_000, replace=False)
        for _ in range(2):
            assert segment_path(name).read_bytes() == BEGINNING.ljust(5_000, b"\0")
            assert segment_path(name).stat().st_mode & 0o777 == 0o600
            assert segment_path(name).stat().st_blocks * 512 >= 5_000  # no promise, but memory
            assert files_of(name) == [name]
            with pytest.raises(FileExistsError):
                create_segment(name, BEGINNING, 6_000, replace=False)

    def test_killed_at_any_moment_leaves_a_whole_one_or_none(self, name):
        def creator():
            while True:
                create_segment(name, BEGINNING, 100_000, replace=True)

        for _ in range(30):
            with forked(creator) as child:
                wait_until(lambda: files_of(name), "it has begun")
                child.kill()
                child.join()
            if segment_path(name).exists():
                assert segment_path(name).stat().st_size == 100_000
                assert segment_path(name).read_bytes()[:8] == MAGIC
        create_segment(name, BEGINNING, 100_000, replace=True)
        assert files_of(name) == [name]


@pytest.fixture
def another_user(monkeypatch) -> None:
    """From here on we are another user than the one whose files are there."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)


class TestPlanted:
    def test_half_built_segments_of_another_user_are_in_nobodys_way(
        self, name, monkeypatch, another_user
    ):
        planted = [f"{name}.new-{pid}" for pid in (1, 2**22 + 1, os.getpid())]
        for file in planted:
            (SHM_DIR / file).touch()
        create_segment(name, BEGINNING, 5_000, replace=False)
        assert files_of(name) == sorted([name, *planted])
        monkeypatch.undo()

    @pytest.mark.parametrize("end", ["", ".lock", ".keeper"])
    def test_a_file_that_must_not_be_used_is_named_before_a_start(self, name, monkeypatch, end):
        check_trusted(name)
        path = SHM_DIR / f"{name}{end}"
        path.touch(mode=0o600)
        check_trusted(name)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(PriceBookError, match=f"cannot use {path}: it belongs to user"):
            check_trusted(name)

    def test_files_of_another_user_stay_and_the_others_are_removed(self, name, monkeypatch):
        files = [f"{name}{end}" for end in ("", ".keeper", ".lock", ".reader-00")]
        for file in files:
            (SHM_DIR / file).touch(mode=0o600)
        lstat, theirs = Path.lstat, {SHM_DIR / f"{name}.keeper", SHM_DIR / f"{name}.lock"}

        def owned(path: Path) -> os.stat_result:
            status = lstat(path)
            if path not in theirs:
                return status
            return os.stat_result([*status[:4], status.st_uid + 1, *status[5:]])

        monkeypatch.setattr(Path, "lstat", owned)
        with pytest.raises(NotOurFileError, match="it belongs to user"):
            remove_segments(name)
        assert files_of(name) == [f"{name}.keeper", f"{name}.lock"]


class TestRetire:
    @pytest.mark.parametrize("content", [b"", MAGIC + bytes(15), b"x" * 5_000])
    def test_leaves_what_is_no_price_book_alone(self, name, content):
        segment_path(name).write_bytes(content)
        retire(name)
        assert segment_path(name).read_bytes() == content
        segment_path(name).unlink()
        retire(name)
        os.mkfifo(segment_path(name))
        retire(name)  # and does not wait for it


class TestRemoveSegments:
    def test_removes_what_belongs_to_the_name_and_nothing_else(self, name):
        companions = [f"{name}{end}" for end in ("", ".lock", ".reader-00", ".new-1", ".keeper")]
        others = [f"{name}{end}" for end in ("2", "2.lock", "-3")]
        for file in companions + others:
            (SHM_DIR / file).touch()
        remove_segments(name)
        assert files_of(name) == sorted(others)
        for file in others:
            (SHM_DIR / file).unlink()
        remove_segments(name)

    def test_leaves_the_lock_of_a_keeper_at_work(self, name):
        held = lock_file(keeper_path(name), "1 2")
        (SHM_DIR / f"{name}.lock").touch()
        remove_segments(name)
        assert files_of(name) == [f"{name}.keeper"]
        assert keeper_path(name).read_text() == "1 2"
        os.close(held)

    @pytest.mark.parametrize("name", ["", "*", "..", "a/b"])
    def test_takes_no_pattern_and_no_path(self, name):
        with pytest.raises(ValueError, match="name"):
            remove_segments(name)
