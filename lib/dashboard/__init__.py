"""What the running stack looks like from outside: for the dashboard, and for Prometheus.

In reading order: `view` (the records a page gets), `observer` (makes one view after the other),
and what it is made of: `roles`, `prices`, `news`, `orders`, `strategies`, `latencies`, `incidents`
and `counters` with `log_lines`. `metrics` is the same for /metrics; `http_session` is the server's
side of HTTP. Used by `daemons.dashboard` only; must change nothing of what it looks at.
"""
