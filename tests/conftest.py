"""What tests of every kind share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers import PROJECT_ROOT

REAL_TAPE = PROJECT_ROOT.parent / "shared" / "data" / "bars_2025-11.csv"

# Under load a single example may take any time.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(scope="session")
def real_tape_path() -> Path:
    """One-minute bars of nine stocks, 28,076 rows. In CI a test never goes without it."""
    if not REAL_TAPE.is_file():
        message = f"the real tape is not there: {REAL_TAPE}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return REAL_TAPE
