"""Remakes what the compiler for TPUs is expected to find.

  .venv/bin/python benchmarks/compile.py [NAME...]

Each file of tests/train/golden/compile has settings (a size, a topology, and
overrides) and the result of compiling them; tests/train/test_golden.py holds
them to it within 2%. This compiles the named ones, or all, and writes what is
found into the files. It takes libtpu of the extra `tpu`, and minutes.
"""

import json
import pathlib
import sys

import jax

from configs import pretrain
from configs.files import write_json
from configs.tree import with_overrides
from train.ahead.report import table
from train.compile import compile_step

GOLDEN = pathlib.Path(__file__).parents[1] / 'tests/train/golden/compile'


def main(names: list[str]) -> None:
  jax.config.update('jax_platforms', 'cpu')
  for path in sorted(GOLDEN.glob('*.json')):
    if names and path.stem not in names:
      continue
    golden = json.loads(path.read_text())
    config = with_overrides(
      pretrain.get_config(golden['size']), golden['overrides']
    )
    golden['result'] = compile_step(config, golden['topology'])
    write_json(path, golden)
    print(f'{path.stem}\n{table(golden["result"])}\n', flush=True)


if __name__ == '__main__':
  main(sys.argv[1:])
