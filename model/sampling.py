"""Which token comes next, given scores of all."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Sampling(NamedTuple):
  """How a token is drawn; numbers or scalars, so that one program serves all.

  Attributes:
    temperature: logits are divided by it; 0 takes the likeliest token.
    top_k: only the k likeliest tokens are drawn from; 0 = all.
    top_p: of these, only the fewest likeliest whose probabilities add up to p
      (nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751); 1.0 = all.
  """

  temperature: jax.Array | float = 1.0
  top_k: jax.Array | int = 0
  top_p: jax.Array | float = 1.0


def kept_logits(logits_BxV: jax.Array, sampling: Sampling) -> jax.Array:
  """Logits over the temperature, -inf for tokens that are not drawn from.

  Of equally likely tokens at the border, all are kept.

  Args:
    logits_BxV: of the next token.
    sampling: of a temperature above 0.
  """
  logits = logits_BxV / sampling.temperature

  def cut() -> jax.Array:
    ranked = jnp.flip(jnp.sort(logits, axis=-1), axis=-1)
    rank = jnp.arange(ranked.shape[-1])
    within_k = (rank < sampling.top_k) | (sampling.top_k == 0)
    shares = jax.nn.softmax(jnp.where(within_k, ranked, -jnp.inf), axis=-1)
    before = jnp.cumsum(shares, axis=-1) - shares
    within = within_k & ((before < sampling.top_p) | (rank == 0))
    least = jnp.min(jnp.where(within, ranked, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= least, logits, -jnp.inf)

  # Sorting all tokens takes far longer than drawing one.
  keeps_all = (sampling.top_k == 0) & (sampling.top_p >= 1)
  return jax.lax.cond(keeps_all, lambda: logits, cut)


def draw(
  logits_BxV: jax.Array, sampling: Sampling, keys_B: jax.Array
) -> jax.Array:
  """A token [B] of each row, by a random key of its own."""

  def drawn() -> jax.Array:
    kept = kept_logits(logits_BxV, sampling)
    return jax.vmap(jax.random.categorical)(keys_B, kept)

  return jax.lax.cond(
    jnp.asarray(sampling.temperature) > 0,
    drawn,
    lambda: jnp.argmax(logits_BxV, axis=-1),
  )
