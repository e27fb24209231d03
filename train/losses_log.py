"""The losses of a run, looked at one step late."""

import math
from collections.abc import Mapping

import jax
import numpy as np
from tqdm import tqdm

from train.job import Job
from train.mesh.sharding import put_batch
from train.metrics import MetricWriter
from train.ready import ReadyTime
from train.spikes import SpikeDetector
from train.step import TrainState


class DivergedError(Exception):
  """A loss or a gradient is not finite."""


class SpikeError(Exception):
  """A step is a spike, and the config says to go back from it.

  Attributes:
    step: its number.
  """

  def __init__(self, step: int, told: str):
    super().__init__(f'step {step} is a spike ({told})')
    self.step = step


class Losses:
  """Makes steps, and looks at each loss one step late.

  Reading a loss waits for its step. Done one step late, the next step is under
  way meanwhile.
  """

  def __init__(
    self, job: Job, writer: MetricWriter, bar: tqdm, detector: SpikeDetector
  ):
    self._job = job
    self._detector = detector
    self._spikes = job.config.train.spike.action
    self._writer = writer
    self._bar = bar
    self._ready = ReadyTime(job.clock.now)
    self._pending: tuple[int, float, Mapping[str, jax.Array]] | None = None

  def advance(
    self,
    state: TrainState,
    rows: Mapping[str, np.ndarray],
    step: int,
    rate: float,
  ) -> TrainState:
    """Dispatches a step, then settles the one before it.

    Args:
      state: before the step.
      rows: of the global batch, those of this process.
      step: its number, from 1.
      rate: the learning rate.
    """
    job = self._job
    batch = put_batch(rows, job.program.mesh, job.config.data.batch_size)
    skips = self._spikes == 'skip'
    limits = (self._detector.limits(step),) if skips else ()
    state, found = job.program.train_step(
      state, batch, np.float32(rate), job.dropout_key, *limits
    )
    self.settle()
    self._pending = step, rate, found
    self._ready.watch(found['loss'])
    return state

  def computed_at(self) -> float:
    """When the last step had been computed, by the run's clock.

    Infinity while it computes, minus infinity before the first.
    """
    return self._ready.at()

  def close(self) -> None:
    """Ends what watches the steps."""
    self._ready.close()

  def settle(self) -> None:
    """Checks and logs the last dispatched step.

    Raises:
      DivergedError: its loss or gradient is not finite, which nothing mends.
      SpikeError: it is to be undone.
      UserError: nothing but spikes is left.
    """
    if self._pending is None:
      return
    step, rate, found = self._pending
    self._pending = None
    values = {name: float(value) for name, value in found.items()}
    finite = {k: value for k, value in values.items() if math.isfinite(value)}
    told = ', '.join(f'{name} {value}' for name, value in values.items())
    if self._spikes != 'none':
      norms = values['loss'], values['grad_norm']
      if self._detector.observe(step, *norms) and self._spikes == 'rewind':
        raise SpikeError(step, told)
    elif finite != values:
      raise DivergedError(f'step {step} ({told})')
    self._bar.update()
    config = self._job.config
    if step % config.train.log_every_steps == 0:
      self._bar.set_postfix(loss=f'{values["loss"]:.3f}', refresh=False)
      tokens = step * config.tokens_per_step
      self._writer.write(
        step, {**finite, 'learning_rate': rate, 'tokens': tokens}
      )
