"""A whole study, small: each step once, in order, and only what is missing."""

import hashlib
import json
import shutil

import pytest

from configs import study as studies
from configs.errors import UserError
from configs.tree import with_overrides
from data.corpus import prepare
from scaling import register
from scaling.records import read_records
from study import forecasts, ladder, measure
from study import run as studies_run
from study.config import study_config
from train import checkpoint, workdir


@pytest.fixture(scope='module')
def leaky_text(text_dir, tmp_path_factory):
  """The small text, and half of its lines once more: in any of the splits."""
  folder = tmp_path_factory.mktemp('leaky')
  lines = []
  for path in sorted(text_dir.glob('*.jsonl')):
    shutil.copy(path, folder)
    lines += path.read_text().splitlines(keepends=True)
  (folder / 'again.jsonl').write_text(''.join(lines[::2]))
  return folder


@pytest.fixture(scope='module')
def tiny_study(data_overrides, leaky_text):
  return with_overrides(
    studies.get_config(),
    {f'pretrain.{key}': value for key, value in data_overrides.items()}
    | {
      'pretrain.data.source': f'files:{leaky_text}/*.jsonl',
      'pretrain.data.interventions.canaries': 2,
      'pretrain.data.sequence_length': 64,
      'pretrain.data.batch_size': 8,
      'pretrain.model.vocab_size': 320,
      'ladder.sizes': ('nest-12k', 'nest-56k'),
      'ladder.tokens': (5_120, 10_240, 20_480),
      'ladder.warmup_tokens': 1_024,
      'noise.size': 'nest-12k',
      'noise.tokens': 5_120,
      'noise.repeats': 1,
      'heldout.size': 'nest-56k',
      'heldout.tokens': 40_960,
      'law.resamples': 50,
      'evals.items': 20,
      'finetune.sizes': ('nest-12k',),
      'finetune.modes': ('probe',),
    },
  )


@pytest.fixture(scope='module')
def finished(tiny_study, tmp_path_factory):
  folder = tmp_path_factory.mktemp('study')
  report = studies_run.run(tiny_study, folder)
  assert report == folder / 'report.html'
  return folder


def test_every_rung_is_trained_scored_and_noted(tiny_study, finished):
  config = study_config(tiny_study)
  rungs = [
    *ladder.fitted_rungs(config),
    *ladder.noise_rungs(config),
    ladder.heldout_rung(config),
  ]
  records = read_records(finished / studies_run.RECORDS)
  assert {record.run for record in records} == {rung.name for rung in rungs}
  for rung in rungs:
    assert workdir.read_done(finished / measure.RUNS / rung.name)
    metrics = {r.metric for r in records if r.run == rung.name}
    assert {'loss', 'bits_per_byte', 'acc', 'acc_mutual_info'} <= metrics


def test_what_each_run_took_is_noted_and_told(tiny_study, finished):
  page = (finished / 'report.html').read_text()
  for record in read_records(finished / studies_run.RECORDS):
    assert record.wall_seconds > record.seconds
    assert 0 < record.goodput < 1
    assert (record.peak_source, record.device_kind) == ('measured', 'cpu')
    assert (record.energy_source, record.price_source) == ('assumed', 'assumed')
    wall = record.wall_seconds
    assert record.energy_joules == pytest.approx(30 * wall)
    assert record.carbon_grams == pytest.approx(30 * wall / 3.6e6 * 481)
    assert record.cost_usd == pytest.approx(0.1 * wall / 3600)
  assert 'Energy: all the time at an assumed 30 W.' in page


def test_what_training_has_is_measured_on_by_no_run(tiny_study, finished):
  corpus = json.loads((finished / studies_run.ENVIRONMENT).read_text())[
    'corpus'
  ]
  told = {report['split']: report for report in corpus['filters']}
  page = (finished / 'report.html').read_text()
  prepared = prepare(ladder.data_config(study_config(tiny_study)))
  train = {row['text'] for row in prepared.documents('train')}
  for split in ('validation', 'test'):
    left = prepared.documents(split)
    assert told[split]['filter'] == 'decontaminate'
    assert told[split]['before'] > told[split]['after'] == len(left)
    assert not train & {row['text'] for row in left}
    assert f'<td>{told[split]["before"]}</td>' in page
  records = read_records(finished / studies_run.RECORDS)
  assert {record.interventions for record in records} == {'canaries=2'}
  assert 'The random number is' in page


def test_the_forecast_is_older_than_the_run_it_predicts(tiny_study, finished):
  digest = register.seal_of(finished / forecasts.FORECAST).read_text().strip()
  content = (finished / forecasts.FORECAST).read_bytes()
  assert hashlib.sha256(content).hexdigest() == digest
  rung = ladder.heldout_rung(study_config(tiny_study))
  run = finished / measure.RUNS / rung.name
  forecast_time = (
    register.seal_of(finished / forecasts.FORECAST).stat().st_mtime_ns
  )
  assert forecast_time < (run / workdir.CONFIG).stat().st_mtime_ns
  # Its checkpoint proves the order: it holds the digest.
  meta = checkpoint.load_meta(checkpoint.find(run))
  assert digest in meta.config['name']


def test_the_forecast_knows_nothing_of_the_heldout_rung(tiny_study, finished):
  rung = ladder.heldout_rung(study_config(tiny_study))
  fit = json.loads((finished / forecasts.FIT).read_text())
  assert fit['n'] == 6
  records = [
    record
    for record in read_records(finished / studies_run.RECORDS)
    if record.run != rung.name
  ]
  config = study_config(tiny_study)
  chains, _ = forecasts.fits(config, *forecasts.measured(config, records))
  again = chains[0].loss
  assert again.params == fit['params']


def test_the_verdict_compares_with_what_was_measured(tiny_study, finished):
  rung = ladder.heldout_rung(study_config(tiny_study))
  verdict = json.loads((finished / forecasts.VERDICT).read_text())
  (truth,) = (
    record.value
    for record in read_records(finished / studies_run.RECORDS)
    if (record.run, record.metric) == (rung.name, 'loss')
  )
  loss = verdict['loss']
  assert loss['truth'] == truth
  assert loss['relative_error'] == pytest.approx(loss['forecast'] / truth - 1)


def test_a_finished_study_trains_nothing_again(
  tiny_study, finished, monkeypatch
):
  def never(*_, **__):
    raise AssertionError('trained again')

  monkeypatch.setattr('train.loop._train', never)
  monkeypatch.setattr('study.measure.evaluate', never)
  before = (finished / forecasts.FORECAST).stat().st_mtime_ns
  studies_run.run(tiny_study, finished)
  assert (finished / forecasts.FORECAST).stat().st_mtime_ns == before


def test_a_changed_forecast_is_refused(tiny_study, finished):
  path = finished / forecasts.FORECAST
  content = path.read_bytes()
  path.write_bytes(content.replace(b'"rung"', b'"rang"'))
  try:
    with pytest.raises(UserError, match='a forecast cannot be changed'):
      studies_run.run(tiny_study, finished)
  finally:
    path.write_bytes(content)


def test_a_folder_of_another_study_is_refused(tiny_study, finished):
  other = with_overrides(tiny_study, {'seed': 5})
  with pytest.raises(UserError, match='seed is 0 there and 5 here'):
    studies_run.run(other, finished)
