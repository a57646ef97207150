"""The roles of the stack, one module each; started as `python -m daemons.ROLE` by `etc/run-role`.

In the order in which a tick passes: `gateway`, `orderbook`, `strategy`, `order_manager`; beside
them `watchdog` and `dashboard`. Each only connects parts of `lib` on one event loop: a rule that
is decided here is in the wrong room. Must not import each other.
"""
