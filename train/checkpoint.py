"""Checkpoints: the only place that knows Orbax, and how it stores arrays.

A checkpoint holds three items: `params`, `optimizer` (its state and the step)
and `meta`, JSON bytes with the config, the tokenizer, the state of the data
iterator and the data's digest. It needs no other file to be used. Arrays that
are stacked over layers are stored in chunks of one layer.
"""

import dataclasses
import json
import pathlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore  # comes with Orbax, which stores arrays by it
from orbax.checkpoint import v1 as ocp

from configs.errors import UserError
from train.config import CheckpointConfig
from train.step import TrainState

CHECKPOINTS = 'checkpoints'
_STACKED = 'layers'  # key of what has an axis of layers
_CODECS = [
  {'name': 'bytes', 'configuration': {'endian': 'little'}},
  {'name': 'zstd', 'configuration': {'level': 3}},
]


@dataclasses.dataclass(frozen=True)
class Meta:
  """What a checkpoint says of itself.

  Attributes:
    config: the run's config as a plain tree.
    tokenizer: its own JSON text.
    corpus: digest and description of the text trained on.
    data_state: of the training batches' iterator.
    step: number of updates made.
    seconds: of training up to here, over all interruptions.
  """

  config: dict[str, Any]
  tokenizer: str
  corpus: dict[str, Any]
  data_state: dict[str, Any]
  step: int
  seconds: float


class RunCheckpoints:
  """The checkpoints of one run, saved in the background.

  A context manager: leaving it waits for what is being saved.
  """

  def __init__(self, workdir: pathlib.Path, config: CheckpointConfig):
    decide = ocp.training.save_decision_policies
    keep = ocp.training.preservation_policies
    self._orbax = ocp.training.Checkpointer(
      workdir / CHECKPOINTS,
      context=_context(),
      save_decision_policy=decide.AnySavePolicy(
        [
          decide.FixedIntervalPolicy(config.every_steps),
          decide.SpecificStepsPolicy(list(config.keep_steps)),
        ]
      ),
      preservation_policy=keep.AnyPreservationPolicy(
        [
          keep.LatestN(config.keep_last),
          keep.CustomSteps(list(config.keep_steps)),
        ]
      ),
      cleanup_tmp_directories=True,
    )

  def __enter__(self) -> 'RunCheckpoints':
    return self

  def __exit__(self, *_: Any) -> None:
    self._orbax.close()

  @property
  def latest_step(self) -> int | None:
    """The step of the newest whole checkpoint."""
    latest = self._orbax.latest
    return None if latest is None else latest.step

  def wants(self, step: int) -> bool:
    """Whether the policy saves at this step."""
    return step != self.latest_step and self._orbax.should_save(step)

  def save(self, state: TrainState, meta: Meta) -> None:
    """Begins to save; returns when `state` may be changed."""
    if meta.step == self.latest_step:
      return
    self._orbax.save_checkpointables_async(
      meta.step, _items(state, meta), force=True
    )

  def wait(self) -> None:
    """Returns when all that was begun is on disk."""
    self._orbax.wait()


def find(path: pathlib.Path | str, step: int | None = None) -> pathlib.Path:
  """The folder of one checkpoint.

  Args:
    path: a run's workdir, or a checkpoint folder itself.
    step: of a workdir, which checkpoint; None means the newest.

  Raises:
    UserError: there is none.
  """
  path = pathlib.Path(path).absolute()
  if (path / 'meta').is_dir() and step is None:
    return path
  root = path / CHECKPOINTS
  steps = sorted(
    int(p.name)
    for p in (root.iterdir() if root.is_dir() else ())
    if p.name.isdigit()
  )
  if not steps:
    raise UserError(f'no checkpoint in {path}')
  if step is not None and step not in steps:
    raise UserError(f'no checkpoint of step {step} in {path}; it has {steps}')
  return root / str(steps[-1] if step is None else step)


def load_meta(folder: pathlib.Path) -> Meta:
  """Reads what a checkpoint says of itself."""
  content = _load(folder, {'meta': None})['meta']['json']
  return Meta(**json.loads(np.asarray(content).tobytes()))


def load_params(folder: pathlib.Path, abstract: Any) -> Any:
  """Reads the parameters as `abstract`, a tree of `ShapeDtypeStruct`.

  Raises:
    UserError: the checkpoint has other arrays or other shapes.
  """
  return _checked(folder, {'params': abstract})['params']


def load_state(folder: pathlib.Path, abstract: TrainState) -> TrainState:
  """Reads a whole state, laid out as the shardings in `abstract` say.

  Raises:
    UserError: the checkpoint has other arrays or other shapes.
  """
  loaded = _checked(
    folder,
    {
      'params': abstract.params,
      'optimizer': {'step': abstract.step, 'state': abstract.optimizer_state},
    },
  )
  optimizer = loaded['optimizer']
  return TrainState(optimizer['step'], loaded['params'], optimizer['state'])


class Stored:
  """One parameter on disk; an array of which a part is in memory at a time.

  Attributes:
    shape: of the whole.
  """

  def __init__(self, store: tensorstore.TensorStore):
    self._store = store
    self.shape: tuple[int, ...] = tuple(store.shape)
    self._span = range(0)
    self._layers: np.ndarray | None = None

  def __getitem__(self, at: tuple[int, ...]) -> np.ndarray:
    """Reads the numbers of one layer, `(layer,)`, or all of them, `()`."""
    if not at:
      return self._store.read().result()
    (layer,) = at
    # A chunk is decoded as a whole, and older checkpoints have all layers in
    # one: it is kept until its last layer is read.
    if self._layers is None or layer not in self._span:
      chunk: Any = self._store.chunk_layout.read_chunk.shape
      size = chunk[0]
      first = layer - layer % size
      self._span = range(first, min(first + size, self.shape[0]))
      part = self._store[self._span.start : self._span.stop]
      self._layers = part.read().result()
    found = self._layers[layer - self._span.start]
    if layer == self._span[-1]:
      self._layers = None
    return found

  def __setitem__(self, at: tuple[int, ...], array: np.ndarray) -> None:
    """Writes the numbers of one layer, or all; returns when they are there."""
    self._store[at].write(
      array, can_reference_source_data_indefinitely=True
    ).result()


def open_params(folder: pathlib.Path) -> dict[str, Stored]:
  """The parameters of a checkpoint by path, keys joined by '/'."""
  described = ocp.checkpointables_metadata(folder).metadata['params']
  return {
    path.replace('.', '/'): Stored(_open(folder, path, open=True, read=True))
    for path in _leaves(described)
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
    The parameters as `open_params` gives them.
  """
  # Orbax would have all of an array in memory: it makes a checkpoint of blanks,
  # whose place the arrays take.
  blanks = jax.tree.map(lambda leaf: np.zeros((), leaf.dtype), abstract)
  state = TrainState(jnp.int32(meta.step), blanks, {})
  ocp.save_checkpointables(folder, _items(state, meta))
  made = {}
  for path, leaf in _leaves(abstract).items():
    stacked = _STACKED in path.split('.')
    chunk = (1, *leaf.shape[1:]) if stacked else leaf.shape
    made[path.replace('.', '/')] = Stored(
      _open(
        folder,
        path,
        create=True,
        delete_existing=True,
        dtype=leaf.dtype,
        shape=leaf.shape,
        chunk_layout=tensorstore.ChunkLayout(chunk_shape=chunk),
        codec=tensorstore.CodecSpec({'driver': 'zarr3', 'codecs': _CODECS}),
      )
    )
  return made


def _open(folder: pathlib.Path, path: str, **options: Any) -> Any:
  """An array of `params` as Orbax lays it out: zarr3 in an OCDBT database."""
  base = {'driver': 'file', 'path': f'{folder}/params/'}
  database = {'driver': 'ocdbt', 'base': base, 'path': f'{path}/'}
  spec = {
    'driver': 'zarr3',
    'kvstore': database,
    # Orbax takes a chunk that is not there for one that was lost.
    'store_data_equal_to_fill_value': True,
  }
  return tensorstore.open(spec, **options).result()


def _context() -> ocp.Context:
  """How Orbax saves: what is stacked is in chunks that can be read alone."""

  def by_layer(path: Any, value: Any) -> Any:
    keys = {getattr(key, 'key', None) for key in path}
    if _STACKED not in keys or not np.ndim(value):
      return None
    return ocp.options.ArrayOptions.Saving.StorageOptions(shard_axes=(0,))

  context = ocp.Context()
  context.array.saving.scoped_storage_options_creator = by_layer
  return context


def _items(state: TrainState, meta: Meta) -> dict[str, Any]:
  """What a checkpoint is made of."""
  return {
    'params': state.params,
    'optimizer': {'step': state.step, 'state': state.optimizer_state},
    'meta': {'json': _as_bytes(dataclasses.asdict(meta))},
  }


def _as_bytes(tree: Any) -> np.ndarray:
  """JSON as an array, which Orbax stores like any other."""
  return np.frombuffer(json.dumps(tree).encode(), np.uint8)


def _checked(folder: pathlib.Path, abstract: dict[str, Any]) -> Any:
  """Loads, and makes sure that every leaf is there in its shape."""
  described = ocp.checkpointables_metadata(folder).metadata
  for item, tree in abstract.items():
    saved = _shapes(described[item])
    wanted = _shapes(tree)
    wrong = sorted(
      name
      for name in saved.keys() | wanted.keys()
      if saved.get(name) != wanted.get(name)
    )
    if wrong:
      name = wrong[0]
      raise UserError(
        f'{folder}: the checkpoint has another shape: {item}.{name} is '
        f'{saved.get(name, "missing")} there and '
        f'{wanted.get(name, "missing")} in the config'
        + (f', and {len(wrong) - 1} more differ' if wrong[1:] else '')
      )
  return _load(folder, abstract)


def _leaves(tree: Any) -> dict[str, Any]:
  """By path, keys joined by '.', which is what Orbax calls them."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf
    for path, leaf in leaves
  }


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  return {path: tuple(leaf.shape) for path, leaf in _leaves(tree).items()}


def _load(folder: pathlib.Path, abstract: dict[str, Any]) -> Any:
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Sharding info not provided')
    return ocp.load_checkpointables(folder, abstract)


def load_raw(folder: pathlib.Path) -> dict[str, Any]:
  """Reads `params` and `optimizer` just as they were saved."""
  return _load(folder, {'params': None, 'optimizer': None})
