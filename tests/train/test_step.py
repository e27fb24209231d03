"""The pure step: its sums, its update, and the updates it does not make."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train import step as steps
from train.config import StepConfig
from train.optimizer import make_optimizer, rates_of
from train.optimizer_config import OptimizerConfig


@pytest.fixture(scope='module')
def decoder(make_case):
  return make_case('decoder')


def test_bytes_are_those_of_the_weighted_targets(decoder):
  weights = jnp.zeros((4, 5)).at[0, jnp.array([0, 2])].set(1)
  batch = decoder.batch | {'weights': weights}
  table = jnp.arange(7, dtype=jnp.float32) * 10
  evaluate = jax.jit(functools.partial(steps.eval_step, model=decoder.model))
  sums = evaluate(decoder.params, batch, table)
  targets = np.asarray(batch['targets'])[0]
  assert float(sums['bytes']) == 10 * (targets[0] + targets[2])


def test_micro_batches_of_unequal_weight_give_the_whole_batchs_update(
  make_case,
):
  case = make_case('encoder_decoder')
  state = steps.first_state(case.params, optax.sgd)

  @jax.jit
  def update():
    new, metrics = steps.train_step(
      state,
      case.batch,
      jnp.float32(1.0),
      model=case.model,
      optimizer=optax.sgd,
      config=StepConfig(accumulate_steps=2),
    )
    return jax.tree.map(jnp.subtract, state.params, new.params), metrics['loss']

  (_, (nats, weight)), grads = case.gradients(case.batch)
  whole = jax.tree.map(lambda g: g / weight, grads), nats / weight
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    update(),
    whole,
  )


def test_a_step_moves_against_the_learning_rate_times_the_update(
  run_config, decoder
):
  rates = rates_of(decoder.model.config, run_config.optimizer)
  optimizer = make_optimizer(run_config.optimizer, rates)
  state = steps.first_state(decoder.params, optimizer)

  @jax.jit
  def moved(rate):
    new, _ = steps.train_step(
      state,
      decoder.batch,
      rate,
      model=decoder.model,
      optimizer=optimizer,
      config=StepConfig(),
    )
    return new.params['embedding']['table'] - state.params['embedding']['table']

  one, two = moved(jnp.float32(1.0)), moved(jnp.float32(2.0))
  np.testing.assert_allclose(2 * one, two, rtol=1e-4, atol=1e-6)
  assert float(jnp.abs(one).max()) > 0.5  # Adam's first step is about 1


@pytest.fixture(scope='module')
def limited(decoder):
  """Limits to the state before a step, that after it, and its metrics."""
  case = decoder
  config = OptimizerConfig(1.0, 0.9, 0.99, 1e-8, 0.1, 0.0, ema_decay=0.9)
  optimizer = make_optimizer(
    config, lambda params: jax.tree.map(lambda _: 1.0, params)
  )

  @jax.jit
  def step(state, scale, limits_2):
    batch = case.batch | {'weights': case.batch['weights'] * scale}
    return steps.train_step(
      state,
      batch,
      jnp.float32(0.1),
      None,
      limits_2,
      model=case.model,
      optimizer=optimizer,
      config=StepConfig(skip_spikes=True),
    )

  start = steps.first_state(case.params, optimizer).replace(step=jnp.int32(6))
  return start, lambda limits, scale=1.0: step(
    start, scale, jnp.asarray(limits, jnp.float32)
  )


@pytest.mark.parametrize('slack', [(1.001, np.inf), (np.inf, 1.001)])
def test_a_step_within_its_limits_is_taken(limited, slack):
  start, step = limited
  free, metrics = step([np.inf, np.inf])
  found = np.array([metrics['loss'], metrics['grad_norm']])
  after, metrics = step(found * slack)
  assert metrics['skipped'] == 0
  jax.tree.map(np.testing.assert_array_equal, after, free)
  assert after.step == start.step + 1
  apart = jax.tree.map(jnp.subtract, after.params, start.params)
  assert optax.tree.norm(apart) > 0


@pytest.mark.parametrize(
  ('slack', 'scale'),
  [((0.999, np.inf), 1.0), ((np.inf, 0.999), 1.0), ((np.inf, np.inf), np.nan)],
  ids=['loss', 'gradient', 'not finite'],
)
def test_a_spike_changes_nothing_but_the_number_of_the_step(
  limited, slack, scale
):
  start, step = limited
  _, metrics = step([np.inf, np.inf])
  found = np.array([metrics['loss'], metrics['grad_norm']])
  after, metrics = step(found * slack, scale)
  assert metrics['skipped'] == 1
  jax.tree.map(
    np.testing.assert_array_equal, after, start.replace(step=after.step)
  )
  assert after.step == start.step + 1


def test_the_average_is_evaluated_and_the_raw_parameters_are_kept(limited):
  start, step = limited
  after, _ = step([np.inf, np.inf])
  # After one update the average is of these parameters alone.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    steps.averaged(after),
    after.params,
  )
  assert steps.averaged(after) is not after.params
  plain = steps.first_state(start.params, optax.sgd)
  assert steps.averaged(plain) is plain.params
