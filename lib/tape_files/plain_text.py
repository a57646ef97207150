"""The text of a file as UTF-8 with one kind of line end: the file itself, or a copy of it.

Everything streams, a block at a time: a file of any size takes the same memory.
"""

from __future__ import annotations

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkstemp
from typing import Final, NamedTuple

import zstandard

from lib.tape_files.file_kind import (
    GZIP_MAGIC,
    HEAD_BYTES,
    MAX_ZSTD_WINDOW,
    ZSTD_FEED_BYTES,
    ZSTD_MAGIC,
    strange_content,
    text_encoding,
)
from lib.tapes.tape import TapeError

MAX_UNPACKED_BYTES: Final = 2**36
"""The most that may come out of a packed file: 64 GB."""
_BLOCK_BYTES: Final = 2**20
_BAD_LINE_END: Final = re.compile("\r+\n|\r")
_LEGACY: Final = "cp1252"

Report = Callable[[int], None]


class PlainText(NamedTuple):
    """A text file: UTF-8, perhaps with a byte order mark; each line ends as the first one does."""

    path: Path
    is_temporary: bool
    """Whether `path` is a copy, which the caller may remove when it has been read."""
    ends_with_newline: bool
    """False if the file stops within its last line."""
    line_end: str
    r"""``\n`` or ``\r\n``."""
    notes: list[str]
    """What was done to it, for people: gzip, zstandard, UTF-16, Windows-1252, …"""


class _Scan(NamedTuple):
    """What reading all bytes has found."""

    is_utf8: bool
    is_cut: bool
    """Whether the file ends within a character."""
    line_end: str
    """One that can stay, or "" for the classic Mac's or several kinds."""
    ends_with_newline: bool


def plain_text(path: Path, scratch: Path, on_bytes: Report) -> PlainText:
    """Return the text of a file that `refuse_strange` let pass; copies go into `scratch`.

    `on_bytes` is called for each block with the number of bytes read, at most three times the bytes
    of what is unpacked altogether; it may raise to stop. Raises TapeError for a packed file that is
    damaged or too large, and for what is no text.
    """
    notes: list[str] = []
    plain = path
    try:
        with path.open("rb") as file:
            magic = file.read(len(ZSTD_MAGIC))
        if magic.startswith(GZIP_MAGIC):
            plain = _unpacked(path, _gunzip(path), scratch, on_bytes)
            notes.append("gzip")
        elif magic == ZSTD_MAGIC:
            plain = _unpacked(path, _unzstd(path), scratch, on_bytes)
            notes.append("zstandard")
        return _as_utf8(path, plain, scratch, on_bytes, notes)
    except OSError as error:
        reason = error.strerror or error
        raise TapeError(f"{path}: cannot be read, or copied into {scratch}: {reason}") from None


def _as_utf8(
    path: Path, plain: Path, scratch: Path, on_bytes: Report, notes: list[str]
) -> PlainText:
    with plain.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if what := strange_content(head) if head else "nothing: download or write it again":
        raise TapeError(f"{path}: holds {what}")
    encoding = text_encoding(head)
    if encoding == "utf-8":
        scan = _scan(path, plain, on_bytes)
        if scan.is_utf8 and scan.line_end and not scan.is_cut:
            is_copy = plain != path
            return PlainText(plain, is_copy, scan.ends_with_newline, scan.line_end, notes)
        if not scan.is_utf8:
            encoding = _LEGACY
            notes.append("Windows-1252")
        if not scan.line_end:
            notes.append("line ends of an old Mac, or of several kinds")
    else:
        notes.append(encoding.upper())
    copy = _new_file(scratch)
    last = _convert(path, plain, encoding, copy, on_bytes)
    if plain != path:
        plain.unlink()
    return PlainText(copy, True, last == "\n", "\n", notes)


def _new_file(scratch: Path) -> Path:
    descriptor, name = mkstemp(dir=scratch, suffix=".txt")
    os.close(descriptor)
    return Path(name)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _gunzip(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _unzstd(path: Path) -> Iterator[bytes]:
    """Yield what is in all frames. Raises EOFError if the last one is cut."""
    new = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
    frame = new.decompressobj()
    with path.open("rb") as file:
        while packed := file.read(ZSTD_FEED_BYTES):
            while packed:
                if frame.eof:
                    frame = new.decompressobj()
                yield frame.decompress(packed)
                packed = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError


def _unpacked(path: Path, blocks: Iterator[bytes], scratch: Path, on_bytes: Report) -> Path:
    """Write the blocks to a new file. Raises TapeError if they are damaged or too many."""
    copy = _new_file(scratch)
    size = 0
    try:
        with copy.open("wb") as file:
            for block in blocks:
                size += len(block)
                if size > MAX_UNPACKED_BYTES:
                    raise TapeError(
                        f"{path}: unpacks to more than {MAX_UNPACKED_BYTES >> 30} GB: "
                        "split it, or write it as Parquet"
                    )
                file.write(block)
                on_bytes(len(block))
    except EOFError:
        raise TapeError(f"{path}: is packed and cut off: download it again") from None
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise TapeError(f"{path}: is packed and damaged ({error}): download it again") from None
    return copy


def _scan(path: Path, plain: Path, on_bytes: Report) -> _Scan:
    """Read all bytes. Raises TapeError at a NUL byte: there is none in a text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8, is_cut = True, False
    returns = newlines = pairs = 0
    last = b""
    for block in _blocks(plain):
        if b"\0" in block:
            line = newlines + block[: block.index(b"\0")].count(b"\n") + 1
            raise TapeError(
                f"{path}: has a NUL byte in line {line}, which is no text: "
                "the file is damaged, download or write it again"
            )
        if is_utf8 and (is_cut or not block.isascii()):
            try:
                decoder.decode(block)
                is_cut = bool(decoder.getstate()[0])
            except UnicodeDecodeError:
                is_utf8 = False
        newlines += block.count(b"\n")
        if b"\r" in block:
            returns += block.count(b"\r")
            pairs += block.count(b"\r\n")
        pairs += last == b"\r" and block.startswith(b"\n")
        last = block[-1:]
        on_bytes(len(block))
    line_end = "\n"
    if returns:
        line_end = "\r\n" if returns == pairs == newlines else ""
    return _Scan(is_utf8, is_cut, line_end, last == b"\n")


def _convert(path: Path, plain: Path, encoding: str, copy: Path, on_bytes: Report) -> str:
    r"""Write a copy as UTF-8 with ``\n``, without a mark. Return its last character."""
    # Windows-1252 leaves five bytes undefined; a character that the end of the file cuts is dropped
    # together with the line that it cuts.
    errors = "replace" if encoding == _LEGACY else "strict"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    last, pending, is_first = "", "", True
    with copy.open("w", encoding="utf-8", newline="") as file:
        for block in _blocks(plain):
            try:
                text = pending + decoder.decode(block)
            except UnicodeDecodeError as error:
                raise TapeError(
                    f"{path}: is damaged {encoding.upper()} text ({error.reason})"
                ) from None
            if "\0" in text:
                raise TapeError(f"{path}: has a NUL character, which is no text: it is damaged")
            if is_first:
                text = text.removeprefix("\ufeff")
            is_first = False
            pending = "\r" if text.endswith("\r") else ""
            text = _BAD_LINE_END.sub("\n", text.removesuffix("\r"))
            file.write(text)
            last = text[-1:] or last
            on_bytes(len(block))
        if pending:
            file.write("\n")
            last = "\n"
    return last
