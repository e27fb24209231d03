"""Attention by JAX's splash kernel of TPUs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
  BlockSizes,
  CausalMask,
  FullMask,
  MultiHeadMask,
  SegmentIds,
  make_splash_mha,
)
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from model.divided import mesh_axes
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

  Within `jax.shard_map` the queries may be a part of a sequence, as `length` is
  divided, and the keys all of it.

  Args:
    q_BxLxHxDh: queries.
    k_BxSxKxDh: keys.
    v_BxSxKxDh: values.
    mask: without a prefix; if causal, S is L, or where sequences are divided
      all of their parts, which are whole blocks.
    bias_BxHxLxS: None, for the kernel takes none.
    scale: of scores.
    cap: of scores, as `model.attention.softcap`.
    interpret: computes the kernel's operations one by one, on any platform.
  """
  assert bias_BxHxLxS is None and mask.prefix_BxS is None
  length, heads = q_BxLxHxDh.shape[1:3]
  queries, keys = _block(length), _block(k_BxSxKxDh.shape[1])
  # Without a causal mask all parts of a sequence are alike.
  along = mesh_axes('length') if mask.causal else ()
  parts = jax.lax.axis_size(along)
  shape = (
    parts * (length + queries.padding),
    k_BxSxKxDh.shape[1] + keys.padding,
  )
  one_head = CausalMask(shape) if mask.causal else FullMask(shape)
  kernel = make_splash_mha(
    MultiHeadMask([one_head] * heads),
    head_shards=1,
    q_seq_shards=parts,
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
  if parts > 1:
    kernel = _part(kernel, jax.lax.axis_index(along), parts)
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


def _part(kernel: Any, number: jax.Array, parts: int) -> Any:
  """The kernel of one part of all queries.

  The kernel tells itself along which dimensions of its tables queries lie.
  """
  mesh = AbstractMesh((parts,), ('parts',))
  specs = kernel.manual_sharding_spec(
    NamedSharding(mesh, PartitionSpec(None, 'parts'))
  )

  def one(table: jax.Array, spec: PartitionSpec) -> jax.Array:
    for axis, part in enumerate(spec):
      if part is not None:
        size = table.shape[axis] // parts
        table = jax.lax.dynamic_slice_in_dim(table, number * size, size, axis)
    return table

  return jax.tree.map(one, kernel, specs)


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
