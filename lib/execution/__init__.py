"""The order manager's side: from a client's bytes to a booked decision. No socket, no clock.

In reading order: `order_desk` (logon, order, answer), `risk` (what is rejected), `foreign_clocks`
(times of another clock), `logon_contests` (two clients with one client_id); `order_token` reads the
file of those who may trade. All but that and the desk, which is given a ledger, are pure. Used by
`daemons.order_manager`; must not import `lib.trading`.
"""
