"""The files of a recipe: what a query quotes is a name only where there is such a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.settings import PROJECT_ROOT
from lib.tapes.source_files import files_in_query


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    names = ["2024/a.csv", "2025/b.csv", 'it\'s "b".csv', "top.csv"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "to").symlink_to("../2024")
    return paths


@pytest.mark.parametrize(
    ("quoted", "found"),
    [
        ("'{}/top.csv'", [3]),
        ('"{}/top.csv"', [3]),
        ("'{}/it''s \"b\".csv'", [2]),
        ('"{}/it\'s ""b"".csv"', [2]),
        ("'{}/20*/?.csv'", [0, 1]),
        ("'{}/**/[ab].csv'", [0, 1, 0]),
        ("'{}/2024'", []),
        ("'{}/none*.csv'", []),
        ("'{}/link/**/a.csv'", [0]),
        ("'*', '%*', '**/*', '/**', '?', '{}/none'", []),
        ("'AAPL', '', '{}/top.csv/x', 'a\0b', '" + "long" * 200 + "'", []),
    ],
)
def test_a_name_or_pattern_is_found_as_it_is_quoted(files, tmp_path, quoted, found):
    by_name = files_in_query(f"SELECT 'symbol' AS \"symbol\" FROM {quoted.format(tmp_path)}")
    names = [file.resolve() for named in by_name.values() for file in named]
    assert names == [files[n] for n in found]
    assert len(by_name) == bool(found)


def test_a_relative_name_is_of_the_projects_root():
    assert files_in_query("FROM 'README.md'") == {"README.md": [PROJECT_ROOT / "README.md"]}
