"""The brokers of a trial know the clients of its strategy host, and nobody else's."""

from __future__ import annotations

from lib.stack.brokers import CLIENT_ID, CONFIGURATION, with_clients


def test_each_client_may_send_orders_and_all_else_stays_as_it_is() -> None:
    configuration = CONFIGURATION.read_text(encoding="utf-8")
    assert with_clients(configuration, [CLIENT_ID]) == configuration.rstrip("\n")
    subjects = [f"tw.orders.{client}.strategy-1.*" for client in ("first", "the=second")]
    found = with_clients(configuration, ["first", "the.second"])
    assert "tw.orders.strategy.strategy-1.*" not in found
    [line] = [line for line in configuration.splitlines() if ".strategy.strategy-1" in line]
    both = "\n".join(line.replace("tw.orders.strategy.strategy-1.*", one) for one in subjects)
    assert found == configuration.rstrip("\n").replace(line, both)
