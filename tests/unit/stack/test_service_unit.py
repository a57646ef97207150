"""etc/systemd/tradewire.service agrees with the program that it runs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from lib.errors import EXIT_BAD_INPUT
from lib.settings import EXIT_BAD_SETTINGS, PROJECT_ROOT
from lib.stack.supervisord_configuration import read_configuration, stop_limit_s

UNIT = PROJECT_ROOT / "etc" / "systemd" / "tradewire.service"
INSTALLED_IN = "/opt/tradewire"


@pytest.fixture
def service():
    """Its section [Service]."""
    parser = RawConfigParser(delimiters=["="], comment_prefixes=["#"])
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(UNIT.read_text(encoding="ascii"))
    return parser["Service"]


def test_it_runs_main_py_of_the_project_on_its_state_directory(service):
    python, main, option, var_dir = shlex.split(service["ExecStart"])
    assert service["WorkingDirectory"] == INSTALLED_IN
    assert python == f"{INSTALLED_IN}/.venv/bin/python"
    assert (PROJECT_ROOT / Path(main).relative_to(INSTALLED_IN)).exists()
    assert (option, var_dir) == ("--var-dir", f"/var/lib/{service['StateDirectory']}")


def test_it_gives_main_py_the_time_that_a_stop_may_take_and_does_not_retry_a_bad_setting(service):
    assert float(service["TimeoutStopSec"]) > stop_limit_s(read_configuration())
    assert service["KillMode"] == "mixed"
    not_retried = service["RestartPreventExitStatus"].split()
    assert {str(EXIT_BAD_SETTINGS), str(EXIT_BAD_INPUT)} <= set(not_retried)


def test_systemd_knows_every_option_of_it(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace(INSTALLED_IN, str(PROJECT_ROOT)))
    checked = subprocess.run(
        [analyze, "verify", here], capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
