"""supervisord's files: what is lost is put back or opened again, and a FIFO stops nobody."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from lib.process.supervisord_files import (
    LOG_NAME,
    MAX_REQUESTS,
    ControlSocket,
    CopiedFile,
    SupervisordLogs,
    written_files,
)
from tests.helpers import wait_until
from tests.processes import forked


@pytest.fixture
def var_dir() -> Iterator[Path]:
    """A short path, for the socket."""
    with tempfile.TemporaryDirectory(prefix="tw-") as name:
        (Path(name) / "log").mkdir()
        yield Path(name)


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.parametrize("loss", ["supervisor.sock", "supervisor.sock.second", "replaced"])
def test_a_control_socket_that_lost_a_name_gets_it_back_and_is_still_served(var_dir, loss):
    path = var_dir / "supervisor.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        kept = ControlSocket(path, 7)
        assert kept.is_in_place()
        for _ in range(2):
            if loss == "replaced":
                path.unlink()
                path.touch()
            else:
                (var_dir / loss).unlink()
            assert not kept.is_in_place()
            assert kept.path == (path if loss == "replaced" else var_dir / loss)
            kept.put_back()
            assert kept.is_in_place()
            assert can_connect(path)
        kept.close()
        assert sorted(path.name for path in var_dir.iterdir()) == ["log", "supervisor.sock"]


def test_a_control_socket_without_any_name_says_how_to_stop_the_stack(var_dir):
    path = var_dir / "supervisor.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        kept = ControlSocket(path, 7)
        for name in var_dir.glob("supervisor.sock*"):
            name.unlink()
        with pytest.raises(OSError, match=r"No such file .*; supervisorctl .* kill -TERM 7, then"):
            kept.put_back()


def test_a_pid_file_that_was_lost_before_the_start_of_the_watchdog_is_put_back_too(var_dir):
    path = var_dir / "supervisord.pid"
    [kept] = written_files(var_dir, 7)
    for plant in (None, Path.touch, os.mkfifo):
        if plant:
            plant(path)
        assert not kept.is_in_place()
        kept.put_back()
        assert kept.is_in_place()
        assert path.read_text() == "7\n"
        path.unlink()


def test_a_removed_configuration_is_put_back_as_it_was_last(var_dir):
    configuration = var_dir / "supervisord.conf"
    configuration.write_text("first")
    assert [file.path.name for file in written_files(var_dir, 7)] == [
        "supervisord.pid",
        "supervisord.conf",
    ]
    for edit in ("in place", "by another file"):
        kept = CopiedFile(configuration)
        if edit == "by another file":
            configuration.unlink()
        configuration.write_text(edit)
        assert kept.is_in_place()
        configuration.unlink()
        assert not kept.is_in_place()
        kept.put_back()
        assert configuration.read_text() == edit
        assert kept.is_in_place()


@pytest.mark.parametrize(
    "plant", [os.mkfifo, lambda path: path.symlink_to("elsewhere")], ids=["FIFO", "link"]
)
def test_what_is_no_file_in_the_place_of_one_is_replaced_and_a_directory_is_named(var_dir, plant):
    path = var_dir / "supervisord.conf"
    path.write_text("ours")
    kept = CopiedFile(path)
    path.unlink()
    plant(path)
    assert not kept.is_in_place()
    kept.put_back()
    assert kept.is_in_place()
    assert path.read_text() == "ours"
    path.unlink()
    path.mkdir()
    assert not kept.is_in_place()
    with pytest.raises(OSError, match="it is a directory"):
        kept.put_back()


def test_a_file_that_was_edited_by_one_who_lets_others_write_stays(var_dir):
    path = var_dir / "supervisord.conf"
    path.write_text("ours")
    kept = CopiedFile(path)
    path.unlink()
    path.write_text("edited")
    path.chmod(0o664)
    assert kept.is_in_place()


class Supervisord:
    """The test's process: it writes to logs as supervisord does, and opens them on SIGUSR2."""

    def __init__(self, var_dir: Path) -> None:
        self.paths = [
            var_dir / LOG_NAME,
            *(var_dir / "log" / f"gateway.{e}" for e in ("out", "jsonl")),
        ]
        self.files: list[Any] = []
        self.requests = 0
        self.obeys = True
        self.logs = SupervisordLogs(lambda: 0, var_dir, os.getpid())
        self.logs.watch(map(str, self.paths[1:]))
        self.open()

    def open(self) -> None:
        for file in self.files:
            file.close()
        self.files = [path.open("ab") for path in self.paths]

    def on_signal(self, *_: object) -> None:
        self.requests += 1
        if self.obeys:
            self.open()

    def look(self, times: int = 1) -> list[dict[str, Any]]:
        """Let the logs be looked at; return what is logged."""
        with capture_logs() as logged:
            for _ in range(times):
                self.logs.on_time(0)
        return logged


@pytest.fixture
def supervisord(var_dir) -> Iterator[Supervisord]:
    one = Supervisord(var_dir)
    before = signal.signal(signal.SIGUSR2, one.on_signal)
    yield one
    signal.signal(signal.SIGUSR2, before)
    for file in one.files:
        file.close()


@pytest.mark.parametrize("which", [0, 2])
@pytest.mark.parametrize("loss", ["removed", "moved", "moved and made"])
def test_a_lost_log_is_opened_again_and_that_is_logged_once(supervisord, which, loss):
    path = supervisord.paths[which]
    assert supervisord.look(3) == []
    if loss == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("gateway.jsonl-20251103"))
    if loss == "moved and made":
        path.touch(mode=0o660)
        path.chmod(0o660)
    logged = supervisord.look(5)
    assert [(e["event"], e["log_level"], e["file"]) for e in logged] == [
        ("log_reopened", "warning", str(path))
    ]
    assert supervisord.requests == 1
    assert os.path.samestat(path.stat(), os.fstat(supervisord.files[which].fileno()))
    assert not path.stat().st_mode & 0o022


def test_a_rotation_by_supervisord_is_no_loss(supervisord):
    for _ in range(3):
        supervisord.paths[1].unlink()
        assert supervisord.look() == []
        supervisord.open()
        assert supervisord.look() == []
    assert supervisord.requests == 0


def test_the_log_of_a_program_that_does_not_run_is_not_missed(supervisord):
    supervisord.logs.watch(())
    supervisord.paths[1].unlink()
    assert supervisord.look(3) == []
    assert supervisord.requests == 0


def test_a_removed_log_directory_is_made_again(supervisord, var_dir):
    shutil.rmtree(var_dir / "log")
    assert {e["event"] for e in supervisord.look(3)} == {"log_reopened"}
    assert all(path.exists() for path in supervisord.paths)
    assert stat.S_IMODE((var_dir / "log").stat().st_mode) == 0o700


def test_a_file_in_the_place_of_the_log_directory_is_named(supervisord, var_dir):
    shutil.rmtree(var_dir / "log")
    (var_dir / "log").touch()
    logged = supervisord.look(3)
    assert [(e["event"], e["file"]) for e in logged] == [("file_lost", str(var_dir / "log"))]
    assert "it is a regular file, not a directory" in logged[0]["reason"]
    assert supervisord.requests == 0


def test_supervisord_is_not_asked_for_what_would_end_it(supervisord):
    path = supervisord.paths[2]
    path.unlink()
    path.mkdir()
    logged = supervisord.look(MAX_REQUESTS + 3)
    assert [(e["event"], e["file"]) for e in logged] == [("file_lost", str(path))]
    assert "no file is in its place" in logged[0]["reason"]
    assert supervisord.requests == 0
    path.rmdir()
    assert [e["event"] for e in supervisord.look(3)] == ["log_reopened"]


@pytest.mark.parametrize("name", ["log/gateway.jsonl.1", "log/gateway.out.5", "supervisord.log.2"])
def test_a_directory_in_the_way_of_a_rotation_is_named_and_the_logs_are_opened_again(
    supervisord, var_dir, name
):
    (var_dir / name).mkdir()
    logged = supervisord.look(3)
    assert [(e["event"], e["file"]) for e in logged] == [("file_lost", str(var_dir / name))]
    supervisord.paths[1].unlink()
    assert [e["event"] for e in supervisord.look(3)] == ["log_reopened"]


def test_nor_for_a_log_that_is_another_file_than_it_may_write_to(supervisord):
    path = supervisord.paths[2]
    path.unlink()
    path.symlink_to("nowhere")
    logged = supervisord.look(MAX_REQUESTS + 3)
    assert [(e["event"], e["file"]) for e in logged] == [("file_lost", str(path))]
    assert "supervisord cannot write to it: it is a symbolic link" in logged[0]["reason"]
    assert supervisord.requests == 0
    path.unlink()
    assert [e["event"] for e in supervisord.look(3)] == ["log_reopened"]


def test_a_link_of_ours_may_lead_to_a_log_and_the_others_are_opened_again(supervisord, var_dir):
    linked, lost = supervisord.paths[1:]
    (var_dir / "disk").mkdir()
    linked.rename(var_dir / "disk" / linked.name)
    linked.symlink_to(var_dir / "disk" / linked.name)
    assert supervisord.look(3) == []
    lost.unlink()
    assert [(e["event"], e["file"]) for e in supervisord.look(3)] == [("log_reopened", str(lost))]
    assert linked.is_symlink()


def test_a_link_that_leads_to_itself_is_no_log(supervisord):
    path = supervisord.paths[1]
    path.unlink()
    path.symlink_to(path.name)
    assert [e["event"] for e in supervisord.look(3)] == ["file_lost"]
    assert supervisord.requests == 0


@pytest.mark.parametrize("elsewhere", ["/dev/stdout", "/var/log/gateway.out", "{}/other/gateway"])
def test_a_log_outside_of_the_log_directory_is_left_alone_and_the_others_are_opened_again(
    supervisord, var_dir, elsewhere
):
    (var_dir / "other").mkdir()
    (var_dir / "other").chmod(0o777)
    supervisord.logs.watch([elsewhere.format(var_dir), str(supervisord.paths[2])])
    assert supervisord.look(3) == []
    lost = supervisord.paths[2]
    lost.unlink()
    assert [(e["event"], e["file"]) for e in supervisord.look(3)] == [("log_reopened", str(lost))]
    assert stat.S_IMODE((var_dir / "other").stat().st_mode) == 0o777


def test_a_log_is_known_also_by_the_name_that_a_plain_supervisord_gives_it(supervisord, var_dir):
    (var_dir / "etc").mkdir()
    here = f"{var_dir}/etc/.."
    supervisord.logs = SupervisordLogs(lambda: 0, Path(here), os.getpid())
    supervisord.logs.watch([f"{here}/log/gateway.out"])
    lost = supervisord.paths[1]
    lost.unlink()
    assert [(e["event"], e["file"]) for e in supervisord.look(3)] == [("log_reopened", str(lost))]


def test_a_supervisord_that_does_not_open_a_log_is_asked_a_few_times(supervisord):
    supervisord.obeys = False
    supervisord.paths[1].unlink()
    logged = supervisord.look(MAX_REQUESTS + 5)
    assert [(e["event"], e["file"]) for e in logged] == [("file_lost", str(supervisord.paths[1]))]
    assert supervisord.requests == MAX_REQUESTS


def test_who_waits_at_a_fifo_in_the_place_of_a_log_goes_on_with_a_log(var_dir):
    path = var_dir / "log" / "strategy.jsonl"
    os.mkfifo(path)

    def supervisord() -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        (var_dir / "begun").touch()
        with path.open("ab") as file:
            file.write(b"line\n")

    with forked(supervisord) as child:
        logs = SupervisordLogs(lambda: 0, var_dir, child.pid)
        wait_until((var_dir / "begun").exists, "it has begun")
        wait_until(lambda: sleeps(child.pid), "it waits for a reader")
        with capture_logs() as logged:
            logs.on_time(0)
        assert child.join() == 0
    assert [(e["event"], e["file"]) for e in logged] == [("file_lost", str(path))]
    assert path.read_bytes() == b"line\n"


def sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
