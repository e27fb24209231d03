"""Traces of steps: which steps are in them, and when they are written."""

import contextlib
import gzip
import json

import jax
import jax.numpy as jnp
import pytest
from jax.profiler import ProfileData

from configs.errors import UserError
from train.profile import PROFILE, Profiler, parse_steps


def _steps_in(folder):
  """Numbers of the steps that the one trace of a run names, in order."""
  (path,) = (folder / PROFILE).rglob('*.xplane.pb')
  found = [
    dict(event.stats)['step_num']
    for plane in ProfileData.from_file(str(path)).planes
    for line in plane.lines
    for event in line.events
    if event.name == 'train'
  ]
  return sorted(found)


@pytest.fixture(scope='module')
def square():
  """Some work, compiled."""
  step = jax.jit(lambda x: x @ x / 64)
  step(jnp.ones((64, 64))).block_until_ready()
  return step


def _run(profiler, square, stop_after=None):
  """Eight steps, or less; what was settled when, by step."""
  settled = []
  x = jnp.ones((64, 64))
  with profiler:
    for number in range(1, 9):
      with profiler.step(number, lambda number=number: settled.append(number)):
        x = square(x)
      if number == stop_after:
        raise KeyboardInterrupt
  return settled


def test_two_steps_are_traced_by_their_numbers(square, tmp_path):
  assert _run(Profiler(tmp_path, range(3, 5)), square) == [3, 4]
  assert _steps_in(tmp_path) == [3, 4]


def test_the_trace_is_also_what_perfetto_opens(square, tmp_path):
  _run(Profiler(tmp_path, range(2, 4)), square)
  (path,) = (tmp_path / PROFILE).rglob('*.trace.json.gz')
  events = json.loads(gzip.decompress(path.read_bytes()))['traceEvents']
  assert any(event.get('name') == 'train' for event in events)


def test_an_interrupted_trace_is_written(square, tmp_path):
  with pytest.raises(KeyboardInterrupt):
    _run(Profiler(tmp_path, range(3, 8)), square, stop_after=4)
  assert _steps_in(tmp_path) == [3, 4]
  _run(Profiler(tmp_path / 'again', range(1, 2)), square)  # none is left open


def test_a_run_that_goes_on_within_traces_the_rest(square, tmp_path):
  with Profiler(tmp_path, range(2, 5)) as profiler:
    for number in (4, 5):
      with profiler.step(number, lambda: None):
        square(jnp.ones((64, 64)))
  assert _steps_in(tmp_path) == [4]


def test_a_step_that_is_undone_is_traced_once(square, tmp_path):
  with Profiler(tmp_path, range(2, 5)) as profiler:
    for number in (1, 2, 3, 2, 3, 4):
      with (
        contextlib.suppress(KeyError),
        profiler.step(number, lambda: None),
      ):
        square(jnp.ones((64, 64)))
        if number == 3:
          raise KeyError
  assert _steps_in(tmp_path) == [2, 3]


def test_without_steps_nothing_is_traced(square, tmp_path, caplog):
  assert _run(Profiler(tmp_path, range(0)), square) == []
  assert not caplog.records
  _run(Profiler(tmp_path, range(100, 102)), square)
  assert 'none of its steps was run' in caplog.text
  assert list(tmp_path.iterdir()) == []


def test_steps_are_read():
  assert list(parse_steps('20:22', 40)) == [20, 21]
  assert list(parse_steps('40:41', 40)) == [40]
  assert not parse_steps('', 40)


@pytest.mark.parametrize(
  ('text', 'told'),
  [
    ('20', 'expected START:STOP, two steps'),
    ('20:', 'expected START:STOP'),
    ('-3:4', 'expected START:STOP'),
    ('a:b', 'expected START:STOP'),
    ('5:5', '1 <= START < STOP <= 41'),
    ('0:3', '1 <= START < STOP <= 41'),
    ('39:42', '1 <= START < STOP <= 41, since the run has 40 steps'),
  ],
)
def test_steps_that_cannot_be_are_refused(text, told):
  with pytest.raises(UserError, match=told):
    parse_steps(text, 40)
