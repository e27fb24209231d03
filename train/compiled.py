"""A compiled step as a file: compiled here, run on the devices it is for.

The file is trusted code: loading one runs what it says (it is a pickle around
a program). Load only files that you have made.

It begins with lines: `MAGIC`, a JSON tree of all that the program depends on,
and the SHA-256 of that and of the rest. Another config, mesh or version of the
code is refused.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
from jax.experimental import serialize_executable
from jax.sharding import Mesh

import model
import train
import train.mesh
from configs.errors import UserError
from configs.files import write_bytes
from configs.tree import differences, digest
from data.batch import BatchShape
from model.config import ModelConfig
from train.config import StepConfig
from train.mesh.placement import Placement
from train.optimizer_config import OptimizerConfig
from train.workdir import as_json

MAGIC = b'scalenest compiled step 2'


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
    'devices': {
      'kind': first.device_kind,
      'count': mesh.size,
      # Of a slice, and of which one: exchanges are laid out by them.
      'places': digest([_place_of(device) for device in mesh.devices.flat]),
    },
    'versions': {name: importlib.metadata.version(name) for name in packages},
    'code': _code_digest(),
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
  header = json.dumps(about).encode()
  lines = [MAGIC, header, _digest(header + payload), payload]
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
  _, header, told, payload = parts
  if _digest(header + payload) != told:
    raise UserError(f'{path} is not whole: copy it or compile it anew')
  _check_same(path, json.loads(header), about)
  try:
    return serialize_executable.deserialize_and_load(
      payload,
      lowered.in_tree,
      lowered.out_tree,
      execution_devices=tuple(mesh.devices.flat),
    )
  except (KeyError, ValueError, jax.errors.JaxRuntimeError) as error:
    why = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
    raise UserError(
      f'{path} does not load on these devices ({why}): compile anew'
    ) from error


def _check_same(
  path: pathlib.Path | str, there: Mapping[str, Any], here: Mapping[str, Any]
) -> None:
  for key, old, new in differences(there, here):
    raise UserError(
      f'{path} was compiled for {key} = {old!r}, and this is {new!r}: '
      'compile anew'
    )


def _place_of(device: jax.Device) -> list[Any]:
  coords = getattr(device, 'coords', None)
  return [getattr(device, 'slice_index', None), coords and list(coords)]


@functools.cache
def _code_digest() -> str:
  """Of the modules that a step is made of."""
  found = {
    f'{package.__name__}/{path.name}': _digest(path.read_bytes()).decode()
    for package in (model, train, train.mesh)
    for path in pathlib.Path(package.__path__[0]).glob('*.py')
  }
  return digest(found)


def _digest(payload: bytes) -> bytes:
  return hashlib.sha256(payload).hexdigest().encode()
