"""What the study ran on: speed, versions, energy and money."""

import os
import platform
import time
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp

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
  """FLOP/s of all devices in float32 products of square matrices.

  The best of a few, each on one device at a time the same: what a training
  step is compared with.
  """
  square = jnp.ones((width, width), jnp.float32)
  product = jax.jit(jnp.matmul)
  product(square, square).block_until_ready()
  seconds = []
  for _ in range(_TRIES):
    began = time.perf_counter()
    product(square, square).block_until_ready()
    seconds.append(time.perf_counter() - began)
  return 2 * width**3 / min(seconds) * len(jax.devices())


def energy_joules(machine: MachineConfig, seconds: float) -> float:
  """Energy at the assumed power."""
  return machine.watts * seconds


def cost_usd(machine: MachineConfig, seconds: float) -> float:
  """Money at the assumed price."""
  return machine.usd_per_hour * seconds / 3600


def carbon_grams(machine: MachineConfig, joules: float) -> float:
  """CO2 at the assumed carbon intensity of electricity."""
  return machine.grams_co2_per_kwh * joules / 3.6e6
