import json
import pathlib
import subprocess
import sys

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

  done = run(f'--config={config}', source, f'--out={tmp_path}', '--sample=-1')
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1].startswith('error: sample = -1')
