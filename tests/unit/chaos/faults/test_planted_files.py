"""What is planted, which lines name it, and when it counts as adopted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from chaos.faults.planted_files import OPEN_TO_ALL, OWNER, Planted, says_whose_or_what
from chaos.faults.second_user import Kind, SecondUser
from chaos.lab.stack_files import HeldFiles

SYMBOLS = ("AAPL",)


class Somebody:
    """A second user who plants nothing himself. His files are ours, unless we are root."""

    uid = 65534 if os.geteuid() == 0 else os.geteuid()


class Held:
    """Which files the stack has open."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    def holders(self, path: Path) -> frozenset[str]:
        return frozenset(["gateway"] if path in self.paths else [])


OTHER = cast(SecondUser, Somebody())


def adopted(planted: Planted, *held: Path) -> str:
    return planted.adopted(cast(HeldFiles, Held(*held)))


@pytest.mark.parametrize("kind", list(Kind))
def test_something_is_planted_in_the_place_of_what_is_there_and_taken_away(
    tmp_path: Path, kind: Kind
) -> None:
    path, victim = tmp_path / "var" / "a.state", tmp_path / "victim"
    path.parent.mkdir()
    path.write_text("of an earlier start")
    planted = Planted("a.state", path, kind, victim=victim if kind == Kind.LINK else None)
    assert planted.place(OTHER, SYMBOLS) == ""
    assert path.lstat().st_uid == OTHER.uid
    assert path.lstat().st_ino == planted.inode
    assert path.is_symlink() == (kind == Kind.LINK)
    assert path.is_fifo() == (kind == Kind.FIFO)
    assert path.is_dir() == (kind == Kind.DIRECTORY)
    assert adopted(planted) == ""
    assert adopted(planted, path) == "in use by gateway"
    planted.take_away()
    planted.take_away()
    assert not os.path.lexists(path)
    assert adopted(planted) == ""


def test_a_planted_file_has_the_content_of_a_real_one(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("the state of another run")
    planted = Planted("a", tmp_path / "var" / "a", Kind.FILE, content=real)
    planted.place(OTHER, SYMBOLS)
    assert planted.path.read_text() == "the state of another run"


def test_a_link_that_was_followed_is_adopted(tmp_path: Path) -> None:
    planted = Planted("a", tmp_path / "a", Kind.LINK, victim=tmp_path / "victim")
    planted.place(OTHER, SYMBOLS)
    planted.path.write_text("followed")
    assert adopted(planted) == "what the link points to was written to (victim)"


def test_a_file_that_was_replaced_is_not_adopted(tmp_path: Path) -> None:
    planted = Planted("a", tmp_path / "a", Kind.FILE)
    planted.place(OTHER, SYMBOLS)
    new = tmp_path / "a.new"
    new.touch()
    new.replace(planted.path)
    assert adopted(planted, planted.path) == ""


def test_a_directory_that_others_may_write_to_must_be_closed(tmp_path: Path) -> None:
    planted = Planted("var", tmp_path / "var", OPEN_TO_ALL)
    planted.place(OTHER, SYMBOLS)
    assert adopted(planted) == "used, and others may still write to it"
    planted.path.chmod(0o700)
    assert adopted(planted) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_must_not_be_used(tmp_path: Path) -> None:
    planted = Planted("var", tmp_path / "var", OWNER)
    planted.place(OTHER, SYMBOLS)
    assert adopted(planted) == "used, though it is another user's"
    planted.take_away()
    assert adopted(planted) == ""


def test_a_line_names_a_file_by_its_whole_path_or_name() -> None:
    planted = Planted("a", Path("/x/var/orders.sqlite"), Kind.FILE)
    lines = [
        "main.py: /x/var/orders.sqlite: it belongs to user nobody (65534)",
        "order_manager | ERROR ledger_failed: orders.sqlite is a FIFO",
        "main.py       | the ledger is /x/var/orders.sqlite",
        "main.py: /x/var/orders.sqlite-wal: it is a FIFO",
        "main.py: /x/var/orders.sqlite.lock: it is a FIFO",
        "main.py: /x/var is another user's",
    ]
    assert planted.named_in(lines) == lines[:2]  # the third is no complaint, the others name others


def test_a_directory_is_named_by_its_path_alone() -> None:
    planted = Planted("its log directory", Path("/x/var/log"), OWNER)
    lines = [
        f"main.py: /x/var/log{rest}: it belongs to user nobody" for rest in ("", "/gateway.out")
    ]
    assert planted.named_in(lines) == lines[:1]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/x: it belongs to user nobody (65534), and we are root", True),
        ("/x: it is a symbolic link, not a regular file: remove it", True),
        ("/x: others may write to it (mode 0666): remove it", True),
        ("/x: Is a directory", True),
        ("/x: Permission denied", False),
        ("/x: Invalid argument", False),
    ],
)
def test_a_line_must_say_whose_or_what_it_is(line: str, says: bool) -> None:
    assert says_whose_or_what(line) == says
