"""The table of planted bugs fits the tree: `make mutants` can plant each of them."""

from __future__ import annotations

import pytest

from tests.mutants import PROJECT_ROOT, load_mutants

MUTANTS = load_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_a_change_of_one_place_and_has_tests_that_exist(mutant):
    assert mutant.fits, f"{mutant.old!r} must occur exactly once in {mutant.file}"
    assert mutant.new != mutant.old
    assert mutant.breaks
    paths = [test.partition("::")[0] for test in mutant.tests if test.startswith("tests/")]
    assert paths
    assert [path for path in paths if not (PROJECT_ROOT / path).exists()] == []
