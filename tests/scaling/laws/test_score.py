import numpy as np
import pytest
from scipy import optimize

from configs.errors import UserError
from scaling.fit import fit_law
from scaling.laws.score import SIGMOID

TRUTH = np.array([0.6, -2.5, 3.2, 0.25])
CHANCE = {'b': 0.25}


@pytest.fixture
def draw(as_scores):
  def drawn(loss, items=1000, rng=None, theta=TRUTH):
    a, k, x0, b = theta
    loss = np.asarray(loss, np.float64)
    rate = a / (1 + np.exp(-k * (loss - x0))) + b
    score = rate if rng is None else rng.binomial(items, rate) / items
    return as_scores(loss, score, np.sqrt(rate * (1 - rate) / items))

  return drawn


def fit_sigmoid(points, chance=0.25, **options):
  return fit_law(points, SIGMOID, fixed={'b': chance}, **options)


def test_predict_by_hand():
  at = {'loss': np.array([3.2, 1e6, -1e6])}
  assert SIGMOID.predict(TRUTH, at) == pytest.approx((0.55, 0.25, 0.85))


def test_noise_free_scores_give_the_law_back(draw):
  fit = fit_sigmoid(draw(np.linspace(1.5, 5, 12)), resamples=20)
  np.testing.assert_allclose(fit.params_P, TRUTH, rtol=1e-4)
  assert fit.warnings == ()
  assert fit.n == 12


def test_loss_units_change_nothing(draw):
  scores = draw(np.linspace(2, 4, 12), rng=np.random.default_rng(0))
  one = fit_sigmoid(scores, resamples=20)
  scores.columns['loss'] = scores['loss'] * 100
  two = fit_sigmoid(scores, resamples=20)
  np.testing.assert_allclose(
    two.params_P, one.params_P * [1, 0.01, 100, 1], rtol=1e-5
  )


def test_bootstrap_agrees_with_theory_and_scipy(draw):
  scores = draw(np.linspace(1.5, 5, 30), rng=np.random.default_rng(3))
  fit = fit_sigmoid(scores, resamples=1000)
  _, covariance = optimize.curve_fit(
    lambda x, a, k, x0: a / (1 + np.exp(-k * (x - x0))) + 0.25,
    scores['loss'],
    scores.value,
    p0=TRUTH[:3],
    sigma=scores.stderr,
    absolute_sigma=True,
  )
  spread = np.std(fit.samples[:, :3], axis=0)
  # Ours enlarges the errors where the residuals do: never less, seldom more.
  ratio = spread / np.sqrt(np.diag(covariance))
  assert np.all((ratio > 0.95) & (ratio < 1.5)), ratio


def test_intervals_cover(draw):
  """40 sets: a 90% interval misses over 10 times with a chance of 0.1%."""
  rng = np.random.default_rng(5)
  missed = 0
  for _ in range(40):
    scores = draw(np.linspace(1.5, 5, 14), rng=rng)
    low, high = fit_sigmoid(scores, resamples=120).intervals['x0']
    missed += not low <= TRUTH[2] <= high
  assert missed <= 10


def test_the_start_of_a_sigmoid_has_no_ceiling(draw):
  scores = draw(np.linspace(3.9, 5.5, 14), rng=np.random.default_rng(0))
  fit = fit_sigmoid(scores, resamples=200)
  assert any('only the start of the sigmoid' in text for text in fit.warnings)
  assert np.all(fit.samples[:, 0] <= 0.75)
  assert np.all(SIGMOID.predict(fit.samples, {'loss': [0.0]}) <= 1)


def test_scores_at_chance_are_told(draw):
  fit = fit_sigmoid(draw(np.linspace(8, 9, 10)), resamples=50)
  assert any('no score differs from chance' in text for text in fit.warnings)


def test_few_scores_get_no_interval(draw):
  fit = fit_sigmoid(draw([2.0, 2.5, 3, 3.5, 4]))
  assert fit.intervals == {}
  assert fit.warnings[0].startswith('5 points for 3 parameters: no interval')


def test_mistakes_are_named(draw):
  with pytest.raises(UserError, match='2 points for the 3 parameters'):
    fit_sigmoid(draw([2.0, 3.0]))
  with pytest.raises(UserError, match='loss is the same'):
    fit_sigmoid(draw([2.0] * 7))
  with pytest.raises(UserError, match=r'fixed b = 25\.0: expected 0 to 0\.999'):
    fit_sigmoid(draw([2.0, 3, 4]), chance=25.0)
