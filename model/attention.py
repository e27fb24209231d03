"""Grouped-query attention within documents, and to another sequence."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from model import kernels
from model.config import ModelConfig
from model.divided import LAYER_INPUT, STREAM, constrained, crossing, ways
from model.dropout import dropout, drops
from model.linear import Linear, einsum
from model.masks import Mask
from model.norm import Norm
from model.parametrization import attention_scale, residual_scale
from model.positions import rotary_frequencies, rotate

# Far below any score, yet finite: a row without any key stays free of NaN.
MASKED = -1e30
_HEADS = ('batch', 'length', 'heads', None)


class KeysValues(NamedTuple):
  """What queries read of a sequence; a leading axis may stack layers.

  Attributes:
    keys_BxSxKxDh: turned already, where positions are rotary.
    values_BxSxKxDh: of the same places.
  """

  keys_BxSxKxDh: jax.Array
  values_BxSxKxDh: jax.Array


def softcap(x: jax.Array, cap: float) -> jax.Array:
  """cap * tanh(x / cap), which stays below the cap; as it is for a cap of 0."""
  return cap * jnp.tanh(x / cap) if cap else x


class Attention(nn.Module):
  """Projections around softmax(scale * q k^T + bias) v.

  Vaswani et al. 2017, eq. 1. K key heads serve H / K query heads each (Ainslie
  et al. 2023). Scores and softmax are float32.
  """

  config: ModelConfig

  def setup(self) -> None:
    c = self.config
    self.query = self._into_heads(c.num_heads, 'heads')
    self.key = self._into_heads(c.num_kv_heads, 'kv_heads')
    self.value = self._into_heads(c.num_kv_heads, 'kv_heads')
    if c.qk_norm:
      self.query_norm = Norm('rms', c.norm_epsilon)
      self.key_norm = Norm('rms', c.norm_epsilon)
    self.out = Linear(
      'blhk,hkd->bld',
      (c.num_heads, c.head_width, c.width),
      ('heads', 'head_width', 'embed'),
      c.compute_dtype,
      num_in=2,
      scale=residual_scale(c),
      bias=c.biases,
    )

  def keys_values(
    self, source_BxSxD: jax.Array, positions_BxS: jax.Array | None = None
  ) -> KeysValues:
    """Of a sequence.

    Args:
      source_BxSxD: its states.
      positions_BxS: of rotary positions; None turns nothing.
    """
    source_BxSxD = crossing(source_BxSxD, LAYER_INPUT)
    k, v = self.key(source_BxSxD), self.value(source_BxSxD)
    if self.config.qk_norm:
      k = self.key_norm(k)
    k = self._turned(k, positions_BxS)
    return KeysValues(self._gathered(k), self._gathered(v))

  def __call__(
    self,
    x_BxLxD: jax.Array,
    parts: tuple[KeysValues, ...],
    mask: Mask,
    positions_BxL: jax.Array | None = None,
    bias_BxHxLxS: jax.Array | None = None,
  ) -> jax.Array:
    """Reads the parts at the places that the mask allows, [B, L, D].

    Args:
      x_BxLxD: what queries are made of.
      parts: of the sequences read, one after the other; S places in all.
      mask: which of the S keys each query may look at.
      positions_BxL: of rotary positions; None turns nothing.
      bias_BxHxLxS: added to scores; B may be 1.
    """
    c = self.config
    q = self.query(crossing(x_BxLxD, LAYER_INPUT))
    if c.qk_norm:
      q = self.query_norm(q)
    q = constrained(self._turned(q, positions_BxL), _HEADS)
    scale = attention_scale(c)
    if not self.is_initializing():  # which is done on a single token
      dropping = drops(self, c.dropout)
      by_kernel = kernels.attend(
        c.attention,
        kernels.Call(
          q, parts, mask, bias_BxHxLxS, scale, c.attention_softcap, dropping
        ),
      )
      if by_kernel is not None:
        return self._added_up(by_kernel)
    weights = attention_weights(
      q,
      [part.keys_BxSxKxDh for part in parts],
      mask.dense(),
      bias_BxHxLxS,
      scale=scale,
      cap=c.attention_softcap,
    ).astype(q.dtype)
    weights = dropout(self, weights, c.dropout)
    out, start = jnp.float32(0), 0
    for part in parts:
      values = part.values_BxSxKxDh
      stop = start + values.shape[1]
      out += einsum('bkgls,bskd->blkgd', weights[..., start:stop], values)
      start = stop
    return self._added_up(out.reshape(q.shape).astype(q.dtype))

  def _into_heads(self, heads: int, axis: str) -> Linear:
    c = self.config
    return Linear(
      'bld,dhk->blhk',
      (c.width, heads, c.head_width),
      ('embed', axis, 'head_width'),
      c.compute_dtype,
      bias=c.biases,
    )

  def _added_up(self, x_BxLxHxDh: jax.Array) -> jax.Array:
    return crossing(self.out(crossing(x_BxLxHxDh, _HEADS)), STREAM)

  def _turned(
    self, x_BxLxHxDh: jax.Array, positions_BxL: jax.Array | None
  ) -> jax.Array:
    if self.config.positions != 'rotary' or positions_BxL is None:
      return x_BxLxHxDh
    return rotate(x_BxLxHxDh, positions_BxL, rotary_frequencies(self.config))

  def _gathered(self, x_BxSxKxDh: jax.Array) -> jax.Array:
    """Keys or values of all places, where a mesh divides sequences.

    They are fewer than the numbers of the stream that they are made of; so each
    device makes those of its own places (Llama 3, Grattafiori et al. 2024,
    section 3.3.2).
    """
    own = constrained(x_BxSxKxDh, ('batch', 'length', 'kv_heads', None))
    if ways('length') == 1:
      return own
    return constrained(own, ('batch', 'keys', 'kv_heads', None))


def attention_weights(
  q_BxLxHxDh: jax.Array,
  keys: Sequence[jax.Array],
  mask_BxLxS: jax.Array,
  bias_BxHxLxS: jax.Array | None = None,
  *,
  scale: float,
  cap: float = 0.0,
) -> jax.Array:
  """softmax(cap(scale * q k^T) + bias), float32 [B, K, H / K, L, S].

  Args:
    q_BxLxHxDh: queries.
    keys: parts of the S keys, [B, part of S, K, Dh].
    mask_BxLxS: true where a query may look.
    bias_BxHxLxS: added to scores; B may be 1.
    scale: of scores.
    cap: of scores, see `softcap`.
  """
  batch, length, heads, head_width = q_BxLxHxDh.shape
  kv_heads = keys[0].shape[2]
  grouped = kv_heads, heads // kv_heads
  q = q_BxLxHxDh.reshape(batch, length, *grouped, head_width)
  # The scores are put together, not the keys: a cache is read in place.
  scores = [einsum('blkgd,bskd->bkgls', q, k) for k in keys]
  joined = scores[0] if len(scores) == 1 else jnp.concatenate(scores, -1)
  joined = softcap(joined * scale, cap)
  if bias_BxHxLxS is not None:
    joined += bias_BxHxLxS.reshape(-1, *grouped, *bias_BxHxLxS.shape[2:])
  joined = jnp.where(mask_BxLxS[:, None, None], joined, MASKED)
  return jax.nn.softmax(joined, axis=-1)
