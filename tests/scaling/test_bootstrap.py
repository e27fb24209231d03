import math

import numpy as np
import pytest
from scipy import stats

from configs.errors import UserError
from scaling import bootstrap, noise
from scaling.estimate import Problem, estimate
from scaling.fit import fit_law
from scaling.forecast import forecast, score_forecast
from scaling.laws.chinchilla import CHINCHILLA
from scaling.objective import Objective
from scaling.points import Rungs, average_seeds

NOISE = 0.003


def problem_of(points, delta=math.inf):
  ones = np.ones(len(points))
  return Problem(CHINCHILLA, points, Objective(delta), 'log', ones, {})


def about(problem, found, variance=0.0, freedom=0):
  fitted = CHINCHILLA.predict(found.params, problem.points.columns)
  zero = tuple([np.zeros(1)] * len(fitted))
  rungs = Rungs(problem.points, np.ones(14), zero, variance, freedom)
  return fitted, noise.measured(problem, fitted, rungs)


def drawn(problem, found, resamples=2000, seed=0, **seeds):
  fitted, scatter = about(problem, found, **seeds)
  rng = np.random.default_rng(seed)
  draws = bootstrap.noise_draws(problem, fitted, scatter, resamples, rng)
  return bootstrap.bootstrap(problem, found.theta, draws)


@pytest.fixture(scope='module')
def problem(truth, ladder):
  return problem_of(ladder(truth, NOISE, np.random.default_rng(0)))


@pytest.fixture(scope='module')
def found(problem):
  return estimate(problem)


def test_residual_variance_by_hand(as_points, ladder, truth):
  problem = problem_of(ladder(truth).take(range(7)))
  scatter = np.exp([1, -1, 0, 0, 0, 0, 0])
  rungs = average_seeds(problem.points, ('params', 'tokens'))
  measured = noise.measured(problem, problem.points.value * scatter, rungs)
  # Two squared residuals of 1 over 7 - 5 degrees of freedom.
  assert measured.variance == pytest.approx(1.0)
  assert measured.freedom == 2


def test_spread_is_that_of_the_linearised_law(problem, found):
  """Parameters in the limit of small noise: t about the fit, by theory."""
  small = problem.points.take(range(14))
  fitted = CHINCHILLA.predict(found.params, small.columns)
  small.value[:] = fitted * (small.value / fitted) ** 1e-3
  small = problem_of(small)
  at = estimate(small)
  samples = drawn(small, at).samples
  jacobian = np.empty((14, 5))
  for column in range(5):
    step = at.params * (np.arange(5) == column) * 1e-5
    up, down = (
      np.log(CHINCHILLA.predict(p, small.points.columns))
      for p in (at.params + step, at.params - step)
    )
    jacobian[:, column] = (up - down) / (2 * step[column])
  variance = about(small, at)[1].variance
  spread = np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)) * variance)
  low, high = np.quantile(samples, [0.05, 0.95], axis=0)
  expected = stats.t.ppf(0.95, 14 - 5) * spread
  np.testing.assert_allclose((high - low) / 2, expected, rtol=0.08)


def test_seed_noise_is_the_least_noise(problem, found):
  quiet = drawn(problem, found, 200)
  loud = drawn(problem, found, 200, variance=0.02**2, freedom=4)
  residual = about(problem, found)[1].residual
  ratio = np.median(loud.noise) / np.median(quiet.noise)
  assert ratio == pytest.approx(0.02 / residual**0.5)
  lower = drawn(problem, found, 200, variance=1e-12, freedom=4)
  np.testing.assert_array_equal(lower.noise, quiet.noise)


def test_draws_repeat_by_seed(problem, found):
  one, two, other = (drawn(problem, found, 50, seed=s) for s in (3, 3, 4))
  np.testing.assert_array_equal(one.samples, two.samples)
  assert not np.array_equal(one.samples, other.samples)


def test_refits_converge_where_the_law_is_hardly_identified(ladder):
  """No E to be found, and noise far above Huber's delta: flat with kinks."""
  nearly_flat = np.array([0.0, 5.9, 3.2e4, 0.04, 0.82])
  points = ladder(nearly_flat, 0.013, np.random.default_rng(0))
  problem = problem_of(points, 1e-3)
  assert drawn(problem, estimate(problem), 60).failed < 0.02


def test_rungs_seeds_and_items_each_widen_a_hierarchical_draw(
  truth, ladder, as_points
):
  """Weights of rungs are multinomial; values move by seeds and by items."""
  plain = ladder(truth)
  rows = [*range(14), 4, 4]
  value = plain.value[rows] * np.exp([0.0] * 14 + [0.03, -0.03])
  points = as_points(
    plain['params'][rows], plain['tokens'][rows], value, [*[0] * 14, 1, 2]
  )
  points.stderr[:] = 0.01 * points.value
  rungs = average_seeds(points, ('params', 'tokens'))
  problem = problem_of(rungs.points)
  fitted, scatter = about(problem, estimate(problem))
  draws = bootstrap.hierarchical_draws(
    problem, rungs, scatter, 4000, np.random.default_rng(0)
  )
  assert np.all(np.sum(draws.weight, axis=1) == 14)
  spread = np.std(np.log(draws.value), axis=0)
  # One run: its items. Three: those over sqrt 3, and the mean of three draws
  # from deviations 0, .03, -.03, whose variance is .0006.
  expected = np.full(14, 0.01)
  expected[4] = math.sqrt(0.01**2 / 3 + 0.0006 / 3)
  np.testing.assert_allclose(spread, expected, rtol=0.06)
  assert fitted.shape == (14,)


def test_pairs_of_many_runs_agree_with_the_noise(truth, as_points, law):
  """Where noise is normal and equal the two protocols differ little."""
  rng = np.random.default_rng(0)
  n, d = np.exp(
    rng.uniform(np.log([1e7, 1e8]), np.log([1e9, 1e11]), (150, 2))
  ).T
  value = law([1.8, 480, 2100, 0.35, 0.37], n, d)
  points = as_points(n, d, value * np.exp(0.01 * rng.standard_normal(150)))
  widths = [
    np.subtract(
      *fit_law(points, resampling=r, delta=math.inf).intervals['alpha']
    )
    for r in ('noise', 'pairs')
  ]
  assert widths[1] / widths[0] == pytest.approx(1, abs=0.2)
  assert fit_law(points, resamples=8).conventions['bootstrap'] == 'pairs'


def test_forecasts_cover_as_often_as_they_say(truth, ladder, law):
  """100 ladders of 14 rungs, a new run at 4x the compute of the largest."""
  rng = np.random.default_rng(11)
  n, d = 1.58e6, 6.4e6  # twice the largest size and budget
  truth_value = law(truth, n, d)
  covered, width, count = 0, [], 100
  for trial in range(count):
    points = ladder(truth, NOISE, rng)
    fit = fit_law(points, delta=math.inf, resamples=150, seed=trial)
    run = truth_value * np.exp(NOISE * rng.standard_normal())
    score = score_forecast(forecast(fit, {'params': n, 'tokens': d}), run)
    covered += score.covered
    width.append(score.half_width_share)
  # Chance of leaving this band at a true coverage of 90% is 0.2%.
  low, high = stats.binom.ppf([0.001, 0.999], count, 0.9)
  assert low <= covered <= high, covered / count
  assert np.median(width) < 0.03


def power_of(rng, seeds, noise=0.01, params=None):
  """Runs of L = (N_c / N)^alpha with several seeds at every size."""
  n = np.geomspace(1e6, 1e9, 12) if params is None else params
  n = np.repeat(n, seeds)
  loss = (1e14 / n) ** 0.08 * np.exp(noise * rng.standard_normal(len(n)))
  return {'params': n, 'loss': loss, 'seed': np.arange(len(n)) % seeds}


def test_seeds_of_every_rung_make_rungs_that_much_surer():
  """Four seeds a rung: half the width of one, and the same noise of a run."""
  rng = np.random.default_rng(0)
  widths, noises = [], []
  for seeds in (1, 4):
    fits = [
      fit_law(
        power_of(rng, seeds), 'kaplan_params', delta=math.inf, resamples=200
      )
      for _ in range(12)
    ]
    widths.append(
      np.mean([np.subtract(*f.intervals['alpha_N'][::-1]) for f in fits])
    )
    noises.append(np.mean([np.median(f.noise) for f in fits]))
  assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)
  assert noises == pytest.approx([0.01, 0.01], rel=0.2)


def test_runs_of_other_lengths_are_no_seeds():
  rng = np.random.default_rng(0)
  frame = power_of(rng, 3)
  frame |= {'tokens': np.tile([1e9, 2e9, 4e9], 12)}
  fit = fit_law(frame, 'kaplan_params', resamples=8)
  assert fit.n == 36
  assert fit.conventions['seed_noise'] == 'not measured'


def test_a_quantile_is_drawn_about_itself():
  """Of a skewed scatter: the fit lies within its own interval."""
  rng = np.random.default_rng(0)
  frame = power_of(rng, 1, params=np.geomspace(1e6, 1e9, 60))
  options = {'delta': 1e-6, 'quantile': 0.9}
  fit = fit_law(frame, 'kaplan_params', **options, resamples=200)
  assert fit.conventions['bootstrap'] == 'pairs'
  told = forecast(fit, {'params': 3e7})
  law_alone = (fit.samples[:, 0] / 3e7) ** fit.samples[:, 1]
  low, high = np.quantile(law_alone, [0.05, 0.95])
  assert low <= told.value <= high
  with pytest.raises(UserError, match='resampling = noise: for quantile'):
    fit_law(frame, 'kaplan_params', **options, resampling='noise')


def test_fits_of_two_laws_are_drawn_apart(as_scores):
  rng = np.random.default_rng(0)
  one = fit_law(power_of(rng, 1), 'kaplan_params', resamples=400)
  x = np.linspace(2, 5, 12)
  score = 0.6 / (1 + np.exp(2.5 * (x - 3.2))) + 0.25
  scores = as_scores(x, score + 0.02 * rng.standard_normal(12))
  two = fit_law(scores, 'sigmoid', fixed={'b': 0.25}, resamples=400)
  correlation = np.corrcoef(
    one.noise, np.hypot(two.noise, np.median(scores.stderr))
  )[0, 1]
  assert abs(correlation) < 0.2
