"""The strategy's side: from ticks and news to orders, and the orders until they are answered.

In reading order: `trader` (what to order on a signal, given the position), `evaluator` (every tick
once, in order) with `refill` (of the windows) and `checkpoint` (the last evaluated tick),
`signal_loading`, `signal_pace` and `signal_frames` (a user's code, which may be slow or fail),
`order_client` and `order_connection` (orders over connections that come and go), `decision_log`,
`strategy_lock`. Used by `daemons.strategy`; the dashboard, the watchdog, `main.py` and `bench` use
parts. Must not import `lib.execution`.
"""
