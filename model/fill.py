"""Blanks that an encoder fills, the surest first."""

from typing import Any

import jax
import jax.numpy as jnp

from model.generate import only_known
from model.transformer import Encoder


def fill(
  params: Any,
  tokens_BxL: jax.Array,
  segment_ids_BxL: jax.Array,
  mask_id: jax.Array | int,
  num_ids: jax.Array | int,
  *,
  model: Encoder,
) -> jax.Array:
  """Tokens [B, L] without masks.

  One mask of each row is filled at a time, with the likeliest token of the
  place that the model is surest of, and the others are then predicted anew
  (easy first; compare mask-predict, Ghazvininejad et al. 2019,
  arXiv:1904.09324, which fills several at a time).

  Args:
    params: of `model`.
    tokens_BxL: with `mask_id` at the blanks.
    segment_ids_BxL: 1 for the text, 0 for padding.
    mask_id: is never filled in.
    num_ids: tokens from here on have no text, and are not filled in.
    model: with a masked-token head.
  """
  length = tokens_BxL.shape[1]
  positions = jnp.broadcast_to(jnp.arange(length), tokens_BxL.shape)

  def is_blank(tokens: jax.Array) -> jax.Array:
    return (tokens == mask_id) & (segment_ids_BxL > 0)

  def fill_one(tokens: jax.Array) -> jax.Array:
    states = model.apply(
      {'params': params}, tokens, segment_ids_BxL, positions, method='hidden'
    )
    logits: Any = model.apply({'params': params}, states, method='logits')
    allowed = jnp.arange(logits.shape[-1]) != mask_id
    logits = jnp.where(allowed, only_known(logits, num_ids), -jnp.inf)
    surest = jnp.max(jax.nn.log_softmax(logits), axis=-1)
    blank = is_blank(tokens)
    place = jnp.argmax(jnp.where(blank, surest, -jnp.inf), axis=-1)
    chosen = (jnp.arange(length) == place[:, None]) & blank
    return jnp.where(chosen, jnp.argmax(logits, axis=-1), tokens)

  return jax.lax.while_loop(
    lambda tokens: jnp.any(is_blank(tokens)), fill_one, tokens_BxL
  )
