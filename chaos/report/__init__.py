"""The figures of the experiments as the report shows them; the words are in `report/*.md.j2`.

In reading order: `recorded` (reads what `make chaos` recorded), `series` (times with their goals),
`cluster` (the experiments with a cluster), `figures` (everything, by the name that the templates
use), `plots`. Must measure nothing, and must not import `bench`: `python -m report` combines the
two.
"""
