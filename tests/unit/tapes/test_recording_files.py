"""The names of the files of a recording."""

from __future__ import annotations

from glob import glob
from pathlib import Path

from lib.tapes.recording_files import news_file, part_file, played_path


def test_a_file_is_played_as_it_is_whether_it_is_there_or_not(tmp_path):
    for name in ("a.parquet", "*.csv", "x" * 300):
        assert played_path(str(tmp_path / name)) == str(tmp_path / name)


def test_of_a_recording_that_was_cut_off_its_parts_are_played_in_their_order(tmp_path):
    file = tmp_path / "[1] a.parquet"
    part_file(file, 1).parent.mkdir()
    for number in (10, 9, 1):
        part_file(file, number).touch()
    found = sorted(glob(played_path(str(file))))  # noqa: PTH207 (it is a pattern)
    assert found == [str(part_file(file, number)) for number in (1, 9, 10)]


def test_a_file_is_played_before_its_parts(tmp_path):
    file = tmp_path / "a.parquet"
    part_file(file, 1).parent.mkdir()
    file.touch()
    assert played_path(str(file)) == str(file)


def test_the_news_are_beside_the_ticks():
    assert news_file(Path("x/a.b.parquet")) == Path("x/a.b-news.parquet")
