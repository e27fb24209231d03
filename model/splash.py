"""Attention by JAX's splash kernel of TPUs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
  BlockSizes,
  CausalMask,
  FullMask,
  MultiHeadMask,
  SegmentIds,
  make_splash_mha_single_device,
)

from model.masks import Mask

# The kernel's smallest block; and the largest of which no more is gained.
SMALLEST, LARGEST = 128, 512
# Of the places added to fill a block: they see each other and nothing else.
_PADDING = -1


class _Block(NamedTuple):
  """Places of a sequence that are computed together, and their padding."""

  size: int
  padding: int


def splash(
  q_BxLxHxDh: jax.Array,
  k_BxSxKxDh: jax.Array,
  v_BxSxKxDh: jax.Array,
  mask: Mask,
  bias_BxHxLxS: jax.Array | None = None,
  *,
  scale: float,
  cap: float = 0.0,
  interpret: bool = False,
) -> jax.Array:
  """softmax(cap(scale * q k^T)) v of one device, [B, L, H, Dh].

  Scores are never held: a block of them at a time is (Dao et al. 2022). Blocks
  that `mask.causal` empties are skipped.

  Args:
    q_BxLxHxDh: queries.
    k_BxSxKxDh: keys.
    v_BxSxKxDh: values.
    mask: without a prefix; if causal, L is S.
    bias_BxHxLxS: None, for the kernel takes none.
    scale: of scores.
    cap: of scores, as `model.attention.softcap`.
    interpret: computes the kernel's operations one by one, on any platform.
  """
  assert bias_BxHxLxS is None and mask.prefix_BxS is None
  length, heads = q_BxLxHxDh.shape[1:3]
  queries, keys = _block(length), _block(k_BxSxKxDh.shape[1])
  shape = length + queries.padding, k_BxSxKxDh.shape[1] + keys.padding
  one_head = CausalMask(shape) if mask.causal else FullMask(shape)
  kernel = make_splash_mha_single_device(
    MultiHeadMask([one_head] * heads),
    block_sizes=BlockSizes(
      block_q=queries.size,
      block_kv=keys.size,
      block_q_dkv=queries.size,
      block_kv_dkv=keys.size,
      block_q_dq=queries.size,
      block_kv_dq=keys.size,
    ),
    attn_logits_soft_cap=cap or None,
    interpret=interpret,
  )
  # The kernel has no scale; in float32, so that bfloat16 rounds only once.
  scaled = (q_BxLxHxDh.astype(jnp.float32) * scale).astype(q_BxLxHxDh.dtype)
  out_BxHxLxDh = jax.vmap(kernel)(
    _heads_first(scaled, queries.padding),
    _heads_first(k_BxSxKxDh, keys.padding),
    _heads_first(v_BxSxKxDh, keys.padding),
    SegmentIds(
      _filled(mask.query_segments_BxL, queries.padding),
      _filled(mask.key_segments_BxS, keys.padding),
    ),
  )
  return jnp.swapaxes(out_BxHxLxDh, 1, 2)[:, :length]


def _block(length: int) -> _Block:
  padding = -length % SMALLEST
  size = LARGEST
  while (length + padding) % size:
    size //= 2
  return _Block(size, padding)


def _heads_first(x_BxLxHxDh: jax.Array, padding: int) -> jax.Array:
  x_BxHxLxDh = jnp.swapaxes(x_BxLxHxDh, 1, 2)
  return jnp.pad(x_BxHxLxDh, ((0, 0), (0, 0), (0, padding), (0, 0)))


def _filled(segments_BxL: jax.Array, padding: int) -> jax.Array:
  return jnp.pad(segments_BxL, ((0, 0), (0, padding)), constant_values=_PADDING)
