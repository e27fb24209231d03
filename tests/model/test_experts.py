"""The mixture of experts against loops written out, and by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import model as base
from configs.tree import to_dataclass
from model.config import ModelConfig
from model.experts import LOSSES, Experts
from train.losses import router_loss

TINY = to_dataclass(
  ModelConfig,
  {
    **base.get_config(),
    'width': 6,
    'ffn_width': 10,
    'num_experts': 5,
    'experts_per_token': 2,
  },
)
ROUTER = np.random.default_rng(5).normal(size=(6, 5))


@pytest.fixture(scope='module')
def params():
  random = np.random.default_rng(0)
  shapes = {'gate': (5, 6, 10), 'up': (5, 6, 10), 'down': (5, 10, 6)}
  found = {k: random.normal(size=shape) for k, shape in shapes.items()}
  tree = {**found, 'router': {'kernel': ROUTER}}
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


@pytest.fixture(scope='module')
def x():
  return jax.random.normal(jax.random.key(1), (3, 7, 6))


def _apply(config, params, x):
  out, sown = Experts(config).apply({'params': params}, x, mutable=[LOSSES])
  return np.asarray(out), {k: float(v[0]) for k, v in sown[LOSSES].items()}


def _silu(x):
  return x / (1 + np.exp(-x))


def _loop(params, x, k, capacity=None):
  """Every expert of every token in turn; rows fill their queues alone."""
  params = jax.tree.map(np.asarray, params)
  x = np.asarray(x)
  out = np.zeros_like(x)
  logits = x @ params['router']['kernel']
  shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  for row in range(len(x)):
    taken = np.zeros(shares.shape[-1], int)
    best = np.argsort(-shares[row], axis=-1)[:, :k]
    for place in range(x.shape[1]):
      chosen = shares[row, place, best[place]]
      for expert, share in zip(best[place], chosen, strict=True):
        taken[expert] += 1
        if capacity is not None and taken[expert] > capacity:
          continue
        h = x[row, place]
        inner = _silu(h @ params['gate'][expert]) * (h @ params['up'][expert])
        out[row, place] += (
          share / chosen.sum() * (inner @ params['down'][expert])
        )
  return out


@pytest.mark.parametrize('k', [1, 2, 5])
def test_dropless_is_a_loop_over_experts(params, x, k):
  config = dataclasses.replace(TINY, experts_per_token=k)
  found, _ = _apply(config, params, x)
  np.testing.assert_allclose(found, _loop(params, x, k), rtol=1e-4, atol=1e-4)


def test_with_capacity_early_tokens_go_first(params, x):
  config = dataclasses.replace(TINY, expert_capacity=0.7)
  capacity = int(np.ceil(0.7 * 2 * 7 / 5))
  found, _ = _apply(config, params, x)
  expected = _loop(params, x, 2, capacity)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
  assert not np.allclose(found, _loop(params, x, 2), rtol=1e-2)


@pytest.mark.parametrize('capacity', [0.0, 0.5, 1.0])
def test_no_token_depends_on_later_ones(params, capacity):
  config = dataclasses.replace(TINY, expert_capacity=capacity)
  x = jax.random.normal(jax.random.key(2), (8, 32, 6))
  changed = x.at[:, 16:].set(jax.random.normal(jax.random.key(3), (8, 16, 6)))
  found = [_apply(config, params, one)[0] for one in (x, changed)]
  np.testing.assert_allclose(found[0][:, :16], found[1][:, :16], atol=1e-5)
  assert not np.allclose(found[0][:, 16:], found[1][:, 16:])


def test_room_for_all_is_dropless(params, x):
  roomy = dataclasses.replace(TINY, expert_capacity=5.0)
  both = [_apply(config, params, x)[0] for config in (TINY, roomy)]
  np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-4)


def test_gradients_of_both_ways_agree(params, x):
  def total(params, config):
    out, _ = Experts(config).apply({'params': params}, x, mutable=[LOSSES])
    return jnp.sum(jnp.sin(out))

  roomy = dataclasses.replace(TINY, expert_capacity=5.0)
  found = [jax.grad(total)(params, config) for config in (TINY, roomy)]

  def near(a, b):
    # A sum of large terms is as precise as they are.
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())

  jax.tree.map(near, *found)


def test_losses_by_hand():
  """Two tokens, two experts, one choice each.

  Logits (ln 3, 0) and (ln 4, 0): both choose the first, with probabilities 3/4
  and 4/5. balance = 2 * (1 * (3/4 + 4/5) / 2 + 0); z = (ln^2 4 + ln^2 5) / 2.
  """
  config = dataclasses.replace(
    TINY, width=1, num_experts=2, experts_per_token=1, activation='relu'
  )
  params = {
    'router': {'kernel': jnp.array([[1.0, 0.0]])},
    'up': jnp.zeros((2, 1, 10)),
    'down': jnp.zeros((2, 10, 1)),
  }
  x = jnp.log(jnp.array([3.0, 4.0])).reshape(1, 2, 1)
  _, losses = _apply(config, params, x)
  assert losses['balance'] == pytest.approx(1.55)
  z = (np.log(4) ** 2 + np.log(5) ** 2) / 2
  assert losses['z'] == pytest.approx(z)
  sown = {'layers': {'ffn': {'balance': (jnp.array([1.0, 3.0]),), 'z': (4.0,)}}}
  config = dataclasses.replace(config, router_balance=0.5, router_z=0.25)
  assert router_loss(sown, config) == pytest.approx(0.5 * 2 + 0.25 * 4)


def test_even_use_is_a_balance_of_one(params):
  config = dataclasses.replace(TINY, experts_per_token=5)
  x = jnp.zeros((1, 3, 6))
  assert _apply(config, params, x)[1]['balance'] == pytest.approx(1.0)
