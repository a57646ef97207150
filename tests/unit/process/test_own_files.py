"""Which files are trusted: regular, ours, writable by no other user."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lib.process.own_files import (
    NotOurFileError,
    adopt,
    check_own,
    make_own_directory,
    open_own,
    read_own,
    replaced,
    user_name,
)
from lib.process.state_file import continue_state, create_state
from tests.processes import forked

NOBODY = 65534
READ, CREATE = os.O_RDWR, os.O_RDWR | os.O_CREAT


def test_a_file_of_ours_is_made_for_us_alone_and_opened_again(tmp_path):
    path = tmp_path / "file"
    os.close(open_own(path, CREATE))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.close(open_own(path, READ))
    path.write_bytes(b"content")
    assert read_own(path) == b"content"


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
    with pytest.raises(NotOurFileError, match=f"it is {kind}"):
        read_own(path)


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


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o755])
def test_a_directory_of_ours_is_adopted_and_others_may_write_to_it_no_more(tmp_path, mode: int):
    path = tmp_path / "deep" / "var"
    make_own_directory(path)
    assert mode_of(path) == 0o700
    path.chmod(mode)
    make_own_directory(path)
    assert mode_of(path) == mode & ~0o022


@pytest.mark.parametrize("name", ["tmp", "link"])
def test_a_directory_that_users_share_is_not_taken_away_from_them(tmp_path, name: str):
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    (tmp_path / "link").symlink_to("tmp")
    with pytest.raises(NotOurFileError, match="users share: choose one in it") as refusal:
        make_own_directory(tmp_path / name)
    assert refusal.value.filename == str(shared)
    assert mode_of(shared) == 0o1777
    make_own_directory(tmp_path / name / "var")


def test_a_link_of_ours_may_lead_to_a_directory_of_ours(tmp_path):
    (tmp_path / "disk").mkdir(mode=0o777)
    (tmp_path / "disk").chmod(0o777)
    (tmp_path / "var").symlink_to("disk")
    make_own_directory(tmp_path / "var")
    assert mode_of(tmp_path / "disk") == 0o755
    (tmp_path / "nowhere").symlink_to("absent")
    with pytest.raises(FileNotFoundError):
        make_own_directory(tmp_path / "nowhere")


def test_a_directory_of_another_user_and_what_is_none_are_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotOurFileError, match="it is a FIFO, not a directory"):
        make_own_directory(tmp_path / "fifo")
    (tmp_path / "var").symlink_to(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    for path in (tmp_path, tmp_path / "var"):
        with pytest.raises(NotOurFileError, match="belongs to user") as refusal:
            make_own_directory(path)
        assert refusal.value.filename == str(path)


def test_a_log_of_ours_is_adopted_and_a_link_is_not_followed(tmp_path):
    path = tmp_path / "log"
    path.touch()
    path.chmod(0o666)
    adopt(path)
    assert mode_of(path) == 0o644
    (tmp_path / "link").symlink_to(path)
    path.chmod(0o666)
    with pytest.raises(NotOurFileError, match="a symbolic link"):
        adopt(tmp_path / "link")
    assert mode_of(path) == 0o666


@pytest.mark.parametrize("place", ["file", "file.new"])
@pytest.mark.parametrize(
    "plant", [lambda path: path.symlink_to("elsewhere"), os.mkfifo, lambda path: path.touch(0o666)]
)
def test_a_new_file_takes_the_place_of_what_was_planted_and_does_not_open_it(
    tmp_path, plant: Callable[[Path], object], place: str
):
    plant(tmp_path / place)
    path = tmp_path / "file"
    with replaced(path) as file:
        file.write(b"new")
    assert (path.read_bytes(), mode_of(path)) == (b"new", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_replaced_stays_and_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "directory").mkdir()
    with (
        pytest.raises(NotOurFileError, match="it is a directory") as refusal,
        replaced(tmp_path / "directory"),
    ):
        pass
    assert refusal.value.filename == str(tmp_path / "directory")
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replaced(path) as file:
        file.write("no bytes")
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["directory", "file"]


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory in which a second user may do what is asked of him, as root can let him."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    with tempfile.TemporaryDirectory(prefix="tw-") as name:
        path = Path(name)
        path.chmod(0o1777)
        yield path


def test_what_a_second_user_has_planted_is_neither_continued_nor_written_to(as_nobody):
    path, target = as_nobody / "gateway.state", as_nobody / "target"

    def plant() -> None:
        os.setuid(NOBODY)
        create_state(path, {"tape": "forged"}, [7])
        target.touch()
        Path(f"{path}.new").symlink_to(target)
        (as_nobody / "log").mkdir()

    with forked(plant) as child:
        assert child.join() == 0
    with capture_logs() as logs:
        assert continue_state(path, 1) is None
    assert f"it belongs to {user_name(NOBODY)}" in logs[0]["reason"]
    create_state(path, {"tape": "ours"}, [1])
    assert continue_state(path, 1).header == {"tape": "ours"}
    assert target.read_bytes() == b""
    with pytest.raises(NotOurFileError, match=re.escape(user_name(NOBODY))):
        make_own_directory(as_nobody / "log")
    # In a directory that is adopted nothing more can be planted.
    as_nobody.chmod(0o777)
    make_own_directory(as_nobody)

    def plant_more() -> None:
        os.setuid(NOBODY)
        (as_nobody / "more").touch()

    with forked(plant_more) as child:
        assert child.join() == 1
