"""The clock of goodput, and what is reckoned from it, by hand."""

import dataclasses
import math
import threading
import time as clock
import types

import jax
import pytest

from configs import pretrain
from configs.chips import CHIPS
from configs.errors import UserError
from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import peak
from train.accounting import KINDS, Clock, account, flops_per_step
from train.config import RunConfig
from train.ready import ReadyTime


class _Time:
  """A clock on the wall that moves when it is told to."""

  def __init__(self):
    self.at = 100.0

  def __call__(self):
    return self.at

  def wait(self, seconds):
    self.at += seconds


@pytest.fixture
def time():
  return _Time()


def _nonzero(seconds):
  return {kind: value for kind, value in seconds.items() if value}


def test_every_second_is_of_one_kind(time):
  clock = Clock(time)
  time.wait(1)
  with clock.spend('compile'):
    time.wait(10)
  with clock.spend('step'):
    time.wait(4)
    with clock.spend('checkpoint'):
      time.wait(2)
    time.wait(3)
  time.wait(0.5)
  assert _nonzero(clock.seconds()) == {
    'other': 1.5,
    'compile': 10,
    'step': 7,
    'checkpoint': 2,
  }
  assert clock.wall_seconds == 20.5
  assert set(clock.seconds()) == set(KINDS)


def test_time_is_counted_where_an_exception_leaves(time):
  clock = Clock(time)
  with pytest.raises(KeyError), clock.spend('evaluation'):
    time.wait(2)
    raise KeyError
  time.wait(1)
  assert _nonzero(clock.seconds()) == {'evaluation': 2, 'other': 1}


@pytest.mark.parametrize(
  ('computed', 'step', 'data'),
  [(math.inf, 5, 0), (13, 3, 2), (9, 0, 5), (-math.inf, 0, 5), (15, 5, 0)],
)
def test_of_a_wait_the_step_takes_what_it_computes(time, computed, step, data):
  """From second 10 to 15 the next batch is waited for."""
  clock = Clock(time)
  time.wait(10)
  with clock.wait(lambda: 100.0 + computed):
    time.wait(5)
  time.wait(1)
  found = clock.seconds()
  assert (found['step'], found['data'], found['other']) == (step, data, 11)
  assert clock.line() == {'seconds': 5, 'wall_seconds': 16}


def test_what_is_computed_is_seen_from_a_thread():
  release = threading.Event()
  array = types.SimpleNamespace(block_until_ready=lambda: release.wait(20))
  ready = ReadyTime(clock.perf_counter)
  assert ready.at() == -math.inf
  begun = clock.perf_counter()
  ready.watch(array)
  assert ready.at() == math.inf
  release.set()
  while ready.at() == math.inf:
    assert clock.perf_counter() < begun + 20
  assert begun < ready.at() <= clock.perf_counter()
  ready.close()


def test_a_spike_undoes_steps_and_nothing_that_was_compiled(time):
  clock = Clock(time)
  for kind, seconds in {'compile': 60, 'other': 20, 'step': 10}.items():
    with clock.spend(kind):
      time.wait(seconds)
  clock.rewind({})
  assert _nonzero(clock.seconds()) == {
    'compile': 60,
    'other': 20,
    'restart': 10,
  }


def _session(time, state, training, lines, steps, save_at):
  """A process: compiles 5 s, steps of 2 s, a line each; its clock and state."""
  clock = Clock(time)
  with clock.spend('compile'):
    time.wait(5)
  clock.carry(state, training, lines)
  lines = [clock.line()]
  saved = None
  for number in range(1, steps + 1):
    with clock.spend('step'):
      time.wait(2)
    lines.append(clock.line())
    if number == save_at:
      saved = clock.state(), clock.training_seconds
  return clock, saved, lines


def test_work_after_the_checkpoint_is_lost_by_a_crash(time):
  _, saved, lines = _session(time, {}, 0.0, [], steps=7, save_at=4)
  time.wait(1000)  # nothing runs
  clock, *_ = _session(time, *saved, lines, steps=6, save_at=6)
  seconds = clock.seconds()
  assert _nonzero(seconds) == {
    'compile': 10,
    'step': 8 + 12,
    'restart': 6,  # steps 5 to 7 of the first
  }
  assert clock.training_seconds == 20
  assert clock.wall_seconds == 36


def test_crashes_before_any_new_checkpoint_add_up(time):
  _, saved, lines = _session(time, {}, 0.0, [], steps=7, save_at=4)
  for steps in (3, 0):  # two processes that come to no checkpoint
    *_, lines = _session(time, *saved, lines, steps=steps, save_at=None)
  clock, *_ = _session(time, *saved, lines, steps=1, save_at=None)
  seconds = clock.seconds()
  assert seconds['step'] == 8 + 2
  assert seconds['restart'] == 6 + (5 + 6) + 5
  assert seconds['compile'] == 10  # of the first and the last


def test_a_crash_before_the_first_checkpoint_is_counted(time):
  *_, lines = _session(time, {}, 0.0, [], steps=3, save_at=None)
  clock, *_ = _session(time, {}, 0.0, lines, steps=1, save_at=None)
  assert _nonzero(clock.seconds()) == {'compile': 5, 'step': 2, 'restart': 11}


def test_a_stop_that_saves_loses_nothing(time):
  _, saved, lines = _session(time, {}, 0.0, [], steps=4, save_at=4)
  clock, *_ = _session(time, *saved, lines, steps=2, save_at=2)
  assert _nonzero(clock.seconds()) == {'compile': 10, 'step': 12}


def test_steps_that_a_spike_undoes_are_lost(time):
  _, saved, lines = _session(time, {}, 0.0, [], steps=7, save_at=4)
  clock, second, _ = _session(time, *saved, lines, steps=3, save_at=1)
  assert clock.seconds()['restart'] == 6
  with clock.spend('evaluation'):
    time.wait(1)
  clock.rewind(second[0])  # after step 5, which the second process saved
  with clock.spend('step'):
    time.wait(2)
  assert _nonzero(clock.seconds()) == {
    'compile': 10,
    'step': 8 + 2 + 2,
    'restart': 6 + 4 + 1,
  }
  assert clock.training_seconds == 12


def test_older_checkpoints_tell_their_training_alone(time):
  clock = Clock(time)
  clock.carry({}, 30.0, [{'step': 5, 'seconds': 40.0}])
  assert _nonzero(clock.seconds()) == {'step': 30}


class _Meter:
  """Draws 50 W."""

  source = 'measured'

  def __init__(self, time):
    self._time, self._began = time, time()

  def joules(self):
    return 50 * (self._time() - self._began)


def test_energy_adds_up_and_lost_seconds_draw_as_much(time):
  first = Clock(time)
  assert first.energy is None
  first.measure(_Meter(time))
  with first.spend('step'):
    time.wait(10)
  assert first.energy == (500, 'measured')
  saved, training = first.state(), first.training_seconds
  time.wait(4)
  lines = [first.line()]
  second = Clock(time)
  second.carry(saved, training, lines)
  assert second.energy == (50 * 14, 'measured')
  second.measure(_Meter(time))
  time.wait(6)
  assert second.energy == (pytest.approx(50 * 20), 'measured')


def test_a_state_is_plain_and_comes_back(time):
  clock = Clock(time)
  with clock.spend('data'):
    time.wait(1)
  again = Clock(time)
  again.carry(clock.state(), clock.training_seconds, [clock.line()])
  assert again.state() == clock.state()


def _device(kind, platform='tpu'):
  return types.SimpleNamespace(
    device_kind=kind, platform=platform, process_index=0
  )


def _config(size='gpt2', **costs):
  tree = with_overrides(
    pretrain.get_config(size),
    {
      'train.num_steps': 300,
      'data.batch_size': 256,
      'data.sequence_length': 1024,
      'data.vocab_size': 512,
    }
    | {f'costs.{key}': value for key, value in costs.items()},
  )
  return to_dataclass(RunConfig, tree)


SHAPE = BatchShape(256, 1024)


def _clock(time, **seconds):
  clock = Clock(time)
  for kind, count in seconds.items():
    with clock.spend(kind):
      time.wait(count)
  return clock


def test_gpt2_on_v5e_by_hand(time):
  """PaLM's formula: 6N + 12 LHQT FLOPs a token, N without the positions.

  GPT-2 has N = 123,532,032 weights in matrix products and tables: 12 layers of
  7,077,888 and 50,257 x 768 in the head; L = H = 12, Q = 64 and T = 1,024.
  """
  config = _config()
  per_token = 6 * (12 * 7_077_888 + 50_257 * 768) + 12 * 12 * 768 * 1024
  assert flops_per_step(config, SHAPE) == pytest.approx(
    256 * 1024 * per_token, rel=2e-3
  )
  clock = _clock(
    time, compile=60, step=150, data=15, evaluation=45, checkpoint=30
  )
  took = account(config, SHAPE, [_device('TPU v5 lite')] * 8, clock)
  done = 300 * 256 * 1024 * per_token
  assert took.mfu == pytest.approx(done / (150 * 8 * 197e12), rel=2e-3)
  assert 0.2 < took.mfu < 0.4
  assert took.goodput == 0.5
  assert took.wall_seconds == 300
  assert (took.peak_flops, took.peak_source) == (197e12, 'published')
  assert (took.devices, took.device_kind) == (8, 'TPU v5 lite')
  # 8 chips of 135 W for 300 s, times 1.1; 481 g a kWh; 8 x 1.20 USD an hour.
  assert took.energy_joules == pytest.approx(356_400)
  assert took.energy_source == 'estimated'
  assert took.carbon_grams == pytest.approx(0.099 * 481)
  assert took.cost_usd == pytest.approx(9.60 / 12)
  assert (took.region, took.price_source) == ('world', 'listed')


def test_flops_of_an_encoder_decoder_count_both_sides():
  config = _config('t5-small')
  short, long = BatchShape(8, 128, 512), BatchShape(8, 128, 1024)
  assert flops_per_step(config, long) > 1.5 * flops_per_step(config, short)


def test_a_cpu_is_measured_and_has_no_price(time):
  config = _config()
  devices = jax.devices()[:2]
  took = account(config, SHAPE, devices, _clock(time, step=1))
  assert took.peak_source == 'measured'
  assert took.peak_flops == peak.matmul_peak(devices) / 2
  assert took.energy_joules is took.carbon_grams is took.cost_usd is None
  assert took.energy_source == took.price_source == ''
  assert (took.devices, took.device_kind) == (2, 'cpu')


def test_what_the_user_assumes_is_told_so(time):
  config = _config(watts=30, usd_per_hour=0.1, pue=1, region='france')
  took = account(config, SHAPE, jax.devices()[:2], _clock(time, step=3600))
  assert took.energy_joules == pytest.approx(30 * 3600)
  assert took.carbon_grams == pytest.approx(0.03 * 56)
  assert took.cost_usd == pytest.approx(0.1)
  assert (took.energy_source, took.price_source) == ('assumed', 'assumed')


def test_the_users_word_for_a_chip_counts(time):
  config = _config(chip='h100')
  device = _device('NVIDIA H100 PCIe', 'gpu')
  took = account(config, SHAPE, [device], _clock(time, step=10))
  assert took.peak_flops == CHIPS['h100'].peak_flops
  assert took.energy_source == 'rated'


def test_an_accounting_is_plain_data(time):
  took = account(_config(), SHAPE, [_device('TPU v4')], _clock(time, step=1))
  tree = dataclasses.asdict(took)
  assert tree['seconds']['step'] == 1
  assert set(tree) == {field.name for field in dataclasses.fields(took)}


def test_kinds_are_of_chips_that_are_known():
  assert set(peak.CHIP_OF_KIND.values()) == set(CHIPS)
  assert peak.chip_of('', _device('TPU v6 lite')) == 'tpu-v6e'
  assert peak.chip_of('', _device('NVIDIA H100 PCIe')) == ''


def test_the_measured_peak_is_one_of_products():
  """No step is faster: the same work, shaped otherwise, takes longer."""
  one = jax.devices()[:1]
  assert peak.matmul_peak(one) > 1e9
  assert peak.matmul_peak(one) == peak.matmul_peak(one)  # measured once
  assert peak.matmul_peak(one, 'bfloat16') > 1e9


@pytest.mark.parametrize(
  ('costs', 'told'),
  [
    ({'energy': 'guessed'}, "costs.energy = 'guessed': choose from rated"),
    ({'chip': 'abacus'}, "costs.chip = 'abacus': choose from tpu-v4"),
    ({'region': 'mars'}, "costs.region = 'mars': choose from world"),
    ({'watts': -1}, 'costs.watts = -1.0: at least 0'),
    ({'usd_per_hour': float('nan')}, 'costs.usd_per_hour = nan: at least 0'),
    ({'pue': 0.5}, 'costs.pue = 0.5: at least 1'),
    ({'energy': 'measured', 'watts': 30}, 'leave one of them'),
    ({'prices': 'p.json', 'usd_per_hour': 1}, 'leave one of them'),
  ],
)
def test_costs_that_cannot_be_are_refused(costs, told):
  with pytest.raises(UserError, match=told):
    _config(**costs)
