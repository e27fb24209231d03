"""Which token may look at which."""

import flax.struct
import jax
import jax.numpy as jnp


class Mask(flax.struct.PyTreeNode):
  """Who sees whom, as rules rather than as a square of booleans.

  A query sees the keys of its own segment: packed documents never see each
  other. What computes attention block by block needs no more than this.

  Attributes:
    query_segments_BxL: which document each query belongs to.
    key_segments_BxS: which document each key belongs to.
    causal: a query sees no key that stands after it; the queries are the last
      of the keys.
    prefix_BxS: with `causal`, keys that every query of their segment sees all
      the same (a prefix-LM, Raffel et al. 2020, section 3.2.1).
  """

  query_segments_BxL: jax.Array
  key_segments_BxS: jax.Array
  causal: bool = flax.struct.field(pytree_node=False, default=False)
  prefix_BxS: jax.Array | None = None

  def dense(self) -> jax.Array:
    """Boolean [B, L, S]: which key (last axis) each query may look at."""
    queries, keys = self.query_segments_BxL, self.key_segments_BxS
    same = queries[:, :, None] == keys[:, None, :]
    if not self.causal:
      return same
    length, source = queries.shape[-1], keys.shape[-1]
    before = jnp.tril(jnp.ones((length, source), bool), source - length)
    if self.prefix_BxS is not None:
      before = before | self.prefix_BxS[:, None, :].astype(bool)
    return same & before


def within(segment_ids_BxL: jax.Array) -> Mask:
  """Every token sees its whole segment."""
  return Mask(segment_ids_BxL, segment_ids_BxL)


def causal(
  segment_ids_BxL: jax.Array, prefix_BxL: jax.Array | None = None
) -> Mask:
  """A token sees itself, what comes before it, and its segment's prefix."""
  return Mask(segment_ids_BxL, segment_ids_BxL, True, prefix_BxL)
