"""Trains one model: files, clocks, logs and signals around the pure step."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from configs.errors import UserError
from configs.files import write_text
from configs.tree import to_dataclass
from train import checkpoint, compile_cache, metrics, workdir
from train.accounting import Clock, account
from train.checkpoint import Meta
from train.config import RunConfig
from train.energy import metered
from train.interrupt import CommonStop, stop_request
from train.job import Job, make_job
from train.losses_log import DivergedError, Losses, SpikeError
from train.mesh.layout import layout_table
from train.mesh.sharding import make_mesh
from train.metrics import MetricWriter
from train.processes.peers import Peers
from train.profile import Profiler
from train.recipes import check_objective
from train.resume import first_state
from train.run_checkpoints import RunCheckpoints
from train.schedule import learning_rate
from train.spikes import SpikeDetector
from train.step import TrainState
from train.storage import mirror, saving
from train.storage.places import place

log = logging.getLogger(__name__)

# Processes on several machines may differ in these.
_OF_A_MACHINE = ('config.data.cache_dir', 'config.data.num_workers')


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
    accounting: of `train.accounting.Accounting`; empty if unfinished, or
      finished before there was one.
  """

  workdir: str
  finished: bool
  step: int
  seconds: float
  metrics: dict[str, float]
  accounting: dict[str, Any] = dataclasses.field(default_factory=dict)


def run(
  config: ConfigDict,
  workdir_path: pathlib.Path | str,
  *,
  devices: Sequence[jax.Device] | None = None,
  show_progress: bool = True,
  peers: Peers | None = None,
  profile: range = range(0),
  compiled_step: str = '',
) -> RunResult:
  """Trains to the end, from wherever an earlier call was interrupted.

  The global batch, the parameters, the losses and metrics.jsonl are functions
  of the config alone: an interruption changes none of them.

  Args:
    config: as `configs.pretrain.get_config` makes it.
    workdir_path: folder of the run; made when missing.
    devices: to lay the mesh over; None means all.
    show_progress: a progress bar on stderr.
    peers: the processes of the run, of `train.processes.distributed.joined`;
      None means this one alone. All of them call this, with the same arguments.
    profile: steps to trace, of `train.profile.parse_steps`.
    compiled_step: file that `train.compile` has saved, to read the training
      step from in place of compiling it.

  Raises:
    UserError: the config cannot work, the folder is another run's, or the loss
      is no longer finite.
  """
  clock = Clock()
  run_config = to_dataclass(RunConfig, config)
  check_objective(run_config)
  peers = peers or Peers()
  if '://' in str(workdir_path):
    raise UserError(
      f'workdir {workdir_path}: a folder of this machine; for checkpoints and '
      'logs elsewhere, name checkpoint.folder'
    )
  folder = pathlib.Path(workdir_path).absolute()
  tree = workdir.as_json(config.to_dict())
  with peers.first():
    if peers.leads:
      workdir.check(folder, tree)
  done = peers.share(workdir.read_done(folder))
  if done is not None:
    log.info('%s is finished already', folder)
    return RunResult(str(folder), True, **done)
  _check_same_command(peers, tree, folder)
  compile_cache.use(run_config.train.compile_cache)
  mesh = make_mesh(run_config.mesh, devices)
  clock.hardware = f'{mesh.size} x {mesh.devices.flat[0].device_kind}'
  job = make_job(run_config, tree, folder, mesh, peers, clock, compiled_step)
  try:
    with contextlib.ExitStack() as stack:
      with peers.first():
        _claim(job, stack)
      stop = stack.enter_context(stop_request())
      # Also of the last save, which is waited for when all else has ended.
      stack.enter_context(saving.failing_together(peers))
      checkpoints = stack.enter_context(
        RunCheckpoints(folder, run_config.checkpoint)
      )
      asked = CommonStop(stop, mesh)
      meter = metered(run_config.costs, mesh.devices.flat[0])
      clock.measure(stack.enter_context(meter))
      profiler = stack.enter_context(Profiler(folder, profile))
      with peers.failing_together(but=DivergedError):
        return _train(job, checkpoints, asked, show_progress, profiler)
  except DivergedError as error:
    # Only now is the checkpoint whole that was being saved.
    raise UserError(_tell_divergence(folder, error)) from error


def _check_same_command(
  peers: Peers, tree: dict[str, Any], folder: pathlib.Path
) -> None:
  """Raises UserError unless all processes are to do the same."""
  if jax.process_count() != peers.count:
    raise UserError(
      f'JAX has {jax.process_count()} processes: start them by '
      'train.processes.distributed.joined, and hand what it gives to '
      'train.loop.run'
    )
  told = peers.gather({'workdir': str(folder), 'config': tree})
  with peers.first():
    for index, other in enumerate(told):
      change = workdir.difference(other, told[0], _OF_A_MACHINE)
      if change:
        raise UserError(
          f'process {index} of {peers.count} was started otherwise: {change}, '
          'in process 0; give all of them the same command'
        )


def _claim(job: Job, stack: contextlib.ExitStack) -> None:
  """Makes the folder the run's; the others see that process 0 did."""
  peers = job.peers
  if peers.leads:
    stack.enter_context(workdir.claimed(job.folder, job.tree))
    named = job.config.checkpoint.folder
    elsewhere = place(named) if named else job.folder
    if elsewhere != job.folder:
      mirror.check(job.folder, elsewhere)
      stack.enter_context(mirror.claimed(elsewhere, job.tree))
    table = layout_table(job.program.abstract_state)
    write_text(job.folder / workdir.LAYOUT, table)
  elif not job.config.checkpoint.folder:
    workdir.see_claim(job.folder, peers.name)


def _train(
  job: Job,
  checkpoints: RunCheckpoints,
  stop: CommonStop,
  progress: bool,
  profiler: Profiler,
) -> RunResult:
  """Trains to the end, going back from spikes where the config says so."""
  clock, detector = job.clock, SpikeDetector(job.config.train.spike)
  resumes = checkpoints.latest_step is not None
  timing = job.folder / metrics.TIMING
  lines = metrics.read_metrics(timing)
  with clock.spend('restart' if resumes else 'other'):
    state, start = first_state(job, checkpoints)
  # Of another folder than the workdir they come only now, and reach less far.
  lines += metrics.read_metrics(timing)
  clock.carry(start.clock, start.seconds, lines)
  detector.restore(start.spikes)
  while True:
    try:
      return _steps(
        job, state, start, checkpoints, stop, progress, profiler, detector
      )
    except SpikeError as error:
      log.warning('%s; going back', error)
      spike = error.step
    # Here, where nothing holds the states of the steps that are undone.
    del state
    # Counted from what this attempt began with: a spike that comes again in the
    # same place has other batches the next time.
    reached = start.data_state.get('next_index', 0) + spike - start.step
    checkpoints.wait()
    with clock.spend('restart'):
      state, start = first_state(job, checkpoints, detector.up_to(spike))
    clock.rewind(start.clock)
    detector.rewind(spike, start.spikes)
    beyond = {'next_index': reached + job.config.train.spike.margin_steps}
    start = dataclasses.replace(start, data_state=beyond)


def _steps(
  job: Job,
  state: TrainState,
  start: Meta,
  checkpoints: RunCheckpoints,
  stop: CommonStop,
  progress: bool,
  profiler: Profiler,
  detector: SpikeDetector,
) -> RunResult:
  """Makes the steps after those of a checkpoint.

  Raises:
    SpikeError: a step is to be undone.
  """
  config, clock = job.config, job.clock
  num_steps = config.train.num_steps
  batches = job.batches()
  if start.data_state:
    batches.set_state(start.data_state)
  with (
    contextlib.closing(batches),
    _open_logs(job, start.step) as (writer, timing),
    tqdm(
      total=num_steps,
      initial=start.step,
      unit='step',
      desc=config.name[:40],
      disable=not progress,
      dynamic_ncols=True,
    ) as bar,
    contextlib.closing(Losses(job, writer, bar, detector)) as losses,
  ):
    found = start.metrics  # of a last step that was saved, but not marked
    timing.write(start.step, clock.line())
    timing.flush()  # the only place that tells of what was lost
    for step in range(start.step + 1, num_steps + 1):
      rate = learning_rate(
        config.optimizer, config.schedule, step - 1, num_steps
      )
      last = step == num_steps
      every = config.train.eval_every_steps
      validates = last or (every > 0 and step % every == 0)
      with profiler.step(step, losses.settle):
        with clock.wait(losses.computed_at):
          rows = next(batches)
        with clock.spend('step'):
          state = losses.advance(state, rows, step, rate)
          stop.ask()
          stops = bool(stop) and not last
          saves = last or stops or checkpoints.wants(step, validates)
          if validates or saves:
            losses.settle()
      if step % config.train.log_every_steps == 0:
        timing.write(step, clock.line())
        timing.flush()  # after a crash it tells what is lost
      with clock.spend('evaluation'):
        found = job.validate(state) if validates else {}
      if validates:
        writer.write(step, found)
      if saves:
        with clock.spend('checkpoint'):
          # What is logged must be on disk before the checkpoint after it.
          writer.flush()
          timing.flush()
          meta = job.meta(step, batches.get_state(), detector.state())
          checkpoints.save(state, meta, found, job.program.averaged(state))
      if stops:
        log.warning(
          'stopped at step %d of %d; run the same command to go on',
          step,
          num_steps,
        )
        return RunResult(
          str(job.folder), False, step, clock.training_seconds, {}
        )
  with clock.spend('checkpoint'):
    checkpoints.wait()
  with clock.spend('evaluation'):
    found = found or job.validate(state)
  return _finished(job, found)


def _finished(job: Job, found: dict[str, float]) -> RunResult:
  """Marks the run as done, with what it took."""
  devices = list(job.program.mesh.devices.flat)
  took = account(job.config, job.recipe.shape, devices, job.clock)
  done: dict[str, Any] = {
    'step': job.config.train.num_steps,
    'seconds': job.clock.training_seconds,
    'metrics': found,
    'accounting': dataclasses.asdict(took),
  }
  if job.peers.leads:
    workdir.mark_done(job.folder, done)
  return RunResult(str(job.folder), True, **done)


@contextlib.contextmanager
def _open_logs(
  job: Job, first_step: int
) -> Iterator[tuple[MetricWriter, MetricWriter]]:
  """Writers of metrics and of timing; of several processes, one writes."""
  if not job.peers.leads:
    yield metrics.MultiWriter(()), metrics.MultiWriter(())
    return
  timing = job.folder / metrics.TIMING
  metrics.keep_until(timing, first_step, timing)
  with (
    metrics.open_writer(job.folder, job.config.log, first_step) as writer,
    contextlib.closing(metrics.JsonlWriter(timing)) as timer,
  ):
    yield writer, timer


def _tell_divergence(folder: pathlib.Path, error: DivergedError) -> str:
  try:
    good = f'the last good checkpoint is {checkpoint.find(folder)}'
  except UserError:
    good = 'there is no checkpoint before it'
  return (
    f'training diverged at {error}; {good}; lower optimizer.learning_rate or '
    'lengthen schedule.warmup_steps'
  )
