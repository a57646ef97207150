from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.rivals.floor import hops
from bench.rivals.load import Load
from bench.rivals.rival import RivalUnavailable
from tests.rivals import nothing_left


def test_without_a_compiler_it_is_a_gap_that_says_so(monkeypatch):
    monkeypatch.setattr(hops.shutil, "which", lambda _: None)
    with pytest.raises(RivalUnavailable, match="no C compiler"):
        hops.measure(Load(2000, 0.3))


def test_a_source_that_does_not_compile_is_a_gap_with_the_compilers_words(tmp_path, monkeypatch):
    source = tmp_path / "hops.c"
    source.write_text("int main(void) { return nonsense; }\n")
    monkeypatch.setattr(hops, "SOURCE", source)
    with pytest.raises(RivalUnavailable, match=r"nonsense|no C compiler"):
        hops.compile_hops(tmp_path)
    assert list(tmp_path.iterdir()) == [source]


def test_the_program_is_compiled_once(tmp_path):
    try:
        program = hops.compile_hops(tmp_path)
    except RivalUnavailable as reason:
        pytest.skip(str(reason))
    compiled = program.stat().st_mtime_ns
    assert hops.compile_hops(tmp_path) == program
    assert program.stat().st_mtime_ns == compiled


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param("echo no such luck >&2\nexit 1", "no such luck", id="fails"),
        pytest.param("exec sleep 60", "in time", id="hangs"),
    ],
)
def test_a_program_that_fails_or_hangs_is_an_error_and_ends(script, words, tmp_path, monkeypatch):
    program = tmp_path / "hops"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(hops, "compile_hops", lambda: program)
    monkeypatch.setattr(hops, "END_S", 0.1 if words == "in time" else hops.END_S)
    with nothing_left(), pytest.raises(BenchError, match=words):
        hops.measure(Load(2000, 0.3))
