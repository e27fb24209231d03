"""Which kernel computes attention, and what none of them can do.

A kernel never holds the scores of all queries and keys. What it cannot do is
left to XLA (`model.attention`), which is told once.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec

from model.divided import ways
from model.masks import Mask
from model.splash import SMALLEST, splash

log = logging.getLogger(__name__)

_QUERIES = ('batch', 'length', 'heads', None)
_KEYS = ('batch', 'keys', 'kv_heads', None)


class Call(NamedTuple):
  """What is asked of attention.

  Attributes:
    q_BxLxHxDh: queries.
    parts: keys and values of the S places, one part after the other, each
      [B, part of S, K, Dh].
    mask: which of the S keys each query may look at.
    bias_BxHxLxS: added to scores; B may be 1.
    scale: of scores.
    cap: of scores, as `model.attention.softcap`.
    drops: whether weights are dropped.
  """

  q_BxLxHxDh: jax.Array
  parts: Sequence[tuple[jax.Array, jax.Array]]
  mask: Mask
  bias_BxHxLxS: jax.Array | None
  scale: float
  cap: float
  drops: bool


class Kernel(NamedTuple):
  """A way to compute attention.

  Attributes:
    compute: (q, k, v, mask, bias, scale=, cap=) of one device to [B, L, H, Dh].
    obstacle: why it cannot do what is asked; '' where it can.
  """

  compute: Callable[..., jax.Array]
  obstacle: Callable[[Call], str]


def attend(implementation: str, call: Call) -> jax.Array | None:
  """softmax(cap(scale * q k^T) + bias) v by a kernel, [B, L, H, Dh].

  Runs on each device's own rows, queries and heads, and the keys of all places:
  the compiler cannot divide a kernel.

  Args:
    implementation: of `model.config.ATTENTIONS`.
    call: what to compute.

  Returns:
    None where it is left to XLA: chosen, or told in the log if not.
  """
  chosen = implementation
  if implementation == 'auto':
    chosen = {'tpu': 'splash', 'gpu': 'cudnn'}.get(platform(), 'xla')
  if chosen == 'xla':
    return None
  kernel = KERNELS[chosen]
  obstacle = _obstacle(call) or kernel.obstacle(call)
  if obstacle:
    level = logging.INFO if implementation == 'auto' else logging.WARNING
    _tell(level, chosen, obstacle)
    return None
  compute = functools.partial(kernel.compute, scale=call.scale, cap=call.cap)
  keys, values = call.parts[0]
  arrays = call.q_BxLxHxDh, keys, values, call.mask, call.bias_BxHxLxS
  if jax.sharding.get_abstract_mesh().empty:
    return compute(*arrays)
  one_bias = call.bias_BxHxLxS is not None and len(call.bias_BxHxLxS) == 1
  bias = _spec((None if one_bias else 'batch', 'heads', 'length', None))
  return jax.shard_map(
    compute,
    in_specs=(
      _spec(_QUERIES),
      _spec(_KEYS),
      _spec(_KEYS),
      _mask_spec(call.mask),
      bias,
    ),
    out_specs=_spec(_QUERIES),
    check_vma=False,  # kernels do not tell along which axes outputs vary
  )(*arrays)


def platform() -> str:
  """'cpu', 'gpu' or 'tpu': of the devices that the traced program is for.

  Those of the mesh, which may be absent ones, else the default.
  """
  device = jax.sharding.get_abstract_mesh().abstract_device
  return device.platform if device else jax.default_backend()


def cudnn(
  q_BxLxHxDh: jax.Array,
  k_BxSxKxDh: jax.Array,
  v_BxSxKxDh: jax.Array,
  mask: Mask,
  bias_BxHxLxS: jax.Array | None = None,
  *,
  scale: float,
  cap: float = 0.0,
  implementation: Literal['cudnn', 'xla'] = 'cudnn',
) -> jax.Array:
  """softmax(scale * q k^T + bias) v of one device, [B, L, H, Dh].

  cuDNN takes the mask as a bias, [B, 1, L, S] in the dtype of queries. A bias
  is rounded to that dtype too.

  Args:
    q_BxLxHxDh: queries.
    k_BxSxKxDh: keys.
    v_BxSxKxDh: values.
    mask: which key each query may look at; if causal, L is S.
    bias_BxHxLxS: added to scores; B may be 1.
    scale: of scores.
    cap: 0, for cuDNN has none.
    implementation: what `jax.nn.dot_product_attention` runs.
  """
  assert not cap
  if bias_BxHxLxS is not None:
    bias_BxHxLxS = bias_BxHxLxS.astype(q_BxLxHxDh.dtype)
  return jax.nn.dot_product_attention(
    q_BxLxHxDh,
    k_BxSxKxDh,
    v_BxSxKxDh,
    bias_BxHxLxS,
    mask.dense()[:, None],
    scale=scale,
    # The mask says so already; told, cuDNN skips what it empties.
    is_causal=mask.causal and mask.prefix_BxS is None,
    implementation=implementation,
  )


def _splash_obstacle(call: Call) -> str:
  if platform() != 'tpu':
    return f'the platform is {platform()}, not tpu'
  if _old_tpu() and call.q_BxLxHxDh.dtype == jnp.bfloat16:
    return 'kernels of TPU v2 and v3 multiply no bfloat16'
  if call.bias_BxHxLxS is not None:
    return 'it takes no bias of relative positions'
  if call.mask.prefix_BxS is not None:
    return 'it takes no prefix'
  parts = ways('length')
  length = call.q_BxLxHxDh.shape[1] // parts
  if min(length, call.parts[0][0].shape[1]) < SMALLEST:
    what = f'one of {parts} parts of a sequence' if parts > 1 else 'a sequence'
    return f'{what} is shorter than a block of {SMALLEST} tokens'
  if parts > 1 and call.mask.causal and length % SMALLEST:
    return (
      f'each of {parts} parts of a sequence has {length} tokens, and a block '
      f'{SMALLEST}'
    )
  return ''


def _cudnn_obstacle(call: Call) -> str:
  if platform() != 'gpu':
    return f'the platform is {platform()}, not gpu'
  capability = _compute_capability()
  if capability < 8:
    return 'it needs a GPU of compute capability 8.0'
  if ways('length') > 1:
    return 'the mesh divides sequences'
  length, _, head_width = call.q_BxLxHxDh.shape[1:]
  if call.q_BxLxHxDh.dtype != jnp.bfloat16:
    return f'it computes in bfloat16, not in {call.q_BxLxHxDh.dtype}'
  widest = 256 if capability >= 9 else 128
  if head_width % 8 or head_width > widest:
    return f'model.head_width = {head_width} is no multiple of 8 up to {widest}'
  if call.cap:
    return 'it has no model.attention_softcap'
  if length % 2 or call.parts[0][0].shape[1] % 2:
    return 'a sequence is of an odd number of tokens'
  return ''


KERNELS = {
  'splash': Kernel(splash, _splash_obstacle),
  'cudnn': Kernel(cudnn, _cudnn_obstacle),
}


def _obstacle(call: Call) -> str:
  """What is in the way of every kernel; '' where nothing is."""
  keys = call.parts[0][0]
  length = call.q_BxLxHxDh.shape[1]
  if len(call.parts) > 1 or (call.mask.causal and length != keys.shape[1]):
    return 'queries read keys of earlier tokens'
  if call.drops:
    return 'it drops no attention weights (model.dropout)'
  for array, axes in ((call.q_BxLxHxDh, _QUERIES), (keys, _KEYS)):
    for size, axis in zip(array.shape, axes, strict=True):
      if size % ways(axis):
        return f'a {axis} axis of {size} does not divide over the mesh'
  return ''


def _mask_spec(mask: Mask) -> Mask:
  """Mesh axes of what a mask is made of."""
  keys = _spec(('batch', 'keys'))
  return mask.replace(
    query_segments_BxL=_spec(('batch', 'length')),
    key_segments_BxS=keys,
    prefix_BxS=None if mask.prefix_BxS is None else keys,
  )


def _spec(axes: tuple[str | None, ...]) -> PartitionSpec:
  """Mesh axes by the logical rules of the context."""
  spec = nn.logical_to_mesh_axes(axes)
  assert spec is not None  # it is None of None alone
  return spec


def _old_tpu() -> bool:
  device: Any = jax.sharding.get_abstract_mesh().abstract_device
  kind = (device or jax.devices()[0]).device_kind
  return kind in ('TPU v2', 'TPU v3')


def _compute_capability() -> float:
  """Of the GPUs here; 0 where none is, or none is NVIDIA's."""
  told = getattr(jax.local_devices()[0], 'compute_capability', '')
  try:
    return float(told)
  except ValueError:
    return 0.0


@functools.cache  # each layer and each step asks again
def _tell(level: int, kernel: str, obstacle: str) -> None:
  log.log(level, 'attention by xla instead of %s: %s', kernel, obstacle)
