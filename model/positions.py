"""Where a token stands: rotary, sinusoidal and relative positions."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from model.config import ModelConfig


def rotary_frequencies(config: ModelConfig) -> np.ndarray:
  """Radians a token of each pair of dimensions, float32 [rotary width / 2].

  theta^(-2i/R) (Su et al. 2021, arXiv:2104.09864). With `rope_factor` f above
  1, as Llama 3.1 has it, a frequency that turns fewer than
  `rope_low_frequency` times in `rope_original_length` tokens is divided by f,
  one that turns more than `rope_high_frequency` times is kept, and between the
  two the divisor is interpolated.
  """
  c = config
  half = c.rotary_width // 2
  frequencies = c.rope_theta ** (-np.arange(half) / half)
  if c.rope_factor != 1:
    turns = c.rope_original_length * frequencies / (2 * math.pi)
    low, high = c.rope_low_frequency, c.rope_high_frequency
    kept = np.clip((turns - low) / (high - low), 0, 1)
    frequencies *= kept + (1 - kept) / c.rope_factor
  return frequencies.astype(np.float32)


def rotate(
  x_BxLxHxDh: jax.Array, positions_BxL: jax.Array, frequencies: np.ndarray
) -> jax.Array:
  """Rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34).

  Turns the pair (x_i, x_{i + R/2}) by the angle position * frequency_i, where
  R is the width that is turned; dimensions from R on stay as they are. The dot
  product of two turned vectors depends on their distance alone.

  Args:
    x_BxLxHxDh: queries or keys.
    positions_BxL: integers from 0.
    frequencies: [R / 2], as from `rotary_frequencies`.

  Returns:
    The turned vectors, in the dtype of the input, computed in float32.
  """
  half = len(frequencies)
  angles = positions_BxL[..., None, None].astype(jnp.float32) * frequencies
  cos, sin = jnp.cos(angles), jnp.sin(angles)
  x = x_BxLxHxDh.astype(jnp.float32)
  first, second, rest = jnp.split(x, [half, 2 * half], axis=-1)
  turned = jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin, rest], axis=-1
  )
  return turned.astype(x_BxLxHxDh.dtype)


def sinusoidal(positions_BxL: jax.Array, width: int) -> jax.Array:
  """Sines and cosines of positions, float32 [B, L, D].

  PE(p, 2i) = sin(p / 10000^(2i/D)), PE(p, 2i + 1) = cos of the same (Vaswani et
  al. 2017, section 3.5).
  """
  frequencies = 10_000.0 ** (-np.arange(0, width, 2) / width)
  angles = positions_BxL[..., None].astype(jnp.float32) * frequencies
  waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  return waves.reshape(*positions_BxL.shape, width)


def relative_bucket(
  distance: jax.Array, buckets: int, max_distance: int, bidirectional: bool
) -> jax.Array:
  """The bucket of each distance key - query (Raffel et al. 2020, section 2.1).

  Half of the buckets hold one distance each; the others grow in logarithmic
  steps up to `max_distance`, and the last one holds all beyond. With
  `bidirectional`, keys after the query have the second half of all buckets to
  themselves; without, they count as distance 0.
  """
  offset = jnp.zeros_like(distance)
  if bidirectional:
    buckets //= 2
    offset = jnp.where(distance > 0, buckets, 0)
    distance = jnp.abs(distance)
  else:
    distance = -jnp.minimum(distance, 0)
  exact = buckets // 2
  # Distances below `exact` are not read off the logarithm.
  ratio = jnp.maximum(distance, exact).astype(jnp.float32) / exact
  steps = jnp.log(ratio) / math.log(max_distance / exact) * (buckets - exact)
  far = jnp.minimum(exact + steps.astype(jnp.int32), buckets - 1)
  return offset + jnp.where(distance < exact, distance, far)
