"""Data sets that are downloaded, given by hand, or out of reach."""

import http.server
import json
import pathlib
import socket
import threading
import time

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import download

from configs.errors import UserError
from data import sources, tfds_prepare

SHARED = pathlib.Path(__file__).parents[2] / '../shared/data/tasks'
SENTENCES = [f'Sentence number {i}, é.' for i in range(200)]


class GivenByHand(tfds.core.GeneratorBasedBuilder):
  """A builder of a file that may not be downloaded: a sentence a line."""

  VERSION = tfds.core.Version('1.2.3')
  MANUAL_DOWNLOAD_INSTRUCTIONS = 'Sign the form, and\nput corpus.txt there.'

  def _info(self):
    features = tfds.features.FeaturesDict({'text': tfds.features.Text()})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return self._split(dl_manager.manual_dir / 'corpus.txt')

  def _split(self, path):
    return {'train': self._generate_examples(path)}

  def _generate_examples(self, path):
    for i, line in enumerate(path.read_text().split('\n')):
      yield i, {'text': line}


class Downloads(GivenByHand):
  """A builder that gets its text from `url`."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = None
  url = ''

  def _split_generators(self, dl_manager):
    return self._split(dl_manager.download(self.url))


class NeedsTensorflow(GivenByHand):
  """A builder that extracts archives."""

  def _split_generators(self, dl_manager):
    raise ImportError('No module named tensorflow')


class NeedsBeam(GivenByHand):
  """A builder of large data."""

  def _split_generators(self, dl_manager):
    raise ModuleNotFoundError("No module named 'apache_beam'")


class BreaksOff(GivenByHand):
  """A builder whose server hangs up."""

  def _split_generators(self, dl_manager):
    raise ConnectionError('Max retries\nexceeded')


class Broken(GivenByHand):
  """A builder with a fault of its own."""

  def _split_generators(self, dl_manager):
    raise AssertionError('two is three')


def _open(text, cache_dir):
  (spec,) = sources.parse(text)
  return sources.open_splits(spec, str(cache_dir))


def _fails(text, cache_dir):
  with pytest.raises(UserError) as caught:
    _open(text, cache_dir)
  assert '\n' not in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('given_by_hand/odd', "given_by_hand has no configuration 'odd'"),
    (
      'xquad/ed',
      "xquad has no configuration 'ed'; of its 11, the nearest are ",
    ),
    ('given_by_hand:9.9.9', 'tfds:given_by_hand:9.9.9'),
    ('no_such_set', "TFDS has no data set 'no_such_set'"),
    ('huggingface:glue', 'expected NAME[/CONFIG][:VERSION]'),
    ('glue/sst2/x', 'expected NAME[/CONFIG][:VERSION]'),
    ('glue/sst2/x=1', 'expected NAME[/CONFIG][:VERSION]'),
    ('a b', "'tfds:a b': expected NAME[/CONFIG][:VERSION]"),
    ('glue:1', 'a version as 1.2.3 or 1.*.*'),
    ('glue/', 'expected NAME[/CONFIG][:VERSION]'),
    ('../x', 'expected NAME[/CONFIG][:VERSION]'),
    ('glue/s\nst2', 'expected NAME[/CONFIG][:VERSION]'),
    ('glue/sst2:1.0.0', '(glue/sst2/1.0.0) is too old'),
    ('needs_tensorflow', 'pip install -e .[tf]'),
    ('needs_beam', "(No module named 'apache_beam'): install it"),
    ('breaks_off', 'could not be downloaded: Max retries exceeded'),
  ],
)
def test_what_cannot_be_prepared(tmp_path, text, message):
  assert message in _fails(f'tfds:{text}', tmp_path)


def test_faults_of_builders_stay_faults(tmp_path):
  with pytest.raises(AssertionError, match='two is three'):
    _open('tfds:broken', tmp_path)


def test_legacy_builders_are_found():
  tfds_prepare.register_legacy('glue')
  assert 'glue' in tfds.list_builders(with_community_datasets=False)


def test_files_given_by_hand(tmp_path, monkeypatch):
  manual = tmp_path / 'tfds' / 'downloads' / 'manual'
  message = _fails('tfds:given_by_hand', tmp_path)
  assert 'Sign the form, and put corpus.txt there.' in message
  assert str(manual) in message

  manual.mkdir(parents=True)
  (manual / 'readme').write_text('?')
  assert f'needs {manual}/corpus.txt' in _fails('tfds:given_by_hand', tmp_path)

  mine = tmp_path / 'mine'
  mine.mkdir()
  (mine / 'corpus.txt').write_text('\n'.join(SENTENCES))
  monkeypatch.setenv(tfds_prepare.MANUAL_DIR, str(mine))
  splits = _open('tfds:given_by_hand', tmp_path)
  found = [row['text'] for rows in splits.values() for row in rows]
  assert sorted(found) == sorted(SENTENCES)


@pytest.fixture
def no_proxy(monkeypatch):
  for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
    monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed_port():
  with socket.create_server(('127.0.0.1', 0)) as server:
    return server.getsockname()[1]


def test_downloads_from_a_host_that_answers(tmp_path, monkeypatch, no_proxy):
  (tmp_path / 'corpus.txt').write_text('\n'.join(SENTENCES))

  class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args):
      super().__init__(*args, directory=tmp_path)

    def log_message(self, *args):
      pass

  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f'http://127.0.0.1:{server.server_port}'
    monkeypatch.setattr(Downloads, 'url', f'{host}/nothing.txt')
    message = _fails('tfds:downloads', tmp_path)
    assert 'could not be downloaded' in message and '404' in message
    monkeypatch.setattr(Downloads, 'url', f'{host}/corpus.txt')
    splits = _open('tfds:downloads', tmp_path)
    server.shutdown()
  assert sum(map(len, splits.values())) == len(SENTENCES)


def test_no_network_is_told_at_once(
  tmp_path, monkeypatch, no_proxy, closed_port
):
  url = f'http://127.0.0.1:{closed_port}/corpus.txt'
  monkeypatch.setattr(Downloads, 'url', url)
  started = time.monotonic()
  message = _fails('tfds:downloads', tmp_path)
  assert time.monotonic() - started < 5
  assert f'127.0.0.1:{closed_port}, which has {url}, does not answer' in message
  assert f'copy {tmp_path}/tfds/downloads/1.2.3 from' in message
  assert 'put' not in message  # TFDS has no checksum of it


def test_a_silent_host_is_not_waited_for(tmp_path, monkeypatch, no_proxy):
  assert tfds_prepare._PATIENCE < 10
  monkeypatch.setattr(tfds_prepare, '_PATIENCE', 0.3)
  with socket.create_server(('127.0.0.1', 0)) as server:
    url = f'http://127.0.0.1:{server.getsockname()[1]}/corpus.txt'
    monkeypatch.setattr(Downloads, 'url', url)
    started = time.monotonic()
    assert 'does not answer' in _fails('tfds:downloads', tmp_path)
    assert time.monotonic() - started < 5


def test_proxies_are_used(tmp_path, monkeypatch, no_proxy, closed_port):
  monkeypatch.setattr(Downloads, 'url', 'http://127.0.0.2/corpus.txt')
  monkeypatch.setenv('http_proxy', f'http://127.0.0.1:{closed_port}')
  assert 'does not answer (ProxyError)' in _fails('tfds:downloads', tmp_path)


@pytest.fixture(scope='session')
def xquad_file():
  path = SHARED / 'xquad_de' / 'xquad.de.json'
  if not path.exists():
    pytest.skip('the German XQuAD is not beside the repository')
  return path


@pytest.fixture
def only_its_test_split(monkeypatch):
  """XQuAD without its machine translations, three large files."""
  whole = download.DownloadManager.download_and_extract
  monkeypatch.setattr(
    download.DownloadManager,
    'download_and_extract',
    lambda self, urls: whole(self, {'test': urls['test']}),
  )


def test_a_registered_builder_of_a_given_file(
  tmp_path, monkeypatch, xquad_file, only_its_test_split
):
  source = (
    'tfds:xquad/de|text=context,answers/text'
    '|train=test[:80%]|validation=test[80%:90%]|test=test[90%:]'
  )
  monkeypatch.setattr(tfds_prepare, '_unreachable', lambda url: 'Timeout')
  manual = tmp_path / 'manual'
  monkeypatch.setenv(tfds_prepare.MANUAL_DIR, str(manual))
  message = _fails(source, tmp_path)
  assert f'put xquad.de.json into {manual}, or copy' in message

  # TFDS takes the file only with the SHA-256 that it has on record
  manual.mkdir()
  content = xquad_file.read_bytes()
  changed = content.replace(b'Panthers', b'panthers', 1)
  assert len(changed) == len(content) and changed != content
  (manual / 'xquad.de.json').write_bytes(changed)
  message = _fails(source, tmp_path)
  assert 'a file is not the one that TFDS knows' in message
  assert str(manual / 'xquad.de.json') in message

  (manual / 'xquad.de.json').write_bytes(content)
  splits = _open(source, tmp_path)
  assert [len(rows) for rows in splits.values()] == [952, 119, 119]
  expected = {
    qa['id']: (paragraph['context'], qa)
    for article in json.loads(content)['data']
    for paragraph in article['paragraphs']
    for qa in paragraph['qas']
  }
  rows = [row for split in splits.values() for row in split]
  assert {row['id'] for row in rows} == set(expected)
  for row in rows:
    context, qa = expected[row['id']]
    answer, start = qa['answers'][0]['text'], qa['answers'][0]['answer_start']
    assert row['text'] == f'{context}\n{answer}'
    assert row['question'] == qa['question']
    assert row['answers'] == {'text': [answer], 'answer_start': [start]}
    assert row['context'][start:].startswith(answer)
