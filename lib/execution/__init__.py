"""The order manager's side: from a client's bytes to a booked decision. No socket, no clock.

In reading order: `order_desk` (logon, order, answer), `risk` (what is rejected), `foreign_clocks`
(times of another clock), `logon_contests` (two clients with one client_id), `loss_limit` (who may
only reduce). These are pure, but for the ledger that desk and loss limit are given. Files:
`loss_latches` (limits that are reached), `order_token` (who may trade). Used by
`daemons.order_manager`; must not import `lib.trading`.
"""
