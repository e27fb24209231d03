import concurrent.futures
import http.server
import json
import multiprocessing
import pickle
import shutil
import sys
import threading
import time

import pytest

from configs.errors import UserError
from data import hf_source
from data.source_spec import parse

datasets = pytest.importorskip('datasets')
huggingface_hub = pytest.importorskip('huggingface_hub')
constants = pytest.importorskip('huggingface_hub.constants')


def spec(text):
  (found,) = parse(text)
  return found


def columns(name, count):
  return {
    'text': [f'{name} {i}' for i in range(count)],
    'label': [i % 2 for i in range(count)],
  }


def make(**counts):
  """Splits of so many rows, whose labels have names."""
  features = datasets.Features(
    text=datasets.Value('string'),
    label=datasets.ClassLabel(names=['even', 'odd']),
  )
  return datasets.DatasetDict(
    {
      name: datasets.Dataset.from_dict(columns(name, count), features=features)
      for name, count in counts.items()
    }
  )


@pytest.fixture
def folder(tmp_path):
  """Saved splits of ten rows to train on, and fewer to test with."""
  make(train=10, dev=4, test=2).save_to_disk(tmp_path / 'saved')
  return tmp_path / 'saved'


def texts(rows):
  return [row['text'] for row in rows]


def test_a_saved_folder(folder):
  splits = hf_source.open_splits(spec(f'hf:{folder}'))
  assert {split: len(rows) for split, rows in splits.items()} == {
    'train': 10,
    'validation': 4,
    'test': 2,
  }
  assert splits['train'][3] == {'text': 'train 3', 'label': 1}
  assert texts(splits['validation']) == [f'dev {i}' for i in range(4)]


def test_a_folder_of_one_split(tmp_path):
  datasets.Dataset.from_dict(columns('row', 3)).save_to_disk(tmp_path / 'one')
  splits = hf_source.open_splits(spec(f'hf:{tmp_path}/one'))
  assert {split: texts(rows) for split, rows in splits.items()} == {
    'train': ['row 0', 'row 1', 'row 2']
  }


@pytest.mark.parametrize('own', ['validation', 'valid', 'dev'])
def test_names_of_validation(tmp_path, own):
  make(**{'train': 1, own: 2, 'extra': 3}).save_to_disk(tmp_path / 'saved')
  splits = hf_source.open_splits(spec(f'hf:{tmp_path}/saved'))
  assert {k: len(v) for k, v in splits.items()} == {'train': 1, 'validation': 2}


@pytest.mark.parametrize(
  ('asked', 'found'),
  [
    ('train[:90%]', [f'train {i}' for i in range(9)]),
    ('train[-2:]', ['train 8', 'train 9']),
    ('train[8:]+dev[:1]', ['train 8', 'train 9', 'dev 0']),
    ('train[10:]+dev[3:]', ['dev 3']),
  ],
)
def test_parts_of_splits(folder, asked, found):
  source = spec(f'hf:{folder}|train={asked}|validation=test|test=test')
  assert texts(hf_source.open_splits(source)['train']) == found


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ('|train=nope', "'nope' is no split: it has train, dev, test, and their"),
    ('|train=train[:x]', r"'train\[:x\]' is no split"),
    ('|train=train[10:]', r'train\[10:\] holds no row'),
    ('|train=train+dev', 'train and validation share rows; give both'),
    ('|test=train[9:]', 'train and test share rows; give both'),
    ('|text=body', "has no text field 'body'; name one of text: hf:"),
    ('|text=text,label', "has no text field 'label'; name one of text"),
  ],
)
def test_what_there_is_not(folder, options, message):
  with pytest.raises(UserError, match=message) as caught:
    hf_source.open_splits(spec(f'hf:{folder}{options}'))
  assert '\n' not in str(caught.value)


def test_no_split_of_a_known_name(tmp_path):
  make(first=1, second=1).save_to_disk(tmp_path / 'saved')
  with pytest.raises(UserError, match=r'has the splits first, second: say whi'):
    hf_source.open_splits(spec(f'hf:{tmp_path}/saved'))


def test_fields(tmp_path):
  saved = tmp_path / 'saved'
  columns = {
    'title': ['Über', None],
    'body': [b'Worte', b'b\xff'],
    'stars': [1, 2],
  }
  datasets.Dataset.from_dict(columns).save_to_disk(saved)
  rows = hf_source.open_splits(spec(f'hf:{saved}|text=title,body'))['train']
  assert texts(rows) == ['Über\nWorte', '\nb\ufffd']
  assert rows[1]['stars'] == 2
  with pytest.raises(UserError, match=r"'text'; name one of title, body: hf:"):
    hf_source.open_splits(spec(f'hf:{saved}'))


def test_the_only_text_field_is_the_text(tmp_path):
  columns = {'sentence': ['one'], 'stars': [1]}
  datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / 'saved')
  rows = hf_source.open_splits(spec(f'hf:{tmp_path}/saved'))['train']
  assert rows[0] == {'sentence': 'one', 'stars': 1, 'text': 'one'}


def test_digest(folder, tmp_path):
  digest = hf_source.digest(spec(f'hf:{folder}'))
  shutil.copytree(folder, tmp_path / 'moved')
  assert hf_source.digest(spec(f'hf:{tmp_path}/moved')) == digest
  make(train=10, dev=4, test=2).save_to_disk(tmp_path / 'again')
  assert hf_source.digest(spec(f'hf:{tmp_path}/again')) == digest
  assert hf_source.digest(spec(f'hf:{folder}|test=test[:1]')) != digest
  assert hf_source.digest(spec(f'hf:{folder}|text=label')) == digest
  changed = make(train=10, dev=4, test=2)
  changed['dev'] = changed['dev'].map(lambda row: {'text': row['text'] + '!'})
  changed.save_to_disk(tmp_path / 'changed')
  assert hf_source.digest(spec(f'hf:{tmp_path}/changed')) != digest


def test_what_is_known(folder):
  assert hf_source.describe(spec(f'hf:{folder}')) == {
    'rows': {'train': 10, 'dev': 4, 'test': 2},
    'labels': {'label': ['even', 'odd']},
  }


def _read_texts(pickled):
  return texts(pickle.loads(pickled))


def test_rows_in_another_process(tmp_path):
  long = {'text': [f'{i} ' + 'a' * 1000 for i in range(100)]}
  datasets.Dataset.from_dict(long).save_to_disk(tmp_path / 'saved')
  rows = hf_source.open_splits(spec(f'hf:{tmp_path}/saved'))['train']
  pickled = pickle.dumps(rows)
  assert len(pickled) < 10_000  # of 100,000 bytes of text
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
    assert pool.submit(_read_texts, pickled).result() == long['text']


@pytest.mark.parametrize('kind', ['pandas', 'arrow', 'numpy'])
def test_a_format_that_was_saved_too(tmp_path, kind):
  saved = make(train=3)
  saved.set_format(kind, columns=['label'])
  saved.save_to_disk(tmp_path / 'saved')
  rows = hf_source.open_splits(spec(f'hf:{tmp_path}/saved'))['train']
  assert rows[2] == {'text': 'train 2', 'label': 0}


def test_nothing_was_saved(tmp_path):
  datasets.DatasetDict().save_to_disk(tmp_path / 'none')
  with pytest.raises(UserError, match=r'none is a data set without a split$'):
    hf_source.open_splits(spec(f'hf:{tmp_path}/none'))
  with pytest.raises(UserError, match=r'none is a data set without a split$'):
    hf_source.describe(spec(f'hf:{tmp_path}/none'))
  make(train=0, test=2).save_to_disk(tmp_path / 'half')
  with pytest.raises(
    UserError, match=r'/half/train is empty; save the data set without it$'
  ):
    hf_source.open_splits(spec(f'hf:{tmp_path}/half'))
  make(train=2).save_to_disk(tmp_path / 'lost')
  next((tmp_path / 'lost').glob('**/*.arrow')).unlink()
  with pytest.raises(UserError, match=r'is not what datasets.save_to_disk wr'):
    hf_source.open_splits(spec(f'hf:{tmp_path}/lost'))


def test_other_folders(tmp_path):
  (tmp_path / 'x.txt').write_text('text')
  for name in (tmp_path, tmp_path / 'nowhere'):
    with pytest.raises(
      UserError, match=r'is not what datasets.save_to_disk wr'
    ):
      hf_source.open_splits(spec(f'hf:{name}'))


def test_the_library_is_missing(folder, monkeypatch):
  monkeypatch.setitem(sys.modules, 'datasets', None)
  with pytest.raises(
    UserError, match=r'^hf:NAME needs the extra hf_datasets: run `pip install '
  ):
    hf_source.open_splits(spec(f'hf:{folder}'))


class _Hub(http.server.BaseHTTPRequestHandler):
  """Has one data set, ours/topics, and knows it as topics as well."""

  def do_GET(self):
    name = self.path.partition('?')[0].removeprefix('/api/datasets/')
    known = name in ('ours/topics', 'topics')
    body = {'id': name, 'sha': 'c0ffee', 'cardData': {'license': 'mit'}}
    content = json.dumps(body if known else {'error': 'not found'}).encode()
    self.send_response(200 if known else 404)
    if not known:
      self.send_header('X-Error-Code', 'RepoNotFound')
    self.send_header('Content-Length', str(len(content)))
    self.end_headers()
    self.wfile.write(content)

  def log_message(self, *args):
    pass


@pytest.fixture
def hub(monkeypatch):
  """A Hub of its own; returns the arguments of each data set loaded."""
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Hub)
  thread = threading.Thread(target=server.serve_forever, args=(0.01,))
  thread.start()
  monkeypatch.setattr(
    constants,
    'ENDPOINT',
    f'http://127.0.0.1:{server.server_port}',
  )
  loaded = []

  def load_dataset(repository, config, *, revision, cache_dir):
    loaded.append((repository, config, revision))
    if config == 'absent':
      raise ValueError("BuilderConfig 'absent' not found.\nAvailable: ['en']")
    return make(train=3, test=2)

  monkeypatch.setattr(datasets, 'load_dataset', load_dataset)
  yield loaded
  server.shutdown()
  thread.join()
  server.server_close()


@pytest.mark.parametrize(
  ('name', 'loaded_as'),
  [
    ('topics', ('topics', None, 'c0ffee')),
    ('ours/topics', ('ours/topics', None, 'c0ffee')),
    ('topics/en', ('topics', 'en', 'c0ffee')),
    ('ours/topics/en', ('ours/topics', 'en', 'c0ffee')),
  ],
)
def test_a_data_set_of_the_hub(tmp_path, hub, name, loaded_as):
  source = spec(f'hf:{name}')
  splits = hf_source.open_splits(source, str(tmp_path))
  assert texts(splits['train']) == ['train 0', 'train 1', 'train 2']
  assert hub == [loaded_as]
  known = hf_source.describe(source, str(tmp_path))
  assert known['revision'] == 'c0ffee'
  assert known['licence'] == 'mit'
  assert len(hf_source.digest(source, str(tmp_path))) == 16
  assert hub == [loaded_as]  # once, and read from then on


def test_what_was_loaded_is_kept(tmp_path, monkeypatch):
  (tmp_path / 'x.jsonl').write_text('{"text": "one"}\n{"text": "two"}\n')
  own = datasets.load_dataset  # of a file, in the place of the Hub
  monkeypatch.setattr(
    datasets,
    'load_dataset',
    lambda *_, cache_dir, **__: own(
      'json', data_files=str(tmp_path / 'x.jsonl'), cache_dir=cache_dir
    ),
  )
  monkeypatch.setattr(
    hf_source,
    '_on_hub',
    lambda name: (name, '', huggingface_hub.DatasetInfo(id=name, sha='c0ffee')),
  )
  rows = hf_source.open_splits(spec('hf:ours/x'), str(tmp_path / 'cache'))
  assert texts(rows['train']) == ['one', 'two']
  left = {p.name for p in (tmp_path / 'cache' / 'hf' / 'ours--x').iterdir()}
  assert left == {'data', 'meta.json'}


def test_what_the_hub_has_not(tmp_path, hub):
  for name in ('nothing', 'ours/nothing', 'ours/nothing/en'):
    with pytest.raises(UserError, match=f'^hf:{name}: no such data set on the'):
      hf_source.open_splits(spec(f'hf:{name}'), str(tmp_path))
  with pytest.raises(UserError, match=r"loaded: .*'absent' not found. Availab"):
    hf_source.open_splits(spec('hf:ours/topics/absent'), str(tmp_path))
  with pytest.raises(UserError, match=r'expected hf:NAME, hf:OWNER/NAME or'):
    hf_source.open_splits(spec('hf:a/b/c/d'), str(tmp_path))
  assert not list((tmp_path / 'hf').glob('[!.]*'))


def test_the_hub_out_of_reach(tmp_path, hub, monkeypatch):
  monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:1')
  started = time.monotonic()
  with pytest.raises(
    UserError, match=r'the Hub cannot be reached \('
  ) as caught:
    hf_source.open_splits(spec('hf:ours/topics'), str(tmp_path))
  assert time.monotonic() - started < 10
  assert '\n' not in str(caught.value)
  assert not hub
