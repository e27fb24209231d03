"""A compiled step as a file: compiled here, run on the devices it is for.

The file is trusted code: loading one runs what it says (it is a pickle around
a program). Load only files that you have made.

It begins with lines: `MAGIC`, a JSON tree of all that the program depends on,
and the SHA-256 of the rest. Another config, mesh or version is refused.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
from jax.experimental import serialize_executable
from jax.sharding import Mesh

from configs.errors import UserError
from configs.files import write_bytes
from configs.tree import flatten
from data.batch import BatchShape
from model.config import ModelConfig
from train.config import StepConfig
from train.optimizer_config import OptimizerConfig
from train.placement import Placement
from train.workdir import as_json

MAGIC = b'scalenest compiled step 1'


def description(
  model_config: ModelConfig,
  optimizer_config: OptimizerConfig,
  step_config: StepConfig,
  shape: BatchShape,
  mesh: Mesh,
  placement: Placement,
) -> dict[str, Any]:
  """All that a compiled step depends on, as a JSON tree.

  Arguments as `train.program.lower`. The learning rate is no part of it.
  """
  first = mesh.devices.flat[0]
  packages = ['jax', 'jaxlib'] + ['libtpu'] * (first.platform == 'tpu')
  optimizer = dataclasses.replace(optimizer_config, learning_rate=1.0)
  tree = {
    'model': dataclasses.asdict(model_config),
    'optimizer': dataclasses.asdict(optimizer),
    'step': dataclasses.asdict(step_config),
    'batch': dataclasses.asdict(shape),
    'mesh': dict(mesh.shape),
    'placement': dataclasses.asdict(placement),
    'devices': {'kind': first.device_kind, 'count': mesh.size},
    'versions': {name: importlib.metadata.version(name) for name in packages},
  }
  return cast(dict[str, Any], as_json(tree))


def save(
  path: pathlib.Path | str,
  step: jax.stages.Compiled,
  about: Mapping[str, Any],
) -> None:
  """Writes a compiled step.

  Args:
    path: of the file, whole or not at all.
    step: `train_step` of a `train.program.Lowered`, compiled.
    about: the `description` of what it was lowered from.
  """
  payload, _, _ = serialize_executable.serialize(step)
  lines = [MAGIC, json.dumps(about).encode(), _digest(payload), payload]
  write_bytes(pathlib.Path(path), b'\n'.join(lines))


def load(
  path: pathlib.Path | str,
  lowered: jax.stages.Lowered,
  about: Mapping[str, Any],
  mesh: Mesh,
) -> Callable[..., Any]:
  """Reads a compiled step, for use in place of `lowered.compile()`.

  Args:
    path: of a file that you trust.
    lowered: what would be compiled otherwise.
    about: the `description` of it.
    mesh: of devices that are there, over which it is laid out.

  Raises:
    UserError: there is no such file, it is none of these or not whole, or it is
      of something else: a key of the config, devices or versions differ.
  """
  try:
    content = pathlib.Path(path).read_bytes()
  except FileNotFoundError as error:
    raise UserError(f'compiled = {str(path)!r}: no such file') from error
  parts = content.split(b'\n', 3)
  if len(parts) < 4 or parts[0] != MAGIC:
    raise UserError(
      f'{path} is no compiled step of this version; make one: python -m '
      'train.compile --save=FILE'
    )
  _check_same(path, json.loads(parts[1]), about)
  if _digest(parts[3]) != parts[2]:
    raise UserError(f'{path} is not whole: copy it or compile it anew')
  return serialize_executable.deserialize_and_load(
    parts[3],
    lowered.in_tree,
    lowered.out_tree,
    execution_devices=tuple(mesh.devices.flat),
  )


def _check_same(
  path: pathlib.Path | str, there: Mapping[str, Any], here: Mapping[str, Any]
) -> None:
  old, new = flatten(there), flatten(here)
  for key in sorted({*old, *new}):
    if old.get(key) != new.get(key):
      raise UserError(
        f'{path} was compiled for {key} = {old.get(key)!r}, and this is '
        f'{new.get(key)!r}: compile anew'
      )


def _digest(payload: bytes) -> bytes:
  return hashlib.sha256(payload).hexdigest().encode()
