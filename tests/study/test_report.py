"""Reports of a made-up study: a known law, noise, real fits and forecasts."""

import dataclasses
import hashlib
import html.parser
import json
import struct

import numpy as np
import pytest

from configs import study as configs
from configs.tree import with_overrides
from scaling.chain import fit_chain, forecast_chain
from scaling.forecast import score_forecast
from scaling.ladder_checks import violations
from scaling.points import average_seeds, points, scores
from scaling.records import Record, write_records
from scaling.verdict import verdict
from study import ladder, report, report_costs
from study.config import study_config

LAW = (2.6, 60.0, 900.0, 0.42, 0.45)  # E, A, B, alpha, beta
NAME = '<b>pocket & co</b>'
ITEMS = 1500
WIDTHS = {
  'nest-12k': 12e3,
  'nest-56k': 56e3,
  'nest-98k': 98e3,
  'nest-222k': 222e3,
  'nest-396k': 396e3,
}
STUDY = {
  'name': NAME,
  'ladder.sizes': ('nest-12k', 'nest-56k', 'nest-98k', 'nest-222k'),
  'ladder.tokens': (250_000, 500_000, 1_000_000),
  'noise.size': 'nest-56k',
  'noise.tokens': 500_000,
  'heldout.size': 'nest-396k',
  'heldout.tokens': 2_000_000,
  'law.params': 'non_embedding',  # the N of LAW
  'law.resamples': 200,
  'finetune.sizes': ('nest-12k', 'nest-396k'),
}
SPEED = dict(zip(WIDTHS, (21e9, 27.3e9, 35e9, 41e9, 46e9), strict=True))


def _loss(n, d):
  E, A, B, alpha, beta = LAW
  return E + A / n**alpha + B / d**beta


def _records(rung, rng):
  n, d = WIDTHS[rung.size], rung.tokens // 1024 * 1024.0
  loss = _loss(n, d) * np.exp(0.002 * rng.standard_normal())
  right = rng.binomial(ITEMS, 0.25 + 0.5 / (1 + np.exp(1.5 * (loss - 4.5))))
  acc = right / ITEMS
  flops = 6 * (n + 2048 * 64) * d
  seconds = flops / SPEED[rung.size]
  measured = {
    ('heldout', 'loss'): (loss, 0.01, 3000),
    ('heldout', 'bits_per_byte'): (loss / np.log(2) / 2.7, 0.005, 3000),
    ('heldout', 'perplexity'): (np.exp(loss), 0.1, 3000),
    ('continuation', 'acc_mutual_info'): (
      acc,
      (acc * (1 - acc) / ITEMS) ** 0.5,
      ITEMS,
    ),
    ('continuation', 'acc_norm'): (acc, 0.01, ITEMS),
    ('continuation', 'bits_per_byte'): (2.0, 0.01, ITEMS),
  }
  for (task, metric), (value, stderr, count) in measured.items():
    yield Record(
      run=rung.name,
      config_digest='0' * 16,
      family='decoder',
      objective='causal',
      size=rung.size,
      params_total=n + 2048 * 64,
      params_non_embedding=n,
      params_active=n + 2048 * 32,
      tokens=d,
      unique_tokens=d,
      flops=flops,
      flops_convention='matmul, full attention, head; training = 3 x forward',
      step=int(d // 1024),
      seed=rung.seed,
      schedule_phase='end',
      task=task,
      shots=0,
      metric=metric,
      value=float(value),
      stderr=float(stderr),
      n=count,
      seconds=seconds,
      wall_seconds=1.25 * seconds,
      goodput=0.792,
      mfu=SPEED[rung.size] / 9e10,
      peak_source='measured',
      devices=2,
      device_kind='cpu',
      energy_joules=30 * 1.25 * seconds,
      energy_source='assumed',
      carbon_grams=30 * 1.25 * seconds / 3.6e6 * 481,
      region='world',
      cost_usd=0.1 * 1.25 * seconds / 3600,
      price_source='assumed',
    )


def _write_metrics(folder, rung, rng):
  lines = []
  for step in range(10, rung.tokens // 1024 + 1, 10):
    d = step * 1024
    loss = _loss(WIDTHS[rung.size], d + 3e4) + 0.1 * rng.standard_normal()
    lines.append({'step': step, 'loss': loss, 'grad_norm': 1.0, 'tokens': d})
  lines.append({'step': step, 'validation_loss': loss - 0.1})
  folder.mkdir(parents=True)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (folder / 'metrics.jsonl').write_text(text)


CORPUS = {
  'sources': [
    {
      'source': 'tfds:python_docs/docstrings',
      'version': '1.0.0',
      'packages': {'stdlib': '3.11.7', 'numpy': '2.4.6', 'scipy': '1.17.1'},
      'files': 4185,
    }
  ],
  'filters': [
    {
      'filter': 'decontaminate',
      'split': 'test',
      'before': 1896,
      'after': 1888,
      'details': {'exact': 0, 'near': 3, 'ngram': 7},
      'examples': ['Build call-back mechanism for f2py2e.'],
    }
  ],
  'interventions': [],
  'splits': {
    split: {
      'documents': documents,
      'bytes': 470 * documents,
      'tokens': 171 * documents,
      'sha256': hashlib.sha256(split.encode()).hexdigest(),
    }
    for split, documents in (
      ('train', 27067),
      ('validation', 1308),
      ('test', 1888),
    )
  },
  'tokenizer': {'kind': 'bpe', 'vocab_size': 2048, 'sha256': 'ab' * 32},
  'digest': 'aabd1fdda0c24442',
}


@pytest.fixture(scope='module')
def made():
  """The made-up study's files by name, and what they should tell."""
  tree = with_overrides(configs.get_config(), STUDY)
  config = study_config(tree)
  rng = np.random.default_rng(3)
  fitted = [*ladder.fitted_rungs(config), *ladder.noise_rungs(config)]
  held_out = ladder.heldout_rung(config)
  before = [record for rung in fitted for record in _records(rung, rng)]
  after = list(_records(held_out, rng))
  chain = fit_chain(
    points(before),
    scores(before, task='continuation', metric='acc_mutual_info'),
    fixed={'b': 0.25},
    resamples=200,
  )
  loss, score = forecast_chain(
    chain,
    {
      'params': after[0].params_non_embedding,
      'tokens': after[0].tokens,
      'flops': after[0].flops,
    },
    items=ITEMS,
  )
  rungs = average_seeds(points(before), ('params', 'tokens')).points
  sealed = json.dumps(
    {
      'written_at': '2026-01-02T03:04:05+00:00',
      'rung': {
        'name': held_out.name,
        'size': held_out.size,
        'tokens': after[0].tokens,
        'params': after[0].params_non_embedding,
        'flops': after[0].flops,
      },
      'laws': {},
      'data_sha256': '0' * 64,
      'task': 'continuation',
      'metric': 'acc_mutual_info',
      'loss': loss.to_tree(),
      'score': score.to_tree(),
    }
  )
  digest = hashlib.sha256(sealed.encode()).hexdigest()
  truth = after[0].value, after[3].value
  judged = {'forecast_sha256': digest} | {
    kind: {
      'forecast': told.value,
      'truth': value,
      **score_forecast(told, value)._asdict(),
    }
    for kind, told, value in zip(
      ('loss', 'score'), (loss, score), truth, strict=True
    )
  }
  return {
    'config': tree.to_dict(),
    'fitted': fitted,
    'held_out': held_out,
    'before': before,
    'after': after,
    'fit': chain.loss.to_json(),
    'task_fit': chain.score.to_json(),
    'violations': violations(rungs),
    'task': verdict(
      scores(before, task='continuation', metric='acc_mutual_info'),
      chain.score,
      score,
    )._asdict(),
    'forecast': sealed,
    'digest': digest,
    'verdict': judged,
  }


def _write(folder, made, stage):
  """Stages: 0 begun, 1 some runs, 2 forecast, 3 judged, 4 finetuned."""

  def put(name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text)

  rng = np.random.default_rng(5)
  put('config.json', made['config'])
  if stage == 0:
    return
  put(
    'environment.json',
    {
      'python': '3.11.7',
      'system': 'Linux-6.1-x86_64',
      'cores': 2,
      'devices': ['cpu'],
      'packages': {'jax': '0.10.2', 'numpy': '2.4.6'},
      'matmul_flops_per_second': 9.0e10,
      'corpus': CORPUS,
      'started': '2026-01-02T03:00:00+00:00',
    },
  )
  fitted = made['fitted'][:3] if stage == 1 else made['fitted']
  for rung in fitted:
    _write_metrics(folder / 'runs' / rung.name, rung, rng)
  names = {rung.name for rung in fitted}
  records = [record for record in made['before'] if record.run in names]
  write_records(folder / 'records.jsonl', records)
  if stage == 1:
    return
  put('fit.json', made['fit'])
  put('task_fit.json', made['task_fit'])
  put(
    'checks.json',
    {'violations': made['violations'], 'task': made['task']},
  )
  put('forecast.json', made['forecast'])
  put('forecast.sha256', made['digest'] + '\n')
  if stage == 2:
    return
  held_out = made['held_out']
  _write_metrics(folder / 'runs' / held_out.name, held_out, rng)
  put(
    f'runs/{held_out.name}/config.json',
    {'name': f'{held_out.name} of forecast {made["digest"]}'},
  )
  write_records(folder / 'records.jsonl', [*records, *made['after']])
  put('verdict.json', made['verdict'])
  if stage == 3:
    return
  for size, right in (('nest-12k', 900), ('nest-396k', 1400)):
    for mode in ('full', 'scratch', 'probe'):
      score = {'value': right / 1888, 'stderr': 0.01, 'n': 1888}
      interval = [right / 1888 - 0.02, right / 1888 + 0.02]
      put(
        f'finetune/{size}-{mode}/done.json',
        {
          'step': 0 if mode == 'probe' else 300,
          'seconds': 12.5,
          'scores': {
            'acc': {**score, 'interval': interval},
            'majority_acc': {**score, 'value': 0.412, 'interval': [0.39, 0.43]},
          },
        },
      )


class _Page(html.parser.HTMLParser):
  """Collects tags, attributes and visible text, and checks the nesting."""

  VOID = ('meta', 'img', 'br')

  def __init__(self, text):
    super().__init__()
    self.tags, self.open, self.text = [], [], ''
    self.feed(text)
    self.close()
    assert not self.open
    self.text = ' '.join(self.text.split())

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != 'style':
      self.text += data

  def named(self, tag):
    return [attrs for name, attrs in self.tags if name == tag]


def _report(folder, made, stage):
  _write(folder, made, stage)
  path = report.write_report(folder)
  assert path == folder / 'report.html'
  return _Page(path.read_text())


@pytest.fixture(scope='module')
def whole(made, tmp_path_factory):
  folder = tmp_path_factory.mktemp('study')
  return folder, _report(folder, made, 4)


def test_the_answer_names_forecast_truth_and_error(made, whole):
  loss = made['verdict']['loss']
  text = whole[1].text
  assert f'forecast a held-out loss of {loss["forecast"]:.3f}' in text
  assert f'measured afterwards: {loss["truth"]:.3f}' in text
  error = 100 * (loss['forecast'] / loss['truth'] - 1)
  way = 'high' if error > 0 else 'low'
  assert f'The forecast was {abs(error):.2f}% too {way}' in text
  assert f'fitted on {4 * 3} rungs' in text
  assert ('covered the' if loss['covered'] else 'missed the') in text
  assert 'not finished' not in text


def test_every_rung_is_told_with_its_sizes_costs_and_scores(made, whole):
  text = whole[1].text
  for record in [*made['before'], *made['after']]:
    if (record.task, record.metric) == ('heldout', 'loss'):
      assert f'{record.value:.3f}' in text
      assert f'{record.params_total:,.0f}' in text
      assert f'{record.tokens:,.0f}' in text
    elif record.metric == 'acc_mutual_info':
      assert f'{100 * record.value:.1f}' in text
  rows = whole[1].named('tr')
  assert sum(row.get('class') == 'held-out' for row in rows) == 3
  for speed in SPEED.values():
    assert f'{speed / 1e9:.1f}' in text
    assert f'{100 * speed / 9e10:.1f}' in text


def test_laws_noise_text_finetuning_and_environment_are_told(made, whole):
  text = whole[1].text
  fit = json.loads(made['fit'])
  assert f'{fit["params"]["alpha"]:.4f}' in text
  assert f'{fit["intervals"]["alpha"][0]:.4f}' in text
  losses = [
    r.value
    for r in made['before']
    if (r.size, r.metric, r.task) == ('nest-56k', 'loss', 'heldout')
    and r.tokens == made['fitted'][-1].tokens // 1024 * 1024
  ]
  assert len(losses) == 3
  assert f'{100 * np.std(np.log(losses), ddof=1):.2f}% of the loss' in text
  for said in (
    '27,067',
    'decontaminate',
    '1,896',
    'Build call-back mechanism',
    'tfds:python_docs/docstrings',
    'aabd1fdda0c24442',
    'stdlib',
    '3.11.7',
    '74.2',  # 1400 of 1888
    '41.2',  # the commonest class
    'are apart',
    'the measured peak of 2 devices of kind cpu',
    'Energy: all the time at an assumed 30 W.',
    '481 g of CO2e per kWh, the mean of world',
    'Cost: all the time at an assumed 0.1 USD per hour.',
  ):
    assert said in text


def test_what_each_rung_cost_is_told(made, whole):
  text = whole[1].text
  assert text.count('79.2') >= len(made['fitted'])
  records = [*made['before'], *made['after']]
  for record in records:
    if (record.task, record.metric) == ('heldout', 'loss'):
      assert report.number(record.energy_joules / 1000) in text
      assert report.number(record.wall_seconds) in text
      assert report.number(record.carbon_grams, 2) in text
      assert report.number(record.cost_usd, 2) in text
  warnings = text.split('Warnings')[-1]
  assert warnings.count('reckoned, not measured: all the time at an') == 1
  assert warnings.count('reckoned, not billed: all the time at an') == 1


@pytest.mark.parametrize(
  ('change', 'told', 'warned'),
  [
    (
      {'energy_source': 'measured', 'price_source': 'listed'},
      {
        'energy': 'measured on this machine',
        'cost': 'all the time at the prices of configs/chips.py',
      },
      0,
    ),
    (
      {'energy_source': 'estimated', 'peak_source': 'published'},
      {
        'energy': (
          'power of the devices as others than their maker estimate it'
        ),
        'MFU': 'against the published peak of 2 devices of kind cpu',
      },
      2,
    ),
    (
      {'mfu': None, 'energy_source': '', 'carbon_grams': None},
      {'cost': 'all the time at an assumed 0.1 USD per hour'},
      1,
    ),
  ],
)
def test_sources_are_told_as_they_are(made, change, told, warned):
  config = study_config(with_overrides(configs.get_config(), STUDY))
  records = [dataclasses.replace(r, **change) for r in made['before']]
  found = report_costs.sources(config, records)
  assert {name: found[name] for name in told} == told
  assert ('MFU' in found) == (change.get('mfu', 1) is not None)
  assert len(report_costs.warnings(config, records)) == warned


def test_records_of_before_there_was_accounting_are_told(made, tmp_path):
  _write(tmp_path, made, 3)
  path = tmp_path / 'records.jsonl'
  old = {
    field.name: field.default
    for field in dataclasses.fields(Record)
    if field.default is not dataclasses.MISSING
  }
  write_records(
    path,
    [
      dataclasses.replace(r, **old, energy_joules=None, cost_usd=None)
      for r in [*made['before'], *made['after']]
    ],
  )
  text = _Page(report.page(report.read_study(tmp_path), {})).text
  assert 'What it cost' in text
  assert 'not measured: ' not in text.split('Warnings')[-1]


def test_every_warning_is_told_once(made, whole):
  warnings = whole[1].text.split('Warnings')[-1]
  told = [
    *json.loads(made['fit'])['warnings'],
    *json.loads(made['task_fit'])['warnings'],
    *made['violations'],
    *json.loads(made['forecast'])['score']['warnings'],
  ]
  assert told
  for text in told:
    assert warnings.count(' '.join(text.split())) == 1


def test_page_needs_no_other_file_and_no_script(whole):
  folder, page = whole
  assert not page.named('script') + page.named('link') + page.named('iframe')
  for _, attrs in page.tags:
    for key in ('src', 'href', 'srcset', 'action', 'style'):
      assert attrs.get(key, '#').startswith(('#', 'data:image/svg+xml;base64,'))
  text = (folder / 'report.html').read_text()
  assert 'url(' not in text and '@import' not in text


def test_page_is_readable_without_its_pictures(whole):
  images = whole[1].named('img')
  assert len(images) == 4
  assert all(len(image['alt']) > 40 for image in images)
  assert whole[1].named('html') == [{'lang': 'en'}]
  assert len(whole[1].named('h1')) == 1
  assert len(whole[1].named('caption')) == len(whole[1].named('table')) >= 7


def test_text_of_others_is_escaped(whole):
  assert NAME in whole[1].text
  assert '<b>pocket' not in (whole[0] / 'report.html').read_text()


def test_figures_are_png_files_of_print_resolution(whole):
  names = {path.name for path in (whole[0] / 'figures').iterdir()}
  assert names == {'loss.png', 'score.png', 'residuals.png', 'learning.png'}
  for name in names:
    content = (whole[0] / 'figures' / name).read_bytes()
    assert content[:8] == b'\x89PNG\r\n\x1a\n'
    width, height = struct.unpack('>II', content[16:24])
    assert width >= 900 and height >= 700
    assert 10_000 < len(content) < 500_000


def test_study_only_begun(made, tmp_path):
  page = _report(tmp_path, made, 0)
  assert 'Nothing is forecast yet: 0 of 15 runs are measured' in page.text
  assert '14 of 14 runs to fit to' in page.text
  assert not page.named('img')


def test_study_before_its_forecast(made, tmp_path):
  page = _report(tmp_path, made, 1)
  assert '3 of 15 runs are measured' in page.text
  assert '11 of 14 runs to fit to: ' in page.text
  assert len(page.named('img')) == 1
  assert '27,067' in page.text


def test_same_study_gives_the_same_page(made, tmp_path):
  _report(tmp_path, made, 1)
  before = (tmp_path / 'report.html').read_bytes()
  report.write_report(tmp_path)
  assert (tmp_path / 'report.html').read_bytes() == before


def test_study_before_its_held_out_run(made, tmp_path):
  page = _report(tmp_path, made, 2)
  value = json.loads(made['forecast'])['loss']['value']
  assert f'pooled, forecast a held-out loss of {value:.3f}' in page.text
  assert f'{made["held_out"].name}, the run that is held out' in page.text
  assert 'matches the one noted' in page.text
  assert len(page.named('img')) == 4


def test_study_before_finetuning(made, tmp_path):
  _write(tmp_path, made, 3)
  text = _Page(report.page(report.read_study(tmp_path), {})).text
  assert 'measured afterwards' in text
  assert 'finetuning: nest-12k full' in text
  assert 'names this digest' in text


def test_forecast_changed_afterwards_is_noticed(made, tmp_path):
  _write(tmp_path, made, 3)
  path = tmp_path / 'forecast.json'
  path.write_text(path.read_text().replace('2026-01-02', '2026-01-01'))
  text = _Page(report.page(report.read_study(tmp_path), {})).text
  assert 'does NOT match' in text
  assert 'the file is not the one that its digest was made of' in text
  assert 'does NOT name this digest' in text


def test_forecast_without_its_digest_does_not_count(made, tmp_path):
  _write(tmp_path, made, 2)
  (tmp_path / 'forecast.sha256').unlink()
  text = _Page(report.page(report.read_study(tmp_path), {})).text
  assert 'Nothing is forecast yet' in text


@pytest.mark.parametrize(
  ('value', 'digits', 'text'),
  [
    (None, 3, '—'),
    (0.0, 3, '0.00'),
    (3.14159, 4, '3.142'),
    (-0.0123, 2, '−0.012'),
    (123456.0, 3, '123,456'),
    (0.9996, 3, '1.00'),
    (2.5e13, 3, '2.50\u00a0×\u00a010¹³'),
    (9.999e12, 2, '1.0\u00a0×\u00a010¹³'),
    (3e-7, 2, '3.0\u00a0×\u00a010⁻⁷'),
  ],
)
def test_numbers(value, digits, text):
  assert report.number(value, digits) == text
