import json
import re

import pytest

from configs.errors import UserError
from data.audit import extras, report, run

AWS_KEY = 'AKIA' + 'IOSFODNN7EXAMPLE'
SENTENCE = 'The keeper of the light had to be up before the sun, and she was. '


def rows(number):
  return [
    {
      'text': f'{SENTENCE * (1 + i % 5)}Number {i} <&> is here.',
      'library': f'lib{i % 3}',
    }
    for i in range(number)
  ]


@pytest.fixture(scope='module')
def splits():
  train = rows(1200)
  train[1100] = {
    'text': f'Write to keeper@lights.org, {AWS_KEY}',
    'library': 'x',
  }
  return {'train': train, 'validation': rows(10), 'test': rows(5)}


@pytest.fixture(scope='module')
def audited(splits):
  return run.audit(splits, {'source': 'files:<x>', 'licence': 'CC0-1.0'})


def untimed(tree):
  if isinstance(tree, dict):
    timing = ('seconds', 'megabytes_per_second', 'num_workers')
    return {k: untimed(v) for k, v in tree.items() if k not in timing}
  return [untimed(v) for v in tree] if isinstance(tree, list) else tree


def test_sizes(splits, audited):
  for name, split in splits.items():
    counts = audited['splits'][name]
    assert counts['documents'] == counts['documents_read'] == len(split)
    assert counts['bytes'] == sum(len(row['text'].encode()) for row in split)
    assert counts['words'] == sum(len(row['text'].split()) for row in split)


def test_sections(audited):
  for name in (*run.SECTIONS, 'licences'):
    assert audited[name]['seconds'] >= 0
    assert 'megabytes_per_second' in audited[name]
  assert audited['quality']['megabytes_per_second'] > 0
  assert audited['languages']['languages'][0]['value'] == 'en'
  emails = audited['personal']['kinds']['email']
  assert emails['found'] == 1
  assert emails['examples'][0]['document'] == 1100
  assert audited['fields']['fields']['library']['distinct'] == 4
  assert audited['licences']['shares'][0]['value'] == 'CC0-1.0'
  assert (
    audited['representation']['axes']['gender']['female']['mentions'] > 1199
  )


def test_result_is_the_same_whatever_the_number_of_workers(splits, audited):
  again = run.audit(splits, audited['source'], num_workers=2)
  assert untimed(again) == untimed(audited)


def test_sample(splits):
  tree = run.audit(splits, {}, sample=4)
  counts = tree['splits']['train']
  assert (counts['documents'], counts['documents_read']) == (1200, 4)
  chosen = [splits['train'][place] for place in (0, 300, 600, 900)]
  assert counts['bytes'] == sum(len(row['text'].encode()) for row in chosen)
  assert tree['sample'] == 4
  assert tree['splits']['test']['documents_read'] == 4


def test_place_of_an_example_in_a_sample(splits):
  train = [*splits['train'][:10], splits['train'][1100]] * 2
  tree = run.audit({'train': train[:22]}, {}, sample=2)
  assert tree['personal']['kinds']['email']['found'] == 0
  tree = run.audit({'train': train[10:]}, {}, sample=6)
  assert tree['personal']['kinds']['email']['examples'][0]['document'] == 0


@pytest.mark.parametrize(
  ('splits', 'sample', 'told'),
  [
    ({'test': rows(1)}, 0, 'no train split'),
    ({'train': []}, 0, 'no document'),
    ({'train': rows(1)}, -1, 'sample = -1'),
  ],
)
def test_mistakes(splits, sample, told):
  with pytest.raises(UserError, match=told):
    run.audit(splits, {}, sample=sample)


def test_a_missing_package_is_named_before_any_work(monkeypatch):
  monkeypatch.setitem(extras.PACKAGES, 'no_such_module', 'no-such-dist')
  unread = type('Unread', (list,), {'__getitem__': None})(rows(3))
  with pytest.raises(UserError, match=r'no-such-dist .*audit'):
    run.audit({'train': unread}, {})
  with pytest.raises(UserError, match='no-such-dist'):
    extras.load('no_such_module.inner')


def test_report(audited, tmp_path):
  tree = {'sources': {'files:<x>': audited}}
  path = report.write_report(tree, tmp_path / 'new')
  assert path == tmp_path / 'new' / 'audit.html'
  assert sorted(p.name for p in path.parent.iterdir()) == [
    *('audit.html', 'audit.json')
  ]
  assert json.loads((path.parent / 'audit.json').read_text()) == tree
  page = path.read_text()
  assert page.startswith('<!DOCTYPE html>')
  assert 'files:&lt;x&gt;' in page and '<x>' not in page
  for secret in (AWS_KEY, 'keeper@'):
    assert secret not in page
  for told in ('Licences', 'CC0-1.0', '1,200'):
    assert told in page
  assert 'This is a sample' not in page
  # Nothing is loaded from elsewhere.
  assert not re.search(r'(?:src|href)="(?!#)|url\(|@import|<script', page)


def test_report_of_fields_that_are_no_unicode(tmp_path):
  row = {'text': 'Some text.', 'a\ud800': 'b\udfff', 'path': 'c.\ud800'}
  tree = run.audit({'train': [row]}, {'source': 'files:\udcff'})
  assert tree['fields']['fields']['a?']['values'][0]['value'] == 'b?'
  page = report.write_report({'sources': {'d\udcff': tree}}, tmp_path)
  assert 'b?' in page.read_text()


def test_report_of_a_sample_says_so(splits, tmp_path):
  tree = {'sources': {'a': run.audit(splits, {}, sample=3)}}
  page = report.write_report(tree, tmp_path).read_text()
  assert 'This is a sample' in page
  assert '3 were read' in ' '.join(page.split())


@pytest.mark.parametrize(
  ('share', 'told'),
  [
    *((None, '—'), (0, '0%'), (0.00005, '<0.01%'), (0.0012, '0.12%')),
    *((0.123, '12.3%'), (1.0, '100.0%')),
  ],
)
def test_percent(share, told):
  assert report.percent(share) == told


@pytest.mark.parametrize(
  ('count', 'told'),
  [(0, '0 bytes'), (999, '999 bytes'), (1_500_000, '1.50 MB')],
)
def test_size(count, told):
  assert report.size(count) == told


@pytest.mark.parametrize(
  ('value', 'told'),
  [
    (None, '—'),
    (12345, '12,345'),
    (2.0, '2'),
    (0.1234, '0.123'),
    (-1.5, '−1.50'),
  ],
)
def test_number(value, told):
  assert report.number(value) == told
