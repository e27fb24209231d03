"""Rotary positions."""

import jax
import jax.numpy as jnp


def rotate(
  x_BxLxHxDh: jax.Array, positions_BxL: jax.Array, theta: float
) -> jax.Array:
  """Rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34).

  Turns the pair (x_i, x_{i + Dh/2}) by the angle position * theta^(-2i/Dh).
  The dot product of two turned vectors depends on their distance alone.

  Args:
    x_BxLxHxDh: queries or keys; Dh is even.
    positions_BxL: integers from 0.
    theta: base of the wavelengths.

  Returns:
    The turned vectors, in the dtype of the input, computed in float32.
  """
  half = x_BxLxHxDh.shape[-1] // 2
  frequencies = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angles = positions_BxL[..., None, None].astype(jnp.float32) * frequencies
  cos, sin = jnp.cos(angles), jnp.sin(angles)
  first, second = jnp.split(x_BxLxHxDh.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )
  return turned.astype(x_BxLxHxDh.dtype)
