"""The state file: what was stored survives SIGKILL, and what is no state file is none."""

from __future__ import annotations

import errno
import json
import os

import pytest
from structlog.testing import capture_logs

from lib.process.state_file import continue_state, create_state, open_state

HEADER = {"run": [123, 456], "tape": "tape-7"}


def test_a_successor_finds_the_header_and_the_words_as_they_were_left(tmp_path):
    path = tmp_path / "var" / "deep" / "state"
    state = create_state(path, HEADER, [1, 2])
    state.words[0] = 17
    state.words[1] = -(2**63)
    found = open_state(path, 2)
    assert found.header == HEADER
    assert list(found.words) == [17, -(2**63)]


def test_where_there_is_no_file_there_is_no_state(tmp_path):
    assert open_state(tmp_path / "state", 2) is None
    assert open_state(tmp_path / "nowhere" / "state", 2) is None
    assert open_state(tmp_path, 2) is None


NO_STATES = {
    "empty": b"",
    "short": b"{}",
    "no text": b"\xff" * 1040,
    "no object": b"[1]".ljust(1040),
    "one word": json.dumps(HEADER).encode().ljust(1024) + b"\0" * 8,
    "three words": json.dumps(HEADER).encode().ljust(1024) + b"\0" * 24,
}


@pytest.mark.parametrize("contents", NO_STATES.values(), ids=NO_STATES)
def test_a_file_that_is_no_state_of_that_many_words_is_no_state(tmp_path, contents):
    path = tmp_path / "state"
    path.write_bytes(contents)
    assert open_state(path, 2) is None
    # And it can be replaced by one that is.
    create_state(path, HEADER, [1, 2])
    assert open_state(path, 2).header == HEADER


def test_a_new_state_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "state"
    old = create_state(path, HEADER, [1])
    new = create_state(path, {"tape": "tape-8"}, [2])
    old.words[0] = 99
    assert list(new.words) == list(open_state(path, 1).words) == [2]
    assert open_state(path, 1).header == {"tape": "tape-8"}
    assert list(tmp_path.iterdir()) == [path]


def test_further_words_are_zero_and_have_their_place_on_the_disk(tmp_path):
    path = tmp_path / "state"
    state = create_state(path, HEADER, [7], further_words=100_000)
    assert len(state.words) == 100_001
    assert (state.words[0], state.words[1], state.words[100_000]) == (7, 0, 0)
    assert path.stat().st_blocks * 512 >= path.stat().st_size


def test_what_cannot_be_written_leaves_the_old_state_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "state"
    create_state(path, HEADER, [1])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ValueError, match="/state: a header of 1036 bytes; 1024 fit"):
        create_state(path, {"tape": "x" * 1024}, [2])
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        create_state(path, {"tape": "tape-8"}, [2])
    assert open_state(path, 1).header == HEADER
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_that_others_could_have_written_is_not_continued_and_that_is_logged(tmp_path):
    path = tmp_path / "state"
    create_state(path, HEADER, [1])
    path.chmod(0o666)
    with capture_logs() as logs:
        assert continue_state(path, 1) is None
    assert open_state(path, 1) is None
    assert [(log["event"], log["path"]) for log in logs] == [("state_refused", str(path))]
    assert "others may write to it" in logs[0]["reason"]
    with capture_logs() as logs:
        path.write_bytes(b"")
        path.chmod(0o600)
        assert continue_state(path, 1) is None  # an ordinary one that is damaged
        path.unlink()
        assert continue_state(path, 1) is None
    assert logs == []


@pytest.mark.parametrize("loss", ["removed", "replaced"])
def test_a_state_that_vanished_is_put_back_with_all_that_was_stored_meanwhile(tmp_path, loss):
    path = tmp_path / "state"
    state = create_state(path, HEADER, [1], further_words=1)
    assert state.is_in_place()
    path.unlink()
    if loss == "replaced":
        create_state(path, {"tape": "another"}, [5, 5])
    state.words[0] = 17
    assert not state.is_in_place()
    state.put_back()
    assert state.is_in_place()
    state.words[1] = 18
    found = open_state(path, 2)
    assert (found.header, list(found.words)) == (HEADER, [17, 18])


def test_a_state_that_cannot_be_put_back_goes_on_in_memory(tmp_path):
    path = tmp_path / "var" / "state"
    state = create_state(path, HEADER, [1])
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="it is a directory"):
        state.put_back()
    state.words[0] = 2
    path.rmdir()
    state.put_back()
    assert list(open_state(path, 1).words) == [2]
