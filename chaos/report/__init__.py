"""The reliability section of the report: `python -m chaos.report` generates it and its plots.

`recorded` reads what `make chaos` recorded, `series` has the times with their goals, `pages` the
text, `plots` the plots. Must not measure anything: the same recording gives the same text.
"""
