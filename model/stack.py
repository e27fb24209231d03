"""The layers of a transformer, of which all of its shapes are made."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from model.attention import Attention, KeysValues
from model.config import ModelConfig
from model.divided import STREAM, constrained
from model.dropout import dropout
from model.experts import LOSSES, Experts
from model.ffn import FeedForward
from model.linear import PRODUCT, Products, parameter, products
from model.masks import Mask
from model.norm import Norm
from model.parametrization import branch_scale
from model.positions import relative_bucket

_LAYER_INPUT = 'layer_input'  # by which rematerialization knows the stream


class Context(NamedTuple):
  """What every layer reads beside the residual stream.

  Attributes:
    mask: which key each query may look at.
    positions_BxL: place of each token within its document, from 0.
    key_positions_BxS: of the keys, where some come before the tokens.
    bias_BxHxLxS: added to attention scores; None without relative positions.
    source_BxSxD: states of an encoder, for layers that attend to some and have
      no keys and values of it yet.
    source_mask: which of its places each query may look at; None without one.
  """

  mask: Mask
  positions_BxL: jax.Array
  key_positions_BxS: jax.Array | None = None
  bias_BxHxLxS: jax.Array | None = None
  source_BxSxD: jax.Array | None = None
  source_mask: Mask | None = None


class Memory(NamedTuple):
  """What a layer keeps of the tokens that it has seen; a leading axis stacks
  layers.

  Attributes:
    own: of the sequence itself; None before its first token.
    source: of what an encoder has read; None until it is read.
  """

  own: KeysValues | None = None
  source: KeysValues | None = None


class Block(nn.Module):
  """One layer: attention, attention to a source if there is one, feed-forward.

  `pre`: x += s f(norm(x)) for each of them, s being `branch_scale`; `post`: x =
  norm(x + f(x)) (Vaswani et al. 2017). With `parallel_residual`, x += s
  (attention(norm(x)) + ffn(norm'(x))), as GPT-NeoX has it.
  """

  config: ModelConfig

  @nn.compact
  def __call__(
    self, x_BxLxD: jax.Array, context: Context, memory: Memory | None = None
  ) -> tuple[jax.Array, Memory | None]:
    """The stream after the layer, and with a memory what is to be added to it.

    Args:
      x_BxLxD: the stream before the layer.
      context: what all layers read.
      memory: of this layer; None in training, which remembers nothing.
    """
    c = self.config
    known = memory or Memory()
    new: dict[str, KeysValues] = {}

    def norm(name: str) -> Norm:
      return Norm(c.norm, c.norm_epsilon, name=f'{name}_norm')

    def attention(h: jax.Array) -> jax.Array:
      layer = Attention(c, name='attention')
      new['own'] = layer.keys_values(h, context.positions_BxL)
      parts = (known.own, new['own']) if known.own else (new['own'],)
      return layer(
        h, parts, context.mask, context.positions_BxL, context.bias_BxHxLxS
      )

    def cross(h: jax.Array) -> jax.Array:
      layer = Attention(c, name='cross')
      source = known.source
      if source is None:
        assert context.source_BxSxD is not None
        source = new['source'] = layer.keys_values(context.source_BxSxD)
      assert context.source_mask is not None
      return layer(h, (source,), context.source_mask)

    def ffn(h: jax.Array) -> jax.Array:
      layer = Experts if c.num_experts else FeedForward
      return layer(c, name='ffn')(h)

    def branch(y: jax.Array) -> jax.Array:
      # Times 1 is left out by the compiler.
      return dropout(self, y, c.dropout) * branch_scale(c)

    def add(
      x: jax.Array, name: str, layer: Callable[[jax.Array], jax.Array]
    ) -> jax.Array:
      if c.norm_position == 'post':
        return norm(name)(x + dropout(self, layer(x), c.dropout))
      return x + branch(layer(norm(name)(x)))

    x = checkpoint_name(x_BxLxD, _LAYER_INPUT)
    if c.parallel_residual:
      x += branch(attention(norm('attention')(x)) + ffn(norm('ffn')(x)))
    else:
      x = add(x, 'attention', attention)
      if context.source_mask is not None:
        x = add(x, 'cross', cross)
      x = add(x, 'ffn', ffn)
    # The pair is what a scan over layers carries, and what it collects.
    x = constrained(x, STREAM)
    return x, None if memory is None else Memory(**new)


class Stack(nn.Module):
  """`num_layers` blocks, and a norm where the blocks leave one to be done.

  Parameters of the blocks are stacked along a leading layer axis. With
  `scan_layers` the compiled program loops over that axis; without, the loop is
  unrolled. The parameters and the function are the same.

  Attributes:
    config: of the model.
    causal: no token sees later ones; decides what relative positions tell
      apart.
  """

  config: ModelConfig
  causal: bool

  @nn.compact
  def __call__(
    self, x_BxLxD: jax.Array, context: Context, memory: Memory | None = None
  ) -> tuple[jax.Array, Memory | None]:
    """The residual stream [B, L, D] after the last layer and norm.

    Args:
      x_BxLxD: the stream before the first layer.
      context: what all layers read; its bias is made here.
      memory: of all layers, stacked; None in training.

    Returns:
      The stream, and with a memory what each layer adds to it, stacked.
    """
    c = self.config
    if c.positions == 'relative':
      context = context._replace(bias_BxHxLxS=self._bias(context))
    blocks = nn.scan(
      _rematerialized(c.remat, in_loop=c.scan_layers),
      variable_axes={'params': 0, LOSSES: 0},
      split_rngs={'params': True, 'dropout': True},
      in_axes=(nn.broadcast, 0),
      length=c.num_layers,
      unroll=1 if c.scan_layers else c.num_layers,
      metadata_params={nn.PARTITION_NAME: 'layers'},
    )
    with products(Products(c.matmul, looped=c.scan_layers)):
      x, new = blocks(c, name='layers')(x_BxLxD, context, memory)
    if c.norm_position == 'pre':
      x = Norm(c.norm, c.norm_epsilon, name='final_norm')(x)
    return x, new

  def _bias(self, context: Context) -> jax.Array:
    """A learned number for each head and bucket of distances, [B, H, L, S].

    One table serves all layers (Raffel et al. 2020, section 2.1).
    """
    c = self.config
    table_RxH = parameter(
      self,
      'relative_bias',
      nn.initializers.normal(1.0),
      (c.relative_buckets, c.num_heads),
      (None, 'heads'),
    )
    queries = keys = context.positions_BxL
    if context.key_positions_BxS is not None:
      keys = context.key_positions_BxS
    distance = keys[:, None, :] - queries[:, :, None]
    bucket = relative_bucket(
      distance, c.relative_buckets, c.relative_max_distance, not self.causal
    )
    return jnp.moveaxis(table_RxH[bucket], -1, 1)


def _rematerialized(policy: str, in_loop: bool) -> Any:
  """`Block`, keeping for the backward pass what the policy says.

  Beside what it lists that is the stream before each layer. Outside of a loop
  the compiler would find what is computed twice, and keep it.
  """
  if policy == 'none':
    return Block
  policies = jax.checkpoint_policies
  keep = {
    'dots': policies.save_only_these_names(PRODUCT),
    'full': policies.nothing_saveable,
    'offload': policies.save_and_offload_only_these_names(
      names_which_can_be_saved=[],
      names_which_can_be_offloaded=[_LAYER_INPUT],
      offload_src='device',
      offload_dst='pinned_host',
    ),
  }[policy]
  return nn.remat(Block, policy=keep, prevent_cse=not in_loop)
