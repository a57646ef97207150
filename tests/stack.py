"""A private stack for a test: real supervisord, real roles, its own ports, files and segments."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from configparser import RawConfigParser
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from lib.settings import Settings
from lib.stack import private_stack
from lib.stack.private_stack import private_settings, settings_tables, tables_to_toml
from lib.stack.supervisord_configuration import configuration_text, parse_configuration
from tests.helpers import PROJECT_ROOT, wait_until
from tests.log_lines import is_as_defined

ROLES = ("gateway", "orderbook", "strategy", "order_manager", "watchdog", "dashboard")


def copy_project(root: Path, change: Callable[[RawConfigParser], object]) -> Path:
    """Copy what a stack needs to `root`, with a changed supervisord configuration."""
    for part in ("lib", "daemons", "etc"):
        shutil.copytree(PROJECT_ROOT / part, root / part)
    shutil.copy(PROJECT_ROOT / "main.py", root)
    configuration = root / "etc" / "supervisord.conf"
    parser = parse_configuration(configuration.read_text())
    change(parser)
    configuration.write_text(configuration_text(parser))
    return root


class PrivateStack(private_stack.PrivateStack):
    """A private stack that reads what its roles log, and leaves nothing behind.

    `sections` are keys by section, "" for the top: `{"gateway": {"rate": 500.0}}`, and
    `{"strategies.second": {"short_window": 5}}` for a second strategy. The settings stay tables, so
    that a test can write what no settings may be. `project` may be a copy with another supervisord
    configuration.
    """

    def __init__(
        self,
        sections: dict[str, dict[str, Any]] | None = None,
        *,
        project: Path = PROJECT_ROOT,
    ) -> None:
        # A socket's path may have about 100 characters; pytest's tmp_path can be longer.
        directory = Path(tempfile.mkdtemp(prefix="tw-"))
        private = private_settings(Settings(), directory, "tw-test-")
        super().__init__(private, directory, project)
        self.log_dir = self.var_dir / "log"
        self.price_port, self.news_port = private.gateway.price_port, private.gateway.news_port
        self.order_port, self.dashboard_port = private.order_manager.port, private.dashboard.port
        self.book_name = private.price_book.name
        self._by_hand: list[subprocess.Popen[bytes]] = []
        tables = settings_tables(private)
        for section, keys in (sections or {}).items():
            tables.setdefault(section, {}).update(keys)
        self.write_config(tables)

    def write_config(self, tables: dict[str, dict[str, Any]]) -> None:
        """Write the settings file."""
        self.settings = tables
        self.config.write_text(tables_to_toml(tables))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a role that is started by hand in this stack."""
        return {
            **os.environ,
            "TRADING_CONFIG": str(self.config),
            "TRADING_VAR_DIR": str(self.var_dir),
            "PYTHONPATH": str(self.project),
        }

    def start(self, *, wait: bool = True) -> subprocess.Popen[bytes]:
        """Start `main.py`; wait until every role has started."""
        main = super().start()
        if wait:
            for role in ROLES:
                self.wait_for_event(role, "started")
        return main

    def start_by_hand(self, role: str) -> subprocess.Popen[bytes]:
        """Start one role without supervisord, with its log and output in the usual files."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        with (
            (self.log_dir / f"{role}.jsonl").open("ab") as errors,
            (self.log_dir / f"{role}.out").open("ab") as output,
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", f"daemons.{role}"],
                cwd=PROJECT_ROOT,
                env=self.environment,
                stdout=output,
                stderr=errors,
            )
        self._by_hand.append(process)
        return process

    def kill_by_hand(self) -> None:
        """Kill the roles that were started by hand."""
        for process in self._by_hand:
            process.kill()
            process.wait(timeout=60)

    def stop(self) -> int:
        """Stop `main.py` as Ctrl-C does; return its exit code."""
        self.end()
        return self.main.returncode

    def close(self) -> None:
        """End the processes of this stack that are still running, and remove its files."""
        for process in self._by_hand:
            process.terminate()  # nothing happens if it has ended
        self.end()
        for process in self._by_hand:
            process.wait(timeout=60)
        wait_until(lambda: not self.segments(), "the segments are gone")
        undefined = [
            line
            for log in self.log_dir.glob("*.jsonl*")
            for line in log.read_bytes().splitlines()
            if not is_as_defined(line)
        ]
        self.remove_files()
        assert not undefined, f"not defined in lib/process/log_events.py: {undefined[:3]}"

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def supervisorctl(self, *arguments: str) -> str:
        """Run supervisorctl against this stack; return what it prints."""
        result = self._supervisorctl(*arguments)
        return result.stdout + result.stderr

    def pid(self, role: str) -> int:
        """The process id of a role that supervisord runs."""
        return int(self.supervisorctl("pid", role))

    def events(self, role: str, event: str | None = None) -> list[dict[str, Any]]:
        """The events that a role has logged so far, of one kind or all."""
        path = self.log_dir / f"{role}.jsonl"
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")[:-1]  # the last may be half written
        logged = [json.loads(line) for line in lines]
        return [entry for entry in logged if event in (None, entry["event"])]

    def wait_for_event(self, role: str, event: str, **keys: Any) -> dict[str, Any]:
        """Wait for the first event of that kind with these values."""

        def found() -> dict[str, Any] | None:
            for entry in self.events(role, event):
                if all(entry.get(key) == value for key, value in keys.items()):
                    return entry
            return None

        return wait_until(found, f"{role} logs {event} {keys or ''}")

    def missed(self, role: str) -> list[tuple[int, int]]:
        """The ticks that a role has missed, by number."""
        return [(e["first"], e["last"]) for e in self.events(role, "ticks_missed")]

    def absences(self) -> list[tuple[int, int]]:
        """The ticks that came while there was no strategy, by number."""
        starts = self.events("strategy", "evaluation_started")[1:]
        spans = [(e["last_evaluated"] + 1, e["first_evaluated"] - 1) for e in starts]
        return [(first, last) for first, last in spans if first <= last]

    def wait_for_end_of_client(self, role: str, peer: str) -> dict[str, Any]:
        """Wait for the `client_disconnected` of an accepted client."""

        def ended() -> dict[str, Any] | None:
            # Port numbers are reused: only its last event is of this client.
            last = next((e for e in reversed(self.events(role)) if e.get("peer") == peer), {})
            return last if last.get("event") == "client_disconnected" else None

        return wait_until(ended, f"{role} logs the end of {peer}")

    def output(self, role: str) -> list[str]:
        """The lines that a role has printed."""
        path = self.log_dir / f"{role}.out"
        return path.read_text().splitlines() if path.exists() else []

    def processes(self) -> list[int]:
        """The processes with this stack's directory in their command line or environment."""
        mark = str(self.directory).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):  # it has just ended, or belongs to another user
                if mark in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def segments(self) -> list[str]:
        """The files of this stack in shared memory."""
        return sorted(p.name for p in Path("/dev/shm").glob(f"{self.book_name}*"))
