"""A Parquet file in parts: what a killed writer leaves, what becomes of the parts at the end."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import duckdb
import numpy as np
import pytest

from lib.tape_files.parts import PartsWriter, join_parts
from lib.tapes.recording_files import parts_directory, played_path
from lib.tapes.tape import TapeError
from tests.processes import forked

QUERY = "SELECT number, $word AS word FROM rows"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "it's [a] tape.parquet"


def write(writer: PartsWriter, *numbers: int, word: str = "w") -> None:
    writer.write(QUERY, {"number": np.array(numbers, np.int64)}, word=word)


def record(file: Path, *numbers: int) -> None:
    """Leave a part, as a recorder does that is killed."""
    writer = PartsWriter(file)
    write(writer, *numbers)
    writer.close()


def numbers(pattern: str) -> list[int]:
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT number FROM read_parquet($1)", [pattern]).fetchall()
    return [number for (number,) in rows]


def test_the_parts_are_joined_in_their_order_and_removed(file):
    writer = PartsWriter(file)
    for part in range(12):
        write(writer, 100 - part, 200 - part)
    writer.close()
    assert not file.exists()
    assert join_parts(file) == 24
    assert numbers(str(file).replace("[", "[[]")) == [
        number for part in range(12) for number in (100 - part, 200 - part)
    ]
    assert not parts_directory(file).exists()


def test_a_killed_writer_leaves_its_whole_parts_which_are_what_is_played(file):
    def record():
        writer = PartsWriter(file)
        write(writer, 1, 2)
        write(writer, 3)
        (parts_directory(file) / "part-000000003.new").write_bytes(b"PAR1 half")
        os.kill(os.getpid(), signal.SIGKILL)

    with forked(record) as child:
        assert child.join() == -signal.SIGKILL
    assert numbers(played_path(str(file))) == [1, 2, 3]
    assert join_parts(file) == 3
    assert played_path(str(file)) == str(file)


def test_nothing_is_made_before_the_first_part(file):
    PartsWriter(file).close()
    assert list(file.parent.iterdir()) == []
    assert join_parts(file) == 0
    assert list(file.parent.iterdir()) == []


def test_a_file_that_is_there_is_not_overwritten(file):
    file.write_text("mine")
    with pytest.raises(TapeError, match="is there already; give another name"):
        PartsWriter(file)
    assert file.read_text() == "mine"


def test_a_link_that_leads_nowhere_is_not_followed(file):
    file.symlink_to("elsewhere")
    with pytest.raises(TapeError, match="is there already"):
        PartsWriter(file)


def test_the_parts_of_another_recording_are_kept_and_named(file):
    record(file, 1)
    with pytest.raises(TapeError, match="record --join"):
        PartsWriter(file)
    assert numbers(played_path(str(file))) == [1]


def test_parts_are_not_joined_over_a_file_that_has_come_meanwhile(file):
    record(file, 1)
    file.write_text("mine")
    with pytest.raises(TapeError, match="is there already"):
        join_parts(file)
    assert file.read_text() == "mine"
    assert parts_directory(file).is_dir()


def test_a_part_that_cannot_be_written_is_one_line_and_the_earlier_ones_stay(file):
    writer = PartsWriter(file)
    write(writer, 1)
    (parts_directory(file) / "part-000000002.new").mkdir()
    with pytest.raises(TapeError, match="cannot be written") as error:
        write(writer, 2)
    assert "\n" not in str(error.value)
    assert numbers(played_path(str(file))) == [1]


def no_room(bytes_left: int) -> None:
    """Let this process write no file that is longer, as if the disk were full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, bytes_left))


@pytest.mark.parametrize("bytes_left", [0, 100])
def test_on_a_full_disk_nothing_is_left_of_the_first_part(file, bytes_left):
    def record():
        no_room(bytes_left)
        with pytest.raises(TapeError, match="cannot be written"):
            write(PartsWriter(file), *range(1000))

    with forked(record) as child:
        assert child.join() == 0
    assert list(file.parent.iterdir()) == []


def test_on_a_full_disk_the_parts_of_before_stay_and_can_be_joined_later(file):
    record(file, *range(1000))

    def join():
        no_room(100)
        with pytest.raises(TapeError, match="cannot be written"):
            join_parts(file)

    with forked(join) as child:
        assert child.join() == 0
    assert {one.name for one in parts_directory(file).iterdir()} == {
        "lock",
        "part-000000001.parquet",
    }
    assert join_parts(file) == 1000


def test_what_is_still_recorded_is_not_joined(file):
    writer = PartsWriter(file)
    write(writer, 1)
    with pytest.raises(TapeError, match=f"recorded or joined by process {os.getpid()}"):
        join_parts(file)
    write(writer, 2)
    writer.close()
    assert join_parts(file) == 2


def test_a_damaged_part_is_one_line_and_all_parts_stay(file):
    record(file, 1)
    (parts_directory(file) / "part-000000002.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(TapeError) as error:
        join_parts(file)
    assert "\n" not in str(error.value)
    assert len(list(parts_directory(file).iterdir())) >= 2
    assert not file.exists()


def test_nothing_is_printed(file, capfd):
    record(file, 1)
    join_parts(file)
    assert capfd.readouterr() == ("", "")
