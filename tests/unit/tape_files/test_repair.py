"""A CSV file that breaks the rules of quoting loses the broken rows, and no others."""

from __future__ import annotations

import csv

from lib.tape_files.dialect import Dialect
from lib.tape_files.repair import BAD_ROW, MAX_LINES_OF_A_ROW, repaired

DIALECT = Dialect(";", '"', 0, (("a", "b"),), [])


def repair(tmp_path, text):
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_text(text, newline="")
    repaired(source, DIALECT, 1, 2, copy, lambda share: None)
    with copy.open(newline="") as file:
        return list(csv.reader(file))


def test_rows_are_copied_with_one_line_each(tmp_path):
    text = 'a;b\r\n1;"x\r\ny"\r\n\r\n2;"say ""hi"""\r\n3\r\n4;5;6;7\r\n'
    assert repair(tmp_path, text) == [["1", "x y"], ["2", 'say "hi"'], ["3"], ["4", "5", "6;7"]]


def test_a_quote_that_does_not_close_marks_its_row(tmp_path):
    rows = "".join(f"{n};{n}\n" for n in range(2 * MAX_LINES_OF_A_ROW))
    found = repair(tmp_path, f'a;b\n1;"open\n{rows}')
    assert found[0] == [BAD_ROW] * 3
    assert found[1:] == [[str(n), str(n)] for n in range(2 * MAX_LINES_OF_A_ROW)]
