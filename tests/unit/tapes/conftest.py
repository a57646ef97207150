"""What the tests of several tapes share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def tape_file(tmp_path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "tape.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
