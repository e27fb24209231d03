import json
import pathlib
import subprocess
import sys

import pytest

from configs.errors import UserError
from data import sources
from data.audit import __main__ as command

ROOT = pathlib.Path(__file__).parents[3]


def run(*arguments):
  command = [sys.executable, '-m', 'data.audit', *map(str, arguments)]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_command(text_dir, tmp_path):
  config = ROOT / 'configs/pretrain.py'
  source = f'--config.data.source=files:{text_dir}/*.jsonl'
  done = run(f'--config={config}', source, f'--out={tmp_path}', '--sample=50')
  assert done.returncode == 0, done.stderr
  assert done.stdout == f'{tmp_path}/audit.html\n'
  tree = json.loads((tmp_path / 'audit.json').read_text())
  (found,) = tree['sources'].values()
  assert found['splits']['train']['documents_read'] == 50
  assert found['fields']['fields']['library']['distinct'] == 3
  assert tree['duplicates']['documents_read'] == 50
  told = [
    each['name'].partition(' of ')[0] for each in tree['contamination']['sets']
  ]
  assert told == ['validation', 'test']

  done = run(f'--config={config}', source, f'--out={tmp_path}', '--sample=-1')
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1].startswith('error: sample = -1')


def _named(train, others, cache_dir):
  opened = {s: sources.open_splits(s, cache_dir) for s in sources.parse(train)}
  return dict(command._held_out(opened, others, cache_dir))


def test_what_is_looked_for_in_train(text_dir, tmp_path):
  pattern = f'files:{text_dir}/*.jsonl'
  topic = sorted(text_dir.glob('*.jsonl'))
  lender = f'files:{text_dir}|train={topic[0].name}|test={topic[1].name}'
  other = f'files:{text_dir}|test={topic[2].name}'
  found = _named(lender, other, str(tmp_path))
  assert {name: len(rows) for name, rows in found.items()}.keys() == {
    *(f'validation of {lender}, lent by train', f'test of {lender}'),
    f'test of {other}',
  }
  assert len(found[f'test of {other}']) == 200

  nothing = f'files:{text_dir}|train={topic[2].name}'
  with pytest.raises(
    UserError, match='no validation or test split, only train'
  ):
    _named(pattern, nothing, str(tmp_path))
