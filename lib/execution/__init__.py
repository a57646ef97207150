"""The order manager's side: from a client's bytes to a booked decision. No socket and no clock.

In reading order: `order_desk` (logon, order, answer), `risk` (what is rejected), `foreign_clocks`
(times of another clock), `logon_contests` (two clients with one client_id). Used by
`daemons.order_manager`; must not import `lib.trading`.
"""
