"""The pure step: its loss, its sums, its update."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs.tree import to_dataclass
from model.parametrization import learning_rates
from model.transformer import Decoder
from train import step as steps
from train.config import RunConfig
from train.optimizer import make_optimizer


@pytest.fixture(scope='module')
def model(tiny_config):
  config = to_dataclass(RunConfig, tiny_config).model
  return Decoder(dataclasses.replace(config, vocab_size=7, num_layers=1))


@pytest.fixture(scope='module')
def optimizer(tiny_config):
  config = to_dataclass(RunConfig, tiny_config)
  rates = functools.partial(learning_rates, config.model)
  return make_optimizer(config.optimizer, rates)


@pytest.fixture(scope='module')
def state(model, optimizer):
  init = jax.jit(lambda key: nn.unbox(steps.init_state(key, model, optimizer)))
  return init(jax.random.key(0))


def _batch(weights):
  random = np.random.default_rng(0)
  shape = weights.shape
  return {
    'tokens': jnp.asarray(random.integers(0, 7, shape)),
    'targets': jnp.asarray(random.integers(0, 7, shape)),
    'segment_ids': jnp.ones(shape, jnp.int32),
    'positions': jnp.broadcast_to(jnp.arange(shape[1]), shape),
    'weights': jnp.asarray(weights, jnp.float32),
  }


def test_loss_is_the_weighted_negative_log_likelihood(model, state):
  weights = np.array([[1, 0, 2.0], [0, 0, 1]])
  batch = _batch(weights)
  nats, weight = steps.loss_sums(state.params, batch, model)
  logits = model.apply(
    {'params': state.params},
    batch['tokens'],
    batch['segment_ids'],
    batch['positions'],
  )
  odds = np.exp(np.asarray(logits, np.float64))
  odds /= odds.sum(-1, keepdims=True)
  chosen = np.take_along_axis(odds, np.asarray(batch['targets'])[..., None], -1)
  expected = -(np.log(chosen[..., 0]) * weights).sum()
  assert float(weight) == 4
  assert float(nats) == pytest.approx(expected, rel=1e-5)


def test_bytes_are_those_of_the_weighted_targets(model, state):
  batch = _batch(np.array([[1, 0, 1.0]]))
  table = jnp.arange(7, dtype=jnp.float32) * 10
  sums = steps.eval_step(state.params, batch, table, model=model)
  targets = np.asarray(batch['targets'])[0]
  assert float(sums['bytes']) == 10 * (targets[0] + targets[2])


def test_micro_batches_of_unequal_weight_give_the_whole_batchs_update(
  model, optimizer, state
):
  weights = np.ones((4, 3))
  weights[0] = 0
  batch = _batch(weights)
  rate = jnp.float32(0.1)

  def update(accumulate_steps):
    new, metrics = steps.train_step(
      state,
      batch,
      rate,
      model=model,
      optimizer=optimizer,
      accumulate_steps=accumulate_steps,
    )
    return new.params, metrics

  whole, parts = jax.jit(lambda: (update(1), update(2)))()
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    whole,
    parts,
  )


def test_a_step_moves_against_the_learning_rate_times_the_update(
  model, optimizer, state
):
  batch = _batch(np.ones((2, 3)))

  @jax.jit
  def moved(rate):
    new, _ = steps.train_step(
      state, batch, rate, model=model, optimizer=optimizer, accumulate_steps=1
    )
    return new.params['embedding']['table'] - state.params['embedding']['table']

  one, two = moved(jnp.float32(1.0)), moved(jnp.float32(2.0))
  np.testing.assert_allclose(2 * one, two, rtol=1e-4, atol=1e-6)
  assert float(jnp.abs(one).max()) > 0.5  # Adam's first step is about 1
