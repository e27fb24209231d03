"""Where the time of a run goes, and what came of it.

Goodput is the share of all time that went into steps which the run still has
(Google Cloud, "Introducing ML Productivity Goodput", 2024); the rest is lost to
compilation, waiting for data, evaluation, saving and restarts.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from configs.costs import carbon_grams, cost_usd
from data.batch import BatchShape
from model.counts import training_flops_per_row
from train.config import RunConfig
from train.energy import Meter, energy_of, price_of
from train.peak import chip_of, peak_of

OTHER = 'other'  # reading text, setting up, logging
KINDS = (
  'compile',
  'data',  # waiting for a batch with nothing left to compute
  'step',
  'evaluation',
  'checkpoint',  # what training waits for; the rest of a save is behind it
  'restart',  # restoring, and work after the checkpoint that was restored
  OTHER,
)

SEVERAL = 'several'
_NOT_METERED = {'joules': 0.0, 'metered_seconds': 0.0, 'meter': ''}


class Clock:
  """Adds up where the seconds of a run go, over all of its processes' lives.

  Every second is of one kind. What is spent within something that is spent
  counts as the inner kind alone.

  Attributes:
    now: tells the time in seconds.
    hardware: names the devices that the seconds are of; `SEVERAL` if they were
      not always the same.
  """

  def __init__(self, now: Callable[[], float] = time.perf_counter):
    """Starts at once, with the time as `now` tells it in seconds."""
    self.now = now
    self.hardware = ''
    self._since = now()
    self._kind = OTHER
    self._seconds = dict.fromkeys(KINDS, 0.0)
    self._meter: Meter | None = None
    self._metered_since = 0.0
    self._before: dict[str, Any] = dict(_NOT_METERED)

  @contextlib.contextmanager
  def spend(self, kind: str) -> Iterator[None]:
    """What is done inside is of this kind, one of `KINDS`."""
    outer = self._kind
    self._turn(kind)
    try:
      yield
    finally:
      self._turn(outer)

  @contextlib.contextmanager
  def wait(self, computed_at: Callable[[], float]) -> Iterator[None]:
    """Waits for data: of kind 'step' for as long as a step computes.

    Args:
      computed_at: tells at the end when the step had been computed, by `now`;
        infinity if it has not.
    """
    outer = self._kind
    self._turn('step')
    begun = self._since
    try:
      yield
    finally:
      self._turn('data')
      idle = self._since - min(max(computed_at(), begun), self._since)
      self._seconds['step'] -= idle
      self._seconds['data'] += idle
      self._turn(outer)

  def measure(self, meter: Meter | None) -> None:
    """From now on a meter that was just started tells the energy."""
    self._meter, self._metered_since = meter, self.now()

  def carry(
    self,
    state: Mapping[str, Any],
    training_seconds: float,
    lines: Sequence[Mapping[str, float]],
  ) -> None:
    """Goes on from a checkpoint, and counts as lost what was done after it.

    Args:
      state: of the clock in that checkpoint; empty in older ones.
      training_seconds: up to the checkpoint.
      lines: of timing.jsonl, as earlier processes left it.
    """
    state = state or {'seconds': {'step': training_seconds}}
    for kind, seconds in state['seconds'].items():
      self._seconds[kind] += seconds
    self._before |= {k: state[k] for k in self._before if k in state}
    if state.get('hardware', self.hardware) != self.hardware:
      self.hardware = SEVERAL
    reached = max((line.get('wall_seconds', 0.0) for line in lines), default=0)
    lost = reached - sum(state['seconds'].values())
    self._seconds['restart'] += max(0.0, lost)

  def rewind(self, state: Mapping[str, Any]) -> None:
    """Counts as lost what this run did after a checkpoint that it goes back to.

    Args:
      state: of this clock in that checkpoint; {} for the initial one.
    """
    now = self.seconds()
    # What was compiled and read in stays so.
    for kind in ('step', 'data', 'evaluation', 'checkpoint'):
      undone = now[kind] - state.get('seconds', {}).get(kind, 0.0)
      self._seconds[kind] -= undone
      self._seconds['restart'] += undone

  def seconds(self) -> dict[str, float]:
    """Seconds by kind, up to now."""
    self._turn(self._kind)
    return dict(self._seconds)

  @property
  def wall_seconds(self) -> float:
    """All seconds, those between two processes left out."""
    return sum(self.seconds().values())

  @property
  def training_seconds(self) -> float:
    """Of steps that count, with the waits for their data."""
    seconds = self.seconds()
    return seconds['step'] + seconds['data']

  @property
  def energy(self) -> tuple[float, str] | None:
    """Joules of all seconds and the source that their meter names, if any.

    Seconds that no meter saw, such as those that were lost, count at the mean
    power of the others.
    """
    state = self.state()
    metered = state['metered_seconds']
    if not metered:
      return None
    return state['joules'] / metered * self.wall_seconds, state['meter']

  def state(self) -> dict[str, Any]:
    """For `carry`, as plain data."""
    metered = dict(self._before)
    if self._meter is not None:
      metered['joules'] += self._meter.joules()
      metered['metered_seconds'] += self.now() - self._metered_since
      metered['meter'] = self._meter.source
    return {'seconds': self.seconds(), 'hardware': self.hardware, **metered}

  def line(self) -> dict[str, float]:
    """Of timing.jsonl."""
    return {
      'seconds': self.training_seconds,
      'wall_seconds': self.wall_seconds,
    }

  def _turn(self, kind: str) -> None:
    """What was since the last call is of the kind of then."""
    now = self.now()
    self._seconds[self._kind] += now - self._since
    self._since, self._kind = now, kind


@dataclasses.dataclass(frozen=True)
class Accounting:
  """What a run took; None where it is not known.

  MFU, energy and cost are not where a run went on on other devices.

  Attributes:
    devices: of the mesh.
    device_kind: as JAX calls them.
    seconds: by kind, one of `KINDS`.
    wall_seconds: all of them.
    goodput: share of steps that count.
    flops: of the steps, in the convention of `model.counts`.
    mfu: model FLOPs over what the devices could have done in the seconds of
      steps (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
    peak_flops: FLOP/s of one device that this is against.
    peak_source: 'published', of dense bf16; or 'measured', in the model's
      number format.
    energy_joules: of `wall_seconds`, the building's share included.
    energy_source: of `train.energy.energy_of`.
    carbon_grams: CO2 equivalent, by the region's mean.
    region: of the grid.
    cost_usd: of `wall_seconds`.
    price_source: of `train.energy.price_of`.
  """

  devices: int
  device_kind: str
  seconds: dict[str, float]
  wall_seconds: float
  goodput: float
  flops: float
  mfu: float | None
  peak_flops: float
  peak_source: str
  energy_joules: float | None
  energy_source: str
  carbon_grams: float | None
  region: str
  cost_usd: float | None
  price_source: str


def account(
  config: RunConfig,
  shape: BatchShape,
  devices: Sequence[jax.Device],
  clock: Clock,
) -> Accounting:
  """What a finished run took.

  Args:
    config: of the run.
    shape: of its global batch.
    devices: of its mesh, those of other processes included.
    clock: of the run.
  """
  seconds = clock.seconds()
  wall = sum(seconds.values())
  costs, number = config.costs, len(devices)
  chip = chip_of(costs.chip, devices[0])
  alike = clock.hardware != SEVERAL
  peak, peak_source = peak_of(chip, devices, config.model.compute_dtype)
  flops = config.train.num_steps * flops_per_step(config, shape)
  joules, energy_source = energy_of(costs, chip, number, wall, clock.energy)
  price, price_source = price_of(costs, chip, number)
  if not alike:
    # Seconds of other devices are among these, and how many is not known.
    joules = price = None
    energy_source = price_source = SEVERAL
  return Accounting(
    devices=number,
    device_kind=devices[0].device_kind,
    seconds=seconds,
    wall_seconds=wall,
    goodput=seconds['step'] / wall,
    flops=flops,
    mfu=flops / (seconds['step'] * number * peak) if alike else None,
    peak_flops=peak,
    peak_source=peak_source,
    energy_joules=joules,
    energy_source=energy_source,
    carbon_grams=None if joules is None else carbon_grams(joules, costs.region),
    region=costs.region,
    cost_usd=None if price is None else cost_usd(price, wall),
    price_source=price_source,
  )


def flops_per_step(config: RunConfig, shape: BatchShape) -> int:
  """Model FLOPs of one update; recomputation is not counted."""
  row = training_flops_per_row(config.model, shape.length, shape.source_length)
  return shape.batch_size * row
