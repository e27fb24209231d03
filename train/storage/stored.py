"""Parameters of a checkpoint of which a part is in memory at a time."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore  # comes with Orbax, which stores arrays by it

from train import checkpoint
from train.step import TrainState
from train.storage.contents import STACKED, Meta, leaves
from train.storage.integrity import CorruptError, PartialSum, Summed, verify
from train.storage.places import is_cloud

_CODECS = [
  {'name': 'bytes', 'configuration': {'endian': 'little'}},
  {'name': 'zstd', 'configuration': {'level': 3}},
]


class Stored:
  """One parameter on disk.

  Attributes:
    shape: of the whole.
  """

  def __init__(
    self, folder: pathlib.Path, path: str, expected: Summed | None, **how: Any
  ):
    """Opens, or makes, an array.

    Args:
      folder: of its checkpoint.
      path: of the parameter, keys joined by '.'.
      expected: what it must be once all of it was read; None is not verified.
      **how: as of `tensorstore.open`.
    """
    self._where = str(folder)
    self._path = f'params.{path}'
    self._expected = expected
    self._store = self._told(_open(folder, 'params', path, **how))
    self.shape: tuple[int, ...] = tuple(self._store.shape)
    self._sum = PartialSum(self._store.dtype.numpy_dtype, self.shape)
    self._span = range(0)
    self._layers: np.ndarray | None = None

  def __getitem__(self, at: tuple[int, ...]) -> np.ndarray:
    """Reads the numbers of one layer, `(layer,)`, or all of them, `()`.

    Raises:
      CorruptError: they cannot be read; or the last of them are read, and all
        together are not what was saved.
    """
    found = self._layer(*at) if at else self._told(self._store.read())
    if self._expected is not None:
      self._sum.add(at, found)
      if self._sum.complete:
        expected = {self._path: self._expected}
        verify(expected, {self._path: self._sum.summed()}, self._where)
        self._expected = None
    return found

  def __setitem__(self, at: tuple[int, ...], array: np.ndarray) -> None:
    """Writes the numbers of one layer, or all; returns when they are there."""
    array = np.asarray(array, self._store.dtype.numpy_dtype)
    self._sum.add(at, array)
    self._store[at].write(
      array, can_reference_source_data_indefinitely=True
    ).result()

  @property
  def written(self) -> Summed:
    """What has been written."""
    return self._sum.summed()

  def _layer(self, layer: int) -> np.ndarray:
    # A chunk is decoded as a whole, and older checkpoints have all layers in
    # one: it is kept until its last layer is read.
    if self._layers is None or layer not in self._span:
      chunk: Any = self._store.chunk_layout.read_chunk.shape
      size = chunk[0]
      first = layer - layer % size
      self._span = range(first, min(first + size, self.shape[0]))
      part = self._store[self._span.start : self._span.stop]
      self._layers = self._told(part.read())
    found = self._layers[layer - self._span.start]
    if layer == self._span[-1]:
      self._layers = None
    return found

  def _told(self, future: Any) -> Any:
    """The result, or what is wrong with the files in one line."""
    try:
      return future.result()
    except ValueError as error:
      line = str(error).splitlines()[0]
      raise CorruptError(f'{self._where}: {self._path}: {line}') from error


def open_params(folder: pathlib.Path) -> dict[str, Stored]:
  """The parameters of a checkpoint by path, keys joined by '/'.

  Raises:
    CorruptError: what tells of them cannot be read.
  """
  _, manifest = checkpoint.read_meta(folder)
  expected: dict[str, Any]
  if manifest is None:
    expected = dict.fromkeys(checkpoint.described(folder, 'params'))
  else:
    expected = manifest.item('params')
  return {
    path.replace('.', '/'): Stored(folder, path, summed, open=True, read=True)
    for path, summed in expected.items()
  }


def new_params(
  folder: pathlib.Path, meta: Meta, abstract: Any
) -> dict[str, Stored]:
  """Makes a checkpoint of parameters that are yet to be written.

  Args:
    folder: of the checkpoint, which must not exist.
    meta: what it says of itself.
    abstract: the parameters, a tree of `ShapeDtypeStruct`.

  Returns:
    The parameters as `open_params` gives them. When all are written, `seal` is
    to be called with them.
  """
  # Orbax would have all of an array in memory: it makes a checkpoint of blanks,
  # whose place the arrays take.
  blanks = jax.tree.map(lambda leaf: np.zeros((), leaf.dtype), abstract)
  checkpoint.save(folder, TrainState(jnp.int32(meta.step), blanks, {}), meta)
  made = {}
  for path, leaf in leaves(abstract).items():
    stacked = STACKED in path.split('.')
    chunk = (1, *leaf.shape[1:]) if stacked else leaf.shape
    how = _new(leaf.dtype, leaf.shape, chunk)
    made[path.replace('.', '/')] = Stored(folder, path, None, **how)
  return made


def seal(folder: pathlib.Path, params: Mapping[str, Stored]) -> None:
  """Writes the manifest of parameters that are all written."""
  _, blank = checkpoint.read_meta(folder)
  assert blank is not None
  written = {
    f'params.{path.replace("/", ".")}': stored.written
    for path, stored in params.items()
  }
  manifest = dataclasses.replace(blank, arrays={**blank.arrays, **written})
  content = np.frombuffer(manifest.to_bytes(), np.uint8)
  how = _new(content.dtype, content.shape, content.shape)
  store = _open(folder, 'meta', 'manifest', **how).result()
  store.write(content).result()


def _open(folder: pathlib.Path, item: str, path: str, **how: Any) -> Any:
  """An array as Orbax lays it out: zarr3 in an OCDBT database of its item."""
  base = {'driver': 'file', 'path': f'{folder}/{item}/'}
  if is_cloud(folder):
    bucket, _, rest = str(folder).removeprefix('gs://').partition('/')
    base = {'driver': 'gcs', 'bucket': bucket, 'path': f'{rest}/{item}/'}
  database = {'driver': 'ocdbt', 'base': base, 'path': f'{path}/'}
  spec = {
    'driver': 'zarr3',
    'kvstore': database,
    # Orbax takes a chunk that is not there for one that was lost.
    'store_data_equal_to_fill_value': True,
    # A whole checkpoint changes no more: one look at the database is enough.
    'recheck_cached_data': 'open',
  }
  return tensorstore.open(spec, **how)


def _new(
  dtype: Any, shape: tuple[int, ...], chunk: tuple[int, ...]
) -> dict[str, Any]:
  """How to open an array that takes the place of another."""
  return {
    'create': True,
    'delete_existing': True,
    'dtype': dtype,
    'shape': shape,
    'chunk_layout': tensorstore.ChunkLayout(chunk_shape=chunk),
    'codec': tensorstore.CodecSpec({'driver': 'zarr3', 'codecs': _CODECS}),
  }
