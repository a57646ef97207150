"""CPU time is divided among the functions of ours in which a daemon was found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import profile
from bench.profile import (
    ELSEWHERE,
    CannotSampleError,
    CodeLocation,
    daemon_profile,
    innermost_of_ours,
    record,
)
from lib.process.run_identity import ProcessStat
from lib.settings import PROJECT_ROOT

RUN = f"<module> ({PROJECT_ROOT}/daemons/gateway.py:290)"
POLL = f"EventLoop._wait ({PROJECT_ROOT}/lib/net/event_loop.py:60)"
ENCODE = f"TickCodec.encode ({PROJECT_ROOT}/lib/wire/tick_codec.py:{{}})"
NUMPY = "cumsum (/usr/lib/numpy/fromnumeric.py:2914)"


def test_what_a_function_calls_outside_of_the_project_is_its_time():
    assert innermost_of_ours(f"{RUN};{POLL};{NUMPY}") == CodeLocation(
        "lib/net/event_loop.py", "EventLoop._wait", 60
    )


@pytest.mark.parametrize(
    "stack",
    [
        NUMPY,
        f"f ({PROJECT_ROOT}/.venv/lib/python3.11/site-packages/numpy/x.py:1)",
        "<module> (<string>:1)",
        "0x7fb5f363c24a (libc.so.6)",
        "",
    ],
)
def test_a_stack_without_a_frame_of_ours_is_elsewhere(stack):
    assert innermost_of_ours(stack) == CodeLocation(ELSEWHERE, "", 0)


def taken(user_s: float, kernel_s: float) -> ProcessStat:
    return ProcessStat(True, user_s, kernel_s, 1.0, 1)


def test_functions_are_ordered_by_their_share_and_shown_with_their_hottest_line():
    source = (PROJECT_ROOT / "lib/wire/tick_codec.py").read_text(encoding="utf-8").splitlines()
    raw = "\n".join(
        [
            f"{RUN};{ENCODE.format(1)} 2",
            f"{RUN};{ENCODE.format(2)};{NUMPY} 1",
            f"{RUN};{ENCODE.format(10)} 3",
            f"{RUN};{POLL} 4",
        ]
    )

    found = daemon_profile("gateway", taken(0.1, 0.05), taken(0.7, 0.25), raw)

    assert (found.cpu_ns, found.kernel_ns, found.samples) == (800_000_000, 200_000_000, 10)
    assert [(hot.function, hot.share) for hot in found.functions] == [
        ("lib/wire/tick_codec.py TickCodec.encode", 0.6),
        ("lib/net/event_loop.py EventLoop._wait", 0.4),
    ]
    assert found.functions[0].line == source[9].strip()


def test_without_py_spy_the_profile_is_a_gap_and_names_its_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(profile.shutil, "which", lambda _: None)

    found = record()

    assert (found.loads, len(found.gaps)) == ((), 1)
    assert found.machine["cores"]


def test_a_load_that_cannot_be_sampled_is_a_gap_and_the_other_is_not(monkeypatch):
    def fails_when_paced(_sampler, rate, _symbols):
        if rate:
            raise CannotSampleError("py-spy cannot sample gateway: not permitted")
        return profile.LoadProfile(rate, 1, 1.0, 1, ())

    monkeypatch.setattr(profile, "_profile", fails_when_paced)
    monkeypatch.setattr(profile, "_sampler", lambda: Path("/bin/true"))

    found = record()

    assert [load.rate for load in found.loads] == [0.0]
    assert found.gaps == ("2,000 ticks/s: py-spy cannot sample gateway: not permitted",)
