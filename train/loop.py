"""Trains one model: files, clocks, logs and signals around the pure step."""

import contextlib
import dataclasses
import functools
import logging
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from tqdm import tqdm

from configs.errors import UserError
from configs.tree import to_dataclass
from data import corpus as corpora
from data import pipeline
from data.recipe import Recipe
from train import checkpoint, metrics, workdir
from train import program as programs
from train.checkpoint import Meta, RunCheckpoints
from train.config import RESUMABLE_KEYS, RunConfig
from train.heldout import heldout_loss, padded_token_bytes
from train.interrupt import StopRequest, stop_request
from train.optimizer import learning_rate
from train.program import Program
from train.recipes import check_objective, recipe_of
from train.sharding import local_rows, make_mesh, put_batch
from train.step import TrainState

log = logging.getLogger(__name__)

# A branch equals its trunk up to the branch's decay, whatever follows there.
_BRANCH_KEYS = (
  *RESUMABLE_KEYS,
  'name',
  'train.num_steps',
  'schedule.decay_steps',
  'checkpoint.branch_from',
)


@dataclasses.dataclass(frozen=True)
class RunResult:
  """How a run ended.

  Attributes:
    workdir: its folder.
    finished: False when it was asked to stop before its last step.
    step: updates made.
    seconds: of training, over all interruptions; without compilation,
      evaluation and saving.
    metrics: loss on the validation split at the end; empty if unfinished.
  """

  workdir: str
  finished: bool
  step: int
  seconds: float
  metrics: dict[str, float]


def run(
  config: ConfigDict,
  workdir_path: pathlib.Path | str,
  *,
  devices: Sequence[jax.Device] | None = None,
  show_progress: bool = True,
) -> RunResult:
  """Trains to the end, from wherever an earlier call was interrupted.

  The global batch, the parameters, the losses and metrics.jsonl are functions
  of the config alone: an interruption changes none of them.

  Args:
    config: as `configs.pretrain.get_config` makes it.
    workdir_path: folder of the run; made when missing.
    devices: to lay the mesh over; None means all.
    show_progress: a progress bar on stderr.

  Raises:
    UserError: the config cannot work, the folder is another run's, or the loss
      is no longer finite.
  """
  run_config = to_dataclass(RunConfig, config)
  check_objective(run_config)
  folder = pathlib.Path(workdir_path).absolute()
  tree = workdir.as_json(config.to_dict())
  workdir.check(folder, tree)
  done = workdir.read_done(folder)
  if done is not None:
    log.info('%s is finished already', folder)
    return RunResult(str(folder), True, **done)
  mesh = make_mesh(run_config.mesh, devices)
  corpus = corpora.prepare(run_config.data)
  recipe = recipe_of(run_config, corpus.tokenizer)
  rows = pipeline.train_rows(
    corpus,
    run_config.data,
    recipe,
    run_config.train.num_steps * run_config.data.batch_size,
  )
  program = programs.build(
    run_config.model,
    run_config.optimizer,
    run_config.train.step,
    recipe.shape,
    mesh,
  )
  job = _Job(run_config, tree, folder, corpus, recipe, rows, program)
  try:
    with (
      workdir.claimed(folder, tree),
      stop_request() as stop,
      RunCheckpoints(folder, run_config.checkpoint) as checkpoints,
    ):
      return _train(job, checkpoints, stop, show_progress)
  except _DivergedError as error:
    # Only now is the checkpoint whole that was being saved.
    raise UserError(_tell_divergence(folder, error)) from error


class _DivergedError(Exception):
  """A loss or a gradient is not finite."""


@dataclasses.dataclass(frozen=True)
class _Job:
  """What stays the same throughout a run."""

  config: RunConfig
  tree: dict[str, Any]
  folder: pathlib.Path
  corpus: corpora.Corpus
  recipe: Recipe
  rows: pipeline.TrainRows
  program: Program

  @functools.cached_property
  def dropout_key(self) -> jax.Array | None:
    """Of the run's dropout, apart from that of its initial parameters."""
    if not self.config.model.dropout:
      return None
    key = jax.random.fold_in(jax.random.key(self.config.train.seed), 1)
    replicated = NamedSharding(self.program.mesh, PartitionSpec())
    return jax.device_put(key, replicated)

  def batches(self) -> pipeline.Batches:
    """The training batches, this process's rows, from the first step."""
    data = self.config.data
    own = local_rows(self.program.mesh, data.batch_size)
    return pipeline.train_batches(self.rows, data, own)

  def meta(self, step: int, data_state: Any, seconds: float) -> Meta:
    """What a checkpoint of this step says of itself."""
    return Meta(
      config=self.tree,
      tokenizer=self.corpus.tokenizer.to_json(),
      corpus={'digest': self.corpus.digest, **self.corpus.description},
      data_state=data_state,
      step=step,
      seconds=seconds,
    )

  def validate(self, state: TrainState) -> dict[str, float]:
    """Loss on the validation split."""
    data, mesh = self.config.data, self.program.mesh
    found = heldout_loss(
      self.program.eval_step,
      state.params,
      pipeline.eval_batches(
        self.corpus,
        'validation',
        data,
        self.recipe,
        data.batch_size,
        self.config.train.eval_sequences,
        local_rows(mesh, data.batch_size),
      ),
      padded_token_bytes(self.corpus.tokenizer, self.config.model.vocab_size),
      mesh,
      data.batch_size,
    )
    return {f'validation_{k}': v for k, v in found.items()}


def _train(
  job: _Job, checkpoints: RunCheckpoints, stop: StopRequest, progress: bool
) -> RunResult:
  config = job.config
  num_steps = config.train.num_steps
  state, start = _first_state(job, checkpoints)
  batches = job.batches()
  if start.data_state:
    batches.set_state(start.data_state)
  metrics.keep_until(
    job.folder / metrics.TIMING, start.step, job.folder / metrics.TIMING
  )
  seconds = start.seconds
  with (
    contextlib.closing(batches),
    metrics.open_writer(job.folder, config.log, start.step) as writer,
    contextlib.closing(
      metrics.JsonlWriter(job.folder / metrics.TIMING)
    ) as timing,
    tqdm(
      total=num_steps,
      initial=start.step,
      unit='step',
      desc=config.name[:40],
      disable=not progress,
      dynamic_ncols=True,
    ) as bar,
  ):
    losses = _Losses(job, writer, bar)
    for step in range(start.step + 1, num_steps + 1):
      began = time.perf_counter()
      state = losses.advance(state, next(batches), step)
      last = step == num_steps
      logs = step % config.train.log_every_steps == 0
      every = config.train.eval_every_steps
      validates = last or (every > 0 and step % every == 0)
      saves = last or bool(stop) or checkpoints.wants(step)
      if validates or saves:
        losses.settle()
      seconds += time.perf_counter() - began
      if logs:
        timing.write(step, {'seconds': seconds})
      if validates:
        found = job.validate(state)
        writer.write(step, found)
      if saves:
        # What is logged must be on disk before the checkpoint that follows it.
        writer.flush()
        timing.flush()
        meta = job.meta(step, batches.get_state(), seconds)
        checkpoints.save(state, meta)
      if stop and not last:
        log.warning(
          'stopped at step %d of %d; run the same command to go on',
          step,
          num_steps,
        )
        return RunResult(str(job.folder), False, step, seconds, {})
  checkpoints.wait()
  workdir.mark_done(
    job.folder, {'step': num_steps, 'seconds': seconds, 'metrics': found}
  )
  return RunResult(str(job.folder), True, num_steps, seconds, found)


class _Losses:
  """Makes steps, and looks at each loss one step late.

  Reading a loss waits for its step. Done one step late, the next step is under
  way meanwhile.
  """

  def __init__(self, job: _Job, writer: metrics.MetricWriter, bar: tqdm):
    self._job = job
    self._writer = writer
    self._bar = bar
    self._pending: tuple[int, float, Mapping[str, jax.Array]] | None = None

  def advance(
    self, state: TrainState, rows: Mapping[str, np.ndarray], step: int
  ) -> TrainState:
    """Dispatches step number `step`, then settles the one before it."""
    config, program = self._job.config, self._job.program
    rate = learning_rate(
      config.optimizer, config.schedule, step - 1, config.train.num_steps
    )
    batch = put_batch(rows, program.mesh, config.data.batch_size)
    state, found = program.train_step(
      state, batch, np.float32(rate), self._job.dropout_key
    )
    self.settle()
    self._pending = step, rate, found
    return state

  def settle(self) -> None:
    """Checks and logs the last dispatched step.

    Raises:
      _DivergedError: its loss or gradient is not finite.
    """
    if self._pending is None:
      return
    step, rate, found = self._pending
    self._pending = None
    values = {name: float(value) for name, value in found.items()}
    if not all(math.isfinite(value) for value in values.values()):
      told = ', '.join(f'{name} {value}' for name, value in values.items())
      raise _DivergedError(f'step {step} ({told})')
    self._bar.update()
    if step % self._job.config.train.log_every_steps == 0:
      self._bar.set_postfix(loss=f'{values["loss"]:.3f}', refresh=False)
      tokens = step * self._job.config.tokens_per_step
      self._writer.write(
        step, {**values, 'learning_rate': rate, 'tokens': tokens}
      )


def _tell_divergence(folder: pathlib.Path, error: _DivergedError) -> str:
  try:
    good = f'the last good checkpoint is {checkpoint.find(folder)}'
  except UserError:
    good = 'there is no checkpoint before it'
  return (
    f'training diverged at {error}; {good}; lower optimizer.learning_rate or '
    'lengthen schedule.warmup_steps'
  )


def _first_state(
  job: _Job, checkpoints: RunCheckpoints
) -> tuple[TrainState, Meta]:
  """Where to begin: the newest checkpoint, the trunk's, or nothing."""
  config = job.config
  log_path = job.folder / metrics.METRICS
  if checkpoints.latest_step is not None:
    source, log_source = checkpoint.find(job.folder), log_path
  elif config.checkpoint.branch_from:
    trunk = pathlib.Path(config.checkpoint.branch_from)
    source = checkpoint.find(trunk, config.decay_start)
    log_source = trunk / metrics.METRICS
  else:
    metrics.keep_until(log_path, 0, log_path)
    key = jax.random.key(config.train.seed)
    return job.program.init(key), job.meta(0, {}, 0.0)
  meta = checkpoint.load_meta(source)
  _check_same_run(job, meta, source)
  state = checkpoint.load_state(source, job.program.abstract_state)
  metrics.keep_until(log_source, meta.step, log_path)
  log.info('starting from step %d of %s', meta.step, source)
  return state, meta


def _check_same_run(job: _Job, meta: Meta, source: pathlib.Path) -> None:
  change = workdir.difference(meta.config, job.tree, _BRANCH_KEYS)
  if change:
    raise UserError(f'{source} is of another config: {change}')
  if meta.corpus['digest'] != job.corpus.digest:
    raise UserError(
      f'{source} was trained on other text ({meta.corpus["digest"]} there, '
      f'{job.corpus.digest} here): packages or files have changed; start in a '
      'new workdir'
    )
