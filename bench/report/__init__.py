"""The pages made from recorded figures: `python -m bench.report` generates them.

`pages` combines `first_page` (with `targets`), `speed_section` (with `comparison`),
`watched_section` and `appendix`; `plots` draws. Must measure nothing: the
same records give the same text.
"""
