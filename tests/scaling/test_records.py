import dataclasses
import json
import os

import pytest

from configs.errors import UserError
from scaling import records


@pytest.fixture
def record():
  return records.Record(
    run='nest-25k-d1',
    config_digest='abc',
    family='decoder',
    objective='causal',
    size='nest-25k',
    params_total=90000,
    params_non_embedding=25000,
    params_active=90000,
    tokens=1e6,
    unique_tokens=1e6,
    flops=1e12,
    flops_convention='3x forward matmuls',
    step=100,
    seed=0,
    schedule_phase='end',
    task='heldout',
    shots=0,
    metric='loss',
    value=3.5,
    stderr=None,
    n=1000,
    seconds=1.5,
    energy_joules=None,
    cost_usd=None,
  )


def test_write_then_read_gives_the_records_in_order(tmp_path, record):
  path = tmp_path / 'run' / 'records.jsonl'
  second = dataclasses.replace(record, seed=1, value=0.1 + 0.2)
  records.write_records(path, [record, second])
  assert records.read_records(path) == [record, second]
  assert [p.name for p in path.parent.iterdir()] == ['records.jsonl']


def test_a_failed_write_leaves_the_file_as_it_was(
  tmp_path, record, monkeypatch
):
  path = tmp_path / 'records.jsonl'
  records.write_records(path, [record])
  before = path.read_bytes()

  def full(_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(OSError, match='No space'):
    records.write_records(path, [record])
  assert path.read_bytes() == before
  assert list(tmp_path.iterdir()) == [path]


def test_write_refuses_a_number_no_measurement_has(tmp_path, record):
  path = tmp_path / 'records.jsonl'
  bad = dataclasses.replace(record, value=float('nan'))
  with pytest.raises(UserError, match='value = nan'):
    records.write_records(path, [record, bad])
  assert not path.exists()


@pytest.mark.parametrize(
  'younger',
  [
    ('interventions',),
    ('mfu', 'goodput', 'peak_source', 'energy_source', 'devices', 'region'),
  ],
)
def test_records_of_before_there_was_a_field_are_read(
  tmp_path, record, younger
):
  path = tmp_path / 'records.jsonl'
  tree = dataclasses.asdict(record)
  for key in younger:
    del tree[key]
  path.write_text(json.dumps(tree) + '\n')
  assert records.read_records(path) == [record]


def test_what_a_run_took_comes_back(tmp_path, record):
  path = tmp_path / 'records.jsonl'
  took = dataclasses.replace(
    record, mfu=0.41, goodput=0.9, devices=8, device_kind='TPU v5 lite'
  )
  records.write_records(path, [took])
  assert records.read_records(path) == [took]


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(UserError, match='no such file'):
    records.read_records(tmp_path / 'none.csv')


@pytest.mark.parametrize(
  'change, message',
  [
    ({'value': 'high'}, "row 2: value = 'high': expected float"),
    ({'tokens': -1}, 'row 2: tokens = -1'),
    ({'seed': 1.5}, 'row 2: seed = 1.5: expected int'),
    ({'colour': 'red'}, 'row 2: keys missing or unknown: colour'),
    ({'run': None}, 'row 2: run = None: expected str'),
    ({'stderr': -0.1}, 'row 2: stderr = -0.1'),
    ({'mfu': -0.1}, 'row 2: mfu = -0.1: expected null or at least 0'),
    ({'devices': 1.5}, 'row 2: devices = 1.5: expected int or null'),
  ],
)
def test_jsonl_mistakes_are_named(tmp_path, record, change, message):
  path = tmp_path / 'records.jsonl'
  tree = dataclasses.asdict(record)
  path.write_text(f'{json.dumps(tree)}\n{json.dumps(tree | change)}\n')
  with pytest.raises(UserError, match=message):
    records.read_records(path)


def test_half_a_line_is_named(tmp_path, record):
  path = tmp_path / 'records.jsonl'
  path.write_text(json.dumps(dataclasses.asdict(record))[:50])
  with pytest.raises(UserError, match='row 1: no JSON'):
    records.read_records(path)
