"""Every setting of the stack: read from one TOML file, checked as a whole, then never changed.

The plan: the types below define which keys exist, with type, default and bounds; an error shows
their descriptions as what to write instead. Checks of more than one key, or of more than bounds and
a pattern, are in `_problems`. Reading either returns settings that are valid as a whole or raises
SettingsError, so no caller checks a setting again.
"""

from __future__ import annotations

import difflib
import json
import keyword
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from lib.prices import PRICE_SCALE
from lib.text import printable
from lib.wire.stream_messages import MAX_SYMBOL_BYTES

PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
DEFAULT_FILE: Final = PROJECT_ROOT / "etc" / "trading.toml"

EXIT_BAD_SETTINGS: Final = 78
"""The exit code of a program whose settings are bad: EX_CONFIG of sysexits.h."""

FILE_SOURCE: Final = "file"
"""The source of prices that are in files."""
_EARLIER_SOURCE: Final = "csv"
"""What it was called when there was one kind of file; a name for good."""
_OTHER_NAMES: Final = {
    "gateway.csv_path": "path",
    "gateway.csv_symbol": "symbol",
    "gateway.news_csv": "news_path",
}
"""Names of keys from that time, with what they are called now; names for good."""

ORDERS_SOCKET: Final = "orders.sock"
"""The name of the order manager's Unix socket, in the var directory."""
MAX_SOCKET_PATH_BYTES: Final = 107
"""The longest path of a Unix socket: unix(7) has 108 bytes for it, with a zero at the end."""

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_SYMBOLS: Final = 10_000
"""The most symbols of a stack. A client with positions in too many of them (some 3,000) cannot log
on, because its logon_ack would not fit into a message; the order manager then says so."""
RESERVED_SYMBOLS: Final = frozenset({"HELLO", "BATCH"})
"""The words that begin control frames of a stream: a symbol of that name would be ambiguous."""

MAX_SECONDS: Final = 1_000_000.0
"""The longest time of any setting. poll(2) counts milliseconds in 31 bits, up to 24 days."""
MIN_RATE: Final = 1 / MAX_SECONDS
MAX_RATE: Final = 10_000_000.0
MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader reads exactly."""
MAX_RING_CAPACITY: Final = 2**26
"""The largest ring, in ticks: a few GB of shared memory."""
MAX_WINDOW_PRICE: Final = 1_000_000
"""The price up to which the sum of a window is guaranteed to fit the 63 bits in which vectorised
signals add. (For higher prices a signal must add Python integers.)"""
MAX_STRATEGIES: Final = 100
"""The most tables in [strategies]."""
MAX_ALLOWED_HOSTS: Final = 100
"""The most names in [dashboard] allowed_hosts."""
MAX_BROKERS: Final = 16
"""The most servers in [cluster]."""
MAX_COMMAND_CHARACTERS: Final = 4096
"""The longest shell command; a script of one's own holds more."""
MAX_QUERY_CHARACTERS: Final = 64 * 1024
"""The longest SQL of a tape."""
MAX_LONG_WINDOW: Final = (2**63 - 1) // (MAX_WINDOW_PRICE * PRICE_SCALE)
"""The longest window, in ticks: that many prices of MAX_WINDOW_PRICE, in fixed point, fit 63 bits.
"""

_FILE_NAME: Final = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,4096}")
"""A file name without control characters and without the surrogates that stand for bytes of the
environment that are not UTF-8."""

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,253}|(?=.*:.*:)[0-9A-Fa-f:.]{2,45}")
"""A host name or an IPv4 address, without colon; or an IPv6 address, which has two at least."""

_BROKER: Final = re.compile(
    r"(nats|tls)://([A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?"
)

_LONGEST_SHOWN: Final = 60
"""How many characters of an invalid value an error shows."""


class SettingsError(Exception):
    """A setting is invalid. `str()` is one human-readable line: file, key, what is wanted."""

    def __init__(self, place: str, problem: str) -> None:
        line = f"{place}: {problem}"
        # Values come from the file as they are: a line break in one must not break the line.
        super().__init__(printable(line))


Text = Annotated[str, Meta(description="a string")]
Host = Annotated[str, Meta(description='a loopback address (127.0.0.0/8, "::1" or "localhost")')]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port, an integer from 1 to 65535")]
OptionalFile = Annotated[
    Path | None, Meta(description='a file\'s name without control characters, or "" for none')
]
Directory = Annotated[
    Path, Meta(description="a directory's name, not empty, without control characters")
]
Source = Annotated[
    str, Meta(pattern=r"^(random-walk|file|csv)\Z", description='"random-walk" or "file"')
]
FilePattern = Annotated[
    Path | None,
    Meta(description='a file\'s name or a pattern, without control characters, or "" for none'),
]
Query = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00]*\Z",
        max_length=MAX_QUERY_CHARACTERS,
        description=f'SQL of at most {MAX_QUERY_CHARACTERS} characters, or "" for none',
    ),
]
TimeOrder = Annotated[Literal["as-is", "sort"], Meta(description='"as-is" or "sort"')]
Rate = Annotated[
    float,
    Meta(ge=0, le=MAX_RATE, description="ticks a second, 0 or a number up to 10,000,000"),
]
Seconds = Annotated[
    float,
    Meta(gt=0, le=MAX_SECONDS, description="a number of seconds, above 0 and at most 1,000,000"),
]
Interval = Annotated[
    float,
    Meta(ge=0.0001, le=MAX_SECONDS, description="a number of seconds from 0.0001 to 1,000,000"),
]
SecondsOrOff = Annotated[
    float,
    Meta(ge=0, le=MAX_SECONDS, description="a number of seconds from 0 (off) to 1,000,000"),
]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1, description="an integer from 0 to 2**63-1")]
PriceBookName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_-]{1,100}\Z", description="1 to 100 of the characters A-Za-z0-9_-"),
]
RingCapacity = Annotated[
    int,
    Meta(ge=1, le=MAX_RING_CAPACITY, description=f"a number of ticks, 1 to {MAX_RING_CAPACITY}"),
]
ClientId = Annotated[
    str,
    Meta(
        pattern=r"^(?!\.{1,2}\Z)(?!anonymous-)[A-Za-z0-9._-]{1,64}\Z",
        description='1 to 64 of the characters A-Za-z0-9._- and not ".", ".." or "anonymous-…"',
    ),
]
SignalClass = Annotated[
    str, Meta(description='of the form "module:Name", such as "lib.signals:MovingAverageAndNews"')
]
Window = Annotated[
    int, Meta(ge=1, le=MAX_LONG_WINDOW, description=f"a number of ticks, 1 to {MAX_LONG_WINDOW}")
]
Threshold = Annotated[int, Meta(ge=0, le=100, description="an integer from 0 to 100")]
# A reversal orders twice the quantity, and an order's quantity is at most MAX_INTEGER.
Quantity = Annotated[
    int, Meta(ge=1, le=MAX_INTEGER // 2, description="an integer from 1 to (2**53-1)/2")
]
LedgerName = Annotated[
    str,
    Meta(
        # SQLite puts "-journal" behind it, and a file's name has at most 255 bytes.
        pattern=r"^(?!\.{1,2}\Z)[^/\x00-\x1f\x7f]{1,60}\Z",
        description="a plain file name of 1 to 60 characters, without a directory",
    ),
]
LimitOrOff = Annotated[
    int, Meta(ge=0, le=MAX_INTEGER, description="an integer from 0 (off) to 2**53-1")
]
PercentOrOff = Annotated[
    float, Meta(ge=0, le=1_000_000, description="a percentage from 0 (off) to 1,000,000")
]
ShellCommand = Annotated[
    str,
    Meta(
        pattern=rf"^[^\x00]{{0,{MAX_COMMAND_CHARACTERS}}}\Z",
        description=f'a shell command of 1 to {MAX_COMMAND_CHARACTERS} characters, or "" for none',
    ),
]
MoneyOrOff = Annotated[
    float, Meta(ge=0, le=1e15, description="an amount of money from 0 (off) to 1e15")
]
Symbols = Annotated[
    tuple[str, ...],
    Meta(
        min_length=1,
        max_length=MAX_SYMBOLS,
        description=f"a list of 1 to {MAX_SYMBOLS:,} strings, the symbols",
    ),
]


AllowedHosts = Annotated[
    tuple[str, ...],
    Meta(
        max_length=MAX_ALLOWED_HOSTS,
        description=f"a list of at most {MAX_ALLOWED_HOSTS} strings, host names or addresses",
    ),
]


Brokers = Annotated[
    tuple[str, ...],
    Meta(
        min_length=1,
        max_length=MAX_BROKERS,
        description=f'a list of 1 to {MAX_BROKERS} URLs, such as "nats://a:4222" or "tls://a:4222"',
    ),
]
ClusterHost = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z", description="1 to 64 of the characters A-Za-z0-9_-"),
]
Linger = Annotated[float, Meta(ge=0, le=1, description="a number of seconds from 0 to 1")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the settings file. The meaning of each key is explained in `etc/trading.toml`."""


class GatewaySettings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[gateway]: `rate` in ticks a second, `news_interval` in seconds; paths are absolute."""

    host: Host = "127.0.0.1"
    price_port: Port = 5001
    news_port: Port = 5002
    source: Source = "random-walk"
    path: FilePattern = None
    query: Query = ""
    symbol: Text = ""
    rate: Rate = 200.0
    news_interval: Interval = 0.5
    news_path: FilePattern = None
    news_query: Query = ""
    time_order: TimeOrder = "as-is"
    seed: Seed = 7


class PriceBookSettings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[price_book]: `name` begins the name of every segment, `ring_capacity` is in ticks."""

    name: PriceBookName = "tradewire-price-book"
    ring_capacity: RingCapacity = 262_144


class StrategySettings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[strategy]: windows in ticks, thresholds in sentiment (0 to 100), times in seconds."""

    client_id: ClientId = "strategy"
    signal_class: SignalClass = msgspec.field(
        default="lib.signals:MovingAverageAndNews", name="class"
    )
    short_window: Window = 20
    long_window: Window = 50
    bullish_threshold: Threshold = 60
    bearish_threshold: Threshold = 40
    quantity: Quantity = 10
    news_timeout: Seconds = 5.0
    max_tick_age: Seconds = 2.0


class OrderManagerSettings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[order_manager]: `ledger` is a file name inside var_dir, `order_ttl` in seconds.

    `token_file` is an absolute path, None if every local user may trade.
    """

    host: Host = "127.0.0.1"
    port: Port = 5003
    ledger: LedgerName = "orders.sqlite"
    order_ttl: Seconds = 5.0
    token_file: OptionalFile = None


class RiskSettings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[risk]: 0 switches a limit off. `max_loss` is money."""

    max_order_quantity: LimitOrOff = 1000
    max_position: LimitOrOff = 10_000
    price_collar_percent: PercentOrOff = 50.0
    max_orders_per_second: LimitOrOff = 100_000
    max_loss: MoneyOrOff = 0.0


class WatchdogSettings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[watchdog]: `hang_after` in seconds; 0 turns it off."""

    hang_after: SecondsOrOff = 2.0


class DashboardSettings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[dashboard]: where it is served, and under which further names it may be asked for."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    allowed_hosts: AllowedHosts = ()


class AlertsSettings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[alerts]: `command` is run by /bin/sh for each alert; "" for none."""

    command: ShellCommand = ""


class ClusterSettings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[cluster]: `host` is this host's name, times are in seconds, `credentials` is absolute.

    `trial` allows brokers that may lose what they have acknowledged.
    """

    servers: Brokers
    host: ClusterHost
    takeover_after: Seconds = 3.0
    linger: Linger = 0.002
    credentials: OptionalFile = None
    trial: bool = False


class Settings(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings. Paths are absolute. Made by `load_settings`, which is what checks them."""

    symbols: Symbols = ("AAPL", "MSFT", "GOOG", "AMZN")
    var_dir: Directory = PROJECT_ROOT / "var"
    gateway: GatewaySettings = GatewaySettings()
    price_book: PriceBookSettings = PriceBookSettings()
    strategy: StrategySettings = StrategySettings()
    strategies: dict[str, StrategySettings] = msgspec.field(default_factory=dict)
    """The tables [strategies.NAME], complete: a key left out has its value from [strategy]."""
    order_manager: OrderManagerSettings = OrderManagerSettings()
    risk: RiskSettings = RiskSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    dashboard: DashboardSettings = DashboardSettings()
    alerts: AlertsSettings = AlertsSettings()
    cluster: ClusterSettings | None = None
    """None where there is one host, and no broker."""

    @property
    def strategy_key(self) -> str:
        """The table that `strategy` comes from: "strategy", or "strategies.NAME"."""
        names = (name for name, one in self.strategies.items() if one is self.strategy)
        return next((f"strategies.{name}" for name in names), "strategy")

    @property
    def orders_socket(self) -> Path | None:
        """The Unix socket for orders of the token file's owner; None without a token file."""
        return self.var_dir / ORDERS_SOCKET if self.order_manager.token_file else None

    def all_strategies(self) -> dict[str, StrategySettings]:
        """Return the settings of every strategy by their table, [strategy] first.

        Only for settings that were loaded without a `strategy`: others have lost [strategy].
        """
        further = {f"strategies.{name}": one for name, one in self.strategies.items()}
        return {"strategy": self.strategy, **further}


def load_settings(path: Path | None = None, *, strategy: str | None = None) -> Settings:
    """Read and check the settings.

    With `strategy`, the field `strategy` is the table `[strategies.NAME]` of that name instead of
    `[strategy]`.

    The file is `path`, else what the environment variable TRADING_CONFIG names (set but empty
    counts as unset), else `etc/trading.toml`. TRADING_VAR_DIR, which `main.py --var-dir` sets,
    overrides the file's `var_dir`. Relative paths in the file are relative to the project's root.

    Raises SettingsError, whose text is one line that names the file and the key.
    """
    if path is None:
        path = _own_file()
    place = _display_name(path)
    tables = _read_toml(path, place)
    further = tables.pop("strategies", {})
    settings: Settings = _table(place, "", tables, Settings)
    further = _further_strategies(place, further, tables.get("strategy", {}))
    settings = msgspec.structs.replace(settings, strategies=further)
    for key, problem in _problems(settings):
        raise SettingsError(place, f"{key}: {problem}")
    if "TRADING_VAR_DIR" in os.environ:
        var_dir = _value("environment", "TRADING_VAR_DIR", os.environ["TRADING_VAR_DIR"], Directory)
        settings = msgspec.structs.replace(settings, var_dir=var_dir)
    path = settings.orders_socket
    if path and (size := len(os.fsencode(path))) > MAX_SOCKET_PATH_BYTES:
        raise SettingsError(
            place,
            f"order_manager.token_file: needs a Unix socket, and the path of {path} has {size} "
            f"bytes, at most {MAX_SOCKET_PATH_BYTES}: choose a shorter var_dir",
        )
    return settings if strategy is None else _with_strategy(place, settings, strategy)


def cluster_of(settings: Settings, role: str) -> ClusterSettings:
    """Return [cluster] for a role that only a cluster has. Raises SettingsError without one."""
    if settings.cluster is None:
        raise SettingsError(settings_place(), f"cluster: {role} needs it (docs/cluster.md)")
    return settings.cluster


def settings_place() -> str:
    """Return the name of this process's settings file (`load_settings()`) as errors show it."""
    return _display_name(_own_file())


def _own_file() -> Path:
    return Path(os.environ.get("TRADING_CONFIG") or DEFAULT_FILE)


def _further_strategies(place: str, tables: Any, base: Any) -> dict[str, StrategySettings]:
    """Overlay each table of [strategies] on `base`, the table [strategy], already checked."""
    example = "[strategies] has a table for each further strategy, such as [strategies.second]"
    if not isinstance(tables, Mapping):
        raise SettingsError(place, f"strategies: {example}, got {_shown(tables)}")
    if len(tables) > MAX_STRATEGIES:
        raise SettingsError(place, f"strategies: at most {MAX_STRATEGIES}, got {len(tables)}")
    further = {}
    for name, table in tables.items():
        _value(place, "strategies (the name of a table)", name, ClientId)
        if name == "strategy":
            problem = "that is the name of [strategy]; give this one another"
            raise SettingsError(place, f"strategies.{name}: {problem}")
        key = f"strategies.{name}"
        if not isinstance(table, Mapping):
            raise SettingsError(place, f"{key}: {example}, got {_shown(table)}")
        whole = {**base, "client_id": name, **table}
        further[name] = _table(place, f"{key}.", whole, StrategySettings)
    return further


def _with_strategy(place: str, settings: Settings, name: str) -> Settings:
    """Return the settings with the strategy of that name in `strategy`."""
    known = list(settings.strategies)
    if name not in known:
        hint = _known_here(name, known) if known else "add a table [strategies.NAME]"
        raise SettingsError(place, f"strategies: there is none called {_shown(name)}; {hint}")
    return msgspec.structs.replace(settings, strategy=settings.strategies[name])


def _display_name(path: Path) -> str:
    """Return the file's name, relative to the project's root if it is in the project."""
    absolute = path.absolute()
    if absolute.is_relative_to(PROJECT_ROOT):
        return str(absolute.relative_to(PROJECT_ROOT))
    return str(path)


def _read_toml(path: Path, place: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(place, f"cannot be read: {reason}") from None
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError(place, f"longer than {MAX_FILE_BYTES} bytes: no settings file")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(place, f"not UTF-8 text (line {line})") from None
    except RecursionError:
        raise SettingsError(place, "not TOML: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and integers of thousands of digits
        raise SettingsError(place, f"not TOML: {error}") from None


def _table(place: str, prefix: str, table: Any, kind: type[Any]) -> Any:
    """Turn one TOML table into its Struct: `prefix` is "" or the section's name with a dot."""
    if not isinstance(table, Mapping):
        key = prefix.removesuffix(".")
        raise SettingsError(place, f"{key}: must be a table ([{key}]), got {_shown(table)}")
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    values = {}
    # An empty text means "not given": a key under its other name comes after it.
    for key, value in sorted(table.items(), key=lambda item: item[1] != ""):
        name = _OTHER_NAMES.get(prefix + key, key)
        if name not in fields:
            known = _known_here(key, list(fields))
            raise SettingsError(place, f"{prefix}{key}: unknown key; {known}")
        if name != key and name in table and "" not in (value, table[name]):
            raise SettingsError(place, f"{prefix}{key}: another name of {name}; give one of them")
        field = fields[name]
        if section := _section(field.type):
            values[field.name] = _table(place, f"{key}.", value, section)
        else:
            values[field.name] = _value(place, prefix + key, value, field.type)
    for field in fields.values():
        if field.required and field.name not in values:
            wanted = _description(field.type)
            raise SettingsError(place, f"{prefix}{field.encode_name}: must be given, {wanted}")
    return kind(**values)


def _section(kind: Any) -> type[_Section] | None:
    """Return the type of a table, also of one that may be left out; None for a value."""
    for one in get_args(kind) or (kind,):
        if isinstance(one, type) and issubclass(one, _Section):
            return one
    return None


def _known_here(name: str, known: list[str]) -> str:
    """Return a hint for an unknown name: the nearest known one, if any, and all known ones."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}? Known" if nearest else "known"
    return f"{hint} here: {', '.join(known)}"


def _value(place: str, key: str, value: Any, kind: Any) -> Any:
    """Turn one TOML value into the type of its setting, within that type's bounds."""
    if kind in (OptionalFile, FilePattern) and value == "":
        return None
    if kind is Source and value == _EARLIER_SOURCE:
        return FILE_SOURCE
    if kind is Host and value == "[::1]":  # as it stands before a port
        return "::1"
    try:
        return msgspec.convert(value, kind, dec_hook=_path)
    except msgspec.ValidationError:
        wanted = _description(kind)
        raise SettingsError(place, f"{key}: must be {wanted}, got {_shown(value)}") from None


def _path(kind: type[Any], value: Any) -> Any:
    """Convert a string to a path; msgspec's hook for types that it does not know."""
    if kind is not Path or not isinstance(value, str) or not _FILE_NAME.fullmatch(value):
        raise ValueError(value)
    return PROJECT_ROOT / value


def _description(kind: Any) -> str:
    return next(meta.description for meta in get_args(kind) if isinstance(meta, Meta)) or ""


def _shown(value: Any) -> str:
    """Return an invalid value as TOML would write it, shortened if it is long."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (key, problem) for what the types cannot check, mostly about several keys."""
    yield from _symbol_problems(settings)
    gateway = settings.gateway
    if 0 < gateway.rate < MIN_RATE:
        yield "gateway.rate", f"must be 0 or at least {MIN_RATE:f}, got {gateway.rate}"
    yield from _tape_problems(gateway)
    for table, strategy in settings.all_strategies().items():
        yield from _strategy_problems(settings, strategy, table)
    yield from _address_problems(settings)
    for server in settings.cluster.servers if settings.cluster else ():
        if not _BROKER.fullmatch(server):
            example = 'such as "nats://a:4222" or "tls://a:4222", without user and password'
            yield "cluster.servers", f"must be URLs of brokers, {example}, got {_shown(server)}"
    for name in settings.dashboard.allowed_hosts:
        if not _HOST_NAME.fullmatch(name):
            wanted = "a host name or address without scheme, port and brackets"
            yield "dashboard.allowed_hosts", f"each must be {wanted}, got {_shown(name)}"


def _tape_problems(gateway: GatewaySettings) -> Iterator[tuple[str, str]]:
    """Check that each tape has one origin at most, and that of a file one."""
    if gateway.path and gateway.query:
        yield "gateway.query", "the tape has a path already: give one of path and query"
    if gateway.news_path and gateway.news_query:
        yield "gateway.news_query", "the news have a news_path already: give one of them"
    if gateway.source == FILE_SOURCE and not (gateway.path or gateway.query):
        yield (
            "gateway.path",
            f'must name a file, or query be SQL, because source is "{FILE_SOURCE}", got ""',
        )


def _strategy_problems(
    settings: Settings, strategy: StrategySettings, table: str
) -> Iterator[tuple[str, str]]:
    """Check the settings of one strategy, which come from `table`."""
    if strategy.short_window >= strategy.long_window:
        yield (
            f"{table}.short_window",
            f"must be smaller than long_window ({strategy.long_window}), "
            f"got {strategy.short_window}",
        )
    if strategy.bearish_threshold > strategy.bullish_threshold:
        yield (
            f"{table}.bearish_threshold",
            f"must be at most bullish_threshold ({strategy.bullish_threshold}), "
            f"got {strategy.bearish_threshold}",
        )
    if not _is_signal_class(strategy.signal_class):
        wanted = _description(SignalClass)
        yield f"{table}.class", f"must be {wanted}, got {_shown(strategy.signal_class)}"
    # A restarted strategy refills the windows of all symbols from the ring.
    least = len(settings.symbols) * strategy.long_window
    if settings.price_book.ring_capacity < least:
        yield (
            "price_book.ring_capacity",
            f"must be at least symbols x long_window of [{table}] ({least}), "
            f"got {settings.price_book.ring_capacity}",
        )


def _symbol_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    seen = set()
    for symbol in settings.symbols:
        if problem := symbol_problem(symbol):
            yield "symbols", f"{problem}, got {_shown(symbol)}"
        if symbol in seen:
            yield "symbols", f"must be distinct, got {_shown(symbol)} twice"
        seen.add(symbol)
    symbol = settings.gateway.symbol
    if symbol and (problem := symbol_problem(symbol)):
        yield "gateway.symbol", f"{problem}, got {_shown(symbol)}"


def symbol_problem(symbol: str) -> str | None:
    """Return why a symbol cannot be one, and what it must be; None if it can."""
    if not 1 <= len(symbol.encode()) <= MAX_SYMBOL_BYTES:
        return f"a symbol must have 1 to {MAX_SYMBOL_BYTES} bytes of UTF-8"
    if symbol in RESERVED_SYMBOLS:
        return (
            f"a symbol must not be one of the reserved words {', '.join(sorted(RESERVED_SYMBOLS))}"
        )
    if not symbol.isprintable() or re.search(r"[,*\s]", symbol):
        return "a symbol must not contain a comma, an asterisk, whitespace or control characters"
    return None


def _is_signal_class(text: str) -> bool:
    module, colon, name = text.partition(":")
    return bool(colon) and all(
        part.isidentifier() and not keyword.iskeyword(part) for part in (*module.split("."), name)
    )


def _address_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """Check that hosts are loopback and that no two servers share an address."""
    servers = [
        ("gateway.price_port", settings.gateway.host, settings.gateway.price_port),
        ("gateway.news_port", settings.gateway.host, settings.gateway.news_port),
        ("order_manager.port", settings.order_manager.host, settings.order_manager.port),
        ("dashboard.port", settings.dashboard.host, settings.dashboard.port),
    ]
    for key, host, _ in servers:
        if not _is_loopback(host):
            section = key.partition(".")[0]
            yield (
                f"{section}.host",
                f"must be {_description(Host)}, got {_shown(host)}: no port leaves the host; "
                "in a container see docs/containers.md, from another machine tunnel with SSH",
            )
    for index, (key, host, port) in enumerate(servers):
        for other_key, other_host, other_port in servers[:index]:
            # "localhost" may mean any of the others.
            if port == other_port and (host == other_host or "localhost" in (host, other_host)):
                yield key, f"must differ from {other_key} on the same host, got {port} for both"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return IPv4Address(host).is_loopback
    except AddressValueError:
        pass
    try:
        return IPv6Address(host) == IPv6Address("::1")
    except AddressValueError:
        return False
