"""Files that people have, read into tapes, and recordings written.

`preparing` makes a prepared tape of a recipe. Text: `file_kind`, `plain_text`, `dialect`,
`number_format`. Rows as arrays: `arrow_stream`. `own_process` (preparing apart from its caller),
`parts` (a Parquet file that survives its writer). Used by processes of their own; DuckDB is large.
"""
