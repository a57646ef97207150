"""A file is known by its content, and what is no table is named with what to do."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import socket
import sqlite3
import tarfile
import zipfile

import pytest
import zstandard

from lib.tape_files.file_kind import FileKind, file_kind, text_encoding
from lib.tapes.tape import TapeError

TABLE = b"Date,Close\n2024-01-02,185.23\n"


def refusal(path):
    with pytest.raises(TapeError) as caught:
        file_kind(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


STRANGE = {
    b"<!DOCTYPE html>\n<html><body>Sign in</body></html>": "an HTML page",
    b"\n <HTML lang='en'>": "an HTML page",
    b"<!-- made by x -->\n<html>": "an HTML page",
    "<!doctype html><p>é".encode("utf-16"): "an HTML page",
    b"<?xml version='1.0'?><rows/>": "XML",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n": "git lfs pull",
    b"%PDF-1.7\n": "a PDF: save its table as CSV",
    b"\x89HDF\r\n\x1a\n\0\0": "HDF5",
    b"ARROW1\0\0": "Arrow",
    b"FEA1\0\0": "Feather",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0": "Excel workbook (xls)",
    b"\x93NUMPY\x01\0": "NumPy",
    b"BZh91AY": "bzip2",
    b"\xfd7zXZ\0\0": "xz",
    b"7z\xbc\xaf\x27\x1c\0": "7-Zip",
    pickle.dumps({"price": [1.5]}): "a Python pickle",
    pickle.dumps([1.5] * 1000): "a Python pickle",
    b'[{"price": 1.5}, {"price": 1.6}]': "a JSON array: write one object a line",
    b"[[1700000000, 1.5]]": "a JSON array",
    b"[\n  1.5,\n  1.6\n]": "a JSON array",
    b'{\n  "price": 1.5\n}\n': "one JSON document",
    b'{"chart": {"result": []}}': "one JSON document",
    b'{"error":{"code":429,"message":"Too Many"}}': '({"error":{"code":429,"message":"Too Many"}})',
    b'{"price": ' + b"[" * 5000: "one JSON document",
    b"<br />\n<b>Warning</b>: x": "an HTML page",
    b"PK\x03\x04" + b"\0" * 22 + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet": "ods",
    bytes(range(1, 256)) * 20: "binary",
    b"\0" * 5000: "NUL bytes",
    b" \n\n \n": "blank",
}


@pytest.mark.parametrize("content", STRANGE, ids=list(STRANGE.values()))
def test_what_is_no_table_is_named_with_what_to_do(tmp_path, content):
    path = tmp_path / "tape.csv"
    path.write_bytes(content)
    assert STRANGE[content] in refusal(path)


@pytest.mark.parametrize("content", STRANGE, ids=list(STRANGE.values()))
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_packed_file_is_known_by_what_is_in_it(tmp_path, content, pack):
    path = tmp_path / "tape.csv"
    path.write_bytes(pack(content))
    text = refusal(path)
    assert STRANGE[content] in text
    assert text.startswith("holds ")


def test_archives_and_databases_are_named(tmp_path):
    zipped, workbook, tar, database = (tmp_path / name for name in ("a.csv", "b", "c", "d"))
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("prices.csv", TABLE)
    with zipfile.ZipFile(workbook, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with tarfile.open(tar, "w:gz") as archive:
        archive.add(zipped, "prices.csv")
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE prices (price)")
    connection.close()
    assert "a zip archive: unpack it" in refusal(zipped)
    assert "save the sheet as CSV" in refusal(workbook)
    assert "holds a tar archive: unpack it" in refusal(tar)
    assert "an SQLite database" in refusal(database)


def test_what_is_no_file_is_never_opened(tmp_path):
    pipe, endpoint = tmp_path / "pipe", tmp_path / "endpoint"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(endpoint))
        assert "is a pipe" in refusal(pipe)
        assert "is a socket" in refusal(endpoint)
    assert "is a directory" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "missing.csv")
    assert "no such file" in refusal(tmp_path / "missing" / "missing.csv")


def test_a_device_an_impossible_name_and_an_empty_file_are_refused(tmp_path):
    (tmp_path / "empty.csv").touch()
    assert "empty (0 bytes)" in refusal(tmp_path / "empty.csv")
    with pytest.raises(TapeError, match="device"):
        file_kind(tmp_path.joinpath("/dev/null"))
    with pytest.raises(TapeError, match="cannot be read"):
        file_kind(tmp_path / "a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = tmp_path / "tape.csv"
    path.write_bytes(TABLE)
    path.chmod(0)
    assert "no permission" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        TABLE,
        b"\xef\xbb\xbf" + TABLE,
        TABLE.decode().encode("utf-16"),
        TABLE.decode().encode("utf-16-le"),
        TABLE.decode().encode("utf-32-be"),
        "Datum;Schlußkurs €\n".encode("cp1252"),
        "日付,終値\n2024-01-02,185\n".encode(),
        b"[Date],[Close]\n2024-01-02,1.5\n",
        b"<TICKER>,<PER>,<DATE>,<CLOSE>\nAAPL,D,20240102,1.5\n",
        b"<DATE>\t<CLOSE>\n2024.01.02\t1.5\n",
        b"PKX,price\n1,2\n",
        b"Date,Close\n2024-01-02,\x001.5\n",  # `plain_text` names the line
        gzip.compress(TABLE, mtime=0),
        zstandard.ZstdCompressor().compress(TABLE),
        b'{"price": 1.5}\n{"price": 1.6}\n',
        b"PAR1\x15\x04",
    ],
)
def test_what_may_be_a_table_is_let_pass(tmp_path, content):
    path = tmp_path / "tape.pdf"  # a name says nothing
    path.write_bytes(content)
    file_kind(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"PAR1\x15\x04", mtime=0), "holds Parquet: unpack it"),
        (gzip.compress(TABLE, mtime=0)[:-9], "is packed and cut off"),
        (gzip.compress(b"", mtime=0), "holds nothing: download"),
        (gzip.compress(TABLE, mtime=0) + b"x", "is packed and damaged"),
    ],
)
def test_a_packed_file_that_cannot_be_read_is_refused(tmp_path, content, words):
    path = tmp_path / "tape.gz"
    path.write_bytes(content)
    assert words in refusal(path)


LINE = json.dumps({"price": 1.5}).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PAR1\x15\x04", FileKind.PARQUET),
        (TABLE, FileKind.TEXT),
        (LINE * 2, FileKind.JSON_LINES),
        (gzip.compress(LINE * 2, mtime=0), FileKind.JSON_LINES),
        (b"\xef\xbb\xbf\n " + LINE, FileKind.JSON_LINES),
        (b"{name},price\nAAPL,1.5\n", FileKind.TEXT),
    ],
)
def test_the_kind_is_that_of_the_content(tmp_path, content, kind):
    path = tmp_path / "tape.csv"
    path.write_bytes(content)
    assert file_kind(path) is kind


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_encoding_is_seen_with_and_without_a_byte_order_mark(encoding, mark):
    text = mark + "Datum;Schluß €\n" + "2024-01-02;185,23\n" * 50
    assert text_encoding(text.encode(encoding)) == encoding
