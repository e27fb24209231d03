"""What a run draws and costs: measured, or reckoned from what is known."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Protocol

import jax

from configs.chips import CHIPS
from configs.costs import JOULES_PER_KWH, energy_joules, read_prices
from configs.errors import UserError
from train.config import CostsConfig
from train.peak import chip_of

_MEASURE_SECONDS = 15.0  # between two looks at the counters


class Meter(Protocol):
  """Adds up energy.

  Attributes:
    source: 'measured', by counters; or 'modelled', from how busy a CPU is.
  """

  source: str

  def joules(self) -> float:
    """Since it was started, without the building's share."""


@contextlib.contextmanager
def metered(costs: CostsConfig, device: jax.Device) -> Iterator[Meter | None]:
  """A meter that runs while inside, or None where energy is not measured.

  Codecarbon reads the counters of NVIDIA's GPUs and, where the system lets it,
  of the CPU (RAPL). It models memory, and the CPU elsewhere. All that the
  machine does is counted, and nothing is sent over a network.

  Args:
    costs: of the run.
    device: one of the run's.

  Raises:
    UserError: codecarbon is missing, or cannot measure here; or the user's
      table has no price of the device.
  """
  price_of(costs, chip_of(costs.chip, device), 1)
  if costs.energy != 'measured':
    yield None
    return
  if device.platform not in ('cpu', 'gpu'):
    raise UserError(
      f"costs.energy = 'measured': nothing measures a {device.device_kind}; "
      "choose 'rated'"
    )
  if jax.process_count() > 1:
    raise UserError(
      f"costs.energy = 'measured': of one process, and there are "
      f"{jax.process_count()}; choose 'rated'"
    )
  with contextlib.closing(_Codecarbon(device.platform)) as meter:
    yield meter


class _Codecarbon:
  """Energy of this machine."""

  def __init__(self, platform: str) -> None:
    try:
      from codecarbon import OfflineEmissionsTracker
      from codecarbon.core.cpu import is_rapl_available
      from codecarbon.output import BaseOutput
    except ImportError as error:
      raise UserError(
        "costs.energy = 'measured' needs the extra energy: run "
        '`pip install -e .[energy]`'
      ) from error

    class Noted(BaseOutput):
      """Keeps what the tracker tells."""

      kwh: float | None = None

      def out(self, total: Any, delta: Any) -> None:
        self.kwh = total.energy_consumed

    logging.getLogger('codecarbon').setLevel(logging.ERROR)
    counted = platform == 'gpu' or is_rapl_available()
    self.source = 'measured' if counted else 'modelled'
    self._noted = Noted()
    # Unless it may run beside others, it takes SIGTERM and Ctrl-C for itself.
    self._tracker = OfflineEmissionsTracker(
      country_iso_code='USA',  # it asks for one, and we read the energy alone
      measure_power_secs=_MEASURE_SECONDS,
      output_methods=[],
      output_handlers=[self._noted],
      allow_multiple_runs=True,
      log_level=logging.ERROR,
    )
    self._tracker.start()
    self.joules()

  def joules(self) -> float:
    self._tracker.flush()  # says of no error
    if self._noted.kwh is None:
      raise UserError(
        "costs.energy = 'measured': codecarbon finds nothing to read here; "
        "choose 'rated'"
      )
    return self._noted.kwh * JOULES_PER_KWH

  def close(self) -> None:
    self._tracker.stop()


def energy_of(
  costs: CostsConfig,
  chip: str,
  devices: int,
  seconds: float,
  measured: tuple[float, str] | None,
) -> tuple[float | None, str]:
  """Joules of a run with the building's share, and how they are known.

  Args:
    costs: of the run.
    chip: of `configs.chips`, '' for others.
    devices: how many.
    seconds: that they were held.
    measured: joules in these seconds, without the building's share, and the
      `source` of their meter; None when there was none.

  Returns:
    'measured' or 'modelled', as the meter says; 'assumed', of costs.watts;
    'rated' by the maker or 'estimated' by others, of the chip's power; or None
    and ''.
  """
  if costs.energy == 'measured' and measured is not None:
    joules, source = measured
    return joules * costs.pue, source
  if costs.watts:
    return energy_joules(costs.watts, seconds, costs.pue), 'assumed'
  if not chip:
    return None, ''
  watts = devices * CHIPS[chip].watts
  source = 'rated' if CHIPS[chip].watts_published else 'estimated'
  return energy_joules(watts, seconds, costs.pue), source


def price_of(
  costs: CostsConfig, chip: str, devices: int
) -> tuple[float | None, str]:
  """US dollars an hour of all devices, and how they are known.

  Returns:
    'assumed', of costs.usd_per_hour; 'listed', of the table; or None and ''.

  Raises:
    UserError: the user's table cannot be used, or has no price of this chip.
  """
  if costs.usd_per_hour:
    return costs.usd_per_hour, 'assumed'
  if not chip and costs.prices:
    raise UserError(
      f'costs.prices = {costs.prices!r}: the chip is not known; name it as the '
      'table does, with costs.chip, or give costs.usd_per_hour'
    )
  if not chip:
    return None, ''
  prices = read_prices(costs.prices)
  if chip not in prices:
    raise UserError(f'costs.prices = {costs.prices!r}: has no price of {chip}')
  return devices * prices[chip], 'listed'
