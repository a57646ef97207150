"""python -m lib.ledger: what it prints, its exit codes, and one line for all that goes wrong."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from lib.ledger.__main__ import LATEST_ORDERS
from lib.ledger.check import ReportedFill
from lib.ledger.files import files_of
from lib.ledger.schema import DamagedLedgerError, command, open_for_writing
from lib.ledger.writer import Ledger
from lib.process.file_lock import lock_file
from lib.settings import PROJECT_ROOT
from tests.ledgers import orders, write_ledger

ENVIRONMENT = {
    key: value
    for key, value in os.environ.items()
    if key not in ("TRADING_CONFIG", "TRADING_VAR_DIR", "PYTHONUNBUFFERED")
}
ALICES_FIRST = ReportedFill("alice", 1, "AAPL", "BUY", 1, 10)


@pytest.fixture
def path(tmp_path):
    return write_ledger(tmp_path / "orders.sqlite")


def start(var_dir: Path, *arguments: str, **options: Any) -> Popen[str]:
    """Start it on a var directory."""
    command = [sys.executable, "-m", "lib.ledger", "--var-dir", var_dir, *arguments]
    return Popen(command, cwd=PROJECT_ROOT, env=ENVIRONMENT, stderr=PIPE, text=True, **options)


@pytest.fixture
def run(tmp_path):
    """Run it on the var directory `tmp_path`; return its exit code, output and errors."""

    def _run(*arguments: str, **options: Any) -> tuple[int, str, str]:
        process = start(tmp_path, *arguments, **{"stdout": PIPE, **options})
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors

    return _run


def log_fills(
    tmp_path, *fills: ReportedFill, timestamp: str = "2025-11-03T14:31:00.000000Z"
) -> None:
    """Write fills into the strategy's log."""
    (tmp_path / "log").mkdir(exist_ok=True)
    with (tmp_path / "log" / "strategy.jsonl").open("a") as log:
        for fill in fills:
            event = {"timestamp": timestamp, "event": "order_filled", **fill._asdict()}
            log.write(f"{json.dumps(event)}\n")


def change(path, statements: str) -> None:
    connection = open_for_writing(path)
    connection.executescript(statements)
    connection.close()


def test_people_get_tables_of_positions_and_of_the_latest_orders(path, run):
    code, output, errors = run()
    assert (code, errors) == (0, "")
    positions, booked, end = output.split("\n\n")
    assert positions.splitlines()[-1].split() == ["total", "40.97000004"]
    assert [line.split()[1] for line in booked.splitlines()[1:]] == [o.client_id for o in orders()]
    assert end == "8 orders since 2025-11-03 14:30:00 UTC\n"


def test_older_orders_are_counted_for_people_and_given_to_programs(tmp_path, run):
    count = LATEST_ORDERS + 1234
    history = "\n".join(f"x {n} BUY 1 AAPL @ 1" for n in range(1, count + 1))
    path = write_ledger(tmp_path / "orders.sqlite", history)
    _, output, _ = run()
    assert output.split("\n\n")[1].count("\n") == LATEST_ORDERS
    assert output.endswith("; 1,234 older ones are not shown, --json gives all\n")
    with start(tmp_path, "--json", stdout=PIPE) as process:  # more than a pipe holds
        begin = process.stdout.read(1)
        # A reader of the output that is stuck must not make the WAL grow: the ledger is closed.
        links = [fd.readlink() for fd in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert not [link for link in links if str(link).startswith(str(path))]
        ledger = json.loads(begin + process.stdout.read())
    assert [order["order_id"] for order in ledger["orders"]] == [*range(1, count + 1)]
    with start(tmp_path, "--json", stdout=PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""  # one that has seen enough is no error
    with open("/dev/full", "w") as full:
        assert run(stdout=full) == (2, None, "[Errno 28] No space left on device\n")


def test_programs_get_all_columns_with_exact_numbers(path, run):
    change(path, "UPDATE positions SET realised_profit = '-12345678901234567890.00000001'")
    code, output, errors = run("--json")
    assert (code, errors) == (0, "")
    ledger = json.loads(output, parse_float=Decimal)
    assert ledger["created_utc"] == "2025-11-03T14:30:00.000001Z"
    assert ledger["orders"][1] == {
        "client_id": "alice",
        "order_id": 2,
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": 5,
        "price": 174,
        "status": "FILLED",
        "reason": None,
        "trade_id": 3,
        "position": 15,
        "tape": None,
        "tick_sequence": None,
        "sent_ns": None,
        "received_ns": 2002,
        "received_utc": "2025-11-03T14:31:00.002000Z",
    }
    assert ledger["orders"][3]["price"] == Decimal("180.00000001")
    assert ledger["positions"][0] == {
        "client_id": "alice",
        "symbol": "AAPL",
        "position": -19,
        "cost": Decimal("-3258.5"),
        "average_price": Decimal("171.5"),
        "realised_profit": Decimal("-12345678901234567890.00000001"),
    }
    assert ledger["positions"][1]["average_price"] is None


def test_a_good_ledger_is_ok(path, tmp_path, run):
    log_fills(tmp_path, ALICES_FIRST)
    counts = {"orders": 8, "fills": 6, "positions": 2, "told": 1}
    code, output, _ = run("--check", "--json")
    assert (code, json.loads(output)) == (0, {"ok": True, "differences": [], "notes": [], **counts})


def test_differences_are_printed_and_the_exit_code_is_1(path, tmp_path, run):
    log_fills(tmp_path, ALICES_FIRST._replace(order_id=9, symbol="\x1b"))
    difference = "order 9 of alice: not in the ledger, and the strategy's log has FILLED BUY "
    rest = ", trade_id 1, position 10"
    assert run("--check") == (
        1,
        f"{difference}\\x1b{rest}\n"
        "NOT ok: 8 orders, 6 fills, 2 positions; 1 fills in the strategies' logs\n",
        "",
    )
    code, output, _ = run("--check", "--json")
    assert code == 1
    verdict = json.loads(output)
    assert (verdict["ok"], verdict["differences"]) == (False, [f"{difference}\x1b{rest}"])


def test_gaps_fills_of_an_earlier_ledger_and_unreadable_lines_are_notes(path, tmp_path, run):
    change(path, "UPDATE orders SET order_id = 7 WHERE client_id = 'carol'")
    log_fills(tmp_path, ALICES_FIRST._replace(order_id=9), timestamp="2025-11-03T14:30:00Z")
    log_fills(tmp_path, ALICES_FIRST, timestamp="2025-11-03T14:30:00.000001Z")
    with (tmp_path / "log" / "strategy.jsonl").open("a") as log:
        log.write("Traceback\n")
    code, output, _ = run("--check")
    assert code == 0
    assert output.splitlines() == [
        "note: carol: order_ids 1 to 6 are not in the ledger",
        "note: 1 logged fills are older than this ledger: left out",
        "note: 1 lines of the strategies' logs are no events: skipped",
        "ok: 8 orders, 6 fills, 2 positions; 1 fills in the strategies' logs are in the ledger",
    ]


@pytest.mark.parametrize(
    ("spoil", "difference"),
    [
        ("UPDATE positions SET position = -18", "position is -18, the fills say -19"),
        ("UPDATE positions SET cost = 'a lot'", "the position of 'alice' in 'AAPL' is not as "),
        ("DELETE FROM positions", "position of alice in AAPL: missing, there are fills"),
    ],
)
def test_rebuilt_positions_are_what_the_fills_say(path, run, spoil, difference):
    change(path, f"{spoil} WHERE client_id = 'alice'")
    with closing(Ledger(path)) as ledger, pytest.raises(DamagedLedgerError) as refused:
        ledger.open()
    assert str(refused.value).endswith(
        f"; go on with what the fills say: `python -m lib.ledger --var-dir {path.parent} "
        "--rebuild-positions` (docs/ledger.md)"
        if "not as" not in difference
        else str(DamagedLedgerError(""))
    )
    code, output, errors = run("--rebuild-positions")
    assert (code, errors) == (0, "")
    first, *_, last = output.splitlines()
    assert difference in first
    assert last == "ok: the positions are what the fills say"
    assert run("--check")[0] == 0
    with closing(Ledger(path)) as ledger:
        ledger.open()
        assert ledger.position("alice", "AAPL") == -19


def test_the_command_that_an_error_names_finds_the_ledger_that_the_settings_name(
    tmp_path, run, monkeypatch
):
    settings = tmp_path / "my settings.toml"
    settings.write_text('[order_manager]\nledger = "b.sqlite"\n')
    other, path = (write_ledger(tmp_path / name) for name in ("orders.sqlite", "b.sqlite"))
    for ledger in (other, path):
        change(ledger, "UPDATE positions SET position = 5 WHERE client_id = 'bob'")
    before = other.read_bytes()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRADING_CONFIG", settings.name)
    words = shlex.split(command(path, "--rebuild-positions").strip("`"))
    assert words[:3] == ["python", "-m", "lib.ledger"]
    assert run(*words[3:])[0] == 0
    with closing(Ledger(path)) as ledger:
        ledger.open()
    assert other.read_bytes() == before


def test_positions_are_not_rebuilt_under_a_running_order_manager(path, run):
    change(path, "UPDATE positions SET position = 5")
    rows = path.read_bytes()
    with closing(os.fdopen(lock_file(files_of(path).lock, "4711"))):
        code, output, errors = run("--rebuild-positions")
    assert (code, output) == (2, "")
    assert errors == f"ledger {path}: another order manager writes it, process 4711\n"
    assert path.read_bytes() == rows


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--check",), ("--rebuild-positions",)])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: change(path, "UPDATE orders SET price = 'a lot'"),
        lambda path: change(
            path,
            "PRAGMA writable_schema = ON;"
            "UPDATE sqlite_master SET sql = 'CREATE TABLE \x1b[2J' WHERE name = 'facts'",
        ),
    ],
    ids=["missing", "price", "schema"],
)
def test_a_ledger_that_cannot_be_read_ends_it_with_2_and_one_line(path, run, spoil, arguments):
    spoil(path)
    code, output, errors = run(*arguments)
    assert (code, output) == (2, "")
    assert errors.startswith(f"ledger {path}: ")
    assert errors.removesuffix("\n").isprintable()


def test_the_settings_say_where_the_ledger_is_and_impossible_ones_end_it_with_78(tmp_path, run):
    write_ledger(tmp_path / "mine.sqlite")
    settings = tmp_path / "mine.toml"
    settings.write_text('[order_manager]\nledger = "mine.sqlite"\n')
    assert run("--config", str(settings), "--check")[0] == 0
    settings.write_text("[order_manager]\nledger = 7\n")
    code, output, errors = run("--config", str(settings))
    assert (code, output) == (78, "")
    assert errors.startswith(f"{settings}: order_manager.ledger: must be ")
    assert errors.count("\n") == 1


def test_without_a_standard_output_its_exit_code_is_the_answer(run, path):
    assert run("--check", stdout=None, preexec_fn=lambda: os.close(1)) == (0, None, "")
