"""Whole runs: their time, energy and traces are told, and change no result."""

import json
import pathlib

import jax
import pytest
from jax.profiler import ProfileData

from configs.errors import UserError
from configs.tree import with_overrides
from train import checkpoint, loop, metrics, workdir
from train.accounting import KINDS, SEVERAL
from train.losses_log import Losses


def _run(config, folder, **kwargs):
  return loop.run(
    config, folder, devices=jax.devices()[:1], show_progress=False, **kwargs
  )


@pytest.fixture(scope='module')
def short(tiny_config):
  """25 steps; a checkpoint after every tenth and the last."""
  return with_overrides(tiny_config, {'train.num_steps': 25})


@pytest.fixture(scope='module')
def straight(short, tmp_path_factory):
  folder = tmp_path_factory.mktemp('accounted') / 'run'
  return _run(short, folder)


def test_a_finished_run_tells_what_it_took(straight):
  took = straight.accounting
  assert set(took['seconds']) == set(KINDS)
  assert took['wall_seconds'] == pytest.approx(sum(took['seconds'].values()))
  assert all(took['seconds'][k] > 0 for k in ('step', 'evaluation', 'compile'))
  assert took['seconds']['restart'] == 0
  assert 0 < took['goodput'] < 1
  assert 0 < took['mfu'] < 1
  assert (took['devices'], took['peak_source']) == (1, 'measured')
  assert (took['energy_joules'], took['energy_source']) == (None, '')


def test_the_result_is_read_back(short, straight):
  again = _run(short, straight.workdir)
  assert again == straight


def test_metrics_know_nothing_of_the_clock(straight, tmp_path, short):
  name = metrics.METRICS
  log = (pathlib.Path(straight.workdir) / name).read_bytes()
  assert b'seconds' not in log
  _run(short, tmp_path / 'run', profile=range(3, 5))
  assert (tmp_path / 'run' / name).read_bytes() == log


def test_the_traced_steps_are_in_the_trace(short, tmp_path):
  stopped = with_overrides(short, {'train.eval_sequences': 8})
  _run(stopped, tmp_path / 'run', profile=range(7, 9))
  (path,) = (tmp_path / 'run/profile').rglob('*.xplane.pb')
  found = [
    dict(event.stats)['step_num']
    for plane in ProfileData.from_file(str(path)).planes
    for line in plane.lines
    for event in line.events
    if event.name == 'train'
  ]
  assert sorted(found) == [7, 8]


def _crash(config, folder):
  """At step 18, of which ten are saved."""
  advance = Losses.advance

  def crashing(self, state, rows, step, rate):
    if step == 18:
      raise MemoryError
    return advance(self, state, rows, step, rate)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Losses, 'advance', crashing)
    with pytest.raises(MemoryError):
      _run(config, folder)


def test_steps_that_a_crash_undid_are_lost(short, straight, tmp_path):
  _crash(short, tmp_path / 'run')
  lines = metrics.read_metrics(tmp_path / 'run' / metrics.TIMING)
  saved = checkpoint.load_meta(checkpoint.find(tmp_path / 'run', 10))
  lost = lines[-1]['wall_seconds'] - sum(saved.clock['seconds'].values())
  assert lines[-1]['step'] == 17
  took = _run(short, tmp_path / 'run').accounting
  assert took['seconds']['restart'] >= lost > 0
  assert took['wall_seconds'] > lines[-1]['wall_seconds']
  lines = metrics.read_metrics(tmp_path / 'run' / metrics.TIMING)
  walls = [line['wall_seconds'] for line in lines]
  assert walls == sorted(walls)
  assert (tmp_path / 'run' / metrics.METRICS).read_bytes() == (
    pathlib.Path(straight.workdir) / metrics.METRICS
  ).read_bytes()


def test_what_other_devices_took_has_no_price(short, tmp_path):
  priced = with_overrides(
    short, {'costs.watts': 30.0, 'costs.usd_per_hour': 36.0, 'mesh.data': -1}
  )
  _crash(priced, tmp_path / 'run')
  took = loop.run(
    priced, tmp_path / 'run', devices=jax.devices()[:2], show_progress=False
  ).accounting
  assert took['devices'] == 2
  assert took['wall_seconds'] == pytest.approx(sum(took['seconds'].values()))
  for key in ('mfu', 'energy_joules', 'carbon_grams', 'cost_usd'):
    assert took[key] is None
  assert took['energy_source'] == took['price_source'] == SEVERAL


def test_what_is_assumed_is_in_the_result(short, tmp_path):
  assumed = with_overrides(
    short,
    {'train.num_steps': 12, 'costs.watts': 30.0, 'costs.usd_per_hour': 36.0},
  )
  took = _run(assumed, tmp_path / 'run').accounting
  wall = took['wall_seconds']
  assert took['energy_joules'] == pytest.approx(30 * 1.1 * wall)
  assert took['cost_usd'] == pytest.approx(wall / 100)
  assert (took['energy_source'], took['price_source']) == ('assumed', 'assumed')
  done = json.loads((tmp_path / 'run' / workdir.DONE).read_text())
  assert done['accounting'] == took


def test_energy_is_measured(short, tmp_path):
  pytest.importorskip('codecarbon')
  measured = with_overrides(
    short, {'train.num_steps': 12, 'costs.energy': 'measured'}
  )
  took = _run(measured, tmp_path / 'run').accounting
  assert took['energy_source'] in ('measured', 'modelled')
  assert 1 < took['energy_joules'] / took['wall_seconds'] < 1000


def test_a_table_without_the_price_is_told_before_any_step(short, tmp_path):
  path = tmp_path / 'prices.json'
  path.write_text('{"l4": 1.0}')
  config = with_overrides(
    short, {'costs.chip': 'h100', 'costs.prices': str(path)}
  )
  with pytest.raises(UserError, match='has no price of h100'):
    _run(config, tmp_path / 'run')
  assert not (tmp_path / 'run' / metrics.METRICS).exists()
