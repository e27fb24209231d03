"""Grouped-query attention within documents, and to another sequence."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from model.config import ModelConfig
from model.dropout import dropout
from model.linear import Linear, einsum, residual_scale
from model.norm import Norm
from model.positions import rotary_frequencies, rotate

# Far below any score, yet finite: a row without any key stays free of NaN.
MASKED = -1e30

_SCALE_POWER = {'sqrt': -0.5, 'linear': -1.0, 'none': 0.0}


def segment_mask(query_BxL: jax.Array, key_BxS: jax.Array) -> jax.Array:
  """Boolean [B, L, S]: keys of the query's own segment."""
  return query_BxL[:, :, None] == key_BxS[:, None, :]


def causal_mask(
  segment_ids_BxL: jax.Array, prefix_BxL: jax.Array | None = None
) -> jax.Array:
  """Boolean [B, L, L]: which key (last axis) each query may look at.

  A token sees itself and what comes before it in its own segment: packed
  documents never see each other. With a prefix, every token of a segment sees
  the segment's whole prefix (a prefix-LM, Raffel et al. 2020, section 3.2.1).
  """
  length = segment_ids_BxL.shape[-1]
  before = jnp.tril(jnp.ones((length, length), bool))
  if prefix_BxL is not None:
    before = before | prefix_BxL[:, None, :].astype(bool)
  return segment_mask(segment_ids_BxL, segment_ids_BxL) & before


def softcap(x: jax.Array, cap: float) -> jax.Array:
  """cap * tanh(x / cap), which stays below the cap; as it is for a cap of 0."""
  return cap * jnp.tanh(x / cap) if cap else x


class Attention(nn.Module):
  """Projections around softmax(scale * q k^T + bias) v.

  Vaswani et al. 2017, eq. 1. K key heads serve H / K query heads each (Ainslie
  et al. 2023). Scores and softmax are float32.
  """

  config: ModelConfig

  @nn.compact
  def __call__(
    self,
    x_BxLxD: jax.Array,
    source_BxSxD: jax.Array,
    mask_BxLxS: jax.Array,
    positions_BxL: jax.Array | None = None,
    bias_BxHxLxS: jax.Array | None = None,
  ) -> jax.Array:
    """Reads `source` at the places that the mask allows.

    Args:
      x_BxLxD: what queries are made of.
      source_BxSxD: what keys and values are made of: x itself, or the states
        of an encoder.
      mask_BxLxS: which key each query may look at.
      positions_BxL: of rotary positions; None turns nothing.
      bias_BxHxLxS: added to scores; B may be 1.
    """
    c = self.config
    dtype = x_BxLxD.dtype

    def project(name: str, x: jax.Array, heads: int, axis: str) -> jax.Array:
      y = Linear(
        'bld,dhk->blhk',
        (c.width, heads, c.head_width),
        ('embed', axis, 'head_width'),
        dtype,
        bias=c.biases,
        name=name,
      )(x)
      return nn.with_logical_constraint(y, ('batch', 'length', axis, None))

    q = project('query', x_BxLxD, c.num_heads, 'heads')
    k = project('key', source_BxSxD, c.num_kv_heads, 'kv_heads')
    v = project('value', source_BxSxD, c.num_kv_heads, 'kv_heads')
    if c.qk_norm:
      q = Norm('rms', c.norm_epsilon, name='query_norm')(q)
      k = Norm('rms', c.norm_epsilon, name='key_norm')(k)
    if c.positions == 'rotary' and positions_BxL is not None:
      frequencies = rotary_frequencies(c)
      q = rotate(q, positions_BxL, frequencies)
      k = rotate(k, positions_BxL, frequencies)
    return Linear(
      'blhk,hkd->bld',
      (c.num_heads, c.head_width, c.width),
      ('heads', 'head_width', 'embed'),
      dtype,
      num_in=2,
      scale=residual_scale(c.num_layers),
      bias=c.biases,
      name='out',
    )(self._attend(q, k, v, mask_BxLxS, bias_BxHxLxS))

  def _attend(
    self,
    q_BxLxHxDh: jax.Array,
    k_BxSxKxDh: jax.Array,
    v_BxSxKxDh: jax.Array,
    mask_BxLxS: jax.Array,
    bias_BxHxLxS: jax.Array | None,
  ) -> jax.Array:
    c = self.config
    weights = attention_weights(
      q_BxLxHxDh,
      k_BxSxKxDh,
      mask_BxLxS,
      bias_BxHxLxS,
      scale=c.head_width ** _SCALE_POWER[c.attention_scale],
      cap=c.attention_softcap,
    ).astype(v_BxSxKxDh.dtype)
    weights = dropout(self, weights, c.dropout)
    out = einsum('bkgls,bskd->blkgd', weights, v_BxSxKxDh)
    return out.reshape(q_BxLxHxDh.shape).astype(q_BxLxHxDh.dtype)


def attention_weights(
  q_BxLxHxDh: jax.Array,
  k_BxSxKxDh: jax.Array,
  mask_BxLxS: jax.Array,
  bias_BxHxLxS: jax.Array | None = None,
  *,
  scale: float,
  cap: float = 0.0,
) -> jax.Array:
  """softmax(cap(scale * q k^T) + bias), float32 [B, K, H / K, L, S]."""
  batch, length, heads, head_width = q_BxLxHxDh.shape
  kv_heads = k_BxSxKxDh.shape[2]
  grouped = kv_heads, heads // kv_heads
  q = q_BxLxHxDh.reshape(batch, length, *grouped, head_width)
  scores = softcap(einsum('blkgd,bskd->bkgls', q, k_BxSxKxDh) * scale, cap)
  if bias_BxHxLxS is not None:
    scores += bias_BxHxLxS.reshape(-1, *grouped, *bias_BxHxLxS.shape[2:])
  scores = jnp.where(mask_BxLxS[:, None, None], scores, MASKED)
  return jax.nn.softmax(scores, axis=-1)
