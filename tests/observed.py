"""Hand-made input for observers of the stack."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec

from lib.process.supervisor import Process, SupervisorSilentError
from tests.log_lines import made


def raw(event: str, level: str = "info", *, by: str = "", **facts: Any) -> bytes:
    """A line of a log."""
    head = {"timestamp": "2026-01-02T03:04:05.000000Z", "level": level, "role": by}
    fields = msgspec.to_builtins(made(event, by=by, **facts))
    return json.dumps(head | fields).encode() + b"\n"


class Programs:
    """A fake supervisord with the given programs. A pid of 1 stands for this process."""

    def __init__(self, programs: list[Process] | None) -> None:
        self.programs = programs
        self.asked = 0

    def processes(self) -> list[Process]:
        self.asked += 1
        if self.programs is None:
            raise SupervisorSilentError("connection refused")
        return [p._replace(pid=os.getpid() if p.pid == 1 else p.pid) for p in self.programs]
