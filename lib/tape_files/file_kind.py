"""What a file is, by its content and never by its name; what is no table is refused by name."""

from __future__ import annotations

import json
import re
import stat
from enum import Enum
from pathlib import Path
from typing import Final

from lib.tape_files.packing import packing_of, unpacked_blocks
from lib.tapes.tape import TapeError
from lib.text import shortened

HEAD_BYTES: Final = 2**16
"""How much of the beginning of a file, unpacked, decides what it is."""
_PARQUET_MAGIC: Final = b"PAR1"
_BYTE_ORDER_MARKS: Final = (  # UTF-32 first: its mark begins with that of UTF-16
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_ZERO_BYTES: Final = (  # which bytes of a group of four are zero where the text is ASCII
    ((0, 0, 0, 1), "utf-32-be"),
    ((1, 0, 0, 0), "utf-32-le"),
    ((0, 1, 0, 1), "utf-16-be"),
    ((1, 0, 1, 0), "utf-16-le"),
)
_MOST_UNUSUAL: Final = 0.02
"""The largest share of control characters in what is text with damage rather than binary."""
_CONTROL: Final = re.compile(r"[\x01-\x08\x0e-\x19\x1b-\x1f\x7f]")

_TO_PARQUET: Final = "write its table with DataFrame.to_parquet or to_csv"
_UNPACK: Final = "unpack it and name the file in it"
_FOREIGN: Final = (
    (b"%PDF", "a PDF: save its table as CSV"),
    (b"SQLite format 3\x00", "an SQLite database: write its table to a CSV file"),
    (b"\x89HDF\r\n\x1a\n", f"HDF5: {_TO_PARQUET}"),
    (b"ARROW1", f"Arrow (Feather): {_TO_PARQUET}"),
    (b"FEA1", f"Feather: {_TO_PARQUET}"),
    (b"\xff\xff\xff\xff\x10\x00\x00\x00", f"Arrow: {_TO_PARQUET}"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (xls): save the sheet as CSV"),
    (b"\x93NUMPY", "a NumPy array: write it to a CSV file with a header"),
    (b"DBN", f"Databento's DBN: {_TO_PARQUET}"),
    (b"Obj\x01", "Avro: write it as CSV or Parquet"),
    (b"ORC", "ORC: write it as CSV or Parquet"),
    (b"BZh", f"bzip2: {_UNPACK}"),
    (b"\xfd7zXZ\x00", f"xz: {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7-Zip archive: {_UNPACK}"),
    (b"Rar!\x1a\x07", f"a RAR archive: {_UNPACK}"),
    (b"\x04\x22\x4d\x18", f"LZ4: {_UNPACK}"),
    (b"\x1f\x8b", f"gzip: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"zstandard: {_UNPACK}"),
)
_GIT_LFS: Final = b"version https://git-lfs.github.com/spec/"
_TAR: Final = (257, b"ustar")
_PICKLE: Final = re.compile(rb"\x80[\x02-\x05](?:\x95.{6}\x00\x00|[}\](c])", re.DOTALL)
_HTML: Final = re.compile(
    r"(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype|html|head|body|title|meta|div|table|br|b|p)\b",
    re.I | re.S,
)
_XML: Final = re.compile(r"<(?:\?xml\b|[a-z][\w:.-]*(?:\s|/?>(?![,;\t|])))", re.I)
"""Not the <DATE>,<CLOSE> of MetaTrader's and other headers."""
_JSON_ARRAY: Final = re.compile(r'\[\s*(?:[{\[\]"\d-]|$)')
_JSON_OBJECT: Final = re.compile(r'\{\s*(?:["}]|$)')
_AN_OBJECT_A_LINE: Final = (
    "if it is not a server's error message, write one object a line, for example with jq -c '.[]'"
)
_SHOWN_CHARACTERS: Final = 60
"""How much of a document a message shows."""


class FileKind(Enum):
    """What can be read as a table."""

    TEXT = "text"
    PARQUET = "Parquet"
    JSON_LINES = "JSON lines"


def file_kind(path: Path) -> FileKind:
    """Return the kind of a file. Raises TapeError, with what to do, if it is no table."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise TapeError("is a directory: name a file in it, or a pattern like *.csv")
        if not stat.S_ISREG(mode):  # might never end
            raise TapeError(f"is a {_special(mode)}: write its content to a file first")
        is_packed = packing_of(path) is not None
        head = _unpacked_head(path)
    except FileNotFoundError:
        raise TapeError("there is no such file") from None
    except PermissionError:
        raise TapeError("no permission to read it (chmod u+r, or its owner)") from None
    except (OSError, ValueError) as error:  # ValueError: an invalid path
        reason = getattr(error, "strerror", None) or error
        raise TapeError(f"cannot be read: {reason}") from None
    what = _strange_content(head)
    if not head:
        what = f"{'nothing' if is_packed else 'empty (0 bytes)'}: download or write it again"
    if is_packed and head.startswith(_PARQUET_MAGIC):
        what = f"Parquet: {_UNPACK}"
    if what:
        raise TapeError(f"{'holds' if is_packed else 'is'} {what}")
    if head.startswith(_PARQUET_MAGIC):
        return FileKind.PARQUET
    if _JSON_OBJECT.match(_beginning(head)):
        return FileKind.JSON_LINES
    return FileKind.TEXT


def _unpacked_head(path: Path) -> bytes:
    head = b""
    for block in unpacked_blocks(path):
        head += block
        if len(head) >= HEAD_BYTES:
            break
    return head[:HEAD_BYTES]


def text_encoding(head: bytes) -> str:
    """Return the name of the encoding, as Python has it: UTF-8 unless UTF-16 or UTF-32 is seen."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    groups = len(head) // 4
    shares = [head[place : groups * 4 : 4].count(0) / max(groups, 1) for place in range(4)]
    for pattern, encoding in _ZERO_BYTES:
        if groups and all(
            share < 0.2 if printed else share > 0.6
            for share, printed in zip(shares, pattern, strict=True)
        ):
            return encoding
    return "utf-8"


def _strange_content(head: bytes) -> str:
    """Return what a file is that cannot be read as a table, and what to do; "" if it can."""
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            return what
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        if b"xl/" in head or b"[Content_Types].xml" in head:
            return "an Excel workbook (xlsx): save the sheet as CSV"
        if b"opendocument.spreadsheet" in head:
            return "an OpenDocument spreadsheet (ods): save the sheet as CSV"
        return f"a zip archive: {_UNPACK}"
    if head[_TAR[0] :].startswith(_TAR[1]):
        return f"a tar archive: {_UNPACK}"
    if head.startswith(_GIT_LFS):
        return "a git-lfs pointer, not the file itself: fetch it with git lfs pull"
    if _PICKLE.match(head):
        return f"a Python pickle: {_TO_PARQUET}"
    if head.startswith(_PARQUET_MAGIC):
        return ""
    text = _beginning(head)
    if not text:
        return "blank: download or write it again"
    return _strange_text(text)


def _strange_text(text: str) -> str:
    if _HTML.match(text):
        return "an HTML page, perhaps an error or a login page: download the file itself"
    if _XML.match(text):
        return "XML: write its table to a CSV file"
    if _JSON_ARRAY.match(text):
        return "a JSON array: write one object a line, for example with jq -c '.[]'"
    if _JSON_OBJECT.match(text) and not _is_json_lines(text):
        shown = shortened(" ".join(text[:_SHOWN_CHARACTERS].split()), _SHOWN_CHARACTERS - 1)
        return f"one JSON document ({shown}), not JSON lines: {_AN_OBJECT_A_LINE}"
    if len(_CONTROL.findall(text)) > _MOST_UNUSUAL * len(text):
        return "binary, of an unknown kind: write its table to a CSV or Parquet file"
    if text and text.count("\0") == len(text):
        return "nothing but NUL bytes: download or write it again"
    return ""


def _is_json_lines(text: str) -> bool:
    """Return False for one document, be it on one line or on many."""
    first, _, rest = text.partition("\n")
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return False
    nested = any(isinstance(value, dict | list) for value in row.values())
    return bool(rest.strip()) or not nested


def _beginning(head: bytes) -> str:
    return head.decode(text_encoding(head), "replace").lstrip("\ufeff").lstrip()


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"
