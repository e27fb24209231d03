"""Checkpoints: the only place that knows Orbax.

A checkpoint holds three items: `params`, `optimizer` (its state and the step)
and `meta`, JSON bytes with the config, the tokenizer, the state of the data
iterator and the data's digest. It needs no other file to be used.
"""

import dataclasses
import json
import pathlib
import warnings
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from configs.errors import UserError
from train.config import CheckpointConfig
from train.step import TrainState

CHECKPOINTS = 'checkpoints'


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
      meta.step,
      {
        'params': state.params,
        'optimizer': {'step': state.step, 'state': state.optimizer_state},
        'meta': {'json': _as_bytes(dataclasses.asdict(meta))},
      },
      force=True,
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


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): tuple(leaf.shape)
    for path, leaf in leaves
  }


def _load(folder: pathlib.Path, abstract: dict[str, Any]) -> Any:
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Sharding info not provided')
    return ocp.load_checkpointables(folder, abstract)


def load_raw(folder: pathlib.Path) -> dict[str, Any]:
  """Reads `params` and `optimizer` just as they were saved."""
  return _load(folder, {'params': None, 'optimizer': None})
