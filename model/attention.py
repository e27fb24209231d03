"""Grouped-query attention within documents."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from model.config import ModelConfig
from model.linear import Linear, einsum, residual_scale
from model.positions import rotate

# Far below any score, yet finite: a row without any key stays free of NaN.
MASKED = -1e30


def causal_mask(segment_ids_BxL: jax.Array) -> jax.Array:
  """Boolean [B, L, L]: which key (last axis) each query may look at.

  A token sees itself and what comes before it in its own segment: packed
  documents never see each other.
  """
  length = segment_ids_BxL.shape[-1]
  same = segment_ids_BxL[:, :, None] == segment_ids_BxL[:, None, :]
  return same & jnp.tril(jnp.ones((length, length), bool))


def attend(
  q_BxLxHxDh: jax.Array,
  k_BxSxKxDh: jax.Array,
  v_BxSxKxDh: jax.Array,
  mask_BxLxS: jax.Array,
) -> jax.Array:
  """softmax(q k^T / sqrt(Dh)) v, K key heads serving H / K query heads each.

  Vaswani et al. 2017, eq. 1; grouped heads: Ainslie et al. 2023. Scores and
  softmax are float32; the result has the dtype of the queries.
  """
  batch, length, heads, head_width = q_BxLxHxDh.shape
  kv_heads = k_BxSxKxDh.shape[2]
  q = q_BxLxHxDh.reshape(batch, length, kv_heads, heads // kv_heads, head_width)
  scores = einsum('blkgd,bskd->bkgls', q, k_BxSxKxDh) * head_width**-0.5
  scores = jnp.where(mask_BxLxS[:, None, None], scores, MASKED)
  weights = jax.nn.softmax(scores, axis=-1).astype(v_BxSxKxDh.dtype)
  out = einsum('bkgls,bskd->blkgd', weights, v_BxSxKxDh)
  return out.reshape(q_BxLxHxDh.shape).astype(q_BxLxHxDh.dtype)


class Attention(nn.Module):
  """Projections around `attend`."""

  config: ModelConfig

  @nn.compact
  def __call__(
    self,
    x_BxLxD: jax.Array,
    positions_BxL: jax.Array,
    mask_BxLxL: jax.Array,
  ) -> jax.Array:
    c = self.config
    dtype = x_BxLxD.dtype

    def project(name: str, heads: int, axis: str) -> jax.Array:
      return Linear(
        'bld,dhk->blhk',
        (c.width, heads, c.head_width),
        ('embed', axis, 'head_width'),
        dtype,
        name=name,
      )(x_BxLxD)

    q = project('query', c.num_heads, 'heads')
    k = project('key', c.num_kv_heads, 'kv_heads')
    v = project('value', c.num_kv_heads, 'kv_heads')
    if c.positions == 'rotary':
      q = rotate(q, positions_BxL, c.rope_theta)
      k = rotate(k, positions_BxL, c.rope_theta)
    q = nn.with_logical_constraint(q, ('batch', 'length', 'heads', None))
    k = nn.with_logical_constraint(k, ('batch', 'length', 'kv_heads', None))
    v = nn.with_logical_constraint(v, ('batch', 'length', 'kv_heads', None))
    return Linear(
      'blhk,hkd->bld',
      (c.num_heads, c.head_width, c.width),
      ('heads', 'head_width', 'embed'),
      dtype,
      num_in=2,
      scale=residual_scale(c.num_layers),
      name='out',
    )(attend(q, k, v, mask_BxLxL))
