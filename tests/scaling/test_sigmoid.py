import numpy as np
import pytest
from scipy import optimize

from configs.errors import UserError
from scaling import sigmoid
from scaling.law import fit_from_json
from scaling.points import Scores

TRUTH = np.array([0.6, -2.5, 3.2, 0.25])


def _scores(loss, items=1000, rng=None, theta=TRUTH):
  a, k, x0, b = theta
  loss = np.asarray(loss, np.float64)
  rate = a / (1 + np.exp(-k * (loss - x0))) + b
  score = rate if rng is None else rng.binomial(items, rate) / items
  stderr = np.sqrt(rate * (1 - rate) / items)
  return Scores(loss, score, stderr, np.full(len(loss), items, np.float64))


def test_predict_by_hand():
  at_middle, far, near = sigmoid.predict(TRUTH, np.array([3.2, 1e6, -1e6]))
  assert (at_middle, far, near) == pytest.approx((0.55, 0.25, 0.85))


def test_noise_free_scores_give_the_law_back():
  fit = sigmoid.fit_sigmoid(
    _scores(np.linspace(1.5, 5, 12)), chance=0.25, resamples=20
  )
  np.testing.assert_allclose(fit.params_P, TRUTH, rtol=1e-4)
  assert fit.warnings == ()
  assert fit.n == 12


def test_loss_units_change_nothing():
  scores = _scores(np.linspace(2, 4, 12), rng=np.random.default_rng(0))
  other = Scores(scores.loss * 100, scores.score, scores.stderr, scores.n)
  one, two = (
    sigmoid.fit_sigmoid(s, chance=0.25, resamples=20) for s in (scores, other)
  )
  np.testing.assert_allclose(
    two.params_P, one.params_P * [1, 0.01, 100, 1], rtol=1e-5
  )


def test_bootstrap_agrees_with_theory_and_scipy():
  scores = _scores(np.linspace(1.5, 5, 30), rng=np.random.default_rng(3))
  fit = sigmoid.fit_sigmoid(scores, chance=0.25, resamples=1000)
  _, covariance = optimize.curve_fit(
    lambda x, a, k, x0: a / (1 + np.exp(-k * (x - x0))) + 0.25,
    scores.loss,
    scores.score,
    p0=TRUTH[:3],
    sigma=scores.stderr,
    absolute_sigma=True,
  )
  spread = np.std(fit.samples[:, :3], axis=0)
  # Ours enlarges the errors where the residuals do: never less, seldom more.
  ratio = spread / np.sqrt(np.diag(covariance))
  assert np.all((ratio > 0.95) & (ratio < 1.5)), ratio


def test_intervals_cover():
  """40 sets: a 90% interval misses over 10 times with a chance of 0.1%."""
  rng = np.random.default_rng(5)
  missed = 0
  for _ in range(40):
    scores = _scores(np.linspace(1.5, 5, 14), rng=rng)
    fit = sigmoid.fit_sigmoid(scores, chance=0.25, resamples=120)
    low, high = fit.intervals['x0']
    missed += not low <= TRUTH[2] <= high
  assert missed <= 10


def test_the_start_of_a_sigmoid_has_no_ceiling():
  scores = _scores(np.linspace(3.9, 5.5, 14), rng=np.random.default_rng(0))
  fit = sigmoid.fit_sigmoid(scores, chance=0.25, resamples=200)
  assert any('only the start of the sigmoid' in text for text in fit.warnings)
  assert np.all(fit.samples[:, 0] <= 0.75)
  assert np.all(sigmoid.predict(fit.samples, np.array([0.0])) <= 1)
  back = fit_from_json(fit.to_json())
  np.testing.assert_array_equal(back.samples, fit.samples)


def test_scores_at_chance_are_told():
  scores = _scores(np.linspace(8, 9, 10))
  fit = sigmoid.fit_sigmoid(scores, chance=0.25, resamples=50)
  assert any('no score differs from chance' in text for text in fit.warnings)


def test_few_scores_get_no_interval():
  fit = sigmoid.fit_sigmoid(_scores([2.0, 2.5, 3, 3.5, 4]), chance=0.25)
  assert fit.intervals == {}
  assert fit.warnings[0].startswith('5 scores for 3 parameters: no interval')


@pytest.mark.parametrize(
  'scores, chance, message',
  [
    (_scores([2.0, 3.0]), 0.25, '2 scores for 3 parameters'),
    (_scores([2.0] * 7), 0.25, 'loss is the same'),
    (_scores([2.0, 3, 4]), 25.0, 'chance = 25.0'),
    (
      Scores(*np.array([[2, 3, 4], [0.3] * 3, [0] * 3, [9] * 3])),
      0.2,
      'stderr',
    ),
  ],
)
def test_mistakes_are_named(scores, chance, message):
  with pytest.raises(UserError, match=message):
    sigmoid.fit_sigmoid(scores, chance=chance)
