"""Values, standard errors and intervals against published ones and SciPy's."""

import math

import numpy as np
import pytest
from scipy import stats

from configs.errors import UserError
from evals.scores import Score, accuracy, exponential, ratio, wilson_interval


@pytest.mark.parametrize(
  ('successes', 'n', 'low', 'high'),
  [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
  ],
)
def test_the_interval_is_the_published_one(successes, n, low, high):
  assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize('n', [1, 7, 1500])
@pytest.mark.parametrize('share', [0, 0.25, 0.5, 1])
@pytest.mark.parametrize('confidence', [0.9, 0.95])
def test_the_interval_is_scipys(n, share, confidence):
  successes = round(share * n)
  there = stats.binomtest(successes, n).proportion_ci(confidence, 'wilson')
  found = wilson_interval(successes, n, confidence)
  assert found == pytest.approx((there.low, there.high), abs=1e-12)
  assert 0 <= found[0] <= successes / n <= found[1] <= 1


def test_an_accuracy_is_a_mean_with_its_standard_error():
  correct = np.random.default_rng(0).random(50) < 0.3
  score = accuracy(correct)
  assert score.value == correct.mean()
  assert score.stderr == pytest.approx(stats.sem(correct.astype(float)))
  assert score.n == 50
  assert score.interval == wilson_interval(int(correct.sum()), 50)


def test_a_ratio_by_hand():
  # residuals x - 1.5 y are -.5, .5, 0
  score = ratio(np.array([1, 2, 3]), np.array([1, 1, 2]))
  assert score.value == 1.5
  assert score.stderr == pytest.approx(math.sqrt(3 / 2 * 0.5) / 4)


def test_a_ratio_over_equal_denominators_is_a_mean():
  x = np.random.default_rng(1).normal(size=30)
  score = ratio(x, np.full(30, 2.0))
  assert score.value == pytest.approx(np.mean(x / 2))
  assert score.stderr == pytest.approx(stats.sem(x / 2))


def test_the_standard_error_of_a_ratio_agrees_with_the_bootstrap():
  random = np.random.default_rng(2)
  y = random.integers(5, 60, size=400)
  x = y * random.gamma(9, 1 / 3, size=400)
  drawn = random.integers(0, 400, size=(4000, 400))
  resampled = x[drawn].sum(1) / y[drawn].sum(1)
  assert ratio(x, y).stderr == pytest.approx(resampled.std(), rel=0.06)


def test_exp_of_a_score():
  score = exponential(Score(2.0, 1e-4, 9))
  assert score.value == pytest.approx(math.exp(2))
  step = math.exp(2 + 1e-4) - math.exp(2)
  assert score.stderr == pytest.approx(step, rel=1e-3)
  assert score.n == 9


def test_what_is_written():
  assert Score(1.0, 0.5, 3).as_json() == {'value': 1.0, 'stderr': 0.5, 'n': 3}
  assert Score(1.0, 0.0, 3, (0.4, 1.0)).as_json()['interval'] == [0.4, 1.0]


def test_one_item_has_no_standard_error():
  with pytest.raises(UserError, match='at least 2'):
    accuracy(np.array([True]))
  with pytest.raises(UserError, match='at least 2'):
    ratio(np.array([1]), np.array([1]))
