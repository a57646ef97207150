"""What a role loads at its start: each further package costs every role memory and time."""

from __future__ import annotations

import subprocess
import sys

from lib.settings import PROJECT_ROOT
from lib.stack.supervisord_configuration import programs_of, read_configuration

NEEDED = {"numpy", "structlog", "msgspec", "h11", "prometheus_client"}
ALSO = {"greenlet", "typing_extensions"}
"""Imported by structlog and msgspec where they are installed, as they are beside the tests."""
SHOW = """
import sys
import {roles}
print(*sorted({{
    name.partition(".")[0]
    for name, module in list(sys.modules.items())
    if name[0] != "_" and "site-packages" in (getattr(module, "__file__", None) or "")
}}))
"""


def test_no_role_loads_a_package_that_it_does_not_need() -> None:
    roles = ", ".join(
        f"daemons.{program.name}"
        for program in programs_of(read_configuration())
        if program.autostart
    )
    loaded = subprocess.run(
        [sys.executable, "-c", SHOW.format(roles=roles)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(loaded) - ALSO == NEEDED
