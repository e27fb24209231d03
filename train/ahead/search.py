"""Looks for settings under which a step fits, and is fast, on absent TPUs."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from configs.errors import UserError
from configs.tree import with_overrides
from model.config import REMAT_POLICIES
from model.counts import count_parameters, training_flops_per_row
from train.ahead.compiling import TooLargeError, compiled_bytes, describe
from train.ahead.job import Job, make_job
from train.ahead.topology import Topology

Overrides = dict[str, Any]

_TRIES = 20
_CHUNKS = 8
# Of what attention and feed-forward layers reach of a chip's peak: for an order
# of candidates alone.
_SHARE_OF_PEAK = 0.6
# By what forward passes are computed again, a third of all.
_AGAIN = {'none': 1.0, 'dots': 1.05, 'full': 4 / 3, 'offload': 4 / 3}


class Candidate(NamedTuple):
  """A setting.

  Attributes:
    seconds: a rough guess of a step's, to put candidates into an order.
    overrides: of the config.
    job: laid out.
  """

  seconds: float
  overrides: Overrides
  job: Job


def nearest_that_fits(
  config: ConfigDict, devices: Sequence[jax.Device], capacity: float
) -> dict[str, Any]:
  """The smallest change to a config with which its step fits.

  In order: more rematerialization, a loss in chunks, both, more micro-batches,
  more of mesh.data turned to mesh.fsdp. What arithmetic tells to be too large
  is not compiled.

  Args:
    config: of a step that is too large.
    devices: absent or not.
    capacity: bytes of a device.

  Returns:
    `overrides` and the `total` bytes that it needs with them; no overrides
    where nothing fits that was tried.
  """
  fitting = (
    (overrides, job)
    for overrides in changes(config)
    if (job := _possible(config, overrides, devices)) is not None
    and job.least_bytes() < capacity
  )
  tries = itertools.islice(fitting, _TRIES)
  for overrides, job in tqdm(tries, desc='what fits', unit='try', total=_TRIES):
    try:
      return {'overrides': overrides, 'total': compiled_bytes(job)}
    except TooLargeError:
      continue
  return {'overrides': {}, 'total': None}


def changes(config: ConfigDict) -> Iterator[Overrides]:
  """Overrides that save memory, the smallest change first."""
  at = REMAT_POLICIES.index(config.model.remat)
  remats = [{'model.remat': name} for name in REMAT_POLICIES[at + 1 :]]
  yield from remats
  chunks: Overrides = {}
  if config.train.loss_chunks == 1:
    chunks = {'train.loss_chunks': _CHUNKS}
    yield chunks
    yield from (remat | chunks for remat in remats)
  most = (remats[-1] if remats else {}) | chunks
  micros = [
    {'train.accumulate_steps': config.train.accumulate_steps * 2**power}
    for power in range(1, 7)
  ]
  yield from (most | micro for micro in micros)
  # Where slices extend the axis, one part is left for each.
  if config.mesh.data != config.mesh.dcn_data:
    shard = {'mesh.data': config.mesh.dcn_data, 'mesh.fsdp': -1}
    yield shard
    yield most | shard
    yield from (most | shard | micro for micro in micros)


def search(
  config: ConfigDict,
  devices: Sequence[jax.Device],
  grid: Topology,
  most_compiles: int,
  own: Mapping[str, Any],
) -> dict[str, Any]:
  """Compiles the most promising settings, and ranks them by seconds a step.

  All factors of the devices into data, fsdp and tensor, all micro-batches, and
  remat none, dots and full. They are ordered by a guess of their time; those
  that arithmetic tells to be too large are left out, and so is more
  rematerialization or more micro-batches than fit without.

  Args:
    config: whose other keys stay.
    devices: of the topology.
    grid: the topology.
    most_compiles: after so many it ends.
    own: of the config as it is, compiled before; ranked among the others.

  Returns:
    `candidates`, of which so many are `impossible` and `too_large`, and what
    was `compiled`, fitting and fast first: its `overrides`, whether it `fits`,
    the `total` bytes, `step_seconds`, and `mfu`.
  """
  mesh = make_job(config, devices).mesh.shape
  everything = list(settings(config, mesh))
  possible = [
    Candidate(guess(job, grid), overrides, job)
    for overrides in tqdm(everything, desc='settings', unit='setting')
    if (job := _possible(config, overrides, devices)) is not None
  ]
  promising = [
    one for one in possible if one.job.least_bytes() < grid.tpu.hbm_bytes
  ]
  compiled: list[dict[str, Any]] = []
  with tqdm(total=most_compiles, desc='compiled', unit='step') as bar:
    for one in sorted(promising, key=lambda one: one.seconds):
      if len(compiled) == most_compiles:
        break
      if not any(_covers(found, one.overrides) for found in compiled):
        compiled.append(_compiled(one, grid))
        bar.update()
  return {
    'candidates': len(everything),
    'impossible': len(everything) - len(possible),
    'too_large': len(possible) - len(promising),
    'compiled': sorted(
      [own, *compiled], key=lambda e: (not e['fits'], e['step_seconds'] or 0)
    ),
  }


def settings(
  config: ConfigDict, mesh: Mapping[str, int]
) -> Iterator[Overrides]:
  """Every setting of a search, sensible or not.

  Args:
    config: of which these are overrides.
    mesh: sizes of its axes, of which expert and sequence stay.
  """
  ways = math.prod(mesh.values()) // (mesh['expert'] * mesh['sequence'])
  micros = [
    2**power for power in range(8) if 2**power <= config.data.batch_size
  ]
  for tensor, fsdp in itertools.product(range(1, ways + 1), repeat=2):
    if ways % (tensor * fsdp):
      continue
    for remat, micro in itertools.product(('none', 'dots', 'full'), micros):
      yield {
        'mesh.data': ways // (tensor * fsdp),
        'mesh.fsdp': fsdp,
        'mesh.tensor': tensor,
        'model.remat': remat,
        'train.accumulate_steps': micro,
      }


def guess(job: Job, grid: Topology) -> float:
  """Seconds of a step, roughly: products, and exchanges that nothing hides.

  Parameters are gathered for the forward and the backward pass of every
  micro-batch and gradients scattered along fsdp; gradients are summed along
  data; states between layers along tensor, twice a layer and pass.
  """
  c, mesh = job.config, job.mesh.shape
  model, tpu = c.model, grid.tpu
  again = _AGAIN[model.remat]
  flops = job.shape.batch_size * training_flops_per_row(
    model, job.shape.length, job.shape.source_length
  )
  compute = again * flops / job.mesh.size / grid.chip.peak_flops
  params = count_parameters(model).total / mesh['tensor']
  passes = 2 if again < 1.3 else 3
  fsdp, data, tensor = mesh['fsdp'], mesh['data'], mesh['tensor']
  sent = c.train.accumulate_steps * params * (2 * passes + 4) * (1 - 1 / fsdp)
  sent += 8 * params / fsdp * (1 - 1 / data)
  tokens = job.shape.batch_size * job.shape.length / (data * fsdp)
  sent += (
    2 * passes * model.num_layers * tokens * model.width * 4 * (1 - 1 / tensor)
  )
  links = 2 * tpu.link_bytes_per_second
  seconds = compute / _SHARE_OF_PEAK + sent / links
  # What goes along an axis that extends over slices passes the network too.
  network = tpu.network_bytes_per_second
  if c.mesh.dcn_fsdp > 1:
    seconds += c.train.accumulate_steps * params * (2 * passes + 4) / network
  elif c.mesh.dcn_data > 1:
    seconds += 8 * params / fsdp / network
  return seconds


def _possible(
  config: ConfigDict, overrides: Overrides, devices: Sequence[jax.Device]
) -> Job | None:
  """A setting laid out; None where something does not divide."""
  try:
    job = make_job(with_overrides(config, overrides), devices)
    job.abstract_state()
  except UserError:
    return None
  return job


def _covers(found: Mapping[str, Any], overrides: Overrides) -> bool:
  """Whether a setting that fits makes another one pointless.

  On the same mesh, one with no more rematerialization and micro-batches does.
  """
  if not found['fits']:
    return False
  own, other = dict(found['overrides']), dict(overrides)
  remats = [REMAT_POLICIES.index(o.pop('model.remat')) for o in (own, other)]
  micros = [o.pop('train.accumulate_steps') for o in (own, other)]
  return own == other and remats[0] <= remats[1] and micros[0] <= micros[1]


def _compiled(one: Candidate, grid: Topology) -> dict[str, Any]:
  return ranked(one.overrides, describe(one.job, grid))


def ranked(overrides: Overrides, result: Mapping[str, Any]) -> dict[str, Any]:
  """What a ranking tells of a setting that `describe` has compiled."""
  return {
    'overrides': overrides,
    'fits': result['fits'],
    'total': result['hbm_bytes']['total'],
    'step_seconds': result.get('step_seconds'),
    'mfu': result.get('mfu'),
  }
