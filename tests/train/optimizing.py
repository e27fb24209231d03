"""What tests of optimizers share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train.optimizer import make_optimizer
from train.optimizer_config import OptimizerConfig

PLAIN = OptimizerConfig(
  learning_rate=1.0,
  b1=0.9,
  b2=0.99,
  eps=1e-8,
  weight_decay=0.0,
  clip_norm=0.0,
)


def ones_of(params):
  """A multiplier of 1 for each."""
  return jax.tree.map(lambda _: 1.0, params)


def random_tree(shapes, seed=0):
  """Standard normal arrays for a tree of shapes."""
  random = np.random.default_rng(seed)
  return jax.tree.map(
    lambda shape: jnp.asarray(random.normal(size=shape), jnp.float32),
    shapes,
    is_leaf=lambda x: isinstance(x, tuple),
  )


def some_params(seed=0):
  """A stacked matrix, a stacked kernel of attention, a table and vectors."""
  layers = {
    'attention': {'query': {'kernel': (2, 6, 2, 4)}},
    'ffn': {'up': {'kernel': (2, 6, 10)}},
    'ffn_norm': {'scale': (2, 6)},
  }
  return random_tree(
    {'decoder': {'layers': layers}, 'embedding': {'table': (8, 6)}}, seed
  )


@functools.cache
def stepper(config):
  """The first state of parameters, and a compiled step.

  A step takes parameters, their state, gradients, the learning rate, what each
  parameter's is multiplied by and the weight decay, and gives the next of the
  first two.
  """

  @jax.jit
  def step(params, state, grads, rate=1.0, multiplier=1.0, decay=0.0):
    optimizer = make_optimizer(
      dataclasses.replace(config, weight_decay=decay),
      lambda params: jax.tree.map(lambda _: multiplier, params),
    )
    updates, state = optimizer(rate).update(grads, state, params)
    return optax.apply_updates(params, updates), state

  return make_optimizer(config, ones_of)(0.0).init, step


def after_one(config, grads, params, *numbers):
  """Parameters after a first step; `numbers` are the last ones of a step."""
  init, step = stepper(config)
  return step(params, init(params), grads, *numbers)[0]


def by_name(tree):
  """Leaves by path, keys joined by '/'."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def zeros_like(tree):
  """Zeros of the same shapes."""
  return jax.tree.map(jnp.zeros_like, tree)
