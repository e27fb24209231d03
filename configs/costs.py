"""What energy emits and what time costs: arithmetic that every layer shares."""

import json
import math
import pathlib

from configs.chips import CHIPS
from configs.errors import UserError, choose
from configs.grids import GRAMS_PER_KWH

JOULES_PER_KWH = 3.6e6


def energy_joules(watts: float, seconds: float, pue: float) -> float:
  """Energy of machines and the building around them.

  E = power x time x PUE.

  Args:
    watts: of all machines together.
    seconds: that they are on.
    pue: power of the building over that of its machines.
  """
  return watts * seconds * pue


def carbon_grams(joules: float, region: str) -> float:
  """CO2 equivalent of making electricity, by the mean of a region's grid.

  Raises:
    UserError: there is no such region in `configs.grids`.
  """
  choose('region', region, GRAMS_PER_KWH)
  return joules / JOULES_PER_KWH * GRAMS_PER_KWH[region]


def cost_usd(usd_per_hour: float, seconds: float) -> float:
  """Money for machines that are paid by the time they are held."""
  return usd_per_hour * seconds / 3600


def read_prices(path: str) -> dict[str, float]:
  """US dollars an hour of one chip, by its name in `configs.chips`.

  Args:
    path: of a JSON object, `{"tpu-v5e": 0.54, ...}`; '' gives the lists of
      `configs.chips`.

  Raises:
    UserError: it cannot be read, or a chip or a price in it is none.
  """
  if not path:
    return {name: chip.usd_per_hour for name, chip in CHIPS.items()}
  try:
    prices = json.loads(pathlib.Path(path).read_text())
  except OSError as error:
    raise UserError(f'prices = {path!r}: {error.strerror}') from error
  except ValueError as error:
    raise UserError(f'prices = {path!r}: no JSON: {error}') from error
  if not isinstance(prices, dict) or not prices:
    raise UserError(
      f'prices = {path!r}: expected an object {{chip: usd_per_hour}}'
    )
  for name, price in prices.items():
    choose(f'prices = {path!r}: chip', name, CHIPS)
    number = isinstance(price, int | float) and not isinstance(price, bool)
    if not number or not 0 <= price < math.inf:
      raise UserError(
        f'prices = {path!r}: {name} = {price!r}: expected US dollars an hour'
      )
  return {name: float(price) for name, price in prices.items()}
