"""Where a run begins, and goes on."""

import logging
import pathlib

import jax

from configs.errors import UserError
from configs.tree import to_dataclass
from train import checkpoint, metrics, workdir
from train.checkpoint import Meta
from train.config import RESUMABLE_KEYS, RunConfig
from train.job import Job
from train.run_checkpoints import RunCheckpoints
from train.step import TrainState
from train.storage.places import place

log = logging.getLogger(__name__)

# A branch equals its trunk up to the branch's decay, whatever follows there.
_BRANCH_KEYS = (
  *RESUMABLE_KEYS,
  'name',
  'train.num_steps',
  'schedule.decay',
  'schedule.decay_steps',
  'schedule.final_ratio',
  'checkpoint.branch_from',
)


def first_state(
  job: Job, checkpoints: RunCheckpoints, up_to: int | None = None
) -> tuple[TrainState, Meta]:
  """Where to begin: the newest good checkpoint, the trunk's, or nothing.

  Lines of metrics.jsonl after it are taken off.

  Args:
    job: the run.
    checkpoints: of the run.
    up_to: the last step that counts; later checkpoints are deleted.

  Raises:
    UserError: no checkpoint is whole, or they are of another config or text.
  """
  config = job.config
  log_path = job.folder / metrics.METRICS
  log_source = log_path

  def check(folder: pathlib.Path, meta: Meta) -> None:
    _check_same_run(job, meta, folder)

  source = job.folder
  found = checkpoints.restore(job.program.abstract_state, check, up_to)
  if found is None and config.checkpoint.branch_from:
    trunk = place(config.checkpoint.branch_from)
    source = checkpoint.find(trunk, config.decay_start)
    log_source = trunk / metrics.METRICS
    meta = checkpoint.load_meta(source)
    check(source, meta)
    _check_stable(config.decay_start, meta, source)
    found = checkpoint.load_state(source, job.program.abstract_state), meta
  if found is None:
    key = jax.random.key(config.train.seed)
    with job.clock.spend('compile'):
      found = job.program.init(key), job.meta(0, {}, {})
  else:
    log.info('starting from step %d of %s', found[1].step, source)
  if job.peers.leads:
    metrics.keep_until(log_source, found[1].step, log_path)
  return found


def _check_stable(step: int, meta: Meta, source: pathlib.Path) -> None:
  """Raises UserError for a checkpoint from within the trunk's own decay."""
  stable = to_dataclass(RunConfig, meta.config).decay_start
  if step > stable:
    raise UserError(
      f'{source} is past step {stable}, from which the learning rate falls '
      'there: branch off at or before it, with train.num_steps - '
      f'schedule.decay_steps at most {stable}'
    )


def _check_same_run(job: Job, meta: Meta, source: pathlib.Path) -> None:
  change = workdir.difference(meta.config, job.tree, _BRANCH_KEYS)
  if change:
    raise UserError(f'{source} is of another config: {change}')
  if meta.corpus['digest'] != job.corpus.digest:
    raise UserError(
      f'{source} was trained on other text ({meta.corpus["digest"]} there, '
      f'{job.corpus.digest} here): packages or files have changed; start in a '
      'new workdir'
    )
