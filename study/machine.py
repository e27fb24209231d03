"""What the study ran on: speed, versions, energy and money."""

import os
import platform
import time
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from study.config import MachineConfig

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
_WIDTH = 2048
_TRIES = 5


def describe() -> dict[str, Any]:
  """Versions, devices and the measured peak of matrix products."""
  return {
    'python': platform.python_version(),
    'system': platform.platform(),
    'cores': os.cpu_count(),
    'devices': [device.device_kind for device in jax.devices()],
    'packages': {name: metadata.version(name) for name in _PACKAGES},
    'matmul_flops_per_second': matmul_peak(),
  }


def matmul_peak(width: int = _WIDTH) -> float:
  """FLOP/s of all devices together in float32 products of square matrices.

  The best of a few, each device with a square of its own: what a training step
  is compared with.
  """
  devices = jax.devices()
  mesh = jax.make_mesh((len(devices),), ('rows',), (AxisType.Auto,))
  rows = NamedSharding(mesh, PartitionSpec('rows'))
  left = jnp.ones((len(devices) * width, width), jnp.float32, device=rows)
  whole = NamedSharding(mesh, PartitionSpec())
  right = jnp.ones((width, width), jnp.float32, device=whole)
  product = jax.jit(jnp.matmul, out_shardings=rows)
  product(left, right).block_until_ready()
  seconds = []
  for _ in range(_TRIES):
    began = time.perf_counter()
    product(left, right).block_until_ready()
    seconds.append(time.perf_counter() - began)
  return 2 * left.size * width / min(seconds)


def energy_joules(machine: MachineConfig, seconds: float) -> float:
  """Energy at the assumed power."""
  return machine.watts * seconds


def cost_usd(machine: MachineConfig, seconds: float) -> float:
  """Money at the assumed price."""
  return machine.usd_per_hour * seconds / 3600


def carbon_grams(machine: MachineConfig, joules: float) -> float:
  """CO2 at the assumed carbon intensity of electricity."""
  return machine.grams_co2_per_kwh * joules / 3.6e6
