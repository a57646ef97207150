"""Recorded figures, the templates of the pages made of them, and the program that makes these.

`bench/` and `chaos/` hold the figures and plots, `*.md.j2` are the templates: of
`performance_report.md`, and of the pages `details-*.md`. Run as `python -m report`.
"""
