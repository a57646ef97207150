"""Print the ledger, check it, or rebuild its positions: python -m lib.ledger.

The order manager may run meanwhile, but not while positions are rebuilt.

Nothing is printed before the ledger is closed: an open read transaction makes the WAL grow, and the
reader of our output may be slow.

Exit codes: 0, 1 if a check finds differences, 78 for invalid settings, 2 for anything else,
each with a line that says why.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from lib.ledger.check import Verdict, check
from lib.ledger.reader import Snapshot, read_ledger
from lib.ledger.reported_fills import ReportedFills, read_reported_fills
from lib.ledger.rows import BookedOrder, BookedPosition
from lib.ledger.schema import LedgerError
from lib.ledger.tables import order_lines, position_lines
from lib.ledger.writer import Ledger
from lib.prices import decimal_text
from lib.process.standard_streams import prepare_standard_streams
from lib.settings import EXIT_BAD_SETTINGS, ClusterSettings, Settings, SettingsError, load_settings
from lib.text import printable

LATEST_ORDERS: Final = 20
"""How many orders the human-readable output has."""
MAX_BYTES_IN_MEMORY: Final = 16 * 1024 * 1024
"""A longer text waits in a temporary file until the ledger is closed."""

EXIT_DIFFERENCES: Final = 1
EXIT_CANNOT_READ: Final = 2


def main() -> int:
    """Do what the command line says. Returns the exit code."""
    prepare_standard_streams()
    # As other tools do: end silently when the reader is gone (`| head`), and on Ctrl-C.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = _parse_command_line()
    try:
        if arguments.var_dir is not None:
            os.environ["TRADING_VAR_DIR"] = str(arguments.var_dir.absolute())
        settings = load_settings(arguments.config)
        ledger = settings.var_dir / settings.order_manager.ledger
        if arguments.rebuild_positions:
            return _rebuild_positions(ledger)
        if arguments.check:
            return _check(settings, ledger, as_json=arguments.json)
        return _print(ledger, as_json=arguments.json)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except (LedgerError, OSError) as error:
        print(printable(str(error)), file=sys.stderr)
        return EXIT_CANNOT_READ


def _parse_command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lib.ledger",
        description="Print the ledger's positions and latest orders, check it, or repair it.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="the settings (default: $TRADING_CONFIG, else etc/trading.toml)",
    )
    parser.add_argument(
        "--var-dir",
        metavar="DIR",
        type=Path,
        help="where the ledger and the logs are (default: var_dir of the settings)",
    )
    parser.add_argument(
        "--json", action="store_true", help="for programs: all orders and positions, or the verdict"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check",
        action="store_true",
        help="compare the ledger with itself and with the fills in the strategies' logs; "
        "exit with 1 if something differs",
    )
    what.add_argument(
        "--rebuild-positions",
        action="store_true",
        help="replace the positions by what the fills say; stop the order manager first",
    )
    return parser.parse_args()


def _print(path: Path, *, as_json: bool) -> int:
    with tempfile.SpooledTemporaryFile(MAX_BYTES_IN_MEMORY) as output:
        with read_ledger(path) as snapshot:
            for line in _json_lines(snapshot) if as_json else _lines(snapshot):
                output.write(line.encode() + b"\n")
        output.seek(0)
        _show(output)
    return 0


def _show(text: IO[bytes]) -> None:
    """Copy to standard output. Raises OSError here, not when Python flushes at the end."""
    with open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
        shutil.copyfileobj(text, stdout)


def _lines(snapshot: Snapshot) -> Iterator[str]:
    count = snapshot.order_count()
    yield from position_lines(snapshot.positions())
    yield ""
    yield from order_lines(snapshot.latest_orders(LATEST_ORDERS))
    yield ""
    left_out = max(0, count - LATEST_ORDERS)
    yield f"{count:,} orders since {snapshot.created_utc:%Y-%m-%d %H:%M:%S} UTC" + (
        f"; {left_out:,} older ones are not shown, --json gives all" if left_out else ""
    )


def _json_lines(snapshot: Snapshot) -> Iterator[str]:
    """One JSON object, an order or a position on each line."""
    yield f'{{"created_utc":{_json(snapshot.created_utc)},"orders":['
    yield from _with_commas(_json(_order_columns(order)) for order in snapshot.orders())
    yield '],"positions":['
    yield from _with_commas(_json(_position_columns(booked)) for booked in snapshot.positions())
    yield "]}"


def _with_commas(lines: Iterator[str]) -> Iterator[str]:
    last = next(lines, None)
    for line in lines:
        yield f"{last},"
        last = line
    if last is not None:
        yield last


def _order_columns(order: BookedOrder) -> dict[str, Any]:
    return order._asdict() | {"price": _number(order.price)}


def _position_columns(booked: BookedPosition) -> dict[str, Any]:
    return booked._asdict() | {
        "cost": _number(booked.cost),
        "average_price": _number(booked.average_price),
        "realised_profit": _number(booked.realised_profit),
    }


def _number(units: int | None) -> msgspec.Raw | None:
    """An exact JSON number, which may have more digits than a float."""
    return None if units is None else msgspec.Raw(decimal_text(units).encode())


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _rebuild_positions(path: Path) -> int:
    if not path.exists():  # it would be made
        raise FileNotFoundError(f"ledger {path}: not there")
    with closing(Ledger(path)) as ledger:
        differences = ledger.rebuild_positions()
    lines = "".join(f"{printable(line)}\n" for line in differences)
    _show(io.BytesIO(f"{lines}ok: the positions are what the fills say\n".encode()))
    return 0


def _check(settings: Settings, path: Path, *, as_json: bool) -> int:
    # Before the ledger: a reported fill is in it already.
    reported = read_reported_fills(settings.var_dir / "log")
    with read_ledger(path) as snapshot:
        verdict = _verdict(snapshot, reported)
    not_compared = _compare_with_stream(settings.cluster, path, verdict) if settings.cluster else ""
    lines = [_json(_verdict_columns(verdict))] if as_json else _verdict_lines(verdict)
    _show(io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    if not_compared:
        print(printable(not_compared), file=sys.stderr)
        return EXIT_CANNOT_READ
    return EXIT_DIFFERENCES if verdict.differences else 0


def _compare_with_stream(cluster: ClusterSettings, path: Path, verdict: Verdict) -> str:
    """Add how the ledger differs from the cluster's stream. Returns why that is not known."""
    # With the brokers' library, which is installed for a cluster only.
    from lib.cluster.ledger_check import NotComparedError, compare

    try:
        comparison = compare(cluster, path)
    except NotComparedError as error:
        return str(error)
    verdict.differences.extend(comparison.differences)
    if not comparison.differences:
        behind = comparison.last - comparison.booked
        more = f"; {behind:,} further messages are not here yet" if behind else ""
        verdict.notes.append(f"the same as the stream, up to message {comparison.booked:,}{more}")
    return ""


def _verdict(snapshot: Snapshot, reported: ReportedFills) -> Verdict:
    damages = snapshot.damages()
    if damages:  # nothing else that is read from it can be relied on
        return Verdict([f"damaged: {damage}" for damage in damages], [])
    fills = [
        fill for fill, reported_at in reported.fills.items() if reported_at >= snapshot.created_utc
    ]
    verdict = check(snapshot.fills(), snapshot.positions(), snapshot.orders(), fills)
    if earlier := len(reported.fills) - len(fills):
        verdict.notes.append(f"{earlier:,} logged fills are older than this ledger: left out")
    if reported.unreadable_lines:
        verdict.notes.append(
            f"{reported.unreadable_lines:,} lines of the strategies' logs are no events: skipped"
        )
    return verdict


def _verdict_columns(verdict: Verdict) -> dict[str, Any]:
    columns = verdict._asdict()
    columns["told"] = columns.pop("reported")  # the key that programs read
    return {"ok": not verdict.differences} | columns


def _verdict_lines(verdict: Verdict) -> Iterator[str]:
    for line in (*verdict.differences, *(f"note: {note}" for note in verdict.notes)):
        yield printable(line)
    what = (
        f"{verdict.orders:,} orders, {verdict.fills:,} fills, {verdict.positions:,} positions; "
        f"{verdict.reported:,} fills in the strategies' logs"
    )
    yield f"NOT ok: {what}" if verdict.differences else f"ok: {what} are in the ledger"


if __name__ == "__main__":
    sys.exit(main())
