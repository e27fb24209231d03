"""Dropout where a random number generator for it is given."""

import jax
import jax.numpy as jnp
from flax import linen as nn

RNG = 'dropout'


def drops(module: nn.Module, rate: float) -> bool:
  """Whether `dropout` zeroes anything there."""
  return rate > 0 and module.has_rng(RNG)


def dropout(module: nn.Module, x: jax.Array, rate: float) -> jax.Array:
  """Zeroes elements with probability `rate` and scales the others up.

  Srivastava et al. 2014. Training hands `apply` a generator named 'dropout';
  evaluation hands it none, and then x is returned as it is.
  """
  if not drops(module, rate):
    return x
  keep = jax.random.bernoulli(module.make_rng(RNG), 1 - rate, x.shape)
  return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))
