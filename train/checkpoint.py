"""One checkpoint: this and `train.run_checkpoints` alone know Orbax.

What a checkpoint holds is told in `train.storage.contents`; it needs no other
file to be used. All that is read is verified by the manifest it was saved with.
"""

import contextlib
import errno
import logging
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from configs.errors import UserError
from train.processes.agree import first_problem
from train.step import TrainState
from train.storage import contents, integrity
from train.storage.contents import Meta, leaves
from train.storage.integrity import CorruptError, Manifest
from train.storage.places import find as find

log = logging.getLogger(__name__)

# Of the system, and of what reads from a network, as TensorStore words it.
_PASSING = (
  *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
  *(errno.EIO, errno.ETIMEDOUT, errno.ESTALE),
)
_PASSING_CODES = (
  'UNAVAILABLE',
  'PERMISSION_DENIED',
  'UNAUTHENTICATED',
  'DEADLINE_EXCEEDED',
)


def load_meta(folder: pathlib.Path) -> Meta:
  """Reads what a checkpoint says of itself.

  Raises:
    CorruptError: it cannot be read, or is not what was saved.
  """
  return read_meta(folder)[0]


def load_params(folder: pathlib.Path, abstract: Any) -> Any:
  """Reads the parameters as `abstract`, a tree of `ShapeDtypeStruct`.

  Raises:
    UserError: the checkpoint has other arrays, shapes or types.
    CorruptError: it cannot be read, or is not what was saved.
  """
  _, manifest = read_meta(folder)
  return _checked(folder, {'params': abstract}, manifest)['params']


def load_state(folder: pathlib.Path, abstract: TrainState) -> TrainState:
  """Reads a whole state, laid out as the shardings in `abstract` say.

  Raises:
    UserError: the checkpoint has other arrays, shapes or types.
    CorruptError: it cannot be read, or is not what was saved.
  """
  _, manifest = read_meta(folder)
  return read_state(folder, abstract, manifest)


def load_raw(folder: pathlib.Path) -> dict[str, Any]:
  """Reads `params` and `optimizer` just as they were saved."""
  return _load(folder, {'params': None, 'optimizer': None})


def read_meta(folder: pathlib.Path) -> tuple[Meta, Manifest | None]:
  """As `load_meta`, with the manifest; older checkpoints have none."""
  content = _load(folder, {'meta': None})['meta']
  with _found_by_all():
    try:
      meta, manifest = contents.unsealed(content)
    except CorruptError as error:
      raise CorruptError(f'{folder}: {error}') from error
    if manifest is None:
      log.info('%s has no integrity manifest: it is taken as it is', folder)
    # A folder that was moved may have any name.
    elif folder.name.isdigit() and int(folder.name) != manifest.step:
      raise CorruptError(f'{folder}: it was saved as step {manifest.step}')
  return meta, manifest


def save(folder: pathlib.Path, state: TrainState, meta: Meta) -> None:
  """Saves a checkpoint by itself, in a folder that must not exist."""
  ocp.save_checkpointables(
    folder, contents.sealed(contents.items(state), meta)[0]
  )


def described(folder: pathlib.Path, item: str) -> dict[str, Any]:
  """The arrays of an item by path, keys joined by '.'; shapes and types."""
  with _reading(folder / item):
    return leaves(ocp.checkpointables_metadata(folder).metadata[item])


def read_state(
  folder: pathlib.Path, abstract: TrainState, manifest: Manifest | None
) -> TrainState:
  wanted = contents.items(abstract)
  if manifest and any(
    path.startswith('optimizer.raw') for path in manifest.arrays
  ):
    wanted['optimizer']['raw'] = wanted.pop('params')
  loaded = _checked(folder, wanted, manifest)
  optimizer = loaded['optimizer']
  params = optimizer['raw'] if 'raw' in optimizer else loaded['params']
  return TrainState(optimizer['step'], params, optimizer['state'])


def _checked(
  folder: pathlib.Path, abstract: dict[str, Any], manifest: Manifest | None
) -> Any:
  """Loads, and makes sure that every leaf is there as it was saved."""
  for item, tree in abstract.items():
    there = manifest.item(item) if manifest else described(folder, item)
    told = contents.difference(there, leaves(tree), item)
    if told:
      raise UserError(f'{folder}: the checkpoint is of another model: {told}')
  loaded = _load(folder, abstract)
  arrays = {
    f'{item}.{path}': leaf
    for item in abstract
    for path, leaf in leaves(loaded[item]).items()
  }
  with _found_by_all():
    for path, leaf in sorted(arrays.items()):
      if not isinstance(leaf, jax.Array):
        raise CorruptError(f'{folder}: {path} came back without numbers')
  if manifest:
    sums = integrity.sums(arrays)
    with _found_by_all():
      integrity.verify(manifest.arrays, sums, str(folder))
  return loaded


@contextlib.contextmanager
def _found_by_all() -> Iterator[None]:
  """What one process finds damaged is damaged for all: each reads by itself."""
  problem = ''
  try:
    yield
  except CorruptError as error:
    problem = str(error)
  problem = first_problem(problem)
  if problem:
    raise CorruptError(problem)


def _passes(error: Exception) -> bool:
  """Whether it is no damage that a file could not be read."""
  if isinstance(error, OSError) and error.errno in _PASSING:
    return True
  return any(code in str(error) for code in _PASSING_CODES)


def _load(folder: pathlib.Path, abstract: dict[str, Any]) -> Any:
  problem = ''
  loaded: dict[str, Any] = {}
  # Orbax counts what it does, and must count the same in all processes: they
  # try every item, whatever one of them finds.
  for item, tree in abstract.items():
    try:
      with _reading(folder / item), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Sharding info not provided')
        loaded |= ocp.load_checkpointables(folder, {item: tree})
    except CorruptError as error:
      problem = problem or str(error)
  problem = first_problem(problem)
  if problem:
    raise CorruptError(problem)
  return loaded


@contextlib.contextmanager
def _reading(what: pathlib.Path) -> Iterator[None]:
  """Each process reads alone, and all that Orbax raises is a CorruptError."""
  context = ocp.Context()
  # Orbax would wait at the end for all processes, and forever for one that
  # found a file damaged.
  own = ocp.multihost.process_index()
  context.multiprocessing_options.primary_host = own
  context.multiprocessing_options.active_processes = {own}
  try:
    with context:
      yield
  except (MemoryError, jax.errors.JaxRuntimeError):
    raise
  except Exception as error:
    if _passes(error):
      raise UserError(
        f'{what} cannot be read ({integrity.first_line(error)}); nothing was '
        'changed: see to that, and run the same command'
      ) from error
    raise CorruptError(f'{what}: {integrity.first_line(error)}') from error
