"""CPU time is divided among the functions of ours in which a daemon was found."""

from __future__ import annotations

import pytest

from bench.measure.profile import ELSEWHERE, CodeLocation, daemon_profile, innermost_of_ours
from lib.process.run_identity import ProcessStat
from lib.settings import PROJECT_ROOT

RUN = f"<module> ({PROJECT_ROOT}/daemons/gateway.py:290)"
POLL = f"EventLoop._wait ({PROJECT_ROOT}/lib/net/event_loop.py:60)"
ENCODE = f"TickCodec.encode ({PROJECT_ROOT}/lib/wire/tick_codec.py:{{}})"
NUMPY = "cumsum (/usr/lib/numpy/fromnumeric.py:2914)"


@pytest.mark.parametrize(
    ("stack", "location"),
    [
        (f"{RUN};{POLL};{NUMPY}", ("lib/net/event_loop.py", "EventLoop._wait", 60)),
        (NUMPY, (ELSEWHERE, "", 0)),
        (f"f ({PROJECT_ROOT}/.venv/lib/python3.11/site-packages/x.py:1)", (ELSEWHERE, "", 0)),
        ("0x7fb5f363c24a (libc.so.6)", (ELSEWHERE, "", 0)),
    ],
)
def test_what_a_function_calls_outside_of_the_project_is_its_time(stack, location):
    assert innermost_of_ours(stack) == CodeLocation(*location)


def test_functions_are_ordered_by_their_share_and_shown_with_their_hottest_line():
    source = (PROJECT_ROOT / "lib/wire/tick_codec.py").read_text(encoding="utf-8").splitlines()
    sampled = [(ENCODE.format(1), 2), (f"{ENCODE.format(2)};{NUMPY}", 1), (ENCODE.format(10), 3)]
    raw = "\n".join(f"{RUN};{stack} {samples}" for stack, samples in [*sampled, (POLL, 4)])
    before, after = (ProcessStat(True, *times_s, 1.0, 1) for times_s in ((0.1, 0.05), (0.7, 0.25)))

    found = daemon_profile("gateway", before, after, raw)

    assert (found.cpu_ns, found.kernel_ns, found.samples) == (800_000_000, 200_000_000, 10)
    assert [(hot.function, hot.share) for hot in found.functions] == [
        ("lib/wire/tick_codec.py TickCodec.encode", 0.6),
        ("lib/net/event_loop.py EventLoop._wait", 0.4),
    ]
    assert found.functions[0].line == source[9].strip()
