"""Settings: the defaults of the design, and every rejection as one line that names the key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from lib.settings import (
    DEFAULT_FILE,
    MAX_LONG_WINDOW,
    PROJECT_ROOT,
    Settings,
    SettingsError,
    load_settings,
)


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch):
    monkeypatch.delenv("TRADING_CONFIG", raising=False)
    monkeypatch.delenv("TRADING_VAR_DIR", raising=False)


@pytest.fixture
def load(tmp_path):
    """Load settings from a text."""

    def _load(text: str | bytes) -> Settings:
        path = tmp_path / "trading.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_settings(path)

    return _load


@pytest.fixture
def rejection(load, tmp_path):
    """Get the one line with which a text is rejected, without the file's name in front."""

    def _rejection(text: str | bytes) -> str:
        with pytest.raises(SettingsError) as caught:
            load(text)
        line = str(caught.value)
        place = f"{tmp_path}/trading.toml: "
        assert line.startswith(place)
        assert len(line.splitlines()) == 1
        assert len(line) < len(place) + 300
        return line.removeprefix(place)

    return _rejection


def test_the_file_in_etc_carries_every_key_with_its_default(load):
    assert load("") == load_settings() == Settings()
    tables = tomllib.loads(DEFAULT_FILE.read_text())
    sections = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    assert tables.keys() == sections.keys() - {"strategies", "cluster"}
    for name, table in tables.items():
        if isinstance(table, dict):
            keys = {field.encode_name for field in msgspec.structs.fields(sections[name])}
            assert table.keys() == keys


def test_the_least_values_are_taken_and_paths_are_absolute(load):
    settings = load(
        """
        symbols = ["BRK-B", "日経"]
        gateway = { source = "file", path = "/a*.csv", news_path = "tapes/news.csv", rate = 0 }
        price_book.ring_capacity = 10
        order_manager = { host = "::1", port = 5002 }  # the same port at another address
        risk.max_position = 0
        watchdog.hang_after = 0
        dashboard = { host = "[::1]", port = 1, allowed_hosts = ["a_b.example", "fd00::1"] }
        [strategy]
        class = "my_signals:Contrarian"
        short_window = 4
        long_window = 5
        bullish_threshold = 50
        bearish_threshold = 50
        """
    )
    gateway = settings.gateway
    assert settings.symbols == ("BRK-B", "日経")
    assert gateway.path == Path("/a*.csv")
    assert gateway.news_path == PROJECT_ROOT / "tapes/news.csv"
    assert (gateway.source, gateway.rate, type(gateway.rate)) == ("file", 0.0, float)
    assert (settings.order_manager.host, settings.dashboard.host) == ("::1", "::1")
    assert settings.strategy.signal_class == "my_signals:Contrarian"
    assert settings.dashboard.allowed_hosts == ("a_b.example", "fd00::1")


def test_the_earlier_names_of_a_tape_from_a_file_mean_the_same(load):
    earlier = load(
        """
        [gateway]
        source = "csv"
        csv_path = "a.csv"
        csv_symbol = "AAPL"
        news_csv = "b.csv"
        path = ""
        symbol = ""
        """
    )
    now = load(
        """
        [gateway]
        source = "file"
        path = "a.csv"
        symbol = "AAPL"
        news_path = "b.csv"
        """
    )
    assert earlier == now
    assert now.gateway.path == PROJECT_ROOT / "a.csv"


def test_a_further_strategy_is_strategy_but_for_its_name_and_what_its_table_says(load):
    settings = load(
        """
        [strategies.second]
        short_window = 5
        [strategies.third]
        client_id = "strategy"
        class = "my_signals:Contrarian"
        [strategy]
        client_id = "first"
        quantity = 7
        """
    )
    first = settings.strategy
    assert settings.strategies == {
        "second": msgspec.structs.replace(first, client_id="second", short_window=5),
        "third": msgspec.structs.replace(
            first, client_id="strategy", signal_class="my_signals:Contrarian"
        ),
    }
    tables = ["strategy", "strategies.second", "strategies.third"]
    assert list(settings.all_strategies()) == tables
    assert (first.quantity, settings.strategy_key) == (7, "strategy")


def test_a_strategy_is_started_by_its_name(tmp_path):
    path = tmp_path / "trading.toml"
    path.write_text("[strategies.second]\nshort_window = 5\n[strategies.third]\n[strategy]\n")
    second = load_settings(path, strategy="second")
    assert (second.strategy.client_id, second.strategy.short_window) == ("second", 5)
    assert second.strategy_key == "strategies.second"
    for wrong, what in (
        ("secnd", "did you mean second? Known here: second, third"),
        ("xyz", "known here: second, third"),
    ):
        with pytest.raises(SettingsError) as caught:
            load_settings(path, strategy=wrong)
        assert str(caught.value) == f'{path}: strategies: there is none called "{wrong}"; {what}'
    path.write_text("")
    with pytest.raises(SettingsError, match=r'none called "second"; add a table \[strategies'):
        load_settings(path, strategy="second")


IMPOSSIBLE = {
    "symbols": [
        *("[]", '"AAPL"', '["AAPL", "MSFT", "AAPL"]', '["AAPL", ""]', '["ééééééééa"]', '["A,B"]'),
        *('["A*"]', '["A\\u0000"]', '["HELLO"]', f"{[f'S{n}' for n in range(10_001)]}"),
    ],
    "var_dir": ['""', '"a\\u0000b"'],
    "gateway": ["[{}]"],
    "gateway.host": ['"0.0.0.0"', '"example.com"', '"::"', '"::1%lo"', '"[::2]"', "127"],
    "gateway.price_port": ["0", "65536", "true", f"0x{'f' * 5000}"],
    "gateway.source": ['"csv\\n"', '"parquet"'],
    "gateway.path": ['"a\\u0000b"'],
    "gateway.csv_path": ['"a\\u0000b"'],
    "gateway.query": ["1", '"a\\u0000b"', f'"{"a" * 65_537}"'],
    "gateway.symbol": ['"HELLO"'],
    "gateway.news_path": ["1"],
    "gateway.news_query": ['"a\\u0000b"'],
    "gateway.time_order": ['"desc"', "1"],
    "gateway.rate": ["-0.1", "10_000_001", "1e-9", "nan", f"1{'0' * 400}"],
    "gateway.news_interval": ["0", "1e300"],
    "gateway.seed": ["-1", "0x8000000000000000"],
    "price_book.name": ['""', '"a/b"', '"a\\n"', f'"{"a" * 101}"'],
    "price_book.ring_capacity": ["199", "67108865"],
    "strategy.client_id": ['""', '"."', '".."', '"a/b"', '"anonymous-7"', f'"{"a" * 65}"'],
    "strategy.class": ['"lib.signals"', '":Name"', '"a..b:Name"', '"a:B:C"', '"lib.class:Name"'],
    "strategy.short_window": ["0", "50"],
    "strategy.long_window": ["92234"],
    "strategy.bullish_threshold": ["101"],
    "strategy.bearish_threshold": ["-1", "61"],
    "strategy.quantity": ["0", "4503599627370496"],
    "strategy.news_timeout": ["0"],
    "strategy.max_tick_age": ["0.0"],
    "strategies": ["1"],
    "strategies.short_window": ["5"],
    "strategies.strategy": ["{}"],
    "strategies.second.client_id": ['"a/b"'],
    "strategies.second.short_window": ["50"],
    "strategies.second.bearish_threshold": ["61"],
    "order_manager.host": ['"10.0.0.1"'],
    "order_manager.port": ["70000"],
    "order_manager.ledger": ['""', '".."', '"../x.sqlite"', '"a\\u0000"', f'"{"a" * 61}"'],
    "order_manager.order_ttl": ["0"],
    "order_manager.token_file": ["1", '"a\\u0000b"'],
    "risk.max_order_quantity": ["-1"],
    "risk.max_position": ["1.5", "9007199254740992"],
    "risk.price_collar_percent": ["-1", "nan"],
    "risk.max_loss": ["-0.01", "nan", "inf", "1.1e15", '"1"'],
    "watchdog.hang_after": ["2000-01-01"],
    "dashboard.host": ['"0.0.0.0"'],
    "dashboard.allowed_hosts": [
        '"a"',
        "[1]",
        '["*"]',
        '["a:80"]',
        '["http://a"]',
        '[""]',
        '["[a]"]',
    ],
    "alerts.command": ["1", '"a\\u0000b"', f'"{"a" * 4097}"'],
    # Unknown keys.
    "gatway": ["{}"],
    "gateway.port": ["5001"],
    "strategy.signal_class": ['"a:B"'],
    "strategies.second.port": ["1"],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in IMPOSSIBLE.items() for value in values],
    ids=lambda text: text[:30],
)
def test_an_impossible_value_is_rejected_in_one_line_that_names_the_key(rejection, key, value):
    assert rejection(f"{key} = {value}").startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("gateway.price_port = 5002", "gateway.news_port"),
        ("gateway.price_port = 5003", "order_manager.port"),
        ('gateway = { price_port = 8080, host = "localhost" }', "dashboard.port"),
        ("dashboard.port = 5001", "dashboard.port"),
        ('gateway.source = "file"', "gateway.path"),
        ('gateway.source = "csv"', "gateway.path"),
        ('gateway = { source = "file", path = "a", query = "b" }', "gateway.query"),
        ('gateway = { news_path = "a", news_query = "b" }', "gateway.news_query"),
        ('gateway = { path = "a", csv_path = "a" }', "gateway.csv_path"),
        ('gateway = { csv_symbol = "A", symbol = "B" }', "gateway.csv_symbol"),
        ('gateway = { news_path = "b", news_csv = "a" }', "gateway.news_csv"),
        ("strategy.long_window = 92233", "price_book.ring_capacity"),
        ("strategies.second.long_window = 92233", "price_book.ring_capacity"),
        ("strategies.second.long_window = 20", "strategies.second.short_window"),
        ('strategies."a b" = {}', "strategies (the name of a table)"),
        ('strategies."anonymous-1" = {}', "strategies (the name of a table)"),
        ("".join(f"[strategies.s{n}]\n" for n in range(101)), "strategies"),
        ('gateway."line\\nbreak" = 1', "gateway.line\\nbreak"),
    ],
)
def test_what_does_not_fit_together_is_rejected_in_one_line_that_names_a_key(rejection, text, key):
    assert rejection(text).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[strategy]\nshort_window = 60",
            "strategy.short_window: must be smaller than long_window (50), got 60",
        ),
        (
            "[price_book]\nnmae = 1",
            "price_book.nmae: unknown key; did you mean name? Known here: name, ring_capacity",
        ),
        ("[watchdog]\nxyz = 1", "watchdog.xyz: unknown key; known here: hang_after"),
        (
            '[gateway]\nprice_port = "5001"',
            'gateway.price_port: must be a port, an integer from 1 to 65535, got "5001"',
        ),
        ("watchdog = 2.0", "watchdog: must be a table ([watchdog]), got 2.0"),
        (
            'gateway.host = "0.0.0.0"',
            'gateway.host: must be a loopback address (127.0.0.0/8, "::1" or "localhost"), '
            'got "0.0.0.0": no port leaves the host; in a container see docs/containers.md, '
            "from another machine tunnel with SSH",
        ),
    ],
)
def test_a_rejection_says_what_is_wanted_and_what_came(rejection, text, line):
    assert rejection(text) == line


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\na = 2", "not TOML: "),
        (b"a = " + b"[" * 100_000, "not TOML: nested too deeply"),
        (b"a = " + b"9" * 5000, "not TOML: "),
        (b"\n\nvar_dir = '\xff'", "not UTF-8 text (line 3)"),
        (b"#" * 1024 * 1024 + b"#", "longer than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_settings_file_is_rejected_in_one_line(rejection, content, problem):
    assert rejection(content).startswith(problem)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, reason in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingsError, match=f"^{path}: cannot be read: {reason}"):
            load_settings(path)


def test_a_byte_order_mark_before_the_text_does_no_harm(load):
    assert load(b'\xef\xbb\xbfsymbols = ["A"]\r\n').symbols == ("A",)


def test_the_longest_window_of_prices_up_to_a_million_fits_63_bits(load):
    million = 1_000_000 * 10**8
    assert MAX_LONG_WINDOW * million < 2**63 <= (MAX_LONG_WINDOW + 1) * million
    text = f"[price_book]\nring_capacity = 1000000\n[strategy]\nlong_window = {MAX_LONG_WINDOW}"
    assert load(text).strategy.long_window == 92_233


def test_trading_config_names_the_file_unless_it_is_empty(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text('symbols = ["MINE"]')
    monkeypatch.setenv("TRADING_CONFIG", str(path))
    assert load_settings().symbols == ("MINE",)
    monkeypatch.setenv("TRADING_CONFIG", "")
    assert load_settings() == Settings()


def test_a_relative_var_dir_is_under_the_projects_root_and_trading_var_dir_wins(
    load, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert load('var_dir = "other/var"').var_dir == PROJECT_ROOT / "other/var"
    assert load('var_dir = "/elsewhere"').var_dir == Path("/elsewhere")
    monkeypatch.setenv("TRADING_VAR_DIR", "/private stack")
    assert load('var_dir = "other"').var_dir == Path("/private stack")
    for value in ("", "a\nb"):
        monkeypatch.setenv("TRADING_VAR_DIR", value)
        with pytest.raises(SettingsError, match=r"^environment: TRADING_VAR_DIR: must be .*\Z"):
            load("")


def test_with_a_token_file_there_is_a_socket_and_its_path_must_fit(load, monkeypatch):
    assert load("").orders_socket is None
    text = 'var_dir = "/v"\n[order_manager]\ntoken_file = "etc/token"'
    settings = load(text)
    assert settings.order_manager.token_file == PROJECT_ROOT / "etc/token"
    assert settings.orders_socket == Path("/v/orders.sock")
    longest = "/" + "é" * ((107 - len("//orders.sock")) // 2)
    monkeypatch.setenv("TRADING_VAR_DIR", longest)
    assert len(bytes(load(text).orders_socket)) == 107
    monkeypatch.setenv("TRADING_VAR_DIR", f"{longest}x")
    load("")
    with pytest.raises(
        SettingsError, match=r"order_manager\.token_file: .* 108 bytes, at most 107"
    ):
        load(text)
