"""Tells what is in the training text.

  python -m data.audit --config=configs/pretrain.py:nest-98k --out=DIR

Writes DIR/audit.json and DIR/audit.html, of the sources as they are: before
filters and interventions.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from configs import tree
from configs.command import no_arguments, run_command
from data import sources
from data.audit import extras, sharing
from data.audit.report import write_report
from data.audit.run import audit
from data.config import DataConfig
from data.rows import Row, joined


def main(argv: Sequence[str]) -> None:
  no_arguments(argv)
  args = flags.FLAGS
  config = tree.to_dataclass(DataConfig, args.config.data)
  extras.check()
  found = {
    name: audit(splits, description, args.sample, os.cpu_count() or 1)
    for name, splits, description in _opened(config)
  }
  whole = {'sources': found, **_of_all(config, args.evals)}
  print(write_report(whole, pathlib.Path(args.out).expanduser()))


def _opened(
  config: DataConfig,
) -> Iterator[tuple[str, Mapping[str, Sequence[Row]], Mapping[str, Any]]]:
  """Of each source its name, the rows of its splits, what is known of it."""
  for spec in sources.parse(config.source):
    yield (
      str(spec),
      sources.open_splits(spec, config.cache_dir),
      sources.describe(spec, config.cache_dir),
    )


def _of_all(config: DataConfig, others: str) -> dict[str, Mapping[str, Any]]:
  """Sections of all sources together: duplicates, and evaluation text in train.

  Args:
    config: of the sources.
    others: further sources, whose validation and test splits are looked for.
  """
  opened = [(name, splits) for name, splits, _ in _opened(config)]
  evaluations = {
    f'{split} of {name}': splits[split]
    for name, splits in [*opened, *_others(config, others)]
    for split in ('validation', 'test')
  }
  train = joined([splits['train'] for _, splits in opened])
  return {
    'duplicates': sharing.repeats(train),
    'contamination': sharing.contamination(train, evaluations),
  }


def _others(
  config: DataConfig, others: str
) -> list[tuple[str, Mapping[str, Sequence[Row]]]]:
  specs = sources.parse(others) if others else ()
  return [
    (str(spec), sources.open_splits(spec, config.cache_dir)) for spec in specs
  ]


if __name__ == '__main__':
  config_flags.DEFINE_config_file('config', None, 'configs/pretrain.py:SIZE')
  flags.DEFINE_string('out', None, 'Folder of the report.', required=True)
  flags.DEFINE_integer(
    'sample', 0, 'Documents to read of each split, evenly spread; 0 for all.'
  )
  flags.DEFINE_string(
    'evals', '', 'More sources, whose validation and test are looked for too.'
  )
  flags.mark_flag_as_required('config')
  run_command(main)
