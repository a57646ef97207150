"""The strategy's side: from ticks and news to orders, and the orders until they are answered.

In reading order: `trader` (what a signal comes to, given the position), `evaluator` (every tick
once, in order), `signal_loading` and `signal_pace` (a user's code, which may be slow),
`order_client` and `order_session` (orders over connections that come and go), `decision_log`,
`strategy_lock`. Used by `daemons.strategy`, and looked into by the dashboard; must not import
`lib.execution`.
"""
