"""The crash loop as a user runs it. A whole one takes a minute, so only the quick parts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.experiments import run
from tests.stack import PrivateStack


@pytest.fixture
def stack() -> Iterator[PrivateStack]:
    """A stack's settings and var directory."""
    with PrivateStack() as stack:
        yield stack


def test_an_unknown_role_is_a_one_line_error(stack: PrivateStack) -> None:
    result = run(stack, "crash_loop", "gatewya")
    assert result.returncode == 2
    assert re.fullmatch(
        r"chaos/crash_loop\.py: argument ROLE: no role 'gatewya'; .*gateway.*\n", result.stderr
    )
