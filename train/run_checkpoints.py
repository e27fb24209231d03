"""The checkpoints of one run: when they are saved, which are kept, and from
which the run goes on.

Arrays that are stacked over layers are stored in chunks of one layer.
"""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from orbax.checkpoint import v1 as ocp

from configs.errors import UserError
from train.checkpoint import load_meta, read_meta, read_state
from train.config import CheckpointConfig
from train.step import TrainState
from train.storage import contents, integrity, mirror
from train.storage.contents import Meta
from train.storage.integrity import CorruptError, Manifest
from train.storage.keeping import KeepBest, KeepLast
from train.storage.places import CHECKPOINTS, place, set_aside, steps_in

log = logging.getLogger(__name__)

_METRIC = 'validation_loss'  # of the best checkpoints


class RunCheckpoints:
  """The checkpoints of one run, saved in the background.

  A context manager: leaving it waits for what is being saved. Under several
  processes each of them has one, and all call its methods in the same order.
  """

  def __init__(self, workdir: pathlib.Path, config: CheckpointConfig):
    """Opens the folder of a run's checkpoints, and makes it when missing.

    Args:
      workdir: of the run.
      config: where else they lie, when to save and what to keep.

    Raises:
      UserError: the folder is another run's.
    """
    self._workdir = workdir
    self._config = config
    self._home = place(config.folder) if config.folder else workdir
    mirror.check(workdir, self._home)
    self._root = self._home / CHECKPOINTS
    self._last: Manifest | None = None  # of what was saved or restored last
    losses = _losses(self._root) if config.keep_best else {}
    self._best = KeepBest(config.keep_best, losses)
    self._orbax = ocp.training.Checkpointer(
      self._root,
      context=_context(),
      save_decision_policy=_when_to_save(config),
      preservation_policy=_what_to_keep(config, self._best),
      cleanup_tmp_directories=True,
    )

  def __enter__(self) -> 'RunCheckpoints':
    return self

  def __exit__(self, *_: Any) -> None:
    with self._telling():
      self._orbax.close()

  @property
  def latest_step(self) -> int | None:
    """The step of the newest whole checkpoint."""
    latest = self._orbax.latest
    return None if latest is None else latest.step

  def wants(self, step: int, validates: bool = False) -> bool:
    """Whether the policy saves at this step.

    Args:
      step: number of updates made.
      validates: whether there is a validation loss of it, by which the best
        checkpoints are kept.
    """
    if step == self.latest_step:
      return False
    best = validates and self._best.number > 0
    return best or self._orbax.should_save(step)

  def save(
    self,
    state: TrainState,
    meta: Meta,
    metrics: Mapping[str, float] | None = None,
    averaged: Any = None,
  ) -> None:
    """Begins to save; returns when `state` may be changed.

    A warning is logged where no parameter differs from the checkpoint before.

    Args:
      state: after `meta.step` updates.
      meta: of it.
      metrics: of an evaluation of it; the best are kept by `validation_loss`.
      averaged: parameters to use, of `step.averaged`: where they are others
        than those that are trained, both are kept.

    Raises:
      UserError: an earlier checkpoint could not be written.
    """
    if meta.step == self.latest_step:
      return
    if int(state.step) != meta.step:
      raise ValueError(f'a state of step {state.step} as step {meta.step}')
    meta = dataclasses.replace(meta, metrics=dict(metrics or {}))
    stored, manifest = contents.sealed(contents.items(state, averaged), meta)
    if self._last and self._last.item('params') == manifest.item('params'):
      told = 'step %d: every parameter is just as it was at step %d'
      log.warning(told, meta.step, self._last.step)
    self._last = manifest
    self._best.losses[meta.step] = meta.metrics.get(_METRIC, np.nan)
    if self._home != self._workdir:
      mirror.send(self._workdir, self._home)
    with self._telling():
      self._orbax.save_checkpointables_async(meta.step, stored, force=True)

  def wait(self) -> None:
    """Returns when all that was begun is on disk.

    Raises:
      UserError: it could not be written.
    """
    with self._telling():
      self._orbax.wait()

  def restore(
    self,
    abstract: TrainState,
    check: Callable[[pathlib.Path, Meta], None] = lambda folder, meta: None,
    up_to: int | None = None,
  ) -> tuple[TrainState, Meta] | None:
    """Reads the newest checkpoint that is good.

    One that is damaged is told of, and once an older one is found to be good
    it is set aside: it is renamed to `STEP.corrupt`, so that the run can save
    this step anew. All processes come to the same checkpoint. Logs of a run
    whose checkpoints lie elsewhere come with it.

    Args:
      abstract: shapes and shardings of the state.
      check: is called with a checkpoint and what it says of itself before its
        arrays are read; its errors are not taken for damage.
      up_to: the last step to go back to, from a spike; or the oldest that there
        is, where all are later. Only checkpoints that were due are taken, as an
        undisturbed run has no others, and later ones are deleted: they were
        made of steps that are given up. None takes any.

    Returns:
      The state, laid out as `abstract` says, and what was saved with it; None
      when there is no checkpoint.

    Raises:
      UserError: all are damaged, or one has other arrays, shapes or types.
    """
    self.wait()
    damaged: dict[pathlib.Path, str] = {}
    steps = sorted((one.step for one in self._orbax.checkpoints), reverse=True)
    for step in steps if up_to is None else self._early(steps, up_to):
      folder = self._root / str(step)
      try:
        meta, manifest = read_meta(folder)
        check(folder, meta)
        state = read_state(folder, abstract, manifest)
      except CorruptError as error:
        damaged[folder] = str(error)
        continue
      self._set_aside(damaged, step)
      if up_to is not None:
        self._delete_after(step)
      self._last = manifest
      if self._home != self._workdir:
        mirror.fetch(self._workdir, self._home)
      return state, meta
    if damaged:
      told = '; '.join(damaged.values())
      raise UserError(
        f'no checkpoint in {self._root} is good: {told}; start in a new workdir'
      )
    if up_to is not None:
      self._delete_after(0)
    return None

  def _early(self, steps: list[int], up_to: int) -> list[int]:
    """Of these steps, in falling order, those to go back to, in that order."""
    due = [step for step in steps if self._config.due(step)]
    early = [step for step in due if step <= up_to]
    if not early and due:
      log.warning(
        'no checkpoint of step %d or before is left (checkpoint.keep_last): '
        'going back to step %d',
        up_to,
        due[-1],
      )
    return early or due[::-1]

  def _delete_after(self, step: int) -> None:
    for later in [one.step for one in self._orbax.checkpoints]:
      if later > step:
        self._orbax.delete(later)

  def _set_aside(self, damaged: Mapping[pathlib.Path, str], good: int) -> None:
    for folder, problem in damaged.items():
      aside = set_aside(folder)
      told = '%s; going on from step %d, and set it aside as %s'
      log.warning(told, problem, good, aside.name)
    if damaged:
      self._orbax.reload()

  @contextlib.contextmanager
  def _telling(self) -> Iterator[None]:
    """Makes one line of what goes wrong when files are written."""
    try:
      yield
    except (OSError, ValueError) as error:
      raise UserError(
        f'{self._root}: a checkpoint could not be written '
        f'({integrity.first_line(error)}); whole are those of steps '
        f'{steps_in(self._root)}: make room, and run the same command'
      ) from error


def _when_to_save(config: CheckpointConfig) -> Any:
  policies = ocp.training.save_decision_policies
  steps = [config.every_steps, config.keep_every_steps]
  return policies.AnySavePolicy(
    [
      *(policies.FixedIntervalPolicy(every) for every in steps if every),
      policies.SpecificStepsPolicy(list(config.keep_steps)),
    ]
  )


def _what_to_keep(config: CheckpointConfig, best: KeepBest) -> Any:
  policies = ocp.training.preservation_policies
  kept: list[Any] = [
    KeepLast(config.keep_last, config.due),
    policies.CustomSteps(list(config.keep_steps)),
    best,
  ]
  if config.keep_every_steps:
    kept.append(policies.EveryNSteps(config.keep_every_steps))
  return policies.AnyPreservationPolicy(kept)


def _losses(root: pathlib.Path) -> dict[int, float]:
  """Of the checkpoints that are there and can be read."""
  found = {}
  for step in steps_in(root):
    with contextlib.suppress(CorruptError):
      meta = load_meta(root / str(step))
      found[step] = meta.metrics.get(_METRIC, np.nan)
  return found


def _context() -> ocp.Context:
  """How Orbax saves: what is stacked is in chunks that can be read alone."""

  def by_layer(path: Any, value: Any) -> Any:
    keys = {getattr(key, 'key', None) for key in path}
    if contents.STACKED not in keys or not np.ndim(value):
      return None
    return ocp.options.ArrayOptions.Saving.StorageOptions(shard_axes=(0,))

  context = ocp.Context()
  context.array.saving.scoped_storage_options_creator = by_layer
  return context
