"""Exit codes and one-line errors of commands."""

import pathlib
import subprocess
import sys

import pytest

from configs.command import no_arguments
from configs.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def _pretrain(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'train.pretrain', *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    (['--config.optimizer.learning_rte=1'], 'learning_rte'),
    (['--config.train.num_steps=many'], 'many'),
    (['--config.mesh.tensor=3'], 'mesh'),
  ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, arguments, told):
  done = _pretrain(
    '--config=configs/pretrain.py', f'--workdir={tmp_path}/run', *arguments
  )
  assert done.returncode == 2
  lines = done.stderr.strip().split('\n')
  assert len(lines) == 1
  assert lines[0].startswith('error: ')
  assert told in lines[0]
  assert not (tmp_path / 'run').exists()


def test_words_that_are_no_flags_are_named():
  with pytest.raises(UserError, match='unexpected: extra; write --flag=value'):
    no_arguments(['command', 'extra'])
  no_arguments(['command'])
