"""What the report's pages share: `chaos` and `bench` both have figures on them.

In reading order: `machine` (what figures were taken on), `units` (numbers as text), `templates`
(pages from `report/*.md.j2`), `plotting` (the plots' style; needs matplotlib), `tape_plot` (the
plot of `python -m lib.tapes`), `errors`. Used by `bench.report`, `chaos.report` and
`python -m report`; must not be imported by a role.
"""
