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
SMALL_DISK = f'mount -t tmpfs -o size={SMALL_DISK_BYTES},mode=0700 tmpfs "$VAR"'
SETTINGS = {"": {"symbols": ["AAPL", "MSFT"]}}


class Manager(RunningOrderManager):
    """An order manager, and its ledger as the test sees it."""

    @property
    def var_dir(self) -> Path:
        """The var directory as the order manager sees it, whatever is mounted there."""
        return Path(f"/proc/{self.process.pid}/root{self.stack.var_dir}")

    def booked(self) -> list[tuple[int, str, int, int]]:
        """What the ledger holds of the trader: order_id, status, trade_id, position."""
        # SQLite follows symbolic links itself, and so does not find the way through /proc.
        with tempfile.TemporaryDirectory() as copy:
            for file in self.var_dir.glob("orders.sqlite*"):
                shutil.copy(file, copy)
            with closing(sqlite3.connect(Path(copy) / "orders.sqlite")) as connection:
                return connection.execute(
                    "SELECT order_id, status, trade_id, position FROM orders"
                    " WHERE client_id = 'trader' ORDER BY received_ns, trade_id"
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

    def remount_for_writing(self) -> None:
        enter = (*ENTER, f"--target={self.process.pid}")
        mount = ("mount", "-o", "remount,bind,rw", str(self.stack.var_dir))
        subprocess.run([*enter, *mount], check=True, timeout=60)


@pytest.fixture(autouse=True)
def whatever_happened_no_order_manager_has_died_of_it(stack: PrivateStack) -> Iterator[None]:
    yield
    assert not stack.events("order_manager", "crashed")


@contextmanager
def started(stack: PrivateStack, *command: str) -> Iterator[Manager]:
    """An order manager on the stack's var directory, by a command which becomes it."""
    stack.log_dir.mkdir(parents=True, exist_ok=True)
    starts = len(stack.events("order_manager", "started"))
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

        def has_started() -> bool:
            assert process.poll() is None, stack.events("order_manager")[-1]
            return len(stack.events("order_manager", "started")) > starts

        try:
            wait_until(has_started, "it has started")
            yield Manager(stack, process)
        finally:
            process.terminate()


def mounted(stack: PrivateStack, mount: str) -> Any:
    """An order manager in a mount namespace of its own, after shell commands with $VAR in them."""
    script = f'set -e; VAR=$1; shift; {mount}; exec "$@"'
    return started(stack, *NAMESPACE, "sh", "-c", script, "sh", str(stack.var_dir))


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


def tell(client: OrderClient, *order_ids: int) -> list[dict[str, Any]]:
    """Send orders at once; return the answers, which name them in this order."""
    client.send(b"".join(json.dumps(order(number)).encode() + b"*" for number in order_ids))
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
        mounted(stack, SMALL_DISK) as manager,
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
@pytest.mark.parametrize(
    ("mount", "makes_room", "why"),
    [
        (SMALL_DISK + f'; head -c {SMALL_DISK_BYTES - 16_384} /dev/zero >"$VAR/ballast"',
         Manager.free_disk, "disk full"),
        ('mount --bind "$VAR" "$VAR"; mount -o remount,bind,ro "$VAR"',
         Manager.remount_for_writing, "read-only"),
    ],
    ids=["16 KiB are left", "read-only"],
)  # fmt: skip
def test_with_a_disk_that_cannot_be_written_from_the_start_it_stays_up_and_says_so(
    stack: PrivateStack, mount: str, makes_room: Callable[[Manager], None], why: str
) -> None:
    with started(stack):
        pass  # there is a ledger in the directory that becomes read-only
    with mounted(stack, mount) as manager, manager.connect() as client:
        assert why in manager.wait_for("ledger_failed")["reason"]
        assert why in client.log_on("trader")["reason"]
        assert_all_refused(tell(client, 1, 2), why)
        makes_room(manager)
        client.log_on("trader")
        reports = tell(client, 1, 2)
        assert_filled_from(reports, 1)
        assert as_booked(reports) == manager.booked()
        manager.wait_for("ledger_recovered")
        assert len(manager.events("ledger_failed")) == 1


# --- damaged, or of another


@pytest.mark.parametrize("is_cut", [False, True], ids=["garbage at its beginning", "half of it"])
def test_a_damaged_ledger_ends_the_start_and_a_sound_copy_goes_on(
    stack: PrivateStack, is_cut: bool
) -> None:
    with started(stack) as earlier, earlier.logged_on() as client:
        reports = tell(client, *range(1, 401))
        wait_until(lambda: len(earlier.printed()) == 400, "it prints")
    ledger = stack.var_dir / "orders.sqlite"
    sound = ledger.read_bytes()
    ledger.write_bytes(sound[: len(sound) // 2] if is_cut else os.urandom(100) + sound[100:])

    refused = stack.start_by_hand("order_manager")
    assert refused.wait(timeout=60) == 1
    reason = stack.wait_for_event("order_manager", "cannot_start")["reason"]
    assert reason.startswith(f"ledger {ledger}: damaged")
    command = f"python -m lib.ledger --config {stack.config} --var-dir {stack.var_dir} --check"
    assert f"`{command}`" in reason

    ledger.write_bytes(sound)
    with started(stack) as manager, manager.connect() as client:
        assert client.log_on("trader")["last_order_id"] == 400
        assert tell(client, 200) == [reports[199]]
        reports += tell(client, *range(401, 410))
        assert_filled_from(reports, 1)
        assert as_booked(reports) == manager.booked()


# --- removed, or replaced


def test_a_ledger_removed_under_an_idle_order_manager_is_said_and_forgets_nothing(
    stack: PrivateStack,
) -> None:
    ledger = stack.var_dir / "orders.sqlite"
    with started(stack) as manager, manager.logged_on() as client:
        reports = tell(client, 1, 2, 3)
        for file in stack.var_dir.glob("orders.sqlite*"):
            file.unlink()
        lost = manager.wait_for("ledger_lost")  # though no order comes
        assert lost["ledger"] == str(ledger)
        assert lost["reason"].startswith(f"ledger {ledger}: was removed; ")
        assert_all_refused(tell(client, 4, 5), lost["reason"])
        assert not ledger.exists()
        _, copy, _ = lost["reason"].split("`")
        subprocess.run(copy, shell=True, check=True, timeout=60)
        assert_all_refused(tell(client, 4, 5), lost["reason"])
        assert len(manager.events("ledger_lost")) == 1
    with started(stack) as manager, manager.connect() as client:
        assert client.log_on("trader")["positions"] == {"AAPL": 30}
        reports += tell(client, 4, 5)
        assert_filled_from(reports, 1)
        assert as_booked(reports) == manager.booked()
        assert not manager.events("ledger_begun")


def test_no_order_is_lost_in_a_wal_that_is_removed_while_it_is_read(stack: PrivateStack) -> None:
    ledger = stack.var_dir / "orders.sqlite"
    with started(stack) as manager, manager.logged_on() as client:
        reports = tell(client, 1)
        with closing(sqlite3.connect(ledger, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM orders").fetchall()
            reports += tell(client, 2, 3)
            Path(f"{ledger}-wal").unlink()
            reason = manager.wait_for("ledger_failed")["reason"]
            assert "what was booked last is not yet saved (another program is reading it)" in reason
            assert_all_refused(tell(client, 4), reason)
        wait_until(lambda: "status" in tell(client, 4)[0], "it books again")
        reports += tell(client, 4)
        assert_filled_from(reports, 1)
        assert as_booked(reports) == manager.booked()
        manager.wait_for("ledger_recovered")


def test_a_second_order_manager_takes_over_when_the_first_has_ended(stack: PrivateStack) -> None:
    with started(stack) as first, PrivateStack(SETTINGS) as elsewhere:
        with first.logged_on() as client:
            reports = tell(client, 1, 2)
        elsewhere.var_dir = stack.var_dir
        with started(elsewhere) as second, second.connect() as client:
            holder = f"another order manager writes it, process {first.process.pid}"
            assert holder in second.wait_for("ledger_failed")["reason"]
            assert holder in client.log_on("trader")["reason"]
            assert_all_refused(tell(client, 3), holder)
            with first.logged_on() as healthy:
                assert tell(healthy, 2) == reports[1:]
            first.process.kill()
            first.process.wait(timeout=60)
            assert client.log_on("trader")["positions"] == {"AAPL": 20}
            reports += tell(client, 3)
            assert_filled_from(reports, 1)
            assert second.booked() == as_booked(reports)
