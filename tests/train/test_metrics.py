"""Metric files: whole lines, cut back to a step, written to many places."""

import json
import sys

import pytest

from configs.errors import UserError
from train import metrics
from train.config import LogConfig


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
  assert metrics.read_metrics(path) == [{'step': 1, 'loss': 2.0}]


def test_lines_past_a_step_are_dropped(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(''.join(f'{{"step": {s}}}\n' for s in (1, 2, 2, 3)))
  metrics.keep_until(path, 2, path)
  assert [line['step'] for line in metrics.read_metrics(path)] == [1, 2, 2]


def test_a_file_that_is_not_there_is_empty(tmp_path):
  assert metrics.read_metrics(tmp_path / 'none.jsonl') == []


def test_jsonl_and_tensorboard_take_the_same_scalars(tmp_path):
  with metrics.open_writer(tmp_path, LogConfig(True, ''), 0) as writer:
    writer.write(1, {'loss': 2.5})
    writer.flush()
  assert json.loads((tmp_path / metrics.METRICS).read_text()) == {
    'step': 1,
    'loss': 2.5,
  }
  (events,) = (tmp_path / 'tensorboard').iterdir()
  assert b'loss' in events.read_bytes()


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with (
    pytest.raises(UserError, match=r'pip install -e \.\[wandb\]'),
    metrics.open_writer(tmp_path, LogConfig(False, 'project'), 0),
  ):
    pass
