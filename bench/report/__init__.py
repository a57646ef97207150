"""The pages made of recorded figures: `python -m bench.report` writes them anew.

`pages` puts together `first_page` (with `targets`), `speed_section` (with `comparison`),
`watched_section` and `appendix`; `plots` draws, `units` writes numbers. Must measure nothing: the
same records give the same text.
"""
