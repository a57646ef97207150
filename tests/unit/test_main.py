"""main.py: what it refuses before it starts anything, each with one line and its exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from lib.settings import PROJECT_ROOT

ENVIRONMENT = {
    key: value
    for key, value in os.environ.items()
    if key not in ("TRADING_CONFIG", "TRADING_VAR_DIR")
}


@pytest.fixture
def refusal(tmp_path):
    """Run main.py in another directory; return its exit code and what it says on stderr."""

    def _refusal(*arguments: str, **environment: str) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, PROJECT_ROOT / "main.py", *arguments],
            cwd=tmp_path,
            env={**ENVIRONMENT, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.stdout == ""
        return ended.returncode, ended.stderr

    return _refusal


def test_impossible_settings_end_it_with_78_and_one_line(refusal, tmp_path):
    (tmp_path / "bad.toml").write_text("[strategy]\nshort_window = 60\n")
    line = (
        f"{tmp_path}/bad.toml: strategy.short_window: must be smaller than long_window (50), got 60"
    )
    assert refusal("--config", "bad.toml") == (78, f"{line}\n")
    assert refusal(TRADING_CONFIG="bad.toml") == (78, f"{line}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--duration", "nan"),
        ("--var-dir", ""),
        ("--dur", "1"),
    ],
)
def test_a_wrong_command_line_ends_it_with_2(refusal, arguments):
    code, said = refusal(*arguments)
    assert code == 2
    assert "Traceback" not in said


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


def test_a_taken_port_ends_it_with_1_and_one_line_and_leaves_nothing(refusal, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "mine.toml").write_text(f"[gateway]\nprice_port = {port}\n")
        code, said = refusal("--config", "mine.toml", "--var-dir", "v")
    assert code == 1
    assert said == (
        f"main.py: cannot serve 127.0.0.1:{port}: address already in use; "
        "stop what uses it, or set gateway.price_port to another port\n"
    )
    assert not (tmp_path / "v").exists()
