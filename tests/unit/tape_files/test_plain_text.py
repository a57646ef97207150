"""The text of any file becomes UTF-8 with one kind of line end, and nothing of it is lost."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.tape_files import packing
from lib.tape_files.plain_text import plain_text
from lib.tapes.tape import TapeError

TEXT = "Datum;Schluß €\n02.01.2024;185,23\n03.01.2024;186,00\n"


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file; return what `plain_text` makes of it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def read(content, on_bytes=lambda count: None):
        for old in scratch.iterdir():
            old.unlink()
        path = tmp_path / "tape.csv"
        path.write_bytes(content)
        plain = plain_text(path, scratch, on_bytes)
        assert [p for p in scratch.iterdir() if p != plain.path] == []
        return plain

    return read


def is_copy(plain):
    return plain.path.parent.name == "scratch"


def refusal(read, content):
    with pytest.raises(TapeError) as caught:
        read(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "content", [TEXT, TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT, "price", "price\n1.5"]
)
def test_plain_text_is_read_where_it_is(read, content):
    plain = read(content.encode())
    assert not is_copy(plain)
    assert plain.ends_with_newline == content.endswith("\n")
    assert plain.notes == []


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5])
def test_a_line_end_may_lie_across_two_blocks(read, monkeypatch, block):
    monkeypatch.setattr(packing, "_BLOCK_BYTES", block)
    plain = read(b"a,b\r\n1,2\r\n\xc3\xa9,4\r\n")
    assert not is_copy(plain)


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-16", "UTF-16-LE"),
        ("utf-16-le", "UTF-16-LE"),
        ("utf-16-be", "UTF-16-BE"),
        ("utf-32", "UTF-32-LE"),
        ("utf-32-be", "UTF-32-BE"),
        ("cp1252", "Windows-1252"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "4;1"])
def test_another_encoding_becomes_utf_8(read, encoding, note, end, last):
    plain = read((TEXT + last).replace("\n", end).encode(encoding))
    assert plain.path.read_text(encoding="utf-8") == TEXT + last
    assert plain.ends_with_newline == (not last)
    assert note in plain.notes


@pytest.mark.parametrize("content", ["a,b\r1,2\r3,4\r", "a,b\r\n1,2\n3,4\n", "a,b\r\r\n1,2\r3,4\n"])
def test_other_line_ends_become_newlines(read, content):
    plain = read(content.encode())
    assert plain.path.read_bytes() == b"a,b\n1,2\n3,4\n"
    assert plain.notes == ["line ends of an old Mac, or of several kinds"]
    assert plain.ends_with_newline


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        lambda text: gzip.compress(text[:20]) + gzip.compress(text[20:]),
        zstandard.ZstdCompressor().compress,
        zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress,
        lambda text: b"".join(map(zstandard.ZstdCompressor().compress, (text[:20], text[20:]))),
    ],
    ids=["gzip", "two members", "zstandard", "with a checksum", "two frames"],
)
def test_packed_text_is_unpacked(read, pack):
    content = TEXT.encode() * 5000
    plain = read(pack(content))
    assert plain.path.read_bytes() == content
    assert plain.notes in (["gzip"], ["zstandard"])
    plain = read(pack(TEXT.encode("utf-16")))
    assert plain.path.read_text(encoding="utf-8") == TEXT
    assert "UTF-16-LE" in plain.notes


@pytest.mark.parametrize(
    "pack", [gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress]
)
def test_a_cut_or_damaged_packed_file_is_refused(read, pack):
    packed = pack(bytes(TEXT, "utf-8") + bytes(str(list(range(5000))), "utf-8"))
    for size in (20, len(packed) // 2, len(packed) - 1):
        assert "cut off" in refusal(read, packed[:size])
    damaged = bytearray(packed)
    damaged[-3] ^= 0xFF
    assert "damaged" in refusal(read, bytes(damaged))


def test_what_unpacks_to_too_much_is_refused(read, monkeypatch):
    monkeypatch.setattr(packing, "MAX_UNPACKED_BYTES", 2**21)
    for pack in (gzip.compress, zstandard.ZstdCompressor().compress):
        assert read(pack(b"1,2\n" * 2**19)).path.stat().st_size == 2**21
        assert "unpacks to more than" in refusal(read, pack(b"1,2\n" * 2**19 + b"\n"))


@pytest.mark.parametrize("before", [0, 2**20 - 4, 2**20 + 4])
def test_a_nul_byte_is_refused_with_its_line(read, before):
    content = b"1,2\n" * (before // 4) + b"3,4\n5,\x006\n"
    assert f"NUL byte in line {before // 4 + 2}," in refusal(read, content)


def test_a_nul_character_in_utf_16_is_refused(read):
    content = "price\n" + "1.5\n" * 100 + "\0\n"
    assert "NUL" in refusal(read, content.encode("utf-16"))


def test_a_character_that_the_end_cuts_is_dropped_and_the_line_has_no_end(read):
    plain = read("price\n1.5 €".encode()[:-1])
    assert plain.path.read_bytes() == b"price\n1.5 "
    assert not plain.ends_with_newline
    plain = read("price\n1.5".encode("utf-16")[:-1])
    assert plain.path.read_bytes() == b"price\n1."
    assert not plain.ends_with_newline


def test_damaged_utf_16_is_refused(read):
    assert "damaged UTF-16" in refusal(read, "\ufeffprice\n".encode("utf-16-le") + b"\x00\xdc1\x00")


@given(
    st.text(st.sampled_from("a1,\r\né€😀"), min_size=1, max_size=60).filter(str.strip),
    st.sampled_from(["utf-8", "utf-16", "utf-32"]),
    st.integers(1, 7),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_character_is_lost_wherever_a_block_ends(read, monkeypatch, content, encoding, block):
    monkeypatch.setattr(packing, "_BLOCK_BYTES", block)
    plain = read(content.encode(encoding))
    text = plain.path.read_bytes().decode()
    blank_lines_aside = [line for line in content.replace("\r", "\n").split("\n") if line]
    assert [line for line in text.replace("\r\n", "\n").split("\n") if line] == blank_lines_aside
    assert "\r" not in text.replace("\r\n", "")
    assert not ("\r\n" in text and text.count("\r\n") != text.count("\n"))
    assert plain.ends_with_newline == text.endswith("\n")


def test_memory_does_not_grow_with_the_file(read):
    bomb = zstandard.ZstdCompressor().compress(b"1,2\n" * 2**25)  # 128 MB
    tracemalloc.start()
    read(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def test_progress_counts_bytes_and_may_stop_it(read):
    counts = []
    content = TEXT.encode("utf-8") * 100_000
    read(content, counts.append)
    assert sum(counts) == len(content)
    assert len(counts) > 1

    class StopError(Exception):
        pass

    def stop(count):
        raise StopError

    with pytest.raises(StopError):
        read(gzip.compress(content), stop)
