"""A whole study; the same command again does only what is missing.

python -m study.run --config=configs/study.py:pocket --workdir=DIR
"""

import dataclasses
import datetime
import logging
import pathlib
from collections.abc import Sequence

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from configs.command import run_command
from configs.files import write_json
from data.corpus import prepare
from scaling.records import Record, write_records
from study import forecasts, ladder, machine, report
from study.adapt import adapt
from study.config import StudyConfig, study_config
from study.ladder import Rung
from study.measure import StoppedError, score_rung
from train import workdir
from train.cpu import split_cpu

log = logging.getLogger(__name__)

RECORDS = 'records.jsonl'
ENVIRONMENT = 'environment.json'


def run(config: ConfigDict, workdir_path: pathlib.Path | str) -> pathlib.Path:
  """Grows the ladder, fits, forecasts, trains what was forecast, reports.

  Args:
    config: as `configs.study.get_config` makes it.
    workdir_path: folder of the study; made when missing.

  Returns:
    The report.

  Raises:
    UserError: the config cannot work, or the folder is another study's.
    StoppedError: it was interrupted; the same call goes on.
  """
  typed = study_config(config)
  folder = pathlib.Path(workdir_path).absolute()
  tree = workdir.as_json(config.to_dict())
  workdir.check(folder, tree)
  with workdir.claimed(folder, tree):
    return _run(typed, folder)


def _run(config: StudyConfig, folder: pathlib.Path) -> pathlib.Path:
  held_out = ladder.heldout_rung(config)
  fitted = [*ladder.fitted_rungs(config), *ladder.noise_rungs(config)]
  if not (folder / ENVIRONMENT).exists():
    started = datetime.datetime.now(datetime.UTC).isoformat()
    corpus = prepare(ladder.data_config(config))
    write_json(
      folder / ENVIRONMENT,
      machine.describe()
      | {
        'started': started,
        'corpus': {**corpus.description, 'digest': corpus.digest},
      },
    )
  records = _measure(config, fitted, folder)
  digest = forecasts.write_forecast(config, held_out, records, folder)
  log.info('forecast of %s: %s', held_out.name, digest)
  # The run carries the forecast's digest in its config, so that its checkpoint
  # tells which of the two was first.
  tested = dataclasses.replace(held_out, forecast=digest)
  records = _measure(config, [*fitted, tested], folder)
  forecasts.write_verdict(records, tested, folder)
  adapt(config, [*fitted, tested], folder)
  return report.write_report(folder)


def _measure(
  config: StudyConfig, rungs: Sequence[Rung], folder: pathlib.Path
) -> list[Record]:
  """Trains and scores what is missing; notes all records of these rungs."""
  records = []
  for number, rung in enumerate(rungs, start=1):
    log.info('rung %d of %d: %s', number, len(rungs), rung.name)
    records += score_rung(config, rung, folder)
    write_records(folder / RECORDS, records)
  return records


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  args = flags.FLAGS
  shared = args.config.pretrain
  split_cpu(shared.mesh.data, shared.data.batch_size)
  try:
    print(f'report: {run(args.config, args.workdir)}')
  except StoppedError:
    print('stopped; run the same command to go on')


if __name__ == '__main__':
  config_flags.DEFINE_config_file('config', None, 'configs/study.py:NAME')
  flags.DEFINE_string('workdir', None, 'Folder of the study.', required=True)
  flags.mark_flag_as_required('config')
  run_command(main)
