import numpy as np
import pytest
from scipy import special

from configs.errors import UserError
from scaling.fit import fit_law
from scaling.objective import Objective, cost, influence


@pytest.mark.parametrize('delta', [1e-3, 0.5, np.inf])
def test_half_is_hubers(delta):
  off = np.linspace(-2, 2, 41)
  assert cost(off, delta, 0.5) == pytest.approx(
    special.huber(min(delta, 1e9), off)
  )


def test_influence_is_the_derivative():
  off, step = np.array([-2.0, -0.1, 0.1, 2.0]), 1e-6
  slope = cost(off + step, 0.5, 0.8) - cost(off - step, 0.5, 0.8)
  assert influence(off, 0.5, 0.8) == pytest.approx(slope / (2 * step))


@pytest.mark.parametrize('quantile', [0.25, 0.5, 0.75])
def test_a_quantile_has_its_share_below(truth, ladder, quantile):
  """With P parameters met exactly, a share q less P / n to q lies below."""
  rng = np.random.default_rng(0)
  points = ladder(truth).take(list(range(14)) * 6)
  points.value[:] *= np.exp(0.01 * rng.standard_normal(84))
  points.seed[:] = np.repeat(np.arange(6), 14)
  points.columns['params'] = points['params'] * (1 + 1e-9 * points.seed)
  fit = fit_law(points, delta=1e-7, quantile=quantile, resamples=2)
  fitted = np.array(
    [
      fit.params['E']
      + fit.params['A'] / n ** fit.params['alpha']
      + fit.params['B'] / d ** fit.params['beta']
      for n, d in zip(points['params'], points['tokens'], strict=True)
    ]
  )
  below = np.mean(points.value < fitted)
  assert abs(below - quantile) <= 5 / 84 + 1e-9


@pytest.mark.parametrize(
  'given, message',
  [
    ({'delta': 0.0}, 'delta = 0.0'),
    ({'delta': np.nan}, 'delta = nan'),
    ({'quantile': 1.0}, 'quantile = 1.0'),
  ],
)
def test_mistakes_are_named(given, message):
  with pytest.raises(UserError, match=message):
    Objective(**given)


def test_an_objective_tells_itself():
  assert Objective().describe('log') == 'sum of squares / 2 of log residuals'
  assert Objective(1e-3, 0.9).describe('linear') == (
    'sum of Huber(0.001), quantile 0.9, of residuals'
  )
