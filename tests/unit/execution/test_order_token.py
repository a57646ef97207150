"""The file of the token: ours, closed to others, with one token in it; else one line says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.errors import CannotStartError
from lib.execution.order_token import read_token
from lib.wire.order_fields import MAX_TOKEN_CHARACTERS

LONGEST = "x" * MAX_TOKEN_CHARACTERS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(0o600)
    return path


@pytest.mark.parametrize("content", ["s3cret", "  two words\r\n", '"\\\n', f"{LONGEST}\n"])
def test_a_token_is_read_without_the_white_space_around_it(path: Path, content: str) -> None:
    path.write_text(content)
    assert read_token(path) == content.strip()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "s3cret\nother",
        "s3cr*t",
        "geheimnüs",
        "\x1b",
        f"{LONGEST}x",
        "\n" * 9999,
        f"s3cret{' ' * 9999}x",
    ],
)
def test_a_file_with_anything_else_is_refused_and_not_quoted(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(
        CannotStartError, match=r"^order_manager\.token_file: .* 1 to 256 "
    ) as error:
        read_token(path)
    assert not content.strip() or content.strip() not in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    path.write_text("s3cret")
    path.chmod(mode)
    with pytest.raises(CannotStartError, match=rf"others may read it \(mode {mode:04o}\).*600$"):
        read_token(path)


def test_a_file_that_is_not_there_is_named_with_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(CannotStartError, match=r"is not there: make it, with \(umask 077; .*\)$"):
        read_token(tmp_path / "none")


def test_a_file_that_is_not_ours_alone_is_refused(path: Path) -> None:
    path.write_text("s3cret")
    path.chmod(0o602)
    with pytest.raises(CannotStartError, match="others may write to it"):
        read_token(path)
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(CannotStartError, match="it is a symbolic link"):
        read_token(link)
    fifo = path.with_name("fifo")
    os.mkfifo(fifo, 0o600)
    with pytest.raises(CannotStartError, match="it is a FIFO"):
        read_token(fifo)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file another user's")
def test_another_users_file_is_refused(path: Path) -> None:
    path.write_text("s3cret")
    os.chown(path, 1, -1)
    with pytest.raises(CannotStartError, match=r"it belongs to .*\(1\)"):
        read_token(path)
