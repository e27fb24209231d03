"""Energy and money of runs, and the meter behind them."""

import json
import signal
import sys
import time
import types

import jax
import pytest

from configs.errors import UserError
from train import energy
from train.config import CostsConfig

V4 = types.SimpleNamespace(device_kind='TPU v4', platform='tpu')


def test_nothing_is_metered_unless_asked_for():
  with energy.metered(CostsConfig(), jax.devices()[0]) as meter:
    assert meter is None


def test_a_cpu_draws_power():
  """A laptop's core to a server's socket, with its memory: 1 to 1,000 W."""
  pytest.importorskip('codecarbon')
  handler = signal.getsignal(signal.SIGTERM)
  costs = CostsConfig(energy='measured')
  with energy.metered(costs, jax.devices()[0]) as meter:
    assert meter.source in ('measured', 'modelled')
    before, began = meter.joules(), time.monotonic()
    while time.monotonic() < began + 1.5:
      sum(range(100_000))
    watts = (meter.joules() - before) / (time.monotonic() - began)
    assert 1 < watts < 1000
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_run_without_the_extra_is_told_of_it(monkeypatch):
  monkeypatch.setitem(sys.modules, 'codecarbon', None)
  with (
    pytest.raises(UserError, match=r'needs the extra energy: run `pip install'),
    energy.metered(CostsConfig(energy='measured'), jax.devices()[0]),
  ):
    pass


def test_a_tpu_is_not_metered():
  with (
    pytest.raises(UserError, match="nothing measures a TPU v4; choose 'rated'"),
    energy.metered(CostsConfig(energy='measured'), V4),
  ):
    pass


def test_several_processes_are_not_metered(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 4)
  with (
    pytest.raises(UserError, match='of one process, and there are 4'),
    energy.metered(CostsConfig(energy='measured'), jax.devices()[0]),
  ):
    pass


def test_a_tracker_that_finds_nothing_is_told(monkeypatch):
  pytest.importorskip('codecarbon')
  import codecarbon

  class Silent(codecarbon.OfflineEmissionsTracker):
    def flush(self):
      return None

  monkeypatch.setattr(codecarbon, 'OfflineEmissionsTracker', Silent)
  with (
    pytest.raises(UserError, match='codecarbon finds nothing to read here'),
    energy.metered(CostsConfig(energy='measured'), jax.devices()[0]),
  ):
    pass


@pytest.mark.parametrize(
  ('costs', 'chip', 'measured', 'found'),
  [
    # 4 chips of 170 W for 10 s, with a tenth more for the building.
    ({}, 'tpu-v4', None, (7480.0, 'rated')),
    ({'pue': 1.0}, 'tpu-v5p', None, (4 * 540 * 10.0, 'estimated')),
    ({'watts': 30.0, 'pue': 1.0}, 'tpu-v4', None, (300.0, 'assumed')),
    ({'watts': 30.0, 'pue': 1.0}, '', None, (300.0, 'assumed')),
    ({}, '', None, (None, '')),
    (
      {'energy': 'measured', 'pue': 2.0},
      'h100',
      (500.0, 'measured'),
      (1000.0, 'measured'),
    ),
    (
      {'energy': 'measured', 'pue': 1.0},
      '',
      (9.0, 'modelled'),
      (9.0, 'modelled'),
    ),
  ],
)
def test_energy_tells_how_it_is_known(costs, chip, measured, found):
  joules, source = energy.energy_of(
    CostsConfig(**costs), chip, 4, 10.0, measured
  )
  assert (joules, source) == (pytest.approx(found[0]), found[1])


def test_money_tells_how_it_is_known(tmp_path):
  path = tmp_path / 'prices.json'
  path.write_text(json.dumps({'tpu-v5e': 0.5}))
  own = CostsConfig(prices=str(path))
  assert energy.price_of(CostsConfig(), 'tpu-v5e', 8) == (9.6, 'listed')
  assert energy.price_of(own, 'tpu-v5e', 8) == (4.0, 'listed')
  assumed = CostsConfig(usd_per_hour=0.1)
  assert energy.price_of(assumed, 'tpu-v5e', 8) == (0.1, 'assumed')
  assert energy.price_of(CostsConfig(), '', 8) == (None, '')
  with pytest.raises(UserError, match='the chip is not known; name it'):
    energy.price_of(own, '', 8)


def test_a_chip_without_a_price_is_told_before_the_run(tmp_path):
  path = tmp_path / 'prices.json'
  path.write_text(json.dumps({'tpu-v5e': 0.5}))
  with (
    pytest.raises(UserError, match='has no price of tpu-v4'),
    energy.metered(CostsConfig(prices=str(path)), V4),
  ):
    pass
