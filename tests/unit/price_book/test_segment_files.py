"""Locks, creation and removal of the files in /dev/shm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.price_book.segment_files import (
    MAGIC,
    RETIRED_OFFSET,
    SHM_DIR,
    PriceBookError,
    PriceBookInUse,
    create_segment,
    keeper_path,
    lock_writer,
    remove_segments,
    retire,
    segment_path,
)
from lib.process.file_lock import lock_file
from tests.helpers import wait_until
from tests.price_books import files_of
from tests.processes import forked

BEGINNING = MAGIC + bytes(24)


class TestLockWriter:
    def test_names_the_process_that_holds_it(self, name):
        held = lock_writer(name)
        with pytest.raises(PriceBookInUse, match=f"{name} .*process {os.getpid()};") as refusal:
            lock_writer(name)
        assert refusal.value.pid == os.getpid()
        os.ftruncate(held, 0)
        with pytest.raises(PriceBookInUse, match="not known") as refusal:
            lock_writer(name)
        assert refusal.value.pid is None

    def test_that_cannot_be_taken_is_one_line(self, name):
        lock = SHM_DIR / f"{name}.lock"
        lock.mkdir()
        with pytest.raises(PriceBookError, match=f"^cannot lock {lock}: [^\n]+$"):
            lock_writer(name)
        lock.rmdir()


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

    def test_retires_the_one_it_replaces(self, name):
        create_segment(name, BEGINNING, 5_000, replace=False)
        with segment_path(name).open("rb") as old:
            create_segment(name, BEGINNING, 6_000, replace=True)
            assert old.read(RETIRED_OFFSET + 8)[RETIRED_OFFSET:] != bytes(8)
        assert segment_path(name).stat().st_size == 6_000
        assert segment_path(name).read_bytes()[RETIRED_OFFSET:] == bytes(6_000 - RETIRED_OFFSET)

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

    def test_removes_all_it_can_before_it_complains(self, name):
        Path(SHM_DIR / f"{name}.a").mkdir()
        (SHM_DIR / f"{name}.lock").touch()
        segment_path(name).touch()
        with pytest.raises(OSError, match=rf"{name}\.a"):
            remove_segments(name)
        assert files_of(name) == [f"{name}.a"]
        Path(SHM_DIR / f"{name}.a").rmdir()

    @pytest.mark.parametrize("name", ["", "*", "..", "a/b"])
    def test_takes_no_pattern_and_no_path(self, name):
        with pytest.raises(ValueError, match="name"):
            remove_segments(name)
