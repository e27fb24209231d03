"""The multi-power law: the formula, its pieces, and its fit."""

import numpy as np
import pytest

from configs.errors import UserError
from scaling.fitted import fit_from_json
from scaling.laws.schedule import (
  MULTI_POWER,
  Curve,
  fit_schedule,
  piece_edges,
  pieces,
  schedule_loss,
)

# Of about the size that Luo et al. 2025 find for 100M parameters.
PARAMS = np.array([2.65, 0.6, 500.0, 1.2, 0.46, 0.5, 0.6])


def warm_up(rate_T, steps):
  return np.minimum(np.arange(len(rate_T)) / steps, 1.0) * rate_T


def cosine(steps, warm=100):
  phase = np.clip((np.arange(steps) - warm) / (steps - warm), 0, 1)
  return warm_up(3e-5 + 1.35e-4 * 2 * (1 + np.cos(np.pi * phase)) / 2, warm)


def two_stage(steps, warm=100):
  at = np.arange(steps)
  return warm_up(np.where(at < steps // 2, 3e-4, 9e-5), warm)


def written_out(params, rate, step):
  """The law as a double loop."""
  L0, A, B, C, alpha, beta, gamma = params
  loss = L0 + A * sum(rate[: step + 1]) ** -alpha
  for k in range(1, step + 1):
    x = rate[k] ** -gamma * sum(rate[k : step + 1])
    loss += B * (rate[k] - rate[k - 1]) * (1 - (1 + C * x) ** -beta)
  return loss


@pytest.mark.parametrize('schedule', [cosine, two_stage])
def test_equals_the_double_loop(schedule):
  rate = schedule(150, warm=20)
  steps = np.array([1, 7, 20, 21, 74, 75, 76, 149])
  loss = schedule_loss(PARAMS, rate, steps)
  direct = [written_out(PARAMS, rate, step) for step in steps]
  np.testing.assert_allclose(loss, direct, rtol=1e-10)


def test_a_rate_of_zero_trains_nothing():
  rate = np.concatenate([np.full(50, 3e-4), np.zeros(50)])
  loss = schedule_loss(PARAMS, rate, np.array([49, 50, 99]))
  assert np.all(loss == loss[0])


@pytest.mark.parametrize('schedule', [cosine, two_stage])
def test_pieces_cost_less_than_the_noise(schedule):
  rate = schedule(24000, warm=2160)
  steps = np.linspace(2176, 23999, 40).astype(int)
  grouped = pieces(rate, steps, piece_edges(rate, 128))
  assert grouped['change'].shape[1] < 140
  loss = MULTI_POWER.predict(PARAMS, grouped)
  np.testing.assert_allclose(
    loss, schedule_loss(PARAMS, rate, steps), atol=2e-4
  )


def test_edges_part_rises_falls_and_jumps():
  rate = np.array([0, 1, 2, 3, 3, 3, 1, 1, 1, 2, 2.0])
  edges = piece_edges(rate, 1)
  changes = pieces(rate + 1, np.array([10]), edges)['change'][0]
  assert changes[changes != 0].tolist() == [3, -2, 1]


def test_a_constant_rate_is_a_power_law():
  rate = np.full(200, 1e-3)
  steps = np.array([10, 100, 199])
  L0, A, _, _, alpha, *_ = PARAMS
  np.testing.assert_allclose(
    schedule_loss(PARAMS, rate, steps), L0 + A * (1e-3 * (steps + 1)) ** -alpha
  )


def test_units_are_undone():
  units = {'rate_sum': 2.0, 'rate': 3e-4, 'value': 3.1}
  theta = MULTI_POWER.scaled(PARAMS, units)
  np.testing.assert_allclose(MULTI_POWER.natural(theta, units), PARAMS)
  x = pieces(cosine(3000), np.array([500, 2999]), np.arange(3000))
  scaled = {
    'rate_sum': x['rate_sum'] / 2,
    'since': x['since'] / 2,
    'rate': x['rate'] / 3e-4,
    'change': x['change'] / 3e-4,
  }
  np.testing.assert_allclose(
    MULTI_POWER.curve(theta, scaled) * 3.1, MULTI_POWER.predict(PARAMS, x)
  )


def test_fit_forecasts_another_schedule():
  rng = np.random.default_rng(0)
  steps = np.arange(120, 4000, 40)
  curves = []
  for rate in (cosine(4000), two_stage(4000)):
    noise = np.exp(5e-4 * rng.standard_normal(len(steps)))
    loss = schedule_loss(PARAMS, rate, steps) * noise
    curves.append(Curve(rate, steps, loss))
  fit = fit_schedule(curves)
  assert fit.converged
  assert fit.n == 2 * len(steps)
  assert fit.intervals == {}
  # A linear decay in the last fifth, which neither run had.
  rate = cosine(4000)[100] * np.minimum(1, (4000 - np.arange(4000)) / 800)
  rate = warm_up(rate, 100)
  np.testing.assert_allclose(
    schedule_loss(fit.params_P, rate, steps),
    schedule_loss(PARAMS, rate, steps),
    rtol=2e-3,
  )
  assert fit_from_json(fit.to_json()).params == fit.params


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    ({'step_M': np.arange(10)}, 'curve 1: 10 steps and 9 losses'),
    ({'rate_T': -np.ones(20)}, 'expected rates that are finite'),
    ({'step_M': np.arange(12, 21)}, 'steps 12 to 20: expected whole numbers'),
    ({'step_M': np.arange(9) + 0.5}, 'expected whole numbers from 0 to 19'),
    ({'rate_T': np.arange(20.0), 'step_M': np.arange(9)}, 'a loss at step 0'),
    ({'loss_M': np.zeros(9)}, 'expected losses that are finite and above 0'),
    ({'step_M': np.arange(5), 'loss_M': np.ones(5)}, '5 losses for the 7'),
  ],
)
def test_mistakes_are_named(change, said):
  curve = Curve(np.ones(20), np.arange(9), np.ones(9))._replace(**change)
  with pytest.raises(UserError, match=said):
    fit_schedule([curve])


def test_a_step_beyond_the_schedule_is_refused():
  with pytest.raises(UserError, match='schedule: steps 3 to 20'):
    schedule_loss(PARAMS, np.ones(20), np.array([3, 20]))
