"""Files that people have, read into tapes, in a process of its own: DuckDB is large.

`preparing` is the way in, `own_process` runs it apart. Text: `packing`, `file_kind`, `plain_text`,
`dialect`, `repair`, `number_format`, `time_format`. Tables: `source` opens one in a `sealed`
database as a `table`; `column_names`, `column_numbers`, `layout`, `symbol_match`, `symbol_plan` say
what is where. Reading: `tick_reading`, `sentiment_reading`, `price_reading`, `arrow_stream`,
`time_order`. What is said: `tally`, `scaled`, `oddities`, `skips`, `lines`, `listing`. `parts`:
Parquet written in parts.
"""
