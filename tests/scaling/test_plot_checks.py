import math

import numpy as np
import pytest

from scaling.compare import Comparison, Standing
from scaling.fit import fit_law
from scaling.plot_checks import comparison_plot, profile_plot, residual_plot
from scaling.plot_data import Line, Markers, Rule
from scaling.profile import Profile, profile
from scaling.ready import prepare
from scaling.rolling import Held, Rolled


def only(figure, kind):
  return [layer for layer in figure.layers if isinstance(layer, kind)]


def test_residuals_are_in_per_cent_of_the_law(ladder, truth, law):
  points = ladder(truth, 0.003, np.random.default_rng(0))
  fit = fit_law(points, delta=math.inf, resamples=8)
  figure = residual_plot(points, fit)
  shown = only(figure, Markers)
  fitted = law(fit.params_P, points['params'], points['tokens'])
  np.testing.assert_allclose(
    np.concatenate([layer.y for layer in shown]),
    100 * (points.value / fitted - 1),
    atol=1e-9,
  )
  np.testing.assert_array_equal(
    np.concatenate([layer.x for layer in shown]), points['flops']
  )
  assert len(shown) == 5
  assert figure.y.label == 'held-out loss over the law − 1 (%)'
  assert (figure.x.scale, figure.y.scale) == ('log', 'linear')
  assert only(figure, Rule)[0].at == 0


def test_residuals_of_seeds_are_averaged(as_points, truth, law):
  n = np.repeat(np.geomspace(2e4, 2e6, 6), 4)
  d = np.repeat(np.tile([1e6, 4e6], 6), 2)
  noise = np.tile([0.01, -0.01], 12)
  points = as_points(
    n, d, law(truth, n, d) * np.exp(noise), seed=np.tile([0, 1], 12)
  )
  figure = residual_plot(points, fit_law(points, delta=math.inf, resamples=8))
  shown = np.concatenate([layer.y for layer in only(figure, Markers)])
  assert len(shown) == 12
  np.testing.assert_allclose(shown, 0, atol=1e-4)


def test_residuals_of_a_score_are_in_its_unit(as_scores):
  x = np.linspace(2.5, 4.5, 14)
  off = 0.01 * np.tile([1, -1], 7)
  points = as_scores(x, 0.6 / (1 + np.exp(3 * (x - 3.0))) + 0.25 + off)
  fit = fit_law(points, 'sigmoid', fixed={'b': 0.25}, resamples=8)
  figure = residual_plot(points, fit)
  (shown,) = only(figure, Markers)
  np.testing.assert_array_equal(shown.x, x)
  a, k, x0, b = fit.params_P
  fitted = a / (1 + np.exp(-k * (x - x0))) + b
  np.testing.assert_allclose(shown.y, points.value - fitted, atol=1e-12)
  assert figure.y.label == 'choice/accuracy (share right) − the law'
  assert figure.x.reversed


def test_a_profile_shows_where_its_interval_ends(ladder, truth):
  points = ladder(truth, 0.003, np.random.default_rng(0))
  ready = prepare(points, 'chinchilla', delta=math.inf)
  curve = profile(ready, 'alpha')
  figure = profile_plot(curve, 'alpha')
  threshold, low, high = only(figure, Rule)
  assert (threshold.axis, threshold.at) == ('y', curve.threshold)
  assert (low.axis, low.at) == ('x', curve.lower)
  assert (high.axis, high.at) == ('x', curve.upper)
  assert low.label == f'{curve.lower:.4g} to {curve.upper:.4g}'
  assert high.label == ''
  (line,) = only(figure, Line)
  assert line.x[0] < curve.lower < curve.upper < line.x[-1]
  assert np.max(line.y) <= 3 * curve.threshold
  np.testing.assert_allclose(
    line.y, np.interp(line.x, curve.values, curve.statistic)
  )
  (best,) = only(figure, Markers)
  assert best.x == pytest.approx(ready.found.params[3])
  assert best.y == pytest.approx(0, abs=1e-6)


def test_a_profile_stops_at_the_first_value_far_outside():
  values = np.linspace(1, 7, 7)
  statistic = np.array([1.0, 20.0, 2.0, 0.0, 2.0, 20.0, 1.0])
  found = profile_plot(Profile(values, statistic, 3.0, 2.5, 5.5), 'k')
  (line,) = only(found, Line)
  assert line.x.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
  'lower, upper, label, title',
  [
    (2.0, None, 'from 2, open above', ''),
    (None, 1.5e7, 'up to 1.5e7, open below', ''),
    (None, None, None, 'the data leave k open on both sides'),
  ],
)
def test_open_sides_are_told(lower, upper, label, title):
  values = np.geomspace(1, 1e8, 9)
  statistic = np.abs(np.log10(values) - 4)
  figure = profile_plot(Profile(values, statistic, 9.0, lower, upper), 'k')
  ends = [rule.label for rule in only(figure, Rule) if rule.axis == 'x']
  assert ends == ([label] if label else [])
  assert figure.title == title
  assert figure.x.scale == 'log'


def test_a_comparison_shows_every_rung_and_the_medians():
  held = [
    Held(law, 1e18, rung, flops, 3.0, 3.0 * (1 + error), error, True, 0.1, 0, 1)
    for law, sign in (('one', 1), ('two', -2))
    for rung, (flops, error) in enumerate(
      [(2e18, 0.01 * sign), (2e18, 0.03 * sign), (1e20, 0.05 * sign)]
    )
  ]
  standings = {
    'one': Standing(0.03, 0.03, 0.03, 0.9, 0.1, 0.0, 3),
    'two': Standing(0.06, 0.06, -0.06, 1.0, 0.1, 0.0, 3),
  }
  rolled = Rolled(tuple(held), (1e18,), 0.9)
  figure = comparison_plot(Comparison(standings, 'one', 'ahead', rolled))
  one, two, *_ = only(figure, Markers)
  assert one.x.tolist() == [2, 2, 100]
  np.testing.assert_allclose(one.y, [1, 3, 5])
  np.testing.assert_allclose(two.y, [2, 6, 10])
  assert one.notes[0] == '2e+18 FLOPs, fitted up to 1e+18: 3.03 for 3'
  lines = only(figure, Line)
  np.testing.assert_allclose([lines[0].x, lines[0].y], [[2, 100], [2, 5]])
  np.testing.assert_allclose(lines[1].y, [4, 10])
  assert [layer.label for layer in figure.layers if layer.label] == [
    'one: median 3.00%, 90% covered',
    'two: median 6.00%, 100% covered',
  ]
  assert figure.title == 'one wins; 90% intervals'
  assert figure.x.scale == figure.y.scale == 'log'
  tied = comparison_plot(Comparison(standings, None, 'close', rolled))
  assert tied.title.startswith('no winner')
