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

DESIGNED_DEFAULTS = """
symbols = ["AAPL", "MSFT", "GOOG", "AMZN"]
var_dir = "var"

[gateway]
host = "127.0.0.1"
price_port = 5001
news_port = 5002
source = "random-walk"
csv_path = ""
csv_symbol = ""
rate = 200.0
news_interval = 0.5
news_csv = ""
seed = 7

[price_book]
name = "tradewire-price-book"
ring_capacity = 262144

[strategy]
client_id = "strategy"
class = "lib.signals:MovingAverageAndNews"
short_window = 20
long_window = 50
bullish_threshold = 60
bearish_threshold = 40
quantity = 10
news_timeout = 5.0
max_tick_age = 2.0

[order_manager]
host = "127.0.0.1"
port = 5003
ledger = "orders.sqlite"
order_ttl = 5.0

[risk]
max_order_quantity = 1000
max_position = 10000
price_collar_percent = 50.0
max_orders_per_second = 100000

[watchdog]
hang_after = 2.0

[dashboard]
host = "127.0.0.1"
port = 8080
"""


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


def test_the_defaults_are_the_designed_ones(load):
    assert load("") == load(DESIGNED_DEFAULTS) == Settings()


def test_the_file_in_etc_carries_every_key_with_its_default():
    assert tomllib.loads(DEFAULT_FILE.read_text()) == tomllib.loads(DESIGNED_DEFAULTS)
    assert load_settings() == Settings()


def test_every_value_arrives_where_it_belongs(load):
    settings = load(
        """
        symbols = ["BRK-B", "日経"]
        [gateway]
        host = "127.0.0.1"
        price_port = 6001
        news_port = 6002
        source = "csv"
        csv_path = "/data/bars.csv"
        csv_symbol = "BRK-B"
        rate = 0
        news_interval = 1
        news_csv = "tapes/news.csv"
        seed = 0
        [price_book]
        name = "mine_2"
        ring_capacity = 10
        [strategy]
        client_id = "second.strategy"
        class = "my_signals:Contrarian"
        short_window = 2
        long_window = 5
        bullish_threshold = 50
        bearish_threshold = 50
        quantity = 1
        news_timeout = 0.1
        max_tick_age = 1
        [order_manager]
        host = "::1"
        port = 6002
        ledger = "mine.sqlite"
        order_ttl = 1
        [risk]
        max_order_quantity = 0
        max_position = 0
        price_collar_percent = 0
        max_orders_per_second = 0
        [watchdog]
        hang_after = 0
        [dashboard]
        host = "localhost"
        port = 1
        """
    )
    assert settings.symbols == ("BRK-B", "日経")
    assert msgspec.structs.astuple(settings.gateway) == (
        "127.0.0.1",
        6001,
        6002,
        "csv",
        Path("/data/bars.csv"),
        "BRK-B",
        0.0,
        1.0,
        PROJECT_ROOT / "tapes/news.csv",
        0,
    )
    assert msgspec.structs.astuple(settings.price_book) == ("mine_2", 10)
    assert msgspec.structs.astuple(settings.strategy) == (
        "second.strategy",
        "my_signals:Contrarian",
        2,
        5,
        50,
        50,
        1,
        0.1,
        1.0,
    )
    assert msgspec.structs.astuple(settings.order_manager) == ("::1", 6002, "mine.sqlite", 1.0)
    assert msgspec.structs.astuple(settings.risk) == (0, 0, 0.0, 0)
    assert settings.watchdog.hang_after == 0.0
    assert msgspec.structs.astuple(settings.dashboard) == ("localhost", 1)


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
    assert load_settings(path, strategy="third").strategy_key == "strategies.third"
    with pytest.raises(SettingsError) as caught:
        load_settings(path, strategy="secnd")
    assert str(caught.value) == (
        f'{path}: strategies: there is none called "secnd"; did you mean second? '
        "Known here: second, third"
    )
    with pytest.raises(SettingsError, match=r'none called "xyz"; known here: second, third$'):
        load_settings(path, strategy="xyz")
    path.write_text("")
    with pytest.raises(SettingsError, match=r'none called "second"; add a table \[strategies'):
        load_settings(path, strategy="second")


def test_an_integer_is_a_number_too_where_a_number_is_wanted(load):
    rate = load("[gateway]\nrate = 1000").gateway.rate
    assert (rate, type(rate)) == (1000.0, float)


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().gateway.rate = 1.0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        # The top of the file.
        ("symbols = []", "symbols"),
        ('symbols = "AAPL"', "symbols"),
        ('symbols = ["AAPL", 1]', "symbols"),
        ('symbols = ["AAPL", "MSFT", "AAPL"]', "symbols"),
        ('symbols = ["AAPL", ""]', "symbols"),
        ('symbols = ["ABCDEFGHIJKLMNOPQ"]', "symbols"),
        ('symbols = ["ééééééééa"]', "symbols"),
        ('symbols = ["A,B"]', "symbols"),
        ('symbols = ["A*"]', "symbols"),
        ('symbols = ["A B"]', "symbols"),
        ('symbols = ["A\\tB"]', "symbols"),
        ('symbols = ["A\\nB"]', "symbols"),
        ('symbols = ["A\\u00a0B"]', "symbols"),
        ('symbols = ["A\\u0000"]', "symbols"),
        ('symbols = ["A\\u2028"]', "symbols"),
        ('symbols = ["HELLO"]', "symbols"),
        ('symbols = ["AAPL", "BATCH"]', "symbols"),
        (f"symbols = {[f'S{n}' for n in range(10_001)]}", "symbols"),
        ('var_dir = ""', "var_dir"),
        ("var_dir = 1", "var_dir"),
        ('var_dir = "a\\u0000b"', "var_dir"),
        ("gateway = 1", "gateway"),
        ("[[gateway]]", "gateway"),
        # [gateway]
        ('[gateway]\nhost = "0.0.0.0"', "gateway.host"),
        ('[gateway]\nhost = ""', "gateway.host"),
        ('[gateway]\nhost = "192.168.1.2"', "gateway.host"),
        ('[gateway]\nhost = "example.com"', "gateway.host"),
        ('[gateway]\nhost = "::"', "gateway.host"),
        ('[gateway]\nhost = "::1%lo"', "gateway.host"),
        ('[gateway]\nhost = "127.0.0.1\\n"', "gateway.host"),
        ("[gateway]\nhost = 127", "gateway.host"),
        ("[gateway]\nprice_port = 0", "gateway.price_port"),
        ("[gateway]\nprice_port = 65536", "gateway.price_port"),
        ("[gateway]\nprice_port = -1", "gateway.price_port"),
        ("[gateway]\nprice_port = true", "gateway.price_port"),
        ("[gateway]\nprice_port = 5001.0", "gateway.price_port"),
        ('[gateway]\nprice_port = "5001"', "gateway.price_port"),
        (f"[gateway]\nprice_port = 0x{'f' * 5000}", "gateway.price_port"),
        ("[gateway]\nprice_port = 5002", "gateway.news_port"),
        ("[gateway]\nprice_port = 5003", "order_manager.port"),
        ('[gateway]\nprice_port = 8080\nhost = "localhost"', "dashboard.port"),
        ('[gateway]\nsource = "CSV"', "gateway.source"),
        ('[gateway]\nsource = "csv\\n"', "gateway.source"),
        ('[gateway]\nsource = "csv"', "gateway.csv_path"),
        ("[gateway]\ncsv_path = 1", "gateway.csv_path"),
        ('[gateway]\ncsv_path = "a\\u0000b"', "gateway.csv_path"),
        ('[gateway]\ncsv_symbol = "A,B"', "gateway.csv_symbol"),
        ('[gateway]\ncsv_symbol = "HELLO"', "gateway.csv_symbol"),
        ("[gateway]\ncsv_symbol = false", "gateway.csv_symbol"),
        ("[gateway]\nrate = -0.1", "gateway.rate"),
        ("[gateway]\nrate = 10_000_001", "gateway.rate"),
        ("[gateway]\nrate = 1e-9", "gateway.rate"),
        ("[gateway]\nrate = nan", "gateway.rate"),
        ("[gateway]\nrate = inf", "gateway.rate"),
        ("[gateway]\nrate = true", "gateway.rate"),
        ('[gateway]\nrate = "200"', "gateway.rate"),
        (f"[gateway]\nrate = 1{'0' * 400}", "gateway.rate"),
        ("[gateway]\nnews_interval = 0", "gateway.news_interval"),
        ("[gateway]\nnews_interval = -1", "gateway.news_interval"),
        ("[gateway]\nnews_interval = nan", "gateway.news_interval"),
        ("[gateway]\nnews_interval = 1e300", "gateway.news_interval"),
        ("[gateway]\nnews_csv = []", "gateway.news_csv"),
        ("[gateway]\nseed = -1", "gateway.seed"),
        ("[gateway]\nseed = 1.5", "gateway.seed"),
        ("[gateway]\nseed = 0x8000000000000000", "gateway.seed"),
        # [price_book]
        ('[price_book]\nname = ""', "price_book.name"),
        ('[price_book]\nname = "a/b"', "price_book.name"),
        ('[price_book]\nname = "a.b"', "price_book.name"),
        ('[price_book]\nname = "a\\n"', "price_book.name"),
        ('[price_book]\nname = "é"', "price_book.name"),
        (f'[price_book]\nname = "{"a" * 101}"', "price_book.name"),
        ("[price_book]\nring_capacity = 199", "price_book.ring_capacity"),
        ("[price_book]\nring_capacity = 0", "price_book.ring_capacity"),
        ("[price_book]\nring_capacity = 67108865", "price_book.ring_capacity"),
        ("[price_book]\nring_capacity = 262144.0", "price_book.ring_capacity"),
        # [strategy]
        ('[strategy]\nclient_id = ""', "strategy.client_id"),
        ('[strategy]\nclient_id = "."', "strategy.client_id"),
        ('[strategy]\nclient_id = ".."', "strategy.client_id"),
        ('[strategy]\nclient_id = "a/b"', "strategy.client_id"),
        ('[strategy]\nclient_id = "a*"', "strategy.client_id"),
        ('[strategy]\nclient_id = "a\\n"', "strategy.client_id"),
        ('[strategy]\nclient_id = "anonymous-7"', "strategy.client_id"),
        (f'[strategy]\nclient_id = "{"a" * 65}"', "strategy.client_id"),
        ('[strategy]\nclass = ""', "strategy.class"),
        ('[strategy]\nclass = "lib.signals"', "strategy.class"),
        ('[strategy]\nclass = ":Name"', "strategy.class"),
        ('[strategy]\nclass = "module:"', "strategy.class"),
        ('[strategy]\nclass = "a..b:Name"', "strategy.class"),
        ('[strategy]\nclass = "a:B:C"', "strategy.class"),
        ('[strategy]\nclass = "a/b.py:Name"', "strategy.class"),
        ('[strategy]\nclass = "lib.class:Name"', "strategy.class"),
        ('[strategy]\nclass = "a:B\\n"', "strategy.class"),
        ('[strategy]\nsignal_class = "a:B"', "strategy.signal_class"),
        ("[strategy]\nshort_window = 0", "strategy.short_window"),
        ("[strategy]\nshort_window = 50", "strategy.short_window"),
        ("[strategy]\nshort_window = 60", "strategy.short_window"),
        ("[strategy]\nshort_window = true", "strategy.short_window"),
        ("[strategy]\nlong_window = 92234", "strategy.long_window"),
        ("[strategy]\nlong_window = 92233", "price_book.ring_capacity"),
        ("[strategy]\nbullish_threshold = 101", "strategy.bullish_threshold"),
        ("[strategy]\nbullish_threshold = 60.0", "strategy.bullish_threshold"),
        ("[strategy]\nbearish_threshold = -1", "strategy.bearish_threshold"),
        ("[strategy]\nbearish_threshold = 61", "strategy.bearish_threshold"),
        ("[strategy]\nquantity = 0", "strategy.quantity"),
        ("[strategy]\nquantity = 4503599627370496", "strategy.quantity"),
        ("[strategy]\nnews_timeout = 0", "strategy.news_timeout"),
        ("[strategy]\nnews_timeout = inf", "strategy.news_timeout"),
        ("[strategy]\nmax_tick_age = 0.0", "strategy.max_tick_age"),
        ("[strategy]\nmax_tick_age = nan", "strategy.max_tick_age"),
        # [strategies.NAME]
        ("strategies = 1", "strategies"),
        ("[[strategies]]\nshort_window = 5", "strategies"),
        ("[strategies]\nshort_window = 5", "strategies.short_window"),
        ('[strategies."a b"]', "strategies (the name of a table)"),
        ('[strategies."anonymous-1"]', "strategies (the name of a table)"),
        (f"[strategies.{'a' * 65}]", "strategies (the name of a table)"),
        ("".join(f"[strategies.s{n}]\n" for n in range(101)), "strategies"),
        ('[strategies.second]\nclient_id = "a/b"', "strategies.second.client_id"),
        ("[strategies.second]\nshort_window = 50", "strategies.second.short_window"),
        ("[strategies.strategy]", "strategies.strategy"),
        ("[strategies.second]\nlong_window = 20", "strategies.second.short_window"),
        ("[strategies.second]\nbearish_threshold = 61", "strategies.second.bearish_threshold"),
        ('[strategies.second]\nclass = "lib.signals"', "strategies.second.class"),
        ("[strategies.second]\nlong_window = 92233", "price_book.ring_capacity"),
        ("[strategies.second]\nport = 1", "strategies.second.port"),
        # [order_manager]
        ('[order_manager]\nhost = "10.0.0.1"', "order_manager.host"),
        ("[order_manager]\nport = 5002", "order_manager.port"),
        ("[order_manager]\nport = 70000", "order_manager.port"),
        ('[order_manager]\nledger = ""', "order_manager.ledger"),
        ('[order_manager]\nledger = ".."', "order_manager.ledger"),
        ('[order_manager]\nledger = "../orders.sqlite"', "order_manager.ledger"),
        ('[order_manager]\nledger = "/tmp/orders.sqlite"', "order_manager.ledger"),
        ('[order_manager]\nledger = "a\\u0000"', "order_manager.ledger"),
        (f'[order_manager]\nledger = "{"a" * 61}"', "order_manager.ledger"),
        ("[order_manager]\norder_ttl = 0", "order_manager.order_ttl"),
        ("[order_manager]\norder_ttl = -5.0", "order_manager.order_ttl"),
        # [risk], [watchdog], [dashboard]
        ("[risk]\nmax_order_quantity = -1", "risk.max_order_quantity"),
        ("[risk]\nmax_position = 1.5", "risk.max_position"),
        ("[risk]\nmax_position = 9007199254740992", "risk.max_position"),
        ("[risk]\nprice_collar_percent = -1", "risk.price_collar_percent"),
        ("[risk]\nprice_collar_percent = nan", "risk.price_collar_percent"),
        ("[risk]\nmax_orders_per_second = true", "risk.max_orders_per_second"),
        ("[watchdog]\nhang_after = -1", "watchdog.hang_after"),
        ("[watchdog]\nhang_after = 2000-01-01", "watchdog.hang_after"),
        ('[dashboard]\nhost = "0.0.0.0"', "dashboard.host"),
        ("[dashboard]\nport = 5001", "dashboard.port"),
        # Unknown keys.
        ("symbol = []", "symbol"),
        ("[gatway]", "gatway"),
        ("[gateway]\nport = 5001", "gateway.port"),
        ('[gateway]\n"line\\nbreak" = 1', "gateway.line\\nbreak"),
    ],
)
def test_an_impossible_value_is_rejected_in_one_line_that_names_the_key(rejection, text, key):
    assert rejection(text).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[strategy]\nshort_window = 60",
            "strategy.short_window: must be smaller than long_window (50), got 60",
        ),
        (
            '[gateway]\nprice_port = "5001"',
            'gateway.price_port: must be a port, an integer from 1 to 65535, got "5001"',
        ),
        (
            "[price_book]\nring_capacity = 199",
            "price_book.ring_capacity: must be at least symbols x long_window of [strategy] (200), "
            "got 199",
        ),
        (
            "[price_book]\nnmae = 1",
            "price_book.nmae: unknown key; did you mean name? Known here: name, ring_capacity",
        ),
        ("[watchdog]\nxyz = 1", "watchdog.xyz: unknown key; known here: hang_after"),
        (
            'symbols = ["A\\nB"]',
            "symbols: a symbol must not contain a comma, an asterisk, whitespace or control "
            'characters, got "A\\nB"',
        ),
        ("[risk]\nmax_position = 0.5", "risk.max_position: must be an integer from 0 (off) to "
         "2**53-1, got 0.5"),
        (
            "[strategies.second]\nshort_windw = 5",
            "strategies.second.short_windw: unknown key; did you mean short_window? Known here: "
            "client_id, class, short_window, long_window, bullish_threshold, bearish_threshold, "
            "quantity, news_timeout, max_tick_age",
        ),
        ("watchdog = 2.0", "watchdog: must be a table ([watchdog]), got 2.0"),
    ],
)  # fmt: skip
def test_a_rejection_says_what_is_wanted_and_what_came(rejection, text, line):
    assert rejection(text) == line


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"symbols = [", "not TOML: "),
        (b"a = 1\na = 2", "not TOML: "),
        (b"a = " + b"[" * 100_000, "not TOML: nested too deeply"),
        (b"a = " + b"9" * 5000, "not TOML: "),
        (b"\n\nvar_dir = '\xff'", "not UTF-8 text (line 3)"),
        (b"#" * 1024 * 1024 + b"#", "longer than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_settings_file_is_rejected_in_one_line(rejection, content, problem):
    assert rejection(content).startswith(problem)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "none.toml")
    assert str(caught.value) == f"{tmp_path}/none.toml: cannot be read: No such file or directory"


def test_a_directory_is_no_settings_file(tmp_path):
    with pytest.raises(SettingsError, match=r": cannot be read: Is a directory$"):
        load_settings(tmp_path)


def test_a_byte_order_mark_before_the_text_does_no_harm(load):
    assert load(b'\xef\xbb\xbfsymbols = ["A"]\r\n').symbols == ("A",)


def test_the_longest_window_of_prices_up_to_a_million_fits_63_bits(load):
    million = 1_000_000 * 10**8
    assert MAX_LONG_WINDOW * million < 2**63 <= (MAX_LONG_WINDOW + 1) * million
    text = f"[price_book]\nring_capacity = 1000000\n[strategy]\nlong_window = {MAX_LONG_WINDOW}"
    assert load(text).strategy.long_window == 92_233


def test_trading_config_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text('symbols = ["MINE"]')
    monkeypatch.setenv("TRADING_CONFIG", str(path))
    assert load_settings().symbols == ("MINE",)


def test_an_empty_trading_config_counts_as_unset(monkeypatch):
    monkeypatch.setenv("TRADING_CONFIG", "")
    assert load_settings() == Settings()


def test_a_relative_var_dir_is_under_the_projects_root(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load('var_dir = "other/var"').var_dir == PROJECT_ROOT / "other/var"
    assert load('var_dir = "/elsewhere"').var_dir == Path("/elsewhere")


def test_trading_var_dir_wins_over_the_file(load, monkeypatch):
    monkeypatch.setenv("TRADING_VAR_DIR", "/private stack")
    assert load('var_dir = "other"').var_dir == Path("/private stack")


@pytest.mark.parametrize("value", ["", "a\nb"])
def test_an_impossible_trading_var_dir_is_rejected_in_one_line(load, monkeypatch, value):
    monkeypatch.setenv("TRADING_VAR_DIR", value)
    with pytest.raises(SettingsError, match=r"^environment: TRADING_VAR_DIR: must be .*") as caught:
        load("")
    assert len(str(caught.value).splitlines()) == 1
