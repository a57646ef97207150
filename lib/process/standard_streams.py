"""Standard input, output and error, which a shell or a service may close or give no UTF-8."""

from __future__ import annotations

import io
import os
import sys
from typing import Final

_MODES: Final = {"stdin": "r", "stdout": "w", "stderr": "w"}
"""By name in `sys`, in the order of their descriptors."""


def prepare_standard_streams() -> None:
    """Let /dev/null stand in for what is closed, and let standard output take any character.

    The next file or socket would get the descriptor of a closed one, and whatever a library or a
    child prints would go there. Standard error takes any character already: what its encoding does
    not have is escaped. Call it before any file is opened to stay open.
    """
    for name, mode in _MODES.items():
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)  # it is the lowest free one: that of the stream
            os.set_inheritable(fd, True)
            setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
