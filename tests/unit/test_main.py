"""main.py: what it refuses before it starts anything, each with one line and its exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lib.process.run_identity import children_of
from lib.settings import PROJECT_ROOT
from tests.processes import IN_NAMESPACES, needs_namespaces

ENVIRONMENT = {
    key: value
    for key, value in os.environ.items()
    if key not in ("TRADING_CONFIG", "TRADING_VAR_DIR")
}


def run_main(
    directory: Path, *arguments: str, ulimit: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run main.py in this directory, with what it refuses."""
    command = [sys.executable, PROJECT_ROOT / "main.py", *arguments]
    return subprocess.run(
        ["sh", "-c", f'{ulimit and f"ulimit {ulimit};"} exec "$0" "$@"', *command],
        cwd=directory,
        env=ENVIRONMENT | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("--duration", "nan"), ("--var-dir", ""), ("--dur", "1")])
@pytest.mark.parametrize("environment", [{}, {"PYTHONSAFEPATH": "1"}], ids=["usual", "safe path"])
def test_a_wrong_command_line_ends_it_with_2(tmp_path, arguments, environment):
    ended = run_main(tmp_path, *arguments, **environment)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr


def test_too_low_a_limit_ends_it_with_1_and_one_line_before_anything_is_written(tmp_path):
    ended = run_main(tmp_path, "--var-dir", "v", ulimit="-n 40")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"main\.py: the limit of open files .* is 40, .*\n", ended.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_cannot_be_used_ends_it_with_1_and_one_line_before_supervisord(tmp_path):
    token, settings = tmp_path / "token", tmp_path / "guarded.toml"
    settings.write_text(f'[order_manager]\ntoken_file = "{token}"\n')
    for mode, reason in ((None, "is not there: make it, with .*"), (0o644, "others may read .*")):
        if mode:
            token.write_text("s3cret\n")
            token.chmod(mode)
        ended = run_main(tmp_path, "--config", "guarded.toml", "--var-dir", "v")
        assert (ended.returncode, ended.stdout) == (1, "")
        line = rf"main\.py: order_manager\.token_file: {token}:? {reason}\n"
        assert re.fullmatch(line, ended.stderr), ended.stderr
        assert not (tmp_path / "v" / "supervisord.conf").exists()


def test_names_of_files_are_utf8_whatever_the_locale(tmp_path):
    (tmp_path / "préférées.toml").write_text("[gateway]\nport = 1\n")
    settings = ("--config", "préférées.toml", "--var-dir", "é")
    ended = run_main(tmp_path, *settings, LC_ALL="C", PYTHONUTF8="0")
    assert ended.returncode == 78
    assert ended.stderr.startswith(f"{tmp_path}/préférées.toml: gateway.port: unknown key")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("catches", ["ValueError", "BaseException"])
def test_a_signal_that_loads_for_long_is_named_and_can_be_stopped(tmp_path, number, catches):
    (tmp_path / "slow_signal.py").write_text(
        f"import time\ntry:\n    time.sleep(300)\nexcept {catches}:\n    pass\n\n"
        "class Slow:\n    def on_tick(self, symbol, price, sentiment): ...\n"
    )
    (tmp_path / "slow.toml").write_text('[strategy]\nclass = "slow_signal:Slow"\n')
    main = subprocess.Popen(
        [sys.executable, PROJECT_ROOT / "main.py", "--config", "slow.toml", "--var-dir", "v"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert main.stderr
    assert f"slow_signal:Slow takes long; it is at {tmp_path}/slow_signal.py, line 3" in (
        main.stderr.readline()
    )
    main.send_signal(number)
    assert main.communicate(timeout=60)[1] == ""
    assert main.returncode == 0


@pytest.mark.parametrize(
    "command", [(), pytest.param(IN_NAMESPACES, marks=needs_namespaces)], ids=["usual", "PID 1"]
)
def test_a_sigterm_that_comes_during_the_imports_ends_it_with_0(tmp_path, command):
    """The kernel would keep it from a PID 1 that has no handler yet."""
    (tmp_path / "structlog.py").write_text(
        "import time\nprint('imported', flush=True)\ntime.sleep(300)\n"
    )
    started = subprocess.Popen(
        [*command, sys.executable, PROJECT_ROOT / "main.py", "--var-dir", "v"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout
    assert started.stdout.readline() == "imported\n"
    main = children_of(started.pid)[0] if command else started.pid
    os.kill(main, signal.SIGTERM)
    try:
        assert started.wait(60) == 0
    finally:
        started.kill()
        if command and started.returncode != 0:
            os.kill(main, signal.SIGKILL)
        started.communicate()
