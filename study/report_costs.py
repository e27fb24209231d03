"""What the runs of a study cost, and how each figure is known."""

from collections.abc import Iterable, Iterator, Sequence

from configs.grids import GRAMS_PER_KWH
from configs.tree import to_dataclass
from scaling.records import Record
from study.config import StudyConfig
from train.config import CostsConfig

_ENERGY = {
  'measured': 'measured on this machine',
  'modelled': 'modelled by codecarbon from how busy this machine was',
  'rated': "the maker's rated power of the devices",
  'estimated': 'power of the devices as others than their maker estimate it',
}


def sources(config: StudyConfig, records: Sequence[Record]) -> dict[str, str]:
  """How each quantity of what it cost is known, those that are."""
  costs = _costs(config)
  told = {
    'MFU': _peaks(records),
    'energy': _energies(costs, records),
    'CO2': (
      f'the energy times {GRAMS_PER_KWH[record.region]:g} g of CO2e per kWh, '
      f'the mean of {record.region}'
      for record in records
      if record.carbon_grams is not None
    ),
    'cost': _prices(costs, records),
  }
  joined = {name: '; '.join(dict.fromkeys(said)) for name, said in told.items()}
  return {name: said for name, said in joined.items() if said}


def warnings(config: StudyConfig, records: Sequence[Record]) -> list[str]:
  """What of it is reckoned rather than measured."""
  said = []
  told = sources(config, records)
  known = {record.energy_source for record in records}
  if known & (_ENERGY.keys() | {'assumed'}) - {'measured'}:
    said.append(f'energy and CO2 are reckoned, not measured: {told["energy"]}')
  if any(record.price_source == 'assumed' for record in records):
    said.append(f'cost is reckoned, not billed: {told["cost"]}')
  return said


def _costs(config: StudyConfig) -> CostsConfig:
  section = 'costs.'
  return to_dataclass(
    CostsConfig,
    {
      key.removeprefix(section): value
      for key, value in config.pretrain.items()
      if key.startswith(section)
    },
    section,
  )


def _peaks(records: Iterable[Record]) -> Iterator[str]:
  for record in records:
    if record.mfu is not None:
      yield (
        f'against the {record.peak_source} peak of {record.devices} devices '
        f'of kind {record.device_kind}'
      )


def _energies(costs: CostsConfig, records: Iterable[Record]) -> Iterator[str]:
  for record in records:
    if record.energy_source == 'assumed':
      yield f'all the time at an assumed {costs.watts:g} W{_building(costs)}'
    elif record.energy_source:
      yield _ENERGY[record.energy_source] + _building(costs)


def _building(costs: CostsConfig) -> str:
  return f', times {costs.pue:g} with the building (PUE)' * (costs.pue > 1)


def _prices(costs: CostsConfig, records: Iterable[Record]) -> Iterator[str]:
  for record in records:
    if record.price_source == 'assumed':
      yield f'all the time at an assumed {costs.usd_per_hour:g} USD per hour'
    elif record.price_source:
      table = costs.prices or 'configs/chips.py'
      yield f'all the time at the prices of {table}'
