"""A prepared tape is written part by part, and its identity does not depend on the parts."""

from __future__ import annotations

import numpy as np

from lib.tapes.findings import Findings
from lib.tapes.prepared import PRICES, SENTIMENTS, SYMBOLS
from lib.tapes.prepared_writer import PreparedWriter

INDICES = np.array([0, 1, 0, 1], dtype=np.int32)
UNITS = np.array([5, 6, 7, 8], dtype=np.int64)


def written(directory, *parts, cut=None):
    directory.mkdir()
    with PreparedWriter(directory, "ticks", ("AAPL", "MSFT")) as writer:
        if cut is not None:
            writer.add_ticks(INDICES[::-1], UNITS[::-1])
            writer.cut_back(cut)
        for part in parts:
            writer.add_ticks(INDICES[part], UNITS[part])
        return writer.finish(Findings())


def test_the_identity_is_that_of_the_contents_and_not_of_the_parts(tmp_path):
    whole = written(tmp_path / "a", slice(0, 4))
    assert written(tmp_path / "b", slice(0, 1), slice(1, 4)) == whole
    assert written(tmp_path / "c", slice(0, 4), cut=0) == whole
    assert written(tmp_path / "d", slice(0, 3)).identity != whole.identity
    assert whole.findings.length == 4
    assert np.fromfile(tmp_path / "c" / PRICES, dtype=np.int64).tolist() == UNITS.tolist()
    assert np.fromfile(tmp_path / "c" / SYMBOLS, dtype=np.int32).tolist() == INDICES.tolist()


def test_sentiments_are_bytes(tmp_path):
    with PreparedWriter(tmp_path, "sentiments") as writer:
        writer.add_sentiments(np.array([0, 100], dtype=np.uint8))
        about = writer.finish(Findings())
    assert (tmp_path / SENTIMENTS).read_bytes() == b"\x00\x64"
    assert (about.kind, about.findings.length) == ("sentiments", 2)
