"""The reliability section of the report: `python -m chaos.report` writes it and its plots anew.

`recorded` is what `make chaos` has found, `series` the times in it with their goals, `pages` the
text, `plots` the pictures. Must measure nothing: the same records give the same text.
"""
