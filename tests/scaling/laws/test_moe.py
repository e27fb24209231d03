import numpy as np
import pytest
from scipy import optimize

from scaling.estimate import Problem, estimate
from scaling.fit import fit_law
from scaling.laws.moe import MOE, saturated
from scaling.objective import Objective
from scaling.table import from_columns

# Clark et al. 2022, table 3.
S_BASE = np.array([-0.082, -0.108, 0.009, 1.104, 1.847, 314.478])
HASH = np.array([-0.087, -0.136, 0.012, 1.157, 4.175, 477.741])
N = np.repeat([1.5e7, 5.5e7, 1.3e8, 3.7e8, 1.3e9], 6)
E = np.tile([1.0, 4.0, 16.0, 64.0, 256.0, 512.0], 5)
AT = {'params': N, 'experts': E}


def optimum(columns):
  points = from_columns(columns, MOE.inputs)
  ones = np.ones(len(points))
  return estimate(Problem(MOE, points, Objective(), 'log', ones, {}))


def test_by_hand():
  # 1 / (1 / 2 - 1 / 10) = 2.5, so E^ = 1 / (1 / (8.5 - 1 + 2.5) + 1 / 10) = 5;
  # 10^(-.5 2 + .1 log 5 + .05 2 log 5 + 1) = 5^.2
  params = np.array([-0.5, 0.1, 0.05, 1.0, 2.0, 10.0])
  value = MOE.predict(params, {'params': [100.0], 'experts': [8.5]})
  np.testing.assert_allclose(value, [5**0.2])


def test_one_expert_counts_as_the_start_and_endlessly_many_as_the_end():
  experts = np.array([1.0, 1e15])
  np.testing.assert_allclose(saturated(experts, 1.847, 314.478), S_BASE[4:])


def test_one_expert_is_nearly_the_dense_model_of_the_paper():
  # Table 3 has it too: (3.568e13 / N)^.078.
  value = MOE.predict(S_BASE, {'params': N, 'experts': np.ones_like(N)})
  np.testing.assert_allclose(value, (3.568e13 / N) ** 0.078, rtol=0.02)


@pytest.mark.parametrize('truth', [S_BASE, HASH])
def test_noise_free_data_give_the_law_back_in_any_unit(truth):
  value = MOE.predict(truth, AT)
  found = optimum({**AT, 'loss': value})
  assert found.converged
  np.testing.assert_allclose(found.params, truth, rtol=1e-3)
  # In billions of parameters and bits.
  bits = value / np.log(2)
  other = optimum({'params': N / 1e9, 'experts': E, 'loss': bits})
  a, b, c, d, *ends = other.params
  back = [a, b - 9 * c, c, d - 9 * a + np.log10(np.log(2)), *ends]
  np.testing.assert_allclose(back, truth, rtol=1e-3)
  np.testing.assert_allclose(other.theta, found.theta, rtol=1e-6)


def test_no_start_of_scipy_finds_a_better_optimum():
  rng = np.random.default_rng(1)
  value = MOE.predict(S_BASE, AT) * np.exp(0.003 * rng.standard_normal(30))
  found = optimum({**AT, 'loss': value})

  def residuals(x):
    a, b, c, d, log_start, log_end = x
    part = 1 / (np.exp(-log_start) - np.exp(-log_end))
    log_e = -np.log10(1 / (E - 1 + part) + np.exp(-log_end))
    log_n = np.log10(N)
    fitted = a * log_n + b * log_e + c * log_n * log_e + d
    return np.log(10) * (fitted - np.log10(value))

  truth = np.array([*S_BASE[:4], *np.log(S_BASE[4:])])
  best = min(
    optimize.least_squares(residuals, truth * rng.uniform(0.7, 1.3, 6)).cost
    for _ in range(8)
  )
  assert found.objective == pytest.approx(best, rel=1e-6)


def test_experts_that_do_not_saturate_leave_the_end_open():
  few = {'params': N, 'experts': np.tile([1.0, 2.0, 3.0, 4.0, 6.0, 8.0], 5)}
  rng = np.random.default_rng(2)
  value = MOE.predict(S_BASE, few) * np.exp(0.003 * rng.standard_normal(30))
  fit = fit_law({**few, 'loss': value}, MOE, resamples=100)
  assert 'E_max' in fit.flat
