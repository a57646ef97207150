"""The ledger when its disk, its file or its neighbours fail, with a real order manager.

Whatever the failure, it goes the same way: new orders are answered with an error that says why,
nothing is printed or answered that is not on disk, connections stay up, and the same orders sent
again are booked once the cause has gone.

Small and read-only file systems are mounted over the var directory in a mount namespace that only
the order manager is in. Its log and its output are opened before, on the file system outside.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import OrderClient, order
from tests.helpers import PROJECT_ROOT, wait_until
from tests.order_managers import RunningOrderManager
from tests.stack import PrivateStack

IS_ROOT = os.geteuid() == 0
NAMESPACE = ("unshare", "--mount", *(() if IS_ROOT else ("--map-root-user",)))
ENTER = ("nsenter", "--mount", *(() if IS_ROOT else ("--user", "--preserve-credentials")))
SMALL_DISK_BYTES = 256 * 1024


class Manager(RunningOrderManager):
    """An order manager, and its ledger as the test sees it."""

    @property
    def var_dir(self) -> Path:
        """The var directory as the order manager sees it, whatever is mounted there."""
        return Path(f"/proc/{self.process.pid}/root{self.stack.var_dir}")

    @property
    def ledger(self) -> Path:
        """The ledger, where nothing is mounted over it."""
        return self.stack.var_dir / "orders.sqlite"

    def booked(self, client_id: str = "trader") -> list[tuple[int, str, int, int]]:
        """What the ledger holds of a client: order_id, status, trade_id, position."""
        # SQLite follows symbolic links itself, and so does not find the way through /proc.
        with tempfile.TemporaryDirectory() as copy:
            for file in self.var_dir.glob("orders.sqlite*"):
                shutil.copy(file, copy)
            with closing(sqlite3.connect(Path(copy) / "orders.sqlite")) as connection:
                return connection.execute(
                    "SELECT order_id, status, trade_id, position FROM orders"
                    " WHERE client_id = ? ORDER BY received_ns, trade_id",
                    (client_id,),
                ).fetchall()

    def fill_disk(self) -> None:
        """Leave no room on the small disk."""
        with (self.var_dir / "ballast").open("ab", buffering=0) as ballast:
            for size in (65536, 4096):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError:
                    pass

    def free_disk(self) -> None:
        os.truncate(self.var_dir / "ballast", 0)

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0


@pytest.fixture
def stack() -> Iterator[PrivateStack]:
    stack = PrivateStack({"": {"symbols": ["AAPL", "MSFT"]}})
    try:
        yield stack
        # Whatever happened, no order manager has died of it.
        assert not stack.events("order_manager", "crashed")
    finally:
        stack.close()


def started(stack: PrivateStack) -> Manager:
    """An order manager on the stack's var directory."""
    count = len(stack.events("order_manager", "started"))
    return after_start(stack, stack.start_by_hand("order_manager"), count)


def after_start(stack: PrivateStack, process: subprocess.Popen[bytes], starts: int) -> Manager:
    """The order manager, once there have been more than so many starts."""

    def has_started() -> bool:
        assert process.poll() is None, stack.events("order_manager")[-1]
        return len(stack.events("order_manager", "started")) > starts

    wait_until(has_started, "it has started")
    return Manager(stack, process)


@pytest.fixture
def manager(stack: PrivateStack) -> Manager:
    return started(stack)


@contextmanager
def started_under(stack: PrivateStack, *command: str) -> Iterator[Manager]:
    """An order manager that is started by a command which becomes it."""
    stack.log_dir.mkdir(parents=True, exist_ok=True)
    count = len(stack.events("order_manager", "started"))
    with (
        (stack.log_dir / "order_manager.jsonl").open("ab") as errors,
        (stack.log_dir / "order_manager.out").open("ab") as output,
        subprocess.Popen(
            [*command, sys.executable, "-m", "daemons.order_manager"],
            cwd=PROJECT_ROOT,
            env=stack.environment,
            stdout=output,
            stderr=errors,
        ) as process,
    ):
        try:
            yield after_start(stack, process, count)
            assert process.poll() is None
        finally:
            process.terminate()


def mounted(stack: PrivateStack, mount: str) -> Any:
    """An order manager in a mount namespace of its own, after shell commands with $VAR in them."""
    script = f'set -e; VAR=$1; shift; {mount}; exec "$@"'
    return started_under(stack, *NAMESPACE, "sh", "-c", script, "sh", str(stack.var_dir))


def remount(manager: Manager, options: str) -> None:
    enter = (*ENTER, f"--target={manager.process.pid}")
    mount = ("mount", "-o", f"remount,{options}", str(manager.stack.var_dir))
    subprocess.run([*enter, *mount], check=True, timeout=60)


@pytest.fixture(scope="session")
def may_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    """File systems can be mounted in a namespace. In CI a test never goes without it."""
    directory = tmp_path_factory.mktemp("mount")
    try:
        command = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(directory)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        refused = result.stderr.strip() if result.returncode else ""
    except FileNotFoundError as error:
        refused = str(error)
    if refused:
        message = f"no mount namespaces here: {refused}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def tell_without_waiting(client: OrderClient, *order_ids: int, **changes: Any) -> None:
    """Send orders at once."""
    data = b"".join(json.dumps(order(number, **changes)).encode() + b"*" for number in order_ids)
    client.send(data)


def tell(client: OrderClient, *order_ids: int, **changes: Any) -> list[dict[str, Any]]:
    """Send orders at once; return the answers, which name them in this order."""
    tell_without_waiting(client, *order_ids, **changes)
    answers = [client.hear() for _ in order_ids]
    assert [answer["order_id"] for answer in answers] == list(order_ids)
    return answers


def assert_all_refused(answers: list[dict[str, Any]], why: str) -> None:
    for answer in answers:
        assert answer["type"] == "error"
        assert why in answer["reason"]
        assert "\n" not in answer["reason"]


def assert_filled_from(answers: list[dict[str, Any]], first_trade_id: int) -> None:
    """All filled, 10 shares each, with neither a gap in trade_ids nor in positions."""
    reports = [(answer.get("status"), answer["trade_id"], answer["position"]) for answer in answers]
    trade_ids = range(first_trade_id, first_trade_id + len(answers))
    assert reports == [("FILLED", trade_id, 10 * trade_id) for trade_id in trade_ids]


def as_booked(reports: list[dict[str, Any]]) -> list[tuple[int, str, int, int]]:
    """Reports as `Manager.booked` gives them."""
    return [(r["order_id"], r["status"], r["trade_id"], r["position"]) for r in reports]


# --- disk full


@pytest.mark.usefixtures("may_mount")
def test_while_the_disk_is_full_nothing_is_answered_that_is_not_on_disk(
    stack: PrivateStack,
) -> None:
    with (
        mounted(stack, f'mount -t tmpfs -o size={SMALL_DISK_BYTES} tmpfs "$VAR"') as manager,
        manager.logged_on() as client,
        manager.connect() as other,
    ):
        reports = tell(client, 1, 2, 3)
        assert_filled_from(reports, 1)
        manager.fill_disk()
        for number in range(4, 10):
            assert_all_refused(tell(client, number), "disk full")
        assert_all_refused(tell(client, *range(10, 60)), "disk full")
        # What is on disk can be read, and is answered.
        assert tell(client, 2) == [reports[1]]
        assert_all_refused(tell(other, 1), "disk full")
        for again in (client, manager.connect()):
            with again:
                ack = again.log_on("trader")
                assert (ack["last_order_id"], ack["positions"]) == (3, {"AAPL": 30})
                [refused, repeated] = tell(again, 4, 3)
                assert_all_refused([refused], "disk full")
                assert repeated == reports[2]
        assert as_booked(reports) == manager.booked()

        manager.free_disk()
        with manager.logged_on() as again:
            reports += tell(again, *range(4, 60))
        assert_filled_from(reports, 1)
        assert tell(other, 1)[0]["trade_id"] == 60
        manager.wait_for("ledger_recovered")
        assert as_booked(reports) == manager.booked()
        wait_until(lambda: len(manager.printed()) >= 60, "it prints")
        numbers = [line.split()[2] for line in manager.printed()]
        assert numbers == [f"{number}:" for number in (*range(1, 60), 1)]
        # Once, and not for each order.
        assert len(manager.events("ledger_failed")) == len(manager.events("ledger_recovered")) == 1
        assert "disk full" in manager.events("ledger_failed")[0]["reason"]


@pytest.mark.usefixtures("may_mount")
@pytest.mark.parametrize("room", [0, 16], ids=lambda room: f"{room} KiB are left")
def test_with_a_disk_that_is_full_from_the_start_it_stays_up_and_says_so(
    stack: PrivateStack, room: int
) -> None:
    ballast = SMALL_DISK_BYTES - 1024 * room
    mount = (
        f'mount -t tmpfs -o size={SMALL_DISK_BYTES} tmpfs "$VAR"; '
        f'head -c {ballast} /dev/zero >"$VAR/ballast"'
    )
    with mounted(stack, mount) as manager, manager.connect() as client:
        assert "disk full" in manager.wait_for("ledger_failed")["reason"]
        assert "disk full" in client.log_on("trader")["reason"]
        assert_all_refused(tell(client, 1, 2), "disk full")
        manager.free_disk()
        client.log_on("trader")
        reports = tell(client, 1, 2)
        assert_filled_from(reports, 1)
        assert as_booked(reports) == manager.booked()
        manager.wait_for("ledger_recovered")
        assert len(manager.events("ledger_failed")) == 1


# --- read-only


@pytest.mark.usefixtures("may_mount")
def test_with_a_ledger_on_a_read_only_file_system_it_waits_until_it_can_write(
    stack: PrivateStack,
) -> None:
    earlier = started(stack)
    with earlier.logged_on() as client:
        reports = tell(client, 1, 2)
    earlier.end()
    mount = 'mount --bind "$VAR" "$VAR"; mount -o remount,bind,ro "$VAR"'
    with mounted(stack, mount) as manager, manager.connect() as client:
        assert "read-only" in manager.wait_for("ledger_failed")["reason"]
        assert "read-only" in client.log_on("trader")["reason"]
        assert_all_refused(tell(client, 3), "read-only")
        remount(manager, "bind,rw")
        assert client.log_on("trader")["positions"] == {"AAPL": 20}
        assert tell(client, 1) == [reports[0]]
        reports += tell(client, 3)
        assert_filled_from(reports, 1)
        assert as_booked(reports) == manager.booked()


# --- damaged


def overwrite(path: Path, begin: int, end: int) -> None:
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(os.urandom(end - begin))


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "its beginning is garbage": lambda path: overwrite(path, 0, 100),
    "its middle is garbage": lambda path: overwrite(path, 4096, path.stat().st_size - 4096),
    "half of it is missing": lambda path: os.truncate(path, path.stat().st_size // 2),
}


@pytest.mark.parametrize(
    ("damage", "repair"),
    [
        ("its beginning is garbage", "a sound copy is put back"),
        ("its middle is garbage", "it is moved away"),
        ("half of it is missing", "a sound copy is put back"),
    ],
)
def test_a_damaged_ledger_books_nothing_until_it_is_repaired(
    stack: PrivateStack, damage: str, repair: str
) -> None:
    earlier = started(stack)
    with earlier.logged_on() as client:
        reports = tell(client, *range(1, 401))
    earlier.end()
    wait_until(lambda: len(earlier.printed()) == 400, "it has printed")
    ledger = stack.var_dir / "orders.sqlite"
    sound_copy = stack.directory / "sound.sqlite"
    shutil.copy(ledger, sound_copy)
    DAMAGES[damage](ledger)

    manager = started(stack)
    with manager.connect() as client:
        client.log_on("trader")
        assert_all_refused(tell(client, 200, *range(401, 410)), "damaged")
        for number in (200, 401):
            assert_all_refused(tell(client, number), "damaged")
        assert "damaged" in manager.wait_for("ledger_failed")["reason"]
        assert len(manager.printed()) == 400

        for file in (ledger, *stack.var_dir.glob("orders.sqlite-*")):
            file.rename(stack.directory / file.name)
        if repair == "a sound copy is put back":
            shutil.copy(sound_copy, ledger)
            assert client.log_on("trader")["last_order_id"] == 400
            assert tell(client, 200) == [reports[199]]
        else:
            assert client.log_on("trader")["last_order_id"] == 0
            reports.clear()
        reports += tell(client, *range(401, 410))
        assert_filled_from(reports, 1)
        assert as_booked(reports) == manager.booked()
        manager.wait_for("ledger_recovered")


def test_garbage_that_is_written_while_it_runs_is_never_its_end(manager: Manager) -> None:
    with manager.logged_on() as client:
        tell(client, *range(1, 401))
        with closing(sqlite3.connect(manager.ledger)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        overwrite(manager.ledger, 4096, manager.ledger.stat().st_size)
        # It may take a while until a damaged page is needed, and it is not known which.
        for number in range(401, 1000):
            answer = client.ask(order(number))
            assert answer["type"] == "error" or answer["status"] == "FILLED"
            client.ask(order(number - 400))
        assert "damaged" in client.ask(order(1))["reason"]
    assert manager.process.poll() is None


# --- removed, replaced


# --- another writer


@contextmanager
def second_manager(stack: PrivateStack) -> Iterator[Manager]:
    """Another order manager in the same var directory, on another port, with a log of its own."""
    second = PrivateStack({"": {"symbols": ["AAPL", "MSFT"]}})
    second.var_dir = stack.var_dir
    try:
        yield started(second)
        assert not second.events("order_manager", "crashed")
    finally:
        second.close()


def test_while_another_process_writes_orders_are_refused_and_later_booked_once(
    manager: Manager,
) -> None:
    """As a strategy sees it: an error is not final, so it sends the order again until it is."""
    reports: list[dict[str, Any]] = []
    with closing(sqlite3.connect(manager.ledger, isolation_level=None)) as other:
        client = manager.logged_on()
        for number in range(1, 6):
            other.execute("BEGIN IMMEDIATE")
            answers = [client.ask(order(number)) for _ in range(3)]
            assert_all_refused(answers, "locked by another writer")
            # It loses its connection, and learns at logon what has been booked.
            client.close()
            client = manager.logged_on()
            assert client.log_on("trader")["last_order_id"] == number - 1
            assert_all_refused(tell(client, number), "locked by another writer")
            other.execute("ROLLBACK")
            reports += tell(client, number)
            assert tell(client, number) == reports[-1:]
        client.close()
    assert_filled_from(reports, 1)
    assert manager.booked() == as_booked(reports)
    wait_until(lambda: len(manager.printed()) >= 5, "it prints")
    assert len(manager.printed()) == 5
    assert len(manager.events("ledger_failed")) == len(manager.events("ledger_recovered")) == 5
    not_booked = manager.wait_for("orders_not_booked")["examples"][0]
    assert (not_booked["client_id"], not_booked["order_id"]) == ("trader", 1)


def test_a_second_order_manager_takes_over_when_the_first_has_ended(
    manager: Manager, stack: PrivateStack
) -> None:
    with manager.logged_on() as client:
        reports = tell(client, 1, 2)
    with second_manager(stack) as second, second.connect() as client:
        holder = f"another order manager writes it, process {manager.process.pid}"
        assert holder in second.wait_for("ledger_failed")["reason"]
        assert holder in client.log_on("trader")["reason"]
        assert_all_refused(tell(client, 3), holder)
        with manager.logged_on() as healthy:
            assert tell(healthy, 2) == reports[1:]
        manager.process.kill()
        manager.process.wait(timeout=60)
        assert client.log_on("trader")["positions"] == {"AAPL": 20}
        reports += tell(client, 3)
        assert_filled_from(reports, 1)
        assert second.booked() == as_booked(reports)


def test_a_file_that_is_not_its_ledger_is_refused_and_left_alone(stack: PrivateStack) -> None:
    stack.var_dir.mkdir()
    ledger = stack.var_dir / "orders.sqlite"
    change(ledger, "CREATE TABLE bookmarks (url TEXT)")
    before = ledger.read_bytes()
    process = stack.start_by_hand("order_manager")
    assert process.wait(timeout=60) == 1
    [refusal] = stack.events("order_manager")
    assert refusal["event"] == "cannot_start"
    assert "another program" in refusal["reason"]
    assert str(ledger) in refusal["reason"]
    assert ledger.read_bytes() == before
    assert {file.name for file in stack.var_dir.iterdir()} <= {
        "log", "orders.sqlite", "orders.sqlite.lock",
    }  # fmt: skip
