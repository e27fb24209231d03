import numpy as np
import pytest

from scaling.fit import fit_law
from scaling.forecast import summarize
from scaling.verdict import verdict

CHANCE = {'b': 0.25}


def sigmoid(x, x0=3.2):
  return 0.6 / (1 + np.exp(2.5 * (x - x0))) + 0.25


def judged(points, lower=0.6, upper=0.7):
  fit = fit_law(points, 'sigmoid', fixed=CHANCE, resamples=20)
  draws = np.linspace(lower, upper, 101) if lower is not None else np.empty(0)
  return verdict(points, fit, summarize(0.65, draws, 0.98, {}, []))


def test_a_task_that_rises_is_predictable(as_scores):
  x = np.linspace(2, 5, 14)
  found = judged(as_scores(x, sigmoid(x)))
  assert found.predictable
  assert str(found) == 'predictable from this ladder'


@pytest.mark.parametrize(
  'x0, span, reason',
  [
    (3.2, (0.6, 0.7), None),
    (3.2, (0.2, 0.9), 'the interval, 0.21 to 0.89'),
    (3.2, (None, None), 'too few runs for an interval'),
    (1.0, (0.6, 0.7), 'only the start of the rise'),
  ],
)
def test_reasons(as_scores, x0, span, reason):
  x = np.linspace(2, 5, 14)
  found = judged(as_scores(x, sigmoid(x, x0), 1e-3), *span)
  assert found.predictable == (reason is None)
  if reason:
    assert any(text.startswith(reason) for text in found.reasons), found


def test_chance_and_disorder_are_told(as_scores):
  rng = np.random.default_rng(0)
  x = np.linspace(2, 5, 14)
  found = judged(as_scores(x, 0.25 + 0.005 * rng.standard_normal(14)))
  assert not found.predictable
  assert 'no score is above chance' in found.reasons
  assert 'not predictable from this ladder: ' in str(found)
  falling = judged(as_scores(x, sigmoid(-x, -3.2)))
  assert any('scores do not rise' in text for text in falling.reasons)
