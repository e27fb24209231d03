"""What a compiled step costs on chips that are not there, all in one."""

import dataclasses
import re

from train.ahead import hlo_costs
from train.ahead.hlo import Computation, Instruction, Module
from train.ahead.hlo_costs import Collective, rendezvous
from train.ahead.roofline import (
  Place,
  Roofline,
  exchange_seconds,
  kernel_flops,
  moved_bytes,
)
from train.ahead.topology import Topology


@dataclasses.dataclass(frozen=True)
class Costs:
  """Of one step on one device, loops multiplied out.

  Attributes:
    flops: of products in the program; kernels are not seen by the compiler.
    kernel_flops: of attention's kernels, over the scores that they compute.
    hbm_bytes: read and written.
    collectives: {kind: {count, bytes}}, see `hlo_costs.Collective.bytes`.
    roofline: by resource.
    busy_seconds: the sum of the cycles that the compiler of TPUs expects each
      instruction to take. It expects none of kernels and exchanges.
    step_seconds: the same with kernels at the peak, and with exchanges: one
      that is started and waited for runs beside what is scheduled between, one
      that is spread over fusions beside these, any other one alone.
  """

  flops: int
  kernel_flops: int
  hbm_bytes: int
  collectives: dict[str, dict[str, int]]
  roofline: Roofline
  busy_seconds: float
  step_seconds: float


def costs(
  module: Module, topology: Topology, where: list[Place], causal: bool
) -> Costs:
  """Counts what a program does, and how long it takes at least.

  Args:
    module: the program of a device.
    topology: of the devices.
    where: the devices of the mesh, in its order.
    causal: whether kernels of attention skip the half of all scores.
  """
  tpu, peak = topology.tpu, topology.chip.peak_flops
  flops = sum(dot.flops * dot.runs for dot in hlo_costs.dots(module))
  found = hlo_costs.collectives(module)
  exchanges = {
    one.name: exchange_seconds(one, where, topology) for one in found
  }
  ici = sum(exchanges[one.name][0] * one.runs for one in found)
  dcn = sum(exchanges[one.name][1] * one.runs for one in found)
  outside = list(hlo_costs.executed_outside(module))
  share = 0.5 if causal else 1.0
  kernels = sum(
    int(share * kernel_flops(i, computation)) * runs
    for computation, i, runs in outside
  )
  moved = sum(
    moved_bytes(module, computation, i) * runs
    for computation, i, runs in outside
  )
  roofline = Roofline(
    (flops + kernels) / peak, moved / tpu.hbm_bytes_per_second, ici, dcn
  )
  busy = sum(_cycles(i) * runs for _, i, runs in outside) / tpu.clock_hertz
  if not busy:
    # Another compiler, which tells of no cycles.
    busy = max(flops / peak, roofline.hbm)
  cycles = {called: _cycles(i) for _, i, _ in outside for called in i.called}
  waits = sum(
    _wait(one, sum(exchanges[one.name]), module, cycles, tpu.clock_hertz)
    * one.runs
    for one in found
  )
  return Costs(
    flops,
    kernels,
    moved,
    hlo_costs.totals(found),
    roofline,
    busy,
    max(busy + kernels / peak + waits, roofline.seconds),
  )


def _cycles(instruction: Instruction) -> int:
  told = re.search(r'"estimated_cycles":"(\d+)"', instruction.text)
  return int(told[1]) if told else 0


def _wait(
  one: Collective,
  seconds: float,
  module: Module,
  cycles: dict[str, int],
  clock: float,
) -> float:
  """Seconds of an exchange beside which nothing is computed.

  Args:
    one: the exchange.
    seconds: that it takes.
    module: the program.
    cycles: of fusions, by the computation that they call.
    clock: cycles a second.
  """
  computation = module.computations[one.computation]
  start = computation.instructions[one.name]
  beside = sum(cycles.get(name, 0) for name in one.within)
  if start.opcode == 'send' or start.opcode.endswith('-start'):
    beside += _between(computation, start)
  return max(0.0, seconds - beside / clock)


def _between(computation: Computation, start: Instruction) -> int:
  """Cycles of what is scheduled between a start and what waits for its end."""
  total, begun = 0, False
  ends = _ends(computation, start)
  for instruction in computation.instructions.values():
    if begun and not ends.isdisjoint(instruction.operands):
      return total
    if begun:
      total += _cycles(instruction)
    begun = begun or instruction.name == start.name
  return total


def _ends(computation: Computation, start: Instruction) -> set[str]:
  """Names of what is waited for: the start, or what comes for what is sent."""
  if start.opcode != 'send':
    return {start.name}
  meeting = rendezvous(start)
  return {
    other.name
    for other in computation.instructions.values()
    if other.opcode == 'recv' and rendezvous(other) == meeting
  }
