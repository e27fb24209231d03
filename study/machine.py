"""What the study ran on: versions, devices and speed."""

import os
import platform
from importlib import metadata
from typing import Any

import jax

from train.peak import matmul_peak

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


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
