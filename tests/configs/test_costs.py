"""Energy, carbon and money against bills and reports of others."""

import json

import pytest

from configs import costs
from configs.chips import CHIPS
from configs.errors import UserError


def test_gpt3_emitted_what_patterson_found():
  """10,000 V100 of 330 W for 14.8 days: 1,287 MWh and 552 t of CO2e.

  Patterson et al. 2021, arXiv:2104.10350, table 4: PUE 1.10, and a grid of 429
  g a kWh. The table's power is the mean that was measured.
  """
  joules = costs.energy_joules(10_000 * 330, 14.8 * 86_400, 1.10)
  assert joules / costs.JOULES_PER_KWH == pytest.approx(1_287e3, rel=0.005)
  ours = costs.carbon_grams(joules, 'germany') / 381 * 429
  assert ours == pytest.approx(552e6, rel=0.005)


def test_a_kwh_and_an_hour_are_units():
  assert costs.energy_joules(1000, 3600, 1.0) == costs.JOULES_PER_KWH
  assert costs.carbon_grams(3.6e6, 'france') == 56
  assert costs.cost_usd(7.2, 1800) == pytest.approx(3.6)


def test_an_unknown_region_is_named():
  with pytest.raises(UserError, match="region = 'mars': choose from world"):
    costs.carbon_grams(1.0, 'mars')


def test_prices_are_those_of_the_table_or_of_the_user(tmp_path):
  assert costs.read_prices('')['h100'] == CHIPS['h100'].usd_per_hour
  path = tmp_path / 'prices.json'
  path.write_text(json.dumps({'h100': 2, 'tpu-v5e': 0.54}))
  assert costs.read_prices(str(path)) == {'h100': 2.0, 'tpu-v5e': 0.54}


@pytest.mark.parametrize(
  ('text', 'told'),
  [
    ('{', 'no JSON'),
    ('{}', 'expected an object {chip: usd_per_hour}'),
    ('[1]', 'expected an object'),
    ('{"abacus": 1}', "chip = 'abacus': choose from tpu-v4"),
    ('{"l4": "cheap"}', "l4 = 'cheap': expected US dollars an hour"),
    ('{"l4": -1}', 'l4 = -1: expected'),
    ('{"l4": NaN}', 'l4 = nan: expected'),
    ('{"l4": true}', 'l4 = True: expected'),
  ],
)
def test_mistakes_in_a_table_of_prices_are_named(tmp_path, text, told):
  path = tmp_path / 'prices.json'
  path.write_text(text)
  with pytest.raises(UserError, match=told):
    costs.read_prices(str(path))


def test_a_missing_table_is_named(tmp_path):
  with pytest.raises(UserError, match='No such file'):
    costs.read_prices(str(tmp_path / 'none.json'))
