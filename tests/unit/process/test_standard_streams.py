"""Standard streams that are closed, or that have no UTF-8: from outside, as a shell closes them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers import DEADLINE_S, PROJECT_ROOT

OPENED_NEXT = """
import os, sys
from lib.process.standard_streams import prepare_standard_streams

prepare_standard_streams()
next_fd = os.open(os.devnull, os.O_RDONLY)
print("printed")
print("said", file=sys.stderr, flush=True)
handed_down = [os.get_inheritable(fd) for fd in range(3)]
sys.exit(not (next_fd > 2 and all(handed_down) and sys.stdin.read() == ""))
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_dev_null_and_no_file_gets_its_descriptor(closed):
    ended = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, OPENED_NEXT],
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ("printed\n" if closed == "2>&-" else "")
    assert ended.stderr == ("" if "2>&-" in closed else "said\n")


def test_standard_output_escapes_what_its_encoding_does_not_have():
    code = (
        "from lib.process.standard_streams import prepare_standard_streams\n"
        "prepare_standard_streams()\nprint('5 \\u00b5s')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"},
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert ended.stdout == b"5 \\xb5s\n"
