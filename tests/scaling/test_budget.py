"""FLOPs, hours and dollars are one budget told three ways."""

import pytest

from configs.chips import CHIPS, MFU
from configs.errors import UserError
from scaling.budget import cost, memory, to_budget


def test_three_ways_are_one_budget():
  by_usd = to_budget(usd=1000, chip='h100', chips=8)
  by_hours = to_budget(hours=by_usd.hours, chip='h100', chips=8)
  by_flops = to_budget(flops=by_hours.flops, chip='h100', chips=8)
  assert by_hours.flops == pytest.approx(by_usd.flops, rel=1e-12)
  assert by_flops.usd == pytest.approx(1000, rel=1e-12)
  assert by_flops.hours == pytest.approx(by_usd.hours, rel=1e-12)


def test_an_hour_by_hand():
  """989e12 x .4 x 3600 = 1.424e18 FLOPs an hour of an H100."""
  budget = to_budget(hours=10, chip='h100', chips=2, mfu=0.4)
  assert budget.flops == pytest.approx(20 * 1.42416e18)
  assert budget.usd == pytest.approx(20 * 6.88)
  assert to_budget(flops=1e20).hours is None
  assert to_budget(flops=1e20).usd is None


def test_llama_3_405b_took_the_hours_its_card_tells():
  """15.6T tokens on 405B params, 30.84M hours of H100: its model card."""
  spent = cost(6 * 405e9 * 15.6e12, 'h100', MFU, 'world')
  assert spent['chip_hours'] == pytest.approx(30.84e6, rel=0.15)


def test_energy_and_carbon_of_llama_3_405b():
  """8,930 t of CO2e at 700 W a chip: its model card.

  30.84M hours x 700 W x PUE are 23.7 GWh, so the card's grid is 376 g a kWh at
  our PUE, and that of the United States is 369.
  """
  flops = 30.84e6 * 3600 * 0.4 * CHIPS['h100'].peak_flops
  spent = cost(flops, 'h100', 0.4, 'united-states')
  assert spent['kwh'] == pytest.approx(30.84e6 * 0.7 * 1.1)
  assert spent['kg_co2e'] == pytest.approx(8.93e6, rel=0.03)


def test_memory_of_a_training_state():
  """16 bytes: 7.5B params take 120 GB (Rajbhandari et al. 2020, figure 1)."""
  held = memory(7.5e9)
  assert held['bytes'] == 120e9
  assert held['least_chips']['a100-80gb'] == 2
  assert held['least_chips']['tpu-v5e'] == 8
  assert set(held['least_chips']) == set(CHIPS)
  assert memory(1e5)['least_chips']['l4'] == 1


@pytest.mark.parametrize(
  ('given', 'told'),
  [
    ({}, 'give one of flops, usd and hours; got none'),
    ({'flops': 1e20, 'usd': 5}, 'got flops and usd'),
    ({'flops': -1e20}, r'flops = -1e\+20: expected a number above 0'),
    ({'flops': float('nan')}, 'flops = nan'),
    ({'usd': 5}, 'chip: name a kind, one of tpu-v4'),
    ({'usd': 5, 'chip': 'abacus'}, "chip = 'abacus': choose from tpu-v4"),
    ({'hours': 5, 'chip': 'l4'}, 'needs the number of chips'),
    ({'flops': 1e20, 'chips': 8}, 'chip: name a kind'),
    ({'flops': 1e20, 'chip': 'l4', 'chips': 0}, 'chips = 0'),
    ({'flops': 1e20, 'mfu': 40}, 'mfu = 40: expected above 0, at most 1'),
  ],
)
def test_mistakes_are_named(given, told):
  with pytest.raises(UserError, match=told):
    to_budget(**given)


def test_an_unknown_region_is_named():
  with pytest.raises(UserError, match="region = 'mars': choose from world"):
    cost(1e20, 'l4', 0.4, 'mars')
