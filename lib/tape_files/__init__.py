"""Files that people have, read into tapes in a process of its own (`own_process`, `preparing`).

File to text: `packing`, `file_kind`, `plain_text`. Text to table: `dialect` and `repair` say how,
`source` opens it as a `table` in a `sealed` database (`arrow_stream`, `sql`). What is where:
`layout` by `column_names`, `time_columns`, `symbol_match`; how it is written: `column_numbers`,
`number_format`, `time_format`. To ticks: `tick_reading` by a `symbol_plan` (`tick_pass`,
`price_reading`, `time_order`), or `sentiment_reading`. What is said: `reading`, `tally`, `scaled`,
`second_header`, `findings`, `listing`. `parts` writes Parquet.
"""
