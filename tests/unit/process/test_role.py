"""A role from outside: a process with a tiny role in it, its exit code and what it logs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.process.heartbeat import find_pulse
from lib.process.process_handle import ProcessHandle
from lib.process.traceback_dump import stacks_of
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


BIG = "'x' * 200_000"
"""More than a pipe holds."""


class RoleProcess:
    """The tiny role in a process of its own, with settings of its own."""

    def __init__(
        self,
        config: Path,
        *arguments: str,
        name: str = "tiny",
        constructor: str = "pass",
        step: str = "pass",
        close: str = "pass",
        before: str = "",
        supervised: bool = False,
        program: str | None = None,
    ) -> None:
        code = TINY_ROLE.format(
            name=name, constructor=constructor, step=step, close=close, before=before
        )
        environment = {
            key: value for key, value in os.environ.items() if key != "SUPERVISOR_ENABLED"
        }
        environment["TRADING_CONFIG"] = str(config)
        if supervised:
            environment["SUPERVISOR_ENABLED"] = "1"
        if program:
            environment["SUPERVISOR_PROCESS_NAME"] = program
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=PROJECT_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # supervisord's children are in its session; this one looks like an orphan.
            start_new_session=supervised,
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
def start(tmp_path):
    roles = []
    config = tmp_path / "trading.toml"

    def start(*arguments: str, settings: str = "", **options) -> RoleProcess:
        config.write_text(f'var_dir = "{tmp_path}"\n{settings}')
        roles.append(RoleProcess(config, *arguments, **options))
        return roles[-1]

    yield start
    for role in roles:
        role.process.kill()
        role.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_role_cleanly(start, number):
    role = start()
    role.wait_for("started")
    role.process.send_signal(number)
    assert role.end() == 0
    assert role.events == ["started", "stopped"]
    assert role.out == "closed\n"
    assert {line["role"] for line in role.log} == {"tiny"}
    assert {line["pid"] for line in role.log} == {role.process.pid}


def test_a_signal_while_the_role_is_being_built_ends_it_as_cleanly(start):
    role = start(constructor="print('building', flush=True); sys.stdin.read()", step="1 / 0")
    assert role.process.stdout.readline() == "building\n"
    role.process.send_signal(signal.SIGTERM)
    # `end` closes standard input, for which the constructor waits.
    assert role.end() == 0
    assert role.out == "closed\n"
    assert role.events == ["started", "stopped"]


def test_bad_settings_are_exit_78_and_one_line_that_names_the_key(start):
    role = start(settings="[gateway]\nrate = -1\n")
    assert role.end() == 78
    (line,) = role.log
    assert line["event"] == "settings_refused"
    assert line["level"] == "critical"
    assert "gateway.rate" in line["reason"]
    assert "\n" not in line["reason"]
    assert role.out == ""


def test_a_strategy_with_a_name_has_the_settings_and_the_log_of_that_name(start):
    role = start(
        "second",
        name="strategy",
        settings="[strategies.second]\nshort_window = 7\n",
        constructor="print(settings.strategy.client_id, settings.strategy.short_window)",
        step="self.loop.stop(); return",
    )
    assert role.end() == 0
    assert role.out.splitlines()[0] == "second 7"
    assert {line["role"] for line in role.log} == {"strategy:second"}


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("strategy", ["secnd"], 'none called "secnd"; did you mean second? Known here: second'),
        ("strategy", ["second", "third"], "strategy takes one argument at most, .* second third$"),
        ("tiny", ["second"], "tiny takes no argument; .* got second$"),
    ],
)
def test_a_role_that_is_asked_for_by_a_wrong_name_is_exit_78_and_one_line(
    start, name, arguments, reason
):
    role = start(*arguments, name=name, settings="[strategies.second]\n")
    assert role.end() == 78
    (line,) = role.log
    assert line["event"] == "settings_refused"
    assert re.search(reason.replace("?", r"\?"), line["reason"])


def test_settings_that_are_not_there_are_exit_78_too(start, tmp_path):
    role = RoleProcess(tmp_path / "nowhere.toml")
    assert role.end() == 78
    (line,) = role.log
    assert "nowhere.toml" in line["reason"]


def test_a_settings_path_that_is_no_utf_8_is_one_line_too(tmp_path):
    role = RoleProcess(Path(os.fsdecode(bytes(tmp_path) + b"/\xff.toml")))
    assert role.end() == 78
    assert role.events == ["settings_refused"]


def test_a_role_that_cannot_start_is_exit_1_and_one_line_with_the_reason(start):
    role = start(constructor="raise CannotStartError('gateway.price_port: port 5001 is taken')")
    assert role.end() == 1
    (line,) = role.log
    assert line["event"] == "cannot_start"
    assert line["level"] == "critical"
    assert line["reason"] == "gateway.price_port: port 5001 is taken"
    assert "exception" not in line


@pytest.mark.parametrize("where", ["constructor", "step", "close"])
def test_a_crash_is_exit_1_and_its_traceback_one_line(start, where):
    role = start(
        **{"step": "self.loop.stop(); return", where: "raise ValueError('no such\\nprice')"}
    )
    assert role.end() == 1
    assert role.events == ([] if where == "constructor" else ["started"]) + ["crashed"]
    exception = role.log[-1]["exception"]
    assert exception.startswith("Traceback")
    assert exception.endswith("ValueError: no such\nprice")


def test_a_crash_names_where_and_why_in_one_line_each(start, tmp_path):
    (tmp_path / "mine.py").write_text("import json\n\ndef on_tick():\n    json.loads('{')\n")
    path = f"sys.path.insert(0, {str(tmp_path)!r})"
    role = start(constructor=path, step="import mine; mine.on_tick()")
    assert role.end() == 1
    crashed = role.log[-1]
    assert crashed["where"] == f"{tmp_path}/mine.py, line 4, in on_tick"
    assert crashed["reason"].startswith("json.decoder.JSONDecodeError: Expecting")


def test_code_that_would_end_the_process_is_a_crash_too(start):
    role = start(step="sys.exit(0)")
    assert role.end() == 1
    assert role.log[-1]["event"] == "crashed"
    assert role.log[-1]["reason"] == "SystemExit: 0"


def test_a_role_whose_supervisord_is_gone_says_so_in_one_line_and_ends(start):
    role = start(supervised=True)
    assert role.end() == 1
    (line,) = role.log
    assert line["event"] == "cannot_start"
    assert "supervisord" in line["reason"]


def test_every_line_of_a_role_has_the_four_keys_first(start):
    role = start(step="self.loop.stop(); return")
    assert role.end() == 0
    for line in role.log:
        assert list(line)[:4] == ["timestamp", "level", "role", "event"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])


def test_a_role_may_have_as_many_descriptors_as_the_system_allows(start):
    role = start(
        constructor="print(*resource.getrlimit(resource.RLIMIT_NOFILE))",
        step="self.loop.stop(); return",
    )
    assert role.end() == 0
    soft, hard = role.out.splitlines()[0].split()
    assert soft == hard


def test_a_role_whose_log_has_no_reader_goes_on_and_ends_all_the_same(start):
    role = start(step=f"structlog.get_logger().info('tick', filler={BIG}); print('on', flush=True)")
    for _ in range(3):
        assert role.process.stdout.readline() == "on\n"
    role.process.send_signal(signal.SIGTERM)
    assert role.process.wait(DEADLINE_S) == 0


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
        step="self.loop.stop(); return",
    )
    assert role.process.stdout.readline() == "closed\n"
    assert role.end() == 0
    assert role.events == ["tick", "started", "stopped"]


def has_pulse(role: RoleProcess, tmp_path: Path) -> bool:
    return find_pulse(tmp_path, "second", role.process.pid) is not None


def test_a_program_of_supervisord_beats_under_the_name_that_supervisord_gave_it(start, tmp_path):
    role = start(program="second")
    role.wait_for("started")
    assert has_pulse(role, tmp_path)
    pulse = find_pulse(tmp_path, "second", role.process.pid)
    first_ns = pulse.last_ns()
    wait_until(lambda: pulse.last_ns() > first_ns, "it beats again")


def test_a_role_that_is_being_built_has_not_beaten(start, tmp_path):
    role = start(program="second", constructor="print('building', flush=True); sys.stdin.read()")
    assert role.process.stdout.readline() == "building\n"
    assert not has_pulse(role, tmp_path)


def test_a_role_started_by_hand_does_not_beat(start, tmp_path):
    role = start()
    role.wait_for("started")
    assert list(tmp_path.glob("*.heartbeat")) == []


def test_a_start_that_takes_long_says_where_it_is_and_goes_on(start, tmp_path):
    (tmp_path / "mine.py").write_text("import sys\n\ndef wait():\n    sys.stdin.read()\n")
    role = start(
        constructor=f"sys.path.insert(0, {str(tmp_path)!r}); import mine; mine.wait()",
        before="from lib.process import role; role.SLOW_START_S = 0.05",
    )
    role.wait_for("start_takes_long")
    role.wait_for("start_takes_long")
    assert role.log[-1]["where"] == f"{tmp_path}/mine.py, line 4, in wait"
    role.process.stdin.close()
    role.wait_for("started")
    count = role.events.count("start_takes_long")
    role.process.stdin = None
    role.process.send_signal(signal.SIGTERM)
    assert role.end() == 0
    assert role.events.count("start_takes_long") == count


def test_a_constructor_that_logs_may_take_long(start):
    role = start(
        constructor="log_until_stdin_ends()",
        before="""
import select, structlog
from lib.process import role

role.SLOW_START_S = 0.001


def log_until_stdin_ends():
    while not select.select([sys.stdin], [], [], 0)[0]:
        structlog.get_logger().info("at_work")
""",
    )
    for _ in range(20):
        role.wait_for("start_takes_long")
    role.process.stdin.close()
    role.wait_for("started")
    role.process.stdin = None
    assert role.events[-1] == "started"


def test_with_hang_after_0_a_role_does_not_beat(start, tmp_path):
    role = start(program="second", settings="[watchdog]\nhang_after = 0\n")
    role.wait_for("started")
    assert not has_pulse(role, tmp_path)


def test_a_role_that_cannot_write_its_heartbeat_says_so_once_and_lives_without(start, tmp_path):
    (tmp_path / "second.heartbeat.new").mkdir()
    role = start(program="second")
    role.wait_for("started")
    assert role.events == ["heartbeat_failed", "started"]
    assert role.log[0]["file"].endswith("second.heartbeat.new")
    role.process.send_signal(signal.SIGTERM)
    assert role.end() == 0
    assert role.events == ["heartbeat_failed", "started", "stopped"]


def test_a_loop_that_is_stuck_does_not_beat(start, tmp_path):
    role = start(
        program="second",
        settings="[watchdog]\nhang_after = 0.05\n",
        step="print('stuck', flush=True); sys.stdin.read(); self.loop.stop(); return",
    )
    assert role.process.stdout.readline() == "stuck\n"
    pulse = find_pulse(tmp_path, "second", role.process.pid)
    last_ns = pulse.last_ns()
    wait_until(lambda: time.monotonic_ns() > last_ns + 100_000_000, "a beat is overdue")
    assert pulse.last_ns() == last_ns
    # And says what it is doing.
    handle = ProcessHandle(role.process.pid)
    wait_until(lambda: stacks_of(tmp_path, [("second", handle)])[0], "it writes its stack")
    handle.close()
