import numpy as np

from scaling.ladder_checks import violations


def test_a_law_has_no_violation(truth, ladder):
  assert violations(ladder(truth)) == []


def test_each_direction_is_checked(as_points):
  points = as_points(
    [1e4, 1e4, 2e4, 2e4], [1e6, 2e6, 1e6, 2e6], [4, 3.5, 4.1, 4.2]
  )
  assert violations(points) == [
    'loss does not fall with size at 1e+06 tokens: 4.0000 at 1e+04, '
    '4.1000 at 2e+04',
    'loss does not fall with size at 2e+06 tokens: 3.5000 at 1e+04, '
    '4.2000 at 2e+04',
    'loss does not fall with tokens at size 2e+04: 4.1000 at 1e+06, '
    '4.2000 at 2e+06',
  ]


def test_budgets_a_batch_apart_are_one(as_points):
  points = as_points([1e4, 2e4], [1e6, 1.005e6], [3.0, 3.1])
  assert len(violations(points)) == 1


def test_rows_in_any_order(truth, ladder):
  points = ladder(truth)
  shuffled = points.take(np.random.default_rng(0).permutation(14))
  assert violations(shuffled) == []
