"""The state of the running stack, observed from outside: for the dashboard, and for Prometheus.

In reading order: `view` (the records that a page receives), `observer` (makes the views), and its
parts: `roles`, `prices`, `news`, `orders`, `order_counts`, `holdings`, `strategies`, `latencies`,
`cluster`, `incidents` and `counters` with `log_lines`. `metrics` makes the text of /metrics,
`health` the judgement of /health; `http_session` is the server's side of HTTP. `tape_result`: what
`main.py` says at the end of a tape. Used by `daemons.dashboard`; must change nothing in the stack.
"""
