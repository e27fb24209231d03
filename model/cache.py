"""What a model keeps of the tokens it has seen, so that none is read twice."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from model.divided import constrained
from model.stack import Memory

_STACKED = ('layers', 'batch', 'length', 'kv_heads', None)


class Cache(NamedTuple):
  """Keys and values of B rows, with room for tokens to come.

  Attributes:
    memory: of all layers, stacked; arrays [N, B, S, K, Dh].
    segment_ids_BxS: 1 where there is a token, 0 where there is room.
    positions_BxS: of the tokens.
    source_segment_ids_BxS: of what an encoder has read; None without one.
  """

  memory: Memory
  segment_ids_BxS: jax.Array
  positions_BxS: jax.Array
  source_segment_ids_BxS: jax.Array | None = None


def begin(
  new: Memory,
  segment_ids_BxL: jax.Array,
  positions_BxL: jax.Array,
  room: int,
  source_segment_ids_BxS: jax.Array | None = None,
) -> Cache:
  """A cache of the first L tokens, with room for as many more."""

  def padded(x: jax.Array, axis: int) -> jax.Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, room)
    return jnp.pad(x, widths)

  own = jax.tree.map(lambda x: padded(x, 2), new.own)
  return Cache(
    jax.tree.map(
      lambda x: constrained(x, _STACKED),
      new._replace(own=own),
    ),
    padded(segment_ids_BxL, 1),
    padded(positions_BxL, 1),
    source_segment_ids_BxS,
  )


def added(
  cache: Cache,
  new: Memory,
  segment_ids_BxL: jax.Array,
  positions_BxL: jax.Array,
  at: jax.Array,
) -> Cache:
  """The cache with L more tokens in the places from `at` on, in all rows."""

  def put(x: jax.Array, part: jax.Array, axis: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, at, axis)

  own = jax.tree.map(lambda x, part: put(x, part, 2), cache.memory.own, new.own)
  return cache._replace(
    memory=cache.memory._replace(own=own),
    segment_ids_BxS=put(cache.segment_ids_BxS, segment_ids_BxL, 1),
    positions_BxS=put(cache.positions_BxS, positions_BxL, 1),
  )


def repeated(cache: Cache, times: int) -> Cache:
  """Each row `times` times, one after the other."""

  def along(axis: int, tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.repeat(x, times, axis=axis), tree)

  memory, *rest = cache
  return Cache(along(1, memory), *along(0, rest))


def reordered(cache: Cache, parent_BxW: jax.Array) -> Cache:
  """B groups of W rows; a row becomes a copy of its parent, of its own group.

  A group lies on one device, so that none reads another's. What an encoder has
  read is the same for all of a group, and stays.
  """

  def picked(x: jax.Array, axis: int) -> jax.Array:
    groups = x.reshape(*x.shape[:axis], *parent_BxW.shape, *x.shape[axis + 1 :])
    ones = (1,) * (x.ndim - axis - 1)
    index = parent_BxW.reshape(*(1,) * axis, *parent_BxW.shape, *ones)
    return jnp.take_along_axis(groups, index, axis=axis + 1).reshape(x.shape)

  own = jax.tree.map(lambda x: picked(x, 1), cache.memory.own)
  return cache._replace(
    memory=cache.memory._replace(own=own),
    segment_ids_BxS=picked(cache.segment_ids_BxS, 0),
    positions_BxS=picked(cache.positions_BxS, 0),
  )
