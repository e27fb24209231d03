"""Tells what is in the training text.

  python -m data.audit --config=configs/pretrain.py:nest-98k --out=DIR

Writes DIR/audit.json and DIR/audit.html, of the sources as they are: before
filters and interventions.
"""

import importlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from absl import flags
from ml_collections import config_flags

from configs import tree
from configs.command import no_arguments, run_command
from configs.errors import UserError
from data import sources
from data.audit import extras, sharing
from data.audit.report import write_report
from data.audit.run import audit
from data.audit.texts import Texts
from data.config import DataConfig
from data.rows import Row, Rows
from data.source_spec import SourceSpec
from data.splits import SPLITS

HELD_OUT = tuple(split for split in SPLITS if split != 'train')


def main(argv: Sequence[str]) -> None:
  no_arguments(argv)
  args = flags.FLAGS
  config = tree.to_dataclass(DataConfig, args.config.data)
  extras.check()
  opened = {
    spec: sources.open_splits(spec, config.cache_dir)
    for spec in sources.parse(config.source)
  }
  evaluations = {
    name: Texts(name, {name: rows})
    for name, rows in _held_out(opened, args.evals, config.cache_dir)
  }
  found = {
    str(spec): audit(
      splits,
      sources.describe(spec, config.cache_dir),
      args.sample,
      os.cpu_count() or 1,
    )
    for spec, splits in opened.items()
  }
  train = Texts(
    'train',
    {str(spec): splits['train'] for spec, splits in opened.items()},
    args.sample,
  )
  whole = {
    'sources': found,
    'duplicates': sharing.repeats(train),
    'contamination': sharing.contamination(train, evaluations),
  }
  print(write_report(whole, pathlib.Path(args.out).expanduser()))


def _held_out(
  opened: Mapping[SourceSpec, Mapping[str, Sequence[Row]]],
  others: str,
  cache_dir: str,
) -> Iterator[tuple[str, Sequence[Row]]]:
  """Every validation and test split that is looked for in train, by a name.

  Args:
    opened: the sources to train on.
    others: further sources, of which only splits of their own are taken.
    cache_dir: where what is downloaded or prepared lies.

  Raises:
    UserError: one of the others has neither a validation nor a test split.
  """
  for spec, splits in opened.items():
    own = _own_splits(spec, cache_dir)
    for split in HELD_OUT:
      lent = '' if split in own else ', lent by train'
      yield f'{split} of {spec}{lent}', splits[split]
  for spec in sources.parse(others) if others else ():
    own = _own_splits(spec, cache_dir)
    if not any(split in own for split in HELD_OUT):
      raise UserError(
        f'evals: {spec} has no validation or test split, only '
        f'{", ".join(own)}: name one, as in {spec}|test=...'
      )
    for split in HELD_OUT:
      if split in own:
        yield f'{split} of {spec}', own[split]


def _own_splits(spec: SourceSpec, cache_dir: str) -> Mapping[str, Rows]:
  """The splits that a source itself has: none is lent by train."""
  kind: sources.Kind = importlib.import_module(f'data.{spec.kind}_source')
  return kind.open_splits(spec, cache_dir)


if __name__ == '__main__':
  config_flags.DEFINE_config_file('config', None, 'configs/pretrain.py:SIZE')
  flags.DEFINE_string('out', None, 'Folder of the report.', required=True)
  flags.DEFINE_integer(
    'sample',
    0,
    'Documents to read of each split, evenly spread; 0 for all. What is looked '
    'for in train is read whole.',
  )
  flags.DEFINE_string(
    'evals', '', 'More sources, whose validation and test are looked for too.'
  )
  flags.mark_flag_as_required('config')
  run_command(main)
