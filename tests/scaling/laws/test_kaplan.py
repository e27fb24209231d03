import math

import numpy as np
import pytest
from scipy import optimize, special

from scaling import trust
from scaling.estimate import Problem, estimate
from scaling.laws import kaplan
from scaling.objective import Objective

# Kaplan et al. 2020, figure 1 and table 2.
PUBLISHED = {
  'kaplan_params': ([8.8e13, 0.076], 'params'),
  'kaplan_tokens': ([5.4e13, 0.095], 'tokens'),
  'kaplan_compute': ([3.1e8, 0.050], 'flops'),
}
BOTH = np.array([6.4e13, 1.8e13, 0.076, 0.103])
N = np.repeat(np.geomspace(1e6, 1e9, 6), 4)
D = np.tile(np.geomspace(2e7, 2e10, 4), 6)
AT = {'params': N, 'tokens': D, 'flops': 6 * N * D}
SINGLE = {
  law.name: law
  for law in (kaplan.KAPLAN_PARAMS, kaplan.KAPLAN_TOKENS, kaplan.KAPLAN_COMPUTE)
}
WITH_OFFSET = {
  'kaplan_params': kaplan.KAPLAN_PARAMS_OFFSET,
  'kaplan_tokens': kaplan.KAPLAN_TOKENS_OFFSET,
  'kaplan_compute': kaplan.KAPLAN_COMPUTE_OFFSET,
}


def problem_of(law, points, delta):
  ones = np.ones(len(points))
  return Problem(law, points, Objective(delta), 'log', ones, {})


@pytest.mark.parametrize(
  'name, x, loss',
  [
    # 10^(.076 (13.944483 - 9.176091)) and likewise
    ('kaplan_params', 1.5e9, 10**0.36239776),
    ('kaplan_tokens', 2.2e10, 10**0.32204683),
    ('kaplan_compute', 1.0, 10**0.42456809),
  ],
)
def test_published_constants_by_hand(name, x, loss):
  params, column = PUBLISHED[name]
  value = SINGLE[name].predict(np.array(params), {column: [x]})
  np.testing.assert_allclose(value, [loss], rtol=1e-6)
  value = WITH_OFFSET[name].predict(np.array([1.5, *params]), {column: [x]})
  np.testing.assert_allclose(value, [1.5 + loss], rtol=1e-6)


def test_both_inputs_by_hand():
  # ((16 / 4)^(.5 / .25) + 9 / 1)^.25 = (16 + 9)^.25
  at = {'params': [4.0], 'tokens': [1.0]}
  value = kaplan.KAPLAN.predict(np.array([16, 9, 0.5, 0.25]), at)
  np.testing.assert_allclose(value, [math.sqrt(5)])
  value = kaplan.KAPLAN_OFFSET.predict(np.array([2, 16, 9, 0.5, 0.25]), at)
  np.testing.assert_allclose(value, [2 + math.sqrt(5)])


def test_one_input_without_end_leaves_the_law_of_the_other():
  N_c, D_c, alpha_N, alpha_D = BOTH
  without_end = np.full_like(N, 1e40)
  value = kaplan.KAPLAN.predict(BOTH, {'params': without_end, 'tokens': D})
  alone = kaplan.KAPLAN_TOKENS.predict(np.array([D_c, alpha_D]), {'tokens': D})
  np.testing.assert_allclose(value, alone, rtol=1e-12)
  value = kaplan.KAPLAN.predict(BOTH, {'params': N, 'tokens': without_end})
  alone = kaplan.KAPLAN_PARAMS.predict(np.array([N_c, alpha_N]), {'params': N})
  np.testing.assert_allclose(value, alone, rtol=1e-12)


@pytest.mark.parametrize(
  'law, truth',
  [
    (kaplan.KAPLAN_PARAMS, [8.8e13, 0.076]),
    (kaplan.KAPLAN_PARAMS_OFFSET, [1.2, 8.8e13, 0.076]),
    (kaplan.KAPLAN_COMPUTE_OFFSET, [1.7, 3e19, 0.16]),
    (kaplan.KAPLAN, BOTH),
    (kaplan.KAPLAN_OFFSET, [1.4, 2e8, 9e9, 0.33, 0.4]),
  ],
)
def test_noise_free_data_give_the_law_back_in_any_unit(law, truth, as_points):
  value = law.predict(np.array(truth), AT)
  found = estimate(problem_of(law, as_points(N, D, value), math.inf))
  assert found.converged
  np.testing.assert_allclose(np.log(found.params), np.log(truth), rtol=1e-3)
  # Parameters in billions; FLOPs, 6 N D here, follow.
  points = as_points(N / 1e9, D, value)
  other = estimate(problem_of(law, points, math.inf))
  in_billions = {'N_c', 'C_c', 'A'}
  unit = [1e9 if name in in_billions else 1.0 for name in law.params]
  np.testing.assert_allclose(other.params * unit, found.params, rtol=1e-3)
  np.testing.assert_allclose(other.theta, found.theta, rtol=1e-6)


def test_a_single_law_is_a_line_in_logs(as_points):
  rng = np.random.default_rng(0)
  truth = np.array(PUBLISHED['kaplan_params'][0])
  loss = kaplan.KAPLAN_PARAMS.predict(truth, AT)
  points = as_points(N, D, loss * np.exp(0.02 * rng.standard_normal(24)))
  found = estimate(problem_of(kaplan.KAPLAN_PARAMS, points, math.inf))
  design = np.column_stack([np.ones(24), np.log(N)])
  (level, slope), *_ = np.linalg.lstsq(design, np.log(points.value))
  assert found.params[1] == pytest.approx(-slope, rel=1e-5)
  assert np.log(found.params[0]) == pytest.approx(-level / slope, rel=1e-5)


def _loss(offset, theta):
  """The law of N and D with its constants as logs."""
  log_A, log_B, alpha, beta = theta
  logs = [(log_A - np.log(N)) * alpha / beta, log_B - np.log(D)]
  return offset + np.exp(beta * special.logsumexp(logs, axis=0))


@pytest.mark.parametrize('delta', [1e-3, 1e6])
@pytest.mark.parametrize('law', [kaplan.KAPLAN, kaplan.KAPLAN_OFFSET])
def test_no_start_of_scipy_finds_a_better_optimum(law, delta, as_points):
  rng = np.random.default_rng(3)
  truth = np.array([1.4, 2e8, 9e9, 0.33, 0.4])[-len(law.params) :]
  value = law.predict(truth, AT) * np.exp(0.01 * rng.standard_normal(24))
  found = estimate(problem_of(law, as_points(N, D, value), delta))

  def objective(x):
    offset = x[:-4]
    if min(*x[-2:], *offset) <= 0:
      return np.inf
    off = np.log(_loss(sum(offset), x[-4:]) / value)
    return np.sum(special.huber(delta, off))

  def start_of(params):
    return np.array([*params[:-4], *np.log(params[-4:-2]), *params[-2:]])

  here = start_of(found.params)
  assert found.objective == pytest.approx(objective(here), rel=1e-9)
  starts = [
    start_of(truth) * rng.uniform(0.8, 1.2, len(truth)) for _ in range(4)
  ]
  best = min(
    optimize.minimize(
      objective, x, method='Nelder-Mead', options={'maxiter': 2000}
    ).fun
    for x in [here, *starts]
  )
  assert found.objective <= best * (1 + 1e-9)


def test_terms_that_are_not_there_are_told(as_points):
  truth = np.array([0.0, 6.4e13, 1.8e13, 0.076, 0.103])
  points = as_points(N, D, kaplan.KAPLAN_OFFSET.predict(truth, AT))
  problem = problem_of(kaplan.KAPLAN_OFFSET, points, math.inf)
  (told,) = trust.at_bounds(problem, estimate(problem)).values()
  assert told.startswith('E -> 0')
  law = kaplan.KAPLAN
  units = law.units(AT, points.value)
  theta = law.scaled(np.array([1e-6, 1.8e13, 0.076, 0.103]), units)
  x = {name: AT[name] / units[name] for name in law.inputs}
  assert law.vanished(theta, x, points.value / units['value']) == ['N_c']
