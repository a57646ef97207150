"""The dashboard in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from lib.clock import MICROSECOND_NS, MILLISECOND_NS
from lib.cluster.status_file import UNKNOWN, Activity, Figures, StatusFile, status_path
from lib.cluster.streams import LEDGER, PRICE
from lib.process.log_events import DOWNLINK, ORDER_MANAGER
from tests.helpers import wait_until
from tests.stack import PrivateStack

CHROMIUM = shutil.which("chromium")
TIMEOUT_MS = 30_000
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        message = "Chromium is not there: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    arguments = [
        *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--no-first-run"),
    ]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def stack() -> Iterator[PrivateStack]:
    gateway = {"rate": 500.0, "news_interval": 0.1}
    with PrivateStack({"gateway": gateway, "strategies.second": {}}) as made:
        made.start()
        yield made


class Seen:
    """A page, and what it asked for and complained about."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _note(self, message) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def open(self, path: str = "/") -> None:
        self.page.goto(self.address + path)
        expect(self.page.locator(".role").first).to_be_visible(timeout=TIMEOUT_MS)

    def role(self, program: str):
        return self.page.locator(f'.role[data-program="{program}"]')


@contextmanager
def opened(
    browser: Browser, stack: PrivateStack, size: str = "desktop", **options
) -> Iterator[Seen]:
    width, height = SIZES[size]
    viewport: ViewportSize = {"width": width, "height": height}
    with closing(browser.new_context(viewport=viewport, **options)) as context:
        seen = Seen(context.new_page(), f"http://127.0.0.1:{stack.dashboard_port}")
        seen.open()
        yield seen


@pytest.fixture(params=["light", "dark"])
def seen(request, browser: Browser, stack: PrivateStack) -> Iterator[Seen]:
    with opened(browser, stack, color_scheme=request.param) as seen:
        yield seen


def test_the_page_loads_without_a_complaint_and_asks_no_other_host(seen: Seen) -> None:
    expect(seen.page.locator("#chart .main-svg").first).to_be_visible(timeout=TIMEOUT_MS)
    expect(seen.page.locator("#news-chart .main-svg").first).to_be_visible(timeout=TIMEOUT_MS)
    expect(seen.page.locator("#cluster")).to_be_hidden()
    assert seen.problems == []
    assert {url.split("/")[2] for url in seen.requests if "://" in url} == {
        seen.address.removeprefix("http://")
    }


def test_prices_move_and_orders_come_onto_the_tape_and_can_be_filtered(seen: Seen) -> None:
    price = seen.page.locator("#price-rows tr").first.locator("td").nth(1)
    expect(price).to_have_text(re.compile(r"^\d+\.\d\d$"), timeout=TIMEOUT_MS)
    before = price.inner_text()
    wait_until(lambda: price.inner_text() != before, "the price moves")
    rows = seen.page.locator("#order-rows tr")
    expect(rows.first).to_be_visible(timeout=TIMEOUT_MS)
    seen.page.locator("#order-filter").fill("no such order")
    expect(rows).to_have_count(0)
    expect(seen.page.locator("#no-orders")).to_be_visible()


def test_each_strategy_has_a_row_and_whose_signals_are_shown_is_said(seen: Seen) -> None:
    rows = seen.page.locator("#strategy-rows tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0).locator("td").nth(2)).to_have_text(re.compile("[1-9]"), timeout=TIMEOUT_MS)
    expect(rows.nth(0).locator("td").nth(6)).to_contain_text("s", timeout=TIMEOUT_MS)
    idle = rows.nth(1).locator("td")
    expect(idle.first).to_have_text("second")
    expect(idle.nth(2)).to_have_text("0")
    expect(idle.last).to_have_text("lib.signals:MovingAverageAndNews")
    expect(seen.page.locator("#whose-signals")).to_contain_text("those of strategy")


def test_the_chosen_symbol_is_in_the_address(seen: Seen) -> None:
    seen.page.locator("#price-rows tr", has_text="MSFT").locator("a").click()
    expect(seen.page).to_have_url(re.compile(r"\?symbol=MSFT$"))
    expect(seen.page.locator("#symbol")).to_have_value("MSFT")
    seen.open("/?symbol=GOOG")
    expect(seen.page.locator("#symbol")).to_have_value("GOOG")
    seen.open("/?symbol=<img src=x onerror=alert(1)>")
    expect(seen.page.locator("#no-course")).to_contain_text("There is no symbol <img src=x")
    chart = seen.page.locator("#chart")
    expect(chart).to_have_attribute("aria-label", re.compile("nothing to show"))
    assert seen.problems == []


def test_a_role_that_dies_turns_red_and_green_again(seen: Seen, stack: PrivateStack) -> None:
    role = seen.role("strategy")
    expect(role.locator(".state")).to_have_text("● up", timeout=TIMEOUT_MS)
    os.kill(stack.pid("strategy"), signal.SIGKILL)
    # In each frame: its successor may be up within one of the waits of `expect`.
    seen.page.wait_for_function(
        """() => document.querySelector('.role.down[data-program="strategy"] .state')
            ?.textContent.includes("▲")""",
        timeout=TIMEOUT_MS,
    )
    expect(role.locator(".state")).to_have_text("● up", timeout=TIMEOUT_MS)
    expect(role).to_have_class("role")
    assert seen.problems == []


def test_the_page_outlives_the_dashboard_and_the_whole_stack(browser: Browser) -> None:
    with PrivateStack({"gateway": {"rate": 500.0}}) as stack:
        stack.start()
        with opened(browser, stack) as seen:
            seen.page.evaluate("window.notReloaded = true")
            first = stack.pid("dashboard")
            os.kill(first, signal.SIGKILL)
            clock = seen.page.locator("#clock")
            wait_until(lambda: stack.pid("dashboard") not in (0, first), "it is back")
            stopped_at = clock.inner_text()
            wait_until(lambda: clock.inner_text() != stopped_at, "views come again")
            stack.stop()
            alarm = seen.page.locator("#alarm")
            expect(alarm).to_contain_text("Nothing comes", timeout=TIMEOUT_MS)
            stack.start(wait=False)
            expect(alarm).to_be_hidden(timeout=TIMEOUT_MS)
            expect(seen.role("gateway").locator(".state")).to_have_text("● up", timeout=TIMEOUT_MS)
            assert seen.page.evaluate("window.notReloaded")


@pytest.mark.parametrize("size", SIZES)
def test_the_end_of_a_tape_stands_on_the_page_with_ticks_orders_and_profit(
    browser: Browser, tmp_path: Path, size: str
) -> None:
    tape = tmp_path / "tape.csv"
    tape.write_text("symbol,price\n" + "AAPL,100.5\n" * 1100)
    gateway = {"source": "file", "path": str(tape), "rate": 0.0}
    with PrivateStack({"": {"symbols": ["AAPL"]}, "gateway": gateway}) as stack:
        stack.start()
        with opened(browser, stack, size) as seen:
            expect(seen.page.locator("#tape-ended")).to_have_text(
                "The tape has ended after 1,100 ticks. In the ledger: 0 orders filled, "
                "0 rejected, realised profit 0.00, open profit 0.00.",
                timeout=TIMEOUT_MS,
            )
            width, _ = SIZES[size]
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            assert seen.problems == []


def test_a_tape_that_goes_on_has_no_end(seen: Seen) -> None:
    expect(seen.page.locator("#price-rows tr").first).to_be_visible(timeout=TIMEOUT_MS)
    expect(seen.page.locator("#tape-ended")).to_be_hidden()


NONE = "\N{EN DASH}"
FIGURES = Figures(
    written_ns=0,
    activity=Activity.FOLLOWING,
    epoch=5,
    takeovers=2,
    last=70,
    position=1_234_567,
    lag=12_000,
    lag_ns=1_500 * MILLISECOND_NS,
    heard_ns=UNKNOWN,
    p50_ns=UNKNOWN,
    p99_ns=1_700 * MICROSECOND_NS,
)


@contextmanager
def statuses(var_dir: Path) -> Iterator[None]:
    """What two roles of a cluster write, as often as they do."""
    ledger = StatusFile(status_path(var_dir, ORDER_MANAGER, LEDGER), [])
    price = StatusFile(status_path(var_dir, DOWNLINK, PRICE), [])
    is_over = threading.Event()

    def write() -> None:
        while not is_over.wait(0.2):
            now_ns = time.monotonic_ns()
            price.write("market-1", FIGURES._replace(written_ns=now_ns))
            no_majority = FIGURES._replace(written_ns=now_ns, activity=Activity.NO_MAJORITY)
            ledger.write("<b>", no_majority)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture(scope="module")
def host() -> Iterator[PrivateStack]:
    """A host of a cluster whose brokers cannot be reached: its order manager waits for them."""
    cluster = {"servers": ["nats://127.0.0.1:1"], "host": "host-1"}
    with PrivateStack({"cluster": cluster}) as made, statuses(made.var_dir):
        made.start(wait=False)
        made.wait_for_event("dashboard", "started")
        yield made


@pytest.mark.parametrize("size", SIZES)
def test_a_host_of_a_cluster_shows_what_its_roles_know_of_the_streams(
    browser: Browser, host: PrivateStack, size: str
) -> None:
    with opened(browser, host, size) as seen:
        rows = seen.page.locator("#stream-rows tr")
        expect(rows).to_have_count(2, timeout=TIMEOUT_MS)
        expect(rows.nth(0).locator("td")).to_have_text(
            [
                *("TW_PRICE", "downlink", "● following", "market-1", NONE, "5", "2", "70"),
                *("1,234,567", "12,000", "1.5 s", NONE, "1.70 ms"),
            ]
        )
        expect(rows.nth(1).locator("td").nth(2)).to_have_text("▲ no majority")
        expect(rows.nth(1).locator("td").nth(2)).to_have_class("loss")
        expect(rows.nth(1).locator("td").nth(3)).to_have_text("<b>")
        expect(seen.page.locator("#cluster-host")).to_have_text("Cluster, seen from host-1")
        alarm = seen.page.locator("#alarm")
        expect(alarm).to_contain_text("No majority of the brokers", timeout=TIMEOUT_MS)
        width, _ = SIZES[size]
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.problems == []


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_cut_off(browser: Browser, stack: PrivateStack, size: str) -> None:
    with opened(browser, stack, size) as seen:
        expect(seen.page.locator("#order-rows tr").first).to_be_visible(timeout=TIMEOUT_MS)
        width, _ = SIZES[size]
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_symbol_chosen_by_keyboard_stays_chosen(seen: Seen) -> None:
    seen.open()
    select = seen.page.locator("#symbol")
    select.focus()
    with seen.page.expect_response("**/symbols"):  # asked for again with each new stream
        select.select_option("MSFT")
    expect(seen.page.locator("#price-rows .chosen")).to_have_text("MSFT", timeout=TIMEOUT_MS)
    expect(select).to_be_focused()
    expect(select).to_have_value("MSFT")


def test_a_page_that_is_opened_hidden_has_no_stream(seen: Seen) -> None:
    hidden = "Object.defineProperty(document, 'hidden', { value: true, configurable: true })"
    seen.page.add_init_script(hidden)
    seen.requests.clear()
    seen.page.goto(seen.address)
    assert not [url for url in seen.requests if "/events" in url]


def test_a_page_that_was_hidden_for_long_does_not_say_that_nothing_comes(seen: Seen) -> None:
    seen.open()
    said = seen.page.evaluate("""async () => {
        const show = (hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        };
        const wait = (ms) => new Promise((done) => setTimeout(done, ms));
        const said = [];
        new MutationObserver(() => said.push(document.getElementById("alarm").textContent))
            .observe(document.getElementById("alarm"), { childList: true });
        show(true);
        await wait(3500);
        show(false);
        await wait(1500);
        return said;
    }""")
    assert said == []


def test_times_of_another_day_have_its_date(seen: Seen) -> None:
    seen.page.clock.set_fixed_time("2031-01-01T12:00:00")
    seen.open()
    first = seen.page.locator("#order-rows td").first
    expect(first).to_have_text(re.compile(r"^\d+ [A-Z]\w+ \d\d:\d\d:\d\d$"), timeout=TIMEOUT_MS)


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(seen: Seen) -> None:
    seen.open()
    unreachable = seen.page.evaluate("""() => [...document.querySelectorAll("main *")]
        .filter((one) => getComputedStyle(one).overflowY === "auto")
        .filter((one) => one.tabIndex < 0 || !one.getAttribute("aria-label"))
        .map((one) => one.id || one.className)""")
    assert unreachable == []
