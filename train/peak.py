"""How fast devices multiply matrices: as published, or as measured."""

import functools
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from configs.chips import CHIPS

# By `jax.Device.device_kind`, of chips that are one device each. A name that is
# near one of these can be another chip: for PCIe they draw and do less.
CHIP_OF_KIND = {
  'TPU v4': 'tpu-v4',
  'TPU v5 lite': 'tpu-v5e',
  'TPU v5e': 'tpu-v5e',
  'TPU v5': 'tpu-v5p',
  'TPU v5p': 'tpu-v5p',
  'TPU v6 lite': 'tpu-v6e',
  'TPU v6e': 'tpu-v6e',
  'NVIDIA A100-SXM4-40GB': 'a100-40gb',
  'NVIDIA A100-SXM4-80GB': 'a100-80gb',
  'NVIDIA H100 80GB HBM3': 'h100',
  'NVIDIA H200': 'h200',
  'NVIDIA B200': 'b200',
  'NVIDIA L4': 'l4',
}

# Products that keep a device busy for some milliseconds.
_CPU_WIDTH = 1024
_WIDTH = 8192
_TRIES = 3


def chip_of(chosen: str, device: jax.Device) -> str:
  """Name of a device in `configs.chips`, '' when it is none of them.

  Args:
    chosen: the user's word for it; '' detects.
    device: one of those that are alike.
  """
  return chosen or CHIP_OF_KIND.get(device.device_kind, '')


def peak_of(
  chip: str, devices: Sequence[jax.Device], dtype: str
) -> tuple[float, str]:
  """FLOP/s of one device, and whether they are 'published' or 'measured'.

  Args:
    chip: of `configs.chips`; '' measures.
    devices: of a mesh; those of this process are measured.
    dtype: that is measured.
  """
  if chip:
    return CHIPS[chip].peak_flops, 'published'
  own = [d for d in devices if d.process_index == jax.process_index()]
  return matmul_peak(own, dtype) / len(own), 'measured'


def matmul_peak(
  devices: Sequence[jax.Device] | None = None, dtype: str = 'float32'
) -> float:
  """FLOP/s of devices together in products of square matrices, measured.

  The best of a few, each device with a square of its own, summed in float32:
  what a training step is compared with.

  Args:
    devices: of this process; None means all.
    dtype: of the squares.
  """
  return _peak(tuple(devices or jax.local_devices()), dtype)


@functools.cache
def _peak(devices: tuple[jax.Device, ...], dtype: str) -> float:
  width = _CPU_WIDTH if devices[0].platform == 'cpu' else _WIDTH
  mesh = jax.make_mesh(
    (len(devices),), ('rows',), (AxisType.Auto,), devices=devices
  )
  rows = NamedSharding(mesh, PartitionSpec('rows'))
  whole = NamedSharding(mesh, PartitionSpec())
  left = jnp.ones((len(devices) * width, width), dtype, device=rows)
  right = jnp.ones((width, width), dtype, device=whole)
  matmul = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
  product = jax.jit(matmul, out_shardings=rows)
  product(left, right).block_until_ready()
  seconds = []
  for _ in range(_TRIES):
    began = time.perf_counter()
    product(left, right).block_until_ready()
    seconds.append(time.perf_counter() - began)
  return 2 * left.size * width / min(seconds)
