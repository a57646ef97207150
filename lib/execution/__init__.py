"""The order manager's side: from a client's bytes to a decision that is booked. Pure.

In reading order: `order_desk` (logon, order, answer), `risk` (what is rejected), `foreign_clocks`
(times that are of another clock), `logon_contests` (two clients of one name). Used by
`daemons.order_manager`; must not import `lib.trading`.
"""
