"""Schedules against their formulas, AdamW against a hand computation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.optimizer import learning_rate, make_optimizer
from train.optimizer_config import OptimizerConfig, ScheduleConfig

ADAMW = OptimizerConfig(
  learning_rate=0.5, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.1, clip_norm=1e9
)


def _ones(params):
  return jax.tree.map(lambda _: 1.0, params)


def _rates(kind, num_steps, **changes):
  values = {'warmup_steps': 4, 'decay_steps': 5, 'final_ratio': 0.0} | changes
  schedule = ScheduleConfig(kind=kind, **values)
  return [
    learning_rate(ADAMW, schedule, s, num_steps) for s in range(num_steps)
  ]


def test_wsd_warms_up_stays_and_decays_to_nothing():
  rates = np.array(_rates('wsd', 20))
  np.testing.assert_allclose(rates[:4], 0.5 * np.arange(1, 5) / 5)
  np.testing.assert_allclose(rates[4:15], 0.5)
  np.testing.assert_allclose(rates[15:], 0.5 * np.arange(5, 0, -1) / 6)


def test_wsd_runs_of_two_lengths_agree_until_the_shorter_decays():
  assert _rates('wsd', 20)[:15] == _rates('wsd', 40)[:15]
  assert _rates('wsd', 20)[15] != _rates('wsd', 40)[15]


def test_cosine_agrees_with_optax():
  rates = _rates('cosine', 30, final_ratio=0.1)[4:]
  expected = optax.cosine_decay_schedule(0.5, 26, alpha=0.1)
  np.testing.assert_allclose(
    rates, [expected(step) for step in range(26)], rtol=1e-6
  )


def test_updates_agree_with_adamw_and_spare_norms():
  params = {
    'kernel': jnp.array([1.0, -2.0]),
    'scale': jnp.array([3.0]),
  }
  ours = make_optimizer(ADAMW, _ones)
  theirs = optax.adamw(0.5, 0.9, 0.99, 1e-8, weight_decay=0.1)
  plain = optax.adam(0.5, 0.9, 0.99, 1e-8)
  states = [o.init(params) for o in (ours, theirs, plain)]
  for step in range(3):
    grads = {'kernel': jnp.array([0.3, step]), 'scale': jnp.array([-0.2])}
    updates = []
    for index, optimizer in enumerate((ours, theirs, plain)):
      update, states[index] = optimizer.update(grads, states[index], params)
      updates.append(update)
    np.testing.assert_allclose(
      -0.5 * updates[0]['kernel'], updates[1]['kernel'], rtol=1e-6
    )
    np.testing.assert_allclose(
      -0.5 * updates[0]['scale'], updates[2]['scale'], rtol=1e-6
    )


def test_rates_multiply_updates_but_not_the_decay():
  params = {'kernel': jnp.array([2.0]), 'table': jnp.array([2.0])}
  ours = make_optimizer(ADAMW, lambda _: {'kernel': 0.25, 'table': 1.0})
  grads = {name: jnp.array([0.3]) for name in params}
  updates, _ = ours.update(grads, ours.init(params), params)
  # Adam's first update is the sign of the gradient; 0.1 of 2 decays.
  assert float(updates['kernel'][0]) == pytest.approx(0.25 + 0.2)
  assert float(updates['table'][0]) == pytest.approx(1 + 0.2)


@pytest.mark.parametrize(('norm', 'clipped'), [(0.5, 0.5), (5.0, 1.0)])
def test_gradients_are_clipped_by_their_global_norm(norm, clipped):
  config = OptimizerConfig(0.1, 0.0, 0.0, 1e-8, 0.0, 1.0)
  ours = make_optimizer(config, _ones)
  params = {'a': jnp.zeros(2), 'b': jnp.zeros(2)}
  grads = {'a': jnp.array([norm, 0.0]), 'b': jnp.zeros(2)}
  _, state = ours.update(grads, ours.init(params), params)
  assert float(state[1].mu['a'][0]) == pytest.approx(clipped)
