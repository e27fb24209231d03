"""FLOPs, chip-hours and dollars, and what a run takes of memory and power."""

import dataclasses
import math
from typing import Any

from configs.chips import CHIPS, MFU, Chip
from configs.costs import (
  JOULES_PER_KWH,
  carbon_grams,
  cost_usd,
  energy_joules,
)
from configs.errors import UserError, choose
from configs.grids import PUE

# float32 parameters 4, gradients 4 and Adam's two moments 8. Mixed precision
# takes as much: 2 + 2 + 4 + 8 (Rajbhandari et al. 2020, arXiv:1910.02054,
# section 3.1).
BYTES_PER_PARAM = 16


@dataclasses.dataclass(frozen=True)
class Budget:
  """Training FLOPs, and the chips to spend them on where those are told."""

  flops: float
  mfu: float = MFU
  chip: str | None = None  # of `configs.chips.CHIPS`
  chips: int | None = None

  @property
  def hours(self) -> float | None:
    """Of all chips together; None without a kind and a number of chips."""
    if self.chip is None or self.chips is None:
      return None
    return chip_hours(self.flops, self.chip, self.mfu) / self.chips

  @property
  def usd(self) -> float | None:
    """List price; None without a kind of chip."""
    if self.chip is None:
      return None
    hours = chip_hours(self.flops, self.chip, self.mfu)
    return cost_usd(CHIPS[self.chip].usd_per_hour, 3600 * hours)

  def to_tree(self) -> dict[str, Any]:
    """As plain data for JSON."""
    tree = dataclasses.asdict(self)
    return tree | {'hours': self.hours, 'usd': self.usd}


def to_budget(
  *,
  flops: float | None = None,
  usd: float | None = None,
  hours: float | None = None,
  chip: str | None = None,
  chips: int | None = None,
  mfu: float = MFU,
) -> Budget:
  """A budget from one of FLOPs, dollars, or hours of some chips.

  flops = chip-hours x 3600 x peak x mfu, and chip-hours = dollars / price.

  Args:
    flops: of training.
    usd: dollars, at the list price of `chip`.
    hours: of `chips` chips of the kind `chip`.
    chip: a kind, of `configs.chips.CHIPS`.
    chips: how many.
    mfu: model FLOPs over peak FLOPs that a run is assumed to reach.

  Raises:
    UserError: none or several of flops, usd and hours, a number that is not
      above 0, an unknown kind, or no kind or number of chips where needed.
  """
  given = {'flops': flops, 'usd': usd, 'hours': hours}
  given = {name: size for name, size in given.items() if size is not None}
  if len(given) != 1:
    told = ' and '.join(given) or 'none'
    raise UserError(f'budget: give one of flops, usd and hours; got {told}')
  for name, size in (given | {'chips': chips, 'mfu': mfu}).items():
    if size is not None:
      check_positive(name, size)
  if mfu > 1:
    raise UserError(f'mfu = {mfu}: expected above 0, at most 1')
  if chip is None:
    if flops is None or chips is not None:
      raise UserError(f'chip: name a kind, one of {", ".join(CHIPS)}')
    return Budget(flops, mfu)
  rate = _flops_an_hour(known_chip(chip), mfu)
  if usd is not None:
    flops = usd / CHIPS[chip].usd_per_hour * rate
  elif hours is not None:
    if chips is None:
      raise UserError('chips: a budget in hours needs the number of chips')
    flops = hours * chips * rate
  assert flops is not None
  return Budget(flops, mfu, chip, chips)


def chip_hours(flops: float, chip: str, mfu: float) -> float:
  """Hours of one chip that some FLOPs take."""
  return flops / _flops_an_hour(known_chip(chip), mfu)


def memory(params: float) -> dict[str, Any]:
  """What training holds, and how many chips of each kind hold that.

  Parameters, gradients and optimizer state, split evenly over the chips.
  Activations are left out: they depend on the batch and on recomputation.
  """
  held = BYTES_PER_PARAM * params
  least = {
    name: math.ceil(held / chip.memory_bytes) for name, chip in CHIPS.items()
  }
  return {
    'bytes_per_param': BYTES_PER_PARAM,
    'bytes': held,
    'least_chips': least,
  }


def cost(flops: float, chip: str, mfu: float, region: str) -> dict[str, float]:
  """Chip-hours, dollars, kWh and kg of CO2 equivalent of some FLOPs.

  Energy is that of chips at their power, and of the building (PUE).

  Raises:
    UserError: an unknown chip or region.
  """
  kind = known_chip(chip)
  hours = chip_hours(flops, chip, mfu)
  joules = energy_joules(kind.watts, 3600 * hours, PUE)
  return {
    'chip_hours': hours,
    'usd': cost_usd(kind.usd_per_hour, 3600 * hours),
    'kwh': joules / JOULES_PER_KWH,
    'kg_co2e': carbon_grams(joules, region) / 1000,
  }


def known_chip(name: str) -> Chip:
  """The chip of a name.

  Raises:
    UserError: there is none.
  """
  choose('chip', name, CHIPS)
  return CHIPS[name]


def check_positive(name: str, size: float) -> None:
  """Raises UserError unless a number is finite and above 0."""
  if not 0 < size < math.inf:
    raise UserError(f'{name} = {size:g}: expected a number above 0')


def _flops_an_hour(chip: Chip, mfu: float) -> float:
  return chip.peak_flops * mfu * 3600
