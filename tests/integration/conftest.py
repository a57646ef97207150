"""What the tests of real processes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import PrivateStack


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Iterator[PrivateStack]:
    """The settings and the var directory of a stack, with the file's SETTINGS; a test starts it."""
    with PrivateStack(getattr(request.module, "SETTINGS", None)) as stack:
        yield stack
