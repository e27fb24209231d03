"""A mixture of experts in place of the feed-forward layer."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec

from model.config import GATED, ModelConfig
from model.divided import LAYER_INPUT, constrained, per_device, ways
from model.dropless import dropless
from model.ffn import widened
from model.linear import Linear, einsum, in_dtype, parameter
from model.parametrization import residual_scale

LOSSES = 'losses'  # the collection that router losses are sown into
_TOKENS = PartitionSpec(*LAYER_INPUT)
_CHOICES = PartitionSpec('batch', 'length', None)


class Experts(nn.Module):
  """Each token passes through `experts_per_token` of `num_experts`.

  Token-choice routing (Shazeer et al. 2017): softmax of a linear map, the top
  k, whose weights are scaled to add up to 1 (Mixtral, Jiang et al. 2024). With
  `expert_capacity` f, an expert takes at most f * k * L / E tokens of each row,
  early tokens before late ones; the others pass it by (GShard, Lepikhin et al.
  2020, but no later token ever displaces an earlier one). Documents that are
  packed into one row share its places. With 0 none is dropped.

  Sown into `losses`, means over tokens: `balance`, E * sum_e f_e * p_e with f_e
  the share of choices that went to expert e and p_e its mean probability
  (Fedus et al. 2021, eq. 4), 1 where all are used alike; `z`, the squared
  log-sum-exp of the router's logits (Zoph et al. 2022, eq. 5).
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, x_BxLxD: jax.Array) -> jax.Array:
    c = self.config
    logits_BxLxE = Linear(
      'bld,de->ble',
      (c.width, c.num_experts),
      ('embed', None),
      jnp.float32,
      name='router',
    )(x_BxLxD)
    kernels = self._kernels()
    if self.is_initializing():
      return x_BxLxD  # parameters are there; one token divides over no mesh
    shares_BxLxE = jax.nn.softmax(logits_BxLxE, axis=-1)
    weights_BxLxk, chosen_BxLxk = per_device(
      functools.partial(_choose, k=c.experts_per_token),
      (_CHOICES,),
      (_CHOICES, _CHOICES),
    )(shares_BxLxE)
    picked_BxLxkxE = jax.nn.one_hot(chosen_BxLxk, c.num_experts)
    used_E = picked_BxLxkxE.mean((0, 1, 2))
    balance = c.num_experts * jnp.sum(used_E * shares_BxLxE.mean((0, 1)))
    self.sow(LOSSES, 'balance', balance)
    z = jax.nn.logsumexp(logits_BxLxE, axis=-1)
    self.sow(LOSSES, 'z', jnp.mean(jnp.square(z)))
    if c.expert_capacity:
      return self._with_capacity(
        x_BxLxD, weights_BxLxk, picked_BxLxkxE, kernels
      )
    # Not divided along `embed`: each device needs all of its experts' width.
    axes = dict.fromkeys(kernels, PartitionSpec('experts', None, 'ffn'))
    axes['down'] = PartitionSpec('experts', 'ffn', None)
    return per_device(
      functools.partial(dropless, activation=c.activation),
      (_TOKENS, _CHOICES, _CHOICES, axes),
      _TOKENS,
    )(x_BxLxD, weights_BxLxk, chosen_BxLxk, kernels)

  def _kernels(self) -> dict[str, jax.Array]:
    """`up`, `down` and `gate` of all experts, float32 [E, in, out]."""
    c = self.config

    def kernel(name: str, inputs: int, outputs: int, scale: float) -> jax.Array:
      init = nn.initializers.variance_scaling(
        scale**2, 'fan_in', 'normal', in_axis=-2, out_axis=-1, batch_axis=0
      )
      axes = ('ffn', 'embed') if name == 'down' else ('embed', 'ffn')
      shape = c.num_experts, inputs, outputs
      return parameter(self, name, init, shape, ('experts', *axes))

    names = ('gate', 'up') if c.activation in GATED else ('up',)
    return {name: kernel(name, c.width, c.ffn_width, 1.0) for name in names} | {
      'down': kernel('down', c.ffn_width, c.width, residual_scale(c))
    }

  def _with_capacity(
    self,
    x_BxLxD: jax.Array,
    weights_BxLxk: jax.Array,
    picked_BxLxkxE: jax.Array,
    kernels: dict[str, jax.Array],
  ) -> jax.Array:
    c = self.config
    dtype = x_BxLxD.dtype
    batch, length, k = weights_BxLxk.shape
    capacity = math.ceil(c.expert_capacity * k * length / c.num_experts)
    # Places in each expert's queue. All first choices before all second ones
    # would let a later token take the place of an earlier one.
    queue = picked_BxLxkxE.reshape(batch, length * k, -1)
    place = (jnp.cumsum(queue, axis=1) - 1).astype(jnp.int32)
    place_BxLxkxE = place.reshape(picked_BxLxkxE.shape)
    slots = jax.nn.one_hot(
      jnp.where(picked_BxLxkxE > 0, place_BxLxkxE, -1), capacity
    )
    combine_BxLxExC = jnp.einsum('blk,blkec->blec', weights_BxLxk, slots)
    dispatch = (combine_BxLxExC > 0).astype(dtype)
    # In two steps: XLA's partitioner mixes places up where it goes at once from
    # rows to experts and from sequences to slots.
    whole = 'rows', 'experts', None, None
    divided = 'rows', 'experts', 'slots', None
    inputs = einsum('blec,bld->becd', dispatch, x_BxLxD).astype(dtype)
    inputs = constrained(inputs, whole)
    if ways('slots') > 1:
      inputs = constrained(inputs, divided)

    def product(h: jax.Array, name: str) -> jax.Array:
      kernel = in_dtype(kernels[name], dtype)
      return einsum('beci,eij->becj', h, kernel).astype(dtype)

    h = widened(c.activation, functools.partial(product, inputs))
    out = product(h, 'down')
    if ways('slots') > 1:
      out = constrained(out, divided)
    out = constrained(out, whole)
    mixed = einsum('blec,becd->bld', combine_BxLxExC.astype(dtype), out)
    return mixed.astype(dtype)


def _choose(shares_BxLxE: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
  """Weights [B, L, k] that add up to 1, and experts, of the largest shares."""
  weights_BxLxk, chosen_BxLxk = jax.lax.top_k(shares_BxLxE, k)
  return weights_BxLxk / weights_BxLxk.sum(-1, keepdims=True), chosen_BxLxk
