"""The text of a file as UTF-8 with one kind of line end: the file itself, or a copy of it.

Everything streams, a block at a time: a file of any size takes the same memory.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import mkstemp
from typing import Final, NamedTuple

import numpy as np

from lib.tape_files.file_kind import HEAD_BYTES, text_encoding
from lib.tape_files.packing import packing_of, plain_blocks, unpacked_blocks
from lib.tapes.tape import TapeError

_NEWLINE: Final = ord("\n")
_RETURN: Final = ord("\r")
_LEGACY: Final = "cp1252"

Report = Callable[[int], None]


class PlainText(NamedTuple):
    """A text file: UTF-8, perhaps with a byte order mark; each line ends as the first one does."""

    path: Path
    """The file itself, or a copy, which the caller may remove when it has been read."""
    ends_with_newline: bool
    """False if the file stops within its last line."""
    notes: list[str]
    """What was done to it, for people: gzip, zstandard, UTF-16, Windows-1252, …"""


class _Scan(NamedTuple):
    """What reading all bytes has found."""

    is_utf8: bool
    is_cut: bool
    """Whether the file ends within a character."""
    has_one_line_end: bool
    r"""Whether all lines end with ``\n``, or all with ``\r\n``."""
    ends_with_newline: bool


def plain_text(path: Path, scratch: Path, on_bytes: Report) -> PlainText:
    """Return the text of a file of which `file_kind` says that it is text; copies go to `scratch`.

    `on_bytes` is called for each block with the number of bytes read, at most three times the bytes
    of what is unpacked altogether; it may raise to stop. Raises TapeError for a packed file that is
    damaged or too large, and for what is no text.
    """
    notes: list[str] = []
    plain = path
    try:
        if packing := packing_of(path):
            plain = _new_file(scratch)
            with plain.open("wb") as file:
                for block in unpacked_blocks(path):
                    file.write(block)
                    on_bytes(len(block))
            notes.append(packing.name)
        text = _as_utf8(plain, scratch, on_bytes, notes)
    except OSError as error:
        reason = error.strerror or error
        raise TapeError(f"cannot be read, or copied into {scratch}: {reason}") from None
    if plain not in (path, text.path):
        plain.unlink()
    return text


def _as_utf8(plain: Path, scratch: Path, on_bytes: Report, notes: list[str]) -> PlainText:
    with plain.open("rb") as file:
        encoding = text_encoding(file.read(HEAD_BYTES))
    if encoding == "utf-8":
        scan = _scan(plain, on_bytes)
        if scan.is_utf8 and scan.has_one_line_end and not scan.is_cut:
            return PlainText(plain, scan.ends_with_newline, notes)
        if not scan.is_utf8:
            encoding = _LEGACY
            notes.append("Windows-1252")
        if not scan.has_one_line_end:
            notes.append("line ends of an old Mac, or of several kinds")
    else:
        notes.append(encoding.upper())
    copy = _new_file(scratch)
    return PlainText(copy, _convert(plain, encoding, copy, on_bytes) == "\n", notes)


def _new_file(scratch: Path) -> Path:
    descriptor, name = mkstemp(dir=scratch, suffix=".txt")
    os.close(descriptor)
    return Path(name)


def _scan(plain: Path, on_bytes: Report) -> _Scan:
    """Read all bytes. Raises TapeError at a NUL byte: there is none in a text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8, is_cut = True, False
    returns = newlines = pairs = 0
    last = b""
    for block in plain_blocks(plain):
        if b"\0" in block:
            line = newlines + block[: block.index(b"\0")].count(b"\n") + 1
            raise TapeError(
                f"has a NUL byte in line {line}, which is no text: "
                "the file is damaged, download or write it again"
            )
        if is_utf8 and (is_cut or not block.isascii()):
            try:
                decoder.decode(block)
                is_cut = bool(decoder.getstate()[0])
            except UnicodeDecodeError:
                is_utf8 = False
        # bytes.count() would be three times as slow where lines are short.
        values = np.frombuffer(block, np.uint8)
        is_newline = values == _NEWLINE
        newlines += int(np.count_nonzero(is_newline))
        if b"\r" in block:
            is_return = values == _RETURN
            returns += int(np.count_nonzero(is_return))
            pairs += int(np.count_nonzero(is_return[:-1] & is_newline[1:]))
        pairs += last == b"\r" and block.startswith(b"\n")
        last = block[-1:]
        on_bytes(len(block))
    has_one_line_end = not returns or returns == pairs == newlines
    return _Scan(is_utf8, is_cut, has_one_line_end, last == b"\n")


def _convert(plain: Path, encoding: str, copy: Path, on_bytes: Report) -> str:
    r"""Write a copy as UTF-8 with ``\n``, without a mark. Return its last character."""
    # Windows-1252 leaves five bytes undefined; a character that the end of the file cuts is dropped
    # together with the line that it cuts.
    errors = "replace" if encoding == _LEGACY else "strict"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    last, pending, is_first = "", "", True
    with copy.open("wb") as file:
        for block in plain_blocks(plain):
            try:
                text = pending + decoder.decode(block)
            except UnicodeDecodeError as error:
                raise TapeError(f"is damaged {encoding.upper()} text ({error.reason})") from None
            if "\0" in text:
                raise TapeError("has a NUL character, which is no text: it is damaged")
            if is_first and text:
                text = text.removeprefix("\ufeff")
                is_first = False
            pending = "\r" if text.endswith("\r") else ""
            text = text.removesuffix("\r")
            for line_end in ("\r\r\n", "\r\n", "\r"):
                text = text.replace(line_end, "\n")
            file.write(text.encode())
            last = text[-1:] or last
            on_bytes(len(block))
        if pending:
            file.write(b"\n")
            last = "\n"
    return last
