"""The costs of a training step, of the compiler for absent TPUs."""

import importlib.metadata
import pathlib
import re
from typing import Any

import jax

from configs.tree import digest
from model.counts import training_flops_per_row
from train import compiled
from train.ahead import hlo, hlo_memory, modelled, roofline
from train.ahead.job import Job, device_bytes
from train.ahead.topology import Topology

_UNITS = {'': 0, 'K': 1, 'M': 2, 'G': 3, 'T': 4}
_SIZE = r'([\d.]+)([KMGT]?)'
# What XLA says of a program that is too large, before and after it has laid out
# all arrays: what is needed, and what there is.
_TOO_LARGE = (
  rf'HLO temporaries \({_SIZE}\) exceeds available HBM \({_SIZE}\)',
  rf'memory space hbm\. Used {_SIZE} of {_SIZE} hbm',
)


class TooLargeError(Exception):
  """A step needs more memory than a device has.

  Attributes:
    needed: bytes of a device.
    capacity: bytes of a device.
  """

  def __init__(self, needed: int, capacity: int):
    super().__init__(needed, capacity)
    self.needed = needed
    self.capacity = capacity


def describe(
  job: Job, grid: Topology, save: pathlib.Path | str | None = None
) -> dict[str, Any]:
  """Compiles a step, and tells what it holds, computes, moves and takes.

  Args:
    job: laid out over devices of the topology.
    grid: the topology.
    save: file for the compiled step, where it fits.

  Returns:
    A tree for JSON, see docs/compile.md.

  Raises:
    UserError: an array does not divide over the mesh.
  """
  lowered = job.lower()
  state = lowered.abstract_state
  split = {
    'parameters': device_bytes(state.params),
    'optimizer': device_bytes((state.step, state.optimizer_state)),
    'batch': job.batch_bytes(),
  }
  about: dict[str, Any] = {
    'topology': grid.name,
    'num_slices': grid.num_slices,
    'num_devices': grid.num_devices,
    'mesh': dict(job.mesh.shape),
    'config_digest': digest(job.tree),
    'versions': versions(),
  }
  try:
    step = compile_lowered(lowered.train_step)
  except TooLargeError as error:
    return about | _too_large(error, split)
  if save is not None:
    compiled.save(save, step, job.description())
  return about | _costs(step, job, grid, split)


def compile_lowered(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
  """Compiles.

  Raises:
    TooLargeError: it needs more memory than a device has.
  """
  try:
    return lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    found = told_sizes(str(error))
    if found is None:
      raise
    raise TooLargeError(*found) from error


def compiled_bytes(job: Job) -> int:
  """What a step takes of a device's memory.

  Raises:
    TooLargeError: it is more than there is.
    UserError: an array does not divide over the mesh.
  """
  return total_bytes(compile_lowered(job.lower().train_step))


def told_sizes(message: str) -> tuple[int, int] | None:
  """(needed, there) in bytes, of what XLA says of a program too large."""
  for pattern in _TOO_LARGE:
    found = re.search(pattern, message)
    if found:
      needed, unit, there, its_unit = found.groups()
      return _bytes(needed, unit), _bytes(there, its_unit)
  return None


def total_bytes(step: jax.stages.Compiled) -> int:
  """What a step takes of a device's memory."""
  stats: Any = step.memory_analysis()
  return (
    stats.argument_size_in_bytes
    + stats.output_size_in_bytes
    - stats.alias_size_in_bytes
    + stats.temp_size_in_bytes
  )


def versions() -> dict[str, str]:
  """Of what compiles; '' for what is not installed."""
  found = {}
  for package in ('jax', 'jaxlib', 'libtpu'):
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      found[package] = ''
  return found


def _bytes(number: str, unit: str) -> int:
  # XLA writes G for 2^30.
  return round(float(number) * 2 ** (10 * _UNITS[unit]))


def _too_large(error: TooLargeError, split: dict[str, int]) -> dict[str, Any]:
  arguments = sum(split.values())
  return {
    'fits': False,
    'capacity_bytes': error.capacity,
    'hbm_bytes': {
      'arguments': arguments,
      'outputs': None,
      'temporaries': error.needed - arguments,
      'aliased': None,
      'total': error.needed,
      **split,
      'activations': None,
    },
    'flops': None,
    'modelled_seconds': None,
    'collectives': None,
  }


def _costs(
  step: jax.stages.Compiled, job: Job, grid: Topology, split: dict[str, int]
) -> dict[str, Any]:
  stats: Any = step.memory_analysis()
  module = hlo.parse(step.as_text() or '')
  model, shape = job.config.model, job.shape
  found = modelled.costs(
    module,
    grid,
    roofline.places(job.mesh.devices.flat),
    causal=model.architecture == 'decoder' and not shape.has_prefix,
  )
  arguments, outputs = stats.argument_size_in_bytes, stats.output_size_in_bytes
  temporaries, aliased = stats.temp_size_in_bytes, stats.alias_size_in_bytes
  held = hlo_memory.held(module)
  model_flops = shape.batch_size * training_flops_per_row(
    model, shape.length, shape.source_length
  )
  own_flops = model_flops / grid.num_devices
  peak = grid.chip.peak_flops
  return {
    'fits': True,
    'capacity_bytes': round(grid.tpu.hbm_bytes),
    'hbm_bytes': {
      'arguments': arguments,
      'outputs': outputs,
      'temporaries': temporaries,
      'aliased': aliased,
      'total': total_bytes(step),
      **split,
      'activations': held.activations,
      'peak': arguments + held.peak,
    },
    'flops': found.flops,
    'kernel_flops': found.kernel_flops,
    'model_flops': round(own_flops),
    'moved_bytes': found.hbm_bytes,
    'modelled_seconds': found.busy_seconds,
    'step_seconds': found.step_seconds,
    'roofline_seconds': found.roofline.as_dict(),
    'mfu': own_flops / peak / found.step_seconds,
    'mfu_bound': own_flops / peak / found.roofline.seconds,
    'collectives': found.collectives,
  }
