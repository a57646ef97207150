"""Facts about the machine and the software on which figures were measured, for a report.

They are recorded with the figures: a report that is written later, or elsewhere, must not describe
another machine. They contain neither a host name nor a path.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from lib.settings import PROJECT_ROOT

CPU_INFO: Final = Path("/proc/cpuinfo")
MEMORY_INFO: Final = Path("/proc/meminfo")
REQUIREMENTS: Final = PROJECT_ROOT / "requirements.txt"
KIB_A_GIB: Final = 2**20


def machine_facts() -> dict[str, Any]:
    """Return the hardware, the kernel and the current load. Unknown facts are None."""
    cpu = _read(CPU_INFO)
    memory = re.search(r"MemTotal:\s*(\d+) kB", _read(MEMORY_INFO))
    model = re.search(r"model name\s*:\s*(.+)", cpu)
    return {
        "cpu": model[1] if model else None,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "virtual": bool(re.search(r"^flags\s*:.*\bhypervisor\b", cpu, re.MULTILINE)),
        "memory_gib": round(int(memory[1]) / KIB_A_GIB) if memory else None,
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def software_facts() -> dict[str, str]:
    """Return the installed versions of Python and of the packages that run the stack."""
    runs_the_stack = _read(REQUIREMENTS).partition("\n\n")[0]  # the first paragraph of the file
    packages = re.findall(r"^([\w.-]+)==", runs_the_stack, re.MULTILINE)
    return {"Python": platform.python_version()} | {name: version(name) for name in packages}


def processor(machine: Mapping[str, Any]) -> str:
    """Return the processor and the number of its cores, from recorded facts."""
    virtual = "virtual " if machine.get("virtual") else ""
    return f"{machine.get('cpu')}, {machine.get('cores')} {virtual}cores"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
