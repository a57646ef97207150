"""Experiments of the chaos lab as a user runs them, from another directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers import DEADLINE_S, PROJECT_ROOT
from tests.stack import PrivateStack


def command(stack: PrivateStack, name: str, *arguments: str | Path) -> list[str | Path]:
    """The command line of `chaos/NAME.py` for a stack that runs, or the private one it starts."""
    script = PROJECT_ROOT / "chaos" / f"{name}.py"
    target = ("--config", stack.config, "--var-dir", stack.var_dir)
    return [sys.executable, script, *target, *arguments]


def run(
    stack: PrivateStack, name: str, *arguments: str | Path, limit_s: float = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    """Run an experiment to its end."""
    return subprocess.run(
        command(stack, name, *arguments),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
