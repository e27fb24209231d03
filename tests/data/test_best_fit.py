"""Every item once, in rows that hold them, and few of these."""

import numpy as np
import pytest

from data.best_fit import best_fit


@pytest.mark.parametrize('seed', range(5))
def test_items_are_in_one_row_each_and_fit(seed):
  random = np.random.default_rng(seed)
  lengths = random.integers(1, 65, size=random.integers(1, 200)).tolist()
  rows = best_fit(lengths, 64)
  assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
  assert all(sum(lengths[i] for i in row) <= 64 for row in rows)
  fewest = -(-sum(lengths) // 64)
  assert len(rows) <= 11 / 9 * fewest + 4


def test_the_best_fit_is_taken():
  # 4 leaves 6, and 6 fits best there; 3 and 7 are left for each other
  assert best_fit([7, 6, 4, 3], 10) == [[0, 3], [1, 2]]


@pytest.mark.parametrize('seed', range(5))
def test_two_lengths_fit_at_once(seed):
  random = np.random.default_rng(seed)
  lengths = random.integers(1, 65, size=200).tolist()
  others = random.integers(1, 21, size=200).tolist()
  rows = best_fit(lengths, 64, others, 20)
  assert sorted(i for row in rows for i in row) == list(range(200))
  for row in rows:
    assert sum(lengths[i] for i in row) <= 64
    assert sum(others[i] for i in row) <= 20


def test_the_second_length_can_keep_items_apart():
  assert best_fit([2, 2, 2], 10, [5, 5, 5], 10) == [[0, 1], [2]]
