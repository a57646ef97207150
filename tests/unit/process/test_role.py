"""A role from outside: a process with a tiny role in it, its exit code and what it logs."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys

import pytest

from lib.process.heartbeat import find_pulse
from tests.helpers import DEADLINE_S, PROJECT_ROOT, wait_until

TINY_ROLE = """
import resource, sys
import structlog
from lib.process import logs
from lib.errors import CannotStartError
from lib.process.role import run_role

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))

class Tiny:
    def __init__(self, settings, loop):
        self.loop = loop
        {constructor}

    def step(self):
        {step}
        self.loop.poll()

    def close(self):
        print("closed", flush=True)
        {close}

{before}
run_role("{name}", Tiny)
"""


PARTS = {"name": "tiny", "constructor": "pass", "step": "pass", "close": "pass", "before": ""}
STOP = "self.loop.stop(); return"
BIG = "'x' * 200_000"
"""More than a pipe holds."""


class RoleProcess:
    """The tiny role in a process of its own."""

    def __init__(
        self,
        *arguments: str,
        program: str = "",
        is_orphan: bool = False,
        is_closed: bool = False,
        **parts: str,
    ) -> None:
        shell = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-'] if is_closed else []
        environment = {"SUPERVISOR_ENABLED": "1"} if is_orphan else {}
        self.process = subprocess.Popen(
            [*shell, sys.executable, "-c", TINY_ROLE.format(**(PARTS | parts)), *arguments],
            cwd=PROJECT_ROOT,
            env=os.environ | environment | {"SUPERVISOR_PROCESS_NAME": program},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # supervisord's children are in its session; this one looks like an orphan.
            start_new_session=is_orphan,
        )
        self.log: list[dict] = []

    def wait_for(self, event: str) -> None:
        """Read the log up to this event."""
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == event:
                return
        pytest.fail(f"no {event} in {self.log}")

    def end(self) -> int:
        """Wait for its end, read the rest, return the exit code."""
        self.out, rest = self.process.communicate(timeout=DEADLINE_S)
        self.log += [json.loads(line) for line in rest.splitlines()]
        return self.process.returncode

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.log]


@pytest.fixture
def start(tmp_path, monkeypatch):
    roles = []
    config = tmp_path / "trading.toml"
    monkeypatch.delenv("SUPERVISOR_ENABLED", raising=False)
    monkeypatch.setenv("TRADING_CONFIG", str(config))

    def start(*arguments: str, settings: str = "", **options: str) -> RoleProcess:
        config.write_text(f'var_dir = "{tmp_path}"\n{settings}')
        roles.append(RoleProcess(*arguments, **options))
        return roles[-1]

    yield start
    for role in roles:
        role.process.kill()
        role.process.communicate()


def test_a_signal_ends_a_role_cleanly(start):
    role = start(constructor="print(*resource.getrlimit(resource.RLIMIT_NOFILE))")
    role.wait_for("started")
    role.process.send_signal(signal.SIGTERM)
    assert role.end() == 0
    assert role.events == ["started", "stopped"]
    limits, closed = role.out.splitlines()
    soft, hard = limits.split()
    assert soft == hard  # as many descriptors as the system allows
    assert closed == "closed"
    assert {line["role"] for line in role.log} == {"tiny"}
    assert {line["pid"] for line in role.log} == {role.process.pid}


def test_a_role_whose_standard_streams_are_closed_runs_as_any(start):
    role = start(step=STOP, program="quiet", is_closed=True)
    assert (role.end(), role.out, role.events) == (0, "", [])


def test_a_signal_while_the_role_is_being_built_ends_it_as_cleanly_and_it_has_not_beaten(
    start, tmp_path
):
    role = start(
        program="second",
        constructor="print('building', flush=True); sys.stdin.read()",
        step="1 / 0",
    )
    assert role.process.stdout.readline() == "building\n"
    assert find_pulse(tmp_path, "second", role.process.pid) is None
    role.process.send_signal(signal.SIGTERM)
    # `end` closes standard input, for which the constructor waits.
    assert role.end() == 0
    assert role.out == "closed\n"
    assert role.events == ["started", "stopped"]


WAITS = "type(self).is_at_work = False"


def test_a_role_that_waits_beats_meanwhile_and_has_not_started(start, tmp_path):
    role = start(
        program="waiting",
        constructor=f"{WAITS}; print('made', flush=True)",
        step="type(self).is_at_work = bool(sys.stdin.readline()); self.loop.stop()",
    )
    assert role.process.stdout.readline() == "made\n"
    wait_until(lambda: find_pulse(tmp_path, "waiting", role.process.pid), "it beats")
    assert role.end() == 0
    assert role.events == ["stopped"]  # the input has ended: it was never at work


def test_what_ends_the_wait_of_a_role_is_logged_and_its_exit_code_says_what_it_was(start):
    step = "from lib.errors import BadInputError; raise BadInputError('no tape')"
    role = start(constructor=WAITS, step=step)
    assert (role.end(), role.events) == (65, ["cannot_start"])


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("tiny", [], r"gateway\.rate"),
        ("strategy", ["secnd"], 'none called "secnd"; did you mean second\\? Known here: second'),
        ("strategy", ["second", "third"], "strategy takes one argument at most, .* second third$"),
        ("tiny", ["second"], "tiny takes no argument; .* got second$"),
    ],
)
def test_bad_settings_or_a_wrong_name_are_exit_78_and_one_line(start, name, arguments, reason):
    settings = "[strategies.second]\n" if arguments else "[gateway]\nrate = -1\n"
    role = start(*arguments, name=name, settings=settings)
    assert role.end() == 78
    (line,) = role.log
    assert (line["event"], line["level"]) == ("settings_refused", "critical")
    assert re.search(reason, line["reason"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"constructor": "raise CannotStartError('port 5001 is taken')"}, "port 5001 is taken"),
        ({"is_orphan": True}, "the supervisord that started this role has died"),
    ],
    ids=["a resource is not there", "an orphan"],
)
def test_a_role_that_cannot_start_is_exit_1_and_one_line_with_the_reason(start, options, reason):
    role = start(**options)
    assert role.end() == 1
    (line,) = role.log
    assert (line["event"], line["level"]) == ("cannot_start", "critical")
    assert line["reason"] == reason
    assert "exception" not in line


def test_a_role_that_leaves_the_rest_to_a_successor_is_exit_1_and_the_line_that_says_why(start):
    event = "PriceBookLost(price_book='book', reason='removed')"
    imports = "from lib.process.role import RoleEndsError; from lib.process.log_events import *"
    role = start(before=f"{imports}", step=f"raise RoleEndsError({event})")
    assert role.end() == 1
    assert role.events == ["started", "price_book_lost"]
    assert (role.log[1]["level"], role.log[1]["reason"]) == ("error", "removed")


@pytest.mark.parametrize(
    ("part", "statement", "reason"),
    [
        ("constructor", "raise ValueError('no price')", "ValueError: no price"),
        ("step", "raise SystemExit(0)", "SystemExit: 0"),
        ("close", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_a_crash_is_exit_1_and_one_line_that_names_where_and_why(
    start, tmp_path, part, statement, reason
):
    (tmp_path / "mine.py").write_text(f"def fail():\n    {statement}\n")
    before = f"sys.path.insert(0, {str(tmp_path)!r}); import mine"
    role = start(before=before, **({"step": STOP} | {part: "mine.fail()"}))
    assert role.end() == 1
    assert role.events == ([] if part == "constructor" else ["started"]) + ["crashed"]
    crashed = role.log[-1]
    assert crashed["where"] == f"{tmp_path}/mine.py, line 2, in fail"
    assert crashed["reason"] == reason
    assert crashed["exception"].startswith("Traceback")
    assert crashed["exception"].endswith(reason)


def test_a_line_that_had_to_wait_comes_as_soon_as_there_is_a_reader(start):
    role = start(
        constructor=f"structlog.get_logger().info('tick', filler={BIG})",
        step="print('on', flush=True)",
    )
    assert role.process.stdout.readline() == "on\n"
    role.wait_for("started")  # while the role runs and logs nothing further
    assert role.events == ["tick", "started"]


def test_the_last_lines_are_waited_for(start):
    role = start(
        constructor=(
            f"logs.FLUSH_AT_END_NS = 60 * 10**9; structlog.get_logger().info('tick', filler={BIG})"
        ),
        step=STOP,
    )
    assert role.process.stdout.readline() == "closed\n"
    assert role.end() == 0
    assert role.events == ["tick", "started", "stopped"]


def test_a_start_that_takes_long_says_where_it_is_and_goes_on_also_if_it_logs_meanwhile(
    start, tmp_path
):
    (tmp_path / "mine.py").write_text("""
import select, structlog, sys
def wait():
    while not select.select([sys.stdin], [], [], 0)[0]: structlog.get_logger().info("at_work")
    sys.stdin.read()
""")
    role = start(
        constructor=f"sys.path.insert(0, {str(tmp_path)!r}); import mine; mine.wait()",
        before="from lib.process import role; role.SLOW_START_S = 0.001",
    )
    for _ in range(20):
        role.wait_for("start_takes_long")
    role.process.stdin.write("\n")
    role.process.stdin.flush()
    while role.log[-1]["where"] != f"{tmp_path}/mine.py, line 5, in wait":
        role.wait_for("start_takes_long")
    role.process.stdin.close()
    role.wait_for("started")
    role.process.stdin = None
    count = role.events.count("start_takes_long")
    role.process.send_signal(signal.SIGTERM)
    assert role.end() == 0
    assert role.events.count("start_takes_long") == count


def test_a_role_writes_for_its_user_alone_and_takes_its_var_directory_from_others(start, tmp_path):
    tmp_path.chmod(0o777)
    role = start(constructor="open('%s', 'w').close()" % (tmp_path / "new"), step=STOP)
    assert role.end() == 0
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_role_does_not_start_in_a_var_directory_that_may_be_another_users(start, tmp_path):
    before = "import os; os.geteuid = lambda: 4711"
    role = start(before=before)
    assert role.end() == 1
    [line] = role.log
    assert line["event"] == "cannot_start"
    assert re.match(
        rf"cannot use the var directory {tmp_path}: it belongs to user .*4711", line["reason"]
    )


def test_a_role_that_cannot_write_its_heartbeat_says_so_once_and_lives_without(start, tmp_path):
    (tmp_path / "second.heartbeat.new").mkdir()
    role = start(program="second")
    role.wait_for("started")
    assert role.events == ["heartbeat_failed", "started"]
    assert role.log[0]["file"].endswith("second.heartbeat.new")
