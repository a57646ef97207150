"""The state file: what was stored survives SIGKILL, and what is no state file is none."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lib.process.state_file import StateFile, create_state, open_state

HEADER = {"run": [123, 456], "tape": "tape-7"}


def test_a_successor_finds_the_header_and_the_words_as_they_were_left(tmp_path):
    state = create_state(tmp_path / "state", HEADER, [1, 2])
    state.words[0] = 17
    state.words[1] = -(2**63)
    found = open_state(tmp_path / "state", 2)
    assert found.header == HEADER
    assert list(found.words) == [17, -(2**63)]


def test_every_store_before_a_sigkill_is_found(tmp_path):
    killed = """
import os, pathlib, signal, sys
from lib.process.state_file import create_state
state = create_state(pathlib.Path(sys.argv[1]), {"tape": "t"}, [0, 0])
for number in range(1, 100_001):
    state.words[0] = state.words[1] = number
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "state"
    root = Path(__file__).parents[3]
    outcome = subprocess.run([sys.executable, "-c", killed, path], cwd=root, timeout=60)
    assert outcome.returncode == -signal.SIGKILL
    assert list(open_state(path, 2).words) == [100_000, 100_000]


def test_where_there_is_no_file_there_is_no_state(tmp_path):
    assert open_state(tmp_path / "state", 2) is None
    assert open_state(tmp_path / "nowhere" / "state", 2) is None
    assert open_state(tmp_path, 2) is None


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"{}",
        b"\xff" * 1040,
        b"[" * 1040,
        b"nonsense".ljust(1040),
        json.dumps([1]).encode().ljust(1040),
        json.dumps(HEADER).encode().ljust(1024) + b"\0" * 8,
        json.dumps(HEADER).encode().ljust(1024) + b"\0" * 24,
    ],
    ids=[
        "empty",
        "short",
        "no-text",
        "brackets",
        "no-json",
        "no-object",
        "one-word",
        "three-words",
    ],
)
def test_a_file_that_is_no_state_of_that_many_words_is_no_state(tmp_path, contents):
    path = tmp_path / "state"
    path.write_bytes(contents)
    assert open_state(path, 2) is None
    # And it can be replaced by one that is.
    create_state(path, HEADER, [1, 2])
    assert open_state(path, 2).header == HEADER


def test_the_error_says_which_file_is_not_a_state_file(tmp_path):
    create_state(tmp_path / "state", HEADER, [1])
    with pytest.raises(ValueError, match=r"/state: not a state file of 2 words"):
        StateFile(tmp_path / "state", 2)


def test_the_directory_is_made_where_it_is_missing(tmp_path):
    create_state(tmp_path / "var" / "deep" / "state", HEADER, [1])
    assert open_state(tmp_path / "var" / "deep" / "state", 1).header == HEADER


def test_a_new_state_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "state"
    old = create_state(path, HEADER, [1])
    new = create_state(path, {"tape": "tape-8"}, [2])
    old.words[0] = 99
    assert list(new.words) == list(open_state(path, 1).words) == [2]
    assert open_state(path, 1).header == {"tape": "tape-8"}
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_new_state_is_whole_the_old_one_is_found(tmp_path, monkeypatch):
    path = tmp_path / "state"
    create_state(path, HEADER, [1])

    def killed_here(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed_here)
    with pytest.raises(KeyboardInterrupt):
        create_state(path, {"tape": "tape-8"}, [2])
    assert open_state(path, 1).header == HEADER
    assert list(open_state(path, 1).words) == [1]


def test_a_header_that_does_not_fit_is_refused_and_the_old_state_stands(tmp_path):
    path = tmp_path / "state"
    create_state(path, HEADER, [1])
    with pytest.raises(ValueError, match="/state: a header of 1036 bytes; 1024 fit"):
        create_state(path, {"tape": "x" * 1024}, [2])
    assert open_state(path, 1).header == HEADER


def test_further_words_are_zero_and_have_their_place_on_the_disk(tmp_path):
    path = tmp_path / "state"
    state = create_state(path, HEADER, [7], further_words=100_000)
    assert len(state.words) == 100_001
    assert (state.words[0], state.words[1], state.words[100_000]) == (7, 0, 0)
    assert path.stat().st_blocks * 512 >= path.stat().st_size


def test_a_disk_that_is_full_leaves_no_half_of_a_file_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        create_state(tmp_path / "state", HEADER, [1])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "state.new").mkdir()
    with pytest.raises(OSError, match=r"state\.new"):
        create_state(tmp_path / "state", HEADER, [1])
