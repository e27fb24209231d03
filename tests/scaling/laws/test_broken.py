"""Broken power laws: the formula, its limits, and its fit."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from configs.errors import UserError
from scaling.estimate import Problem, estimate
from scaling.fit import fit_law
from scaling.laws.broken import BROKEN, Broken
from scaling.objective import Objective
from scaling.points import Points

X = np.geomspace(1e8, 1e11, 16)
PARAMS = {
  0: [1.8, 480.0, 0.35],
  1: [0.4, 900.0, 0.36, 0.5, 2e9, 0.4],
  2: [0.3, 50.0, 0.1, 0.5, 8e8, 0.3, -0.35, 1.5e10, 0.3],
}
BY_BREAKS = pytest.mark.parametrize('breaks', PARAMS)


def written_out(params, x):
  """Equation 1 of Caballero et al. 2022."""
  a, b, c0, *rest = params
  y = b * x**-c0
  for c, d, f in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
    y = y * (1 + (x / d) ** (1 / f)) ** (-c * f)
  return a + y


def curve(breaks, noise=0.0):
  rng = np.random.default_rng(0)
  y = written_out(PARAMS[breaks], X)
  y = y * np.exp(noise * rng.standard_normal(len(X)))
  zero = np.zeros(len(X))
  return Points({'tokens': X}, y, zero, zero, ('',) * len(X), {})


def problem(breaks, points):
  law = BROKEN[breaks]
  weight = np.ones(len(points))
  return Problem(law, points, Objective(law.delta), law.space, weight, {})


@BY_BREAKS
def test_predicts_by_the_formula(breaks):
  law, params = BROKEN[breaks], np.array(PARAMS[breaks])
  y = law.predict(params, {'tokens': X})
  np.testing.assert_allclose(y, written_out(params, X), rtol=1e-12)
  stacked = law.predict(np.stack([params, params]), {'tokens': X})
  np.testing.assert_allclose(stacked, [y, y], rtol=1e-14)


@BY_BREAKS
def test_units_are_undone(breaks):
  law, params = BROKEN[breaks], np.array(PARAMS[breaks])
  units = {'tokens': 3e9, 'value': 2.5}
  theta = law.scaled(params, units)
  np.testing.assert_allclose(law.natural(theta, units), params, rtol=1e-12)
  y = law.curve(theta, {'tokens': X / 3e9}) * 2.5
  np.testing.assert_allclose(y, written_out(params, X), rtol=1e-12)


def test_a_sharp_break_joins_two_power_laws():
  x = np.array([1e-3, 1e6, 1e15])  # (x / d)^(1 / f) is up to 10^9000
  y = BROKEN[1].predict(
    np.array([0.5, 2.0, 0.1, 0.3, 1e6, 1e-3]), {'tokens': x}
  )
  before, after = 2 * x**-0.1, 2 * 1e6**0.3 * x**-0.4
  np.testing.assert_allclose(y[[0, 2]], [0.5 + before[0], 0.5 + after[2]])
  # At the break itself (1 + 1)^(-c f) is left.
  assert y[1] == pytest.approx(0.5 + before[1] * 2**-3e-4, rel=1e-12)


@BY_BREAKS
def test_noise_free_data_give_the_law_back(breaks):
  points = curve(breaks)
  found = estimate(problem(breaks, points))
  assert found.converged
  np.testing.assert_allclose(found.params, PARAMS[breaks], rtol=1e-2)
  y = BROKEN[breaks].predict(found.params, {'tokens': X})
  np.testing.assert_allclose(y, points.value, rtol=1e-5)


def test_no_start_of_scipy_is_better():
  points = curve(1, noise=0.02)
  asked = problem(1, points)
  found = estimate(asked)
  lower, upper = asked.bounds()
  x, y = asked.scaled()

  def off(theta):
    return np.log(BROKEN[1].curve(theta, x)) - np.log(y)

  rng = np.random.default_rng(0)
  best = min(
    least_squares(off, rng.uniform(lower, upper), bounds=(lower, upper)).cost
    for _ in range(30)
  )
  assert found.objective <= best * (1 + 1e-6)


def test_a_break_that_is_not_there_is_said_to_be_none():
  law = BROKEN[1]
  theta = np.array([0.5, 0.5, 0.3, 0.3, 0.0, -1.0])
  assert law.vanished(theta, {'tokens': X / 3e9}, np.ones(len(X))) == ['c1']


def test_fits_with_intervals_by_name():
  fit = fit_law(curve(1, noise=0.003), BROKEN[1], resamples=40)
  assert fit.law == 'broken_1'
  assert tuple(fit.params) == ('a', 'b', 'c0', 'c1', 'd1', 'f1')
  low, high = fit.intervals['d1']
  assert low < 2e9 < high
  assert fit.conventions['objective'] == 'sum of squares / 2 of log residuals'


def test_any_column_may_be_the_axis():
  law = Broken(1, 'flops')
  assert law.inputs == ('flops',)
  y = law.predict(np.array(PARAMS[1]), {'flops': X})
  np.testing.assert_allclose(y, written_out(PARAMS[1], X), rtol=1e-12)


@pytest.mark.parametrize('breaks', [-1, 3])
def test_other_numbers_of_breaks_are_refused(breaks):
  with pytest.raises(
    UserError, match=rf'breaks = {breaks}: choose from 0 to 2'
  ):
    Broken(breaks)
