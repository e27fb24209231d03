import concurrent.futures
import gzip
import json
import multiprocessing
import os
import pathlib
import pickle
import re
import sys

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from configs.errors import UserError
from data import files_source
from data.source_spec import SourceSpec, parse
from data.splits import split_of


@pytest.fixture
def cache_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('cache'))


@pytest.fixture
def remote():
  """A file system in memory that is empty before and after."""
  filesystem = fsspec.filesystem('memory')
  filesystem.store.clear()
  yield filesystem
  filesystem.store.clear()
  filesystem.pseudo_dirs[:] = ['']


def files(pattern, **options):
  return SourceSpec('files', str(pattern), **options)


def spec(text):
  (found,) = parse(text)
  return found


def lines(rows):
  return ''.join(json.dumps(row) + '\n' for row in rows)


def zstd(content):
  with pa.BufferOutputStream() as target:
    with pa.CompressedOutputStream(target, 'zstd') as stream:
      stream.write(content)
    return target.getvalue().to_pybytes()


def all_rows(splits):
  return [dict(row) for rows in splits.values() for row in rows]


def train_rows(path, cache_dir, text='text'):
  """All documents of one file, in order."""
  splits = files_source.open_splits(
    spec(f'files:{path.parent}|train={path.name}|text={text}'), cache_dir
  )
  return [dict(row) for row in splits['train']]


def _write_many(folder, count=100):
  for number in range(count):
    (folder / f'{number:03}.txt').write_text(f'Text {number}.')


def test_every_kind(tmp_path, cache_dir):
  _write_many(tmp_path)
  (tmp_path / 'a.md').write_text('# Ä\n')
  (tmp_path / 'b.py').write_text('x = 1\n')
  rows = [{'text': f'line {i}\u2028on', 'label': i} for i in range(3)]
  (tmp_path / 'c.jsonl').write_text(
    '\n\n'.join(json.dumps(r, ensure_ascii=False) for r in rows)
  )
  splits = files_source.open_splits(files(f'{tmp_path}/*'), cache_dir)
  documents = all_rows(splits)
  assert len(documents) == 105
  by_text = {d['text']: d for d in documents}
  assert by_text['# Ä\n']['path'] == 'a.md'
  assert by_text['line 2\u2028on'] == {**rows[2], 'path': 'c.jsonl'}
  for split, found in splits.items():
    for d in found:
      line = f':{2 * d["label"] + 1}' if 'label' in d else ''
      assert split_of(d['path'] + line) == split


def test_the_order_is_that_of_path_and_line(tmp_path, cache_dir):
  for name in ('b', 'a', 'c'):
    rows = [{'text': f'{name}{number:03}'} for number in range(100)]
    (tmp_path / f'{name}.jsonl').write_text(lines(rows))
  splits = files_source.open_splits(files(f'{tmp_path}/*.jsonl'), cache_dir)
  for rows in splits.values():
    texts = [row['text'] for row in rows]
    assert texts == sorted(texts)


def test_a_folder_may_move(tmp_path, cache_dir):
  for name in ('here', 'there'):
    (tmp_path / name / 'sub').mkdir(parents=True)
    _write_many(tmp_path / name / 'sub')
  here, there = (files(f'{tmp_path}/{n}/**/*.txt') for n in ('here', 'there'))
  opened = [
    files_source.open_splits(s, cache_dir)['train'][:] for s in (here, there)
  ]
  assert opened[0] == opened[1]
  assert files_source.digest(here, cache_dir) == files_source.digest(
    there, cache_dir
  )
  (tmp_path / 'there' / 'sub' / '007.txt').write_text('Another text.')
  assert files_source.digest(here, cache_dir) != files_source.digest(
    there, cache_dir
  )


def test_the_digest_of_files(tmp_path, cache_dir):
  (tmp_path / 'a.txt').write_text('a\n')
  (tmp_path / 'b.txt').write_text('b\n')
  # of `sha256sum a.txt b.txt`, turned into lines of 'NAME SUM' and summed again
  assert files_source.digest(files(f'{tmp_path}/*.txt'), cache_dir) == (
    '15d61c77f53cce6cbc57c1c0cb1eabe315ce1ef7d09dfb0be897188d54895224'
  )


def test_one_file_by_its_name(tmp_path, cache_dir):
  path = tmp_path / 'x.jsonl'
  path.write_text(lines({'text': f'{i}'} for i in range(100)))
  splits = files_source.open_splits(files(path), cache_dir)
  assert sum(map(len, splits.values())) == 100
  assert splits['train'][0]['path'] == 'x.jsonl'


def test_lone_surrogates_become_text(tmp_path, cache_dir):
  path = tmp_path / 'x.jsonl'
  path.write_text('\n'.join(f'{{"text": "{i} \\ud800"}}' for i in range(9)))
  assert all(d['text'].endswith(' ?') for d in train_rows(path, cache_dir))


@pytest.mark.parametrize('name', ['x.txt', 'x.jsonl', 'x.json.gz', 'x.md.zst'])
def test_byte_order_marks_are_no_text(tmp_path, cache_dir, name):
  content = '\ufeff' + ('one' if '.json' not in name else '{"text": "one"}\n')
  content = content.encode()
  if '.json' in name:
    content += b'{"text": "two"}\r\n'
  if name.endswith('gz'):
    content = gzip.compress(content)
  if name.endswith('zst'):
    content = zstd(content)
  (tmp_path / name).write_bytes(content)
  texts = [row['text'] for row in train_rows(tmp_path / name, cache_dir)]
  assert texts == (['one', 'two'] if '.json' in name else ['one'])


def test_splits_by_their_globs(tmp_path, cache_dir):
  en = tmp_path / 'c4' / 'en'
  en.mkdir(parents=True)
  for name, count in (('train.0', 3), ('train.1', 2), ('validation.0', 4)):
    rows = [{'text': f'{name} {i}', 'url': f'u{i}'} for i in range(count)]
    (en / f'c4-{name}.json.gz').write_bytes(gzip.compress(lines(rows).encode()))
  one = spec(f'files:{en}|train=c4-train*.json.gz|validation=c4-valid*.json.gz')
  splits = files_source.open_splits(one, cache_dir)
  assert {k: len(v) for k, v in splits.items()} == {'train': 5, 'validation': 4}
  assert splits['train'][3] == {
    'text': 'train.1 0',
    'url': 'u0',
    'path': 'c4-train.1.json.gz',
  }
  # the same files, but other splits
  other = spec(f'files:{en}|train=c4-valid*|validation=c4-train*')
  assert files_source.digest(one, cache_dir) != files_source.digest(
    other, cache_dir
  )
  assert len(files_source.open_splits(other, cache_dir)['train']) == 4
  with pytest.raises(UserError, match=r'is in both train and test$'):
    files_source.open_splits(
      spec(f'files:{en}|train=*|test=c4-valid*'), cache_dir
    )


def test_remote_files(remote, cache_dir):
  rows = [{'text': f'remote {i}'} for i in range(3)]
  remote.pipe(
    {
      '/b/en/train-0.json.gz': gzip.compress(lines(rows[:2]).encode()),
      '/b/en/train-1.jsonl.zst': zstd(lines(rows[2:]).encode()),
      '/b/en/valid.txt': b'held out',
    }
  )
  source = spec('files:memory://b/en|train=train-*|validation=valid.txt')
  splits = files_source.open_splits(source, cache_dir)
  digest = files_source.digest(source, cache_dir)
  remote.rm('/b/en/train-0.json.gz')
  remote.pipe('/b/en/train-0.json.gz', gzip.compress(b'{"text": "new"}'))
  assert [row['text'] for row in splits['train']] == [r['text'] for r in rows]
  assert splits['validation'][0] == {'text': 'held out', 'path': 'valid.txt'}
  assert files_source.digest(source, cache_dir) != digest
  again = files_source.open_splits(source, cache_dir)
  assert [row['text'] for row in again['train']] == ['new', 'remote 2']


def test_several_fields(tmp_path, cache_dir):
  path = tmp_path / 'x.jsonl'
  row = {'title': 'Über', 'body': 'Worte', 'text': 'other', 'stars': 5}
  path.write_text(lines([row]))
  assert train_rows(path, cache_dir, 'title,body') == [
    {**row, 'text': 'Über\nWorte', 'path': 'x.jsonl'}
  ]
  assert train_rows(path, cache_dir, 'body')[0]['text'] == 'Worte'


def write_parquet(path, row_group_size=3, **columns):
  parquet.write_table(pa.table(columns), path, row_group_size=row_group_size)


def test_parquet(tmp_path, cache_dir):
  texts = [f'row {i}, é' for i in range(100)]
  numbers = list(range(100))
  write_parquet(tmp_path / 'x.parquet', text=texts, number=numbers)
  splits = files_source.open_splits(files(f'{tmp_path}/*'), cache_dir)
  assert sorted(row['number'] for row in all_rows(splits)) == numbers
  for split, rows in splits.items():
    for row in rows:
      assert row['text'] == texts[row['number']]
      assert split_of(f'x.parquet:{row["number"] + 1}') == split


def test_two_columns_of_one_name(tmp_path, cache_dir):
  table = pa.table([['a'], ['b']], names=['text', 'text'])
  parquet.write_table(table, tmp_path / 'x.parquet')
  with pytest.raises(
    UserError, match=r"x\.parquet has two columns 'text'; rename one$"
  ):
    files_source.open_splits(files(tmp_path / '*.parquet'), cache_dir)


def test_texts_of_parquet(tmp_path, cache_dir):
  path = tmp_path / 'x.parquet'
  write_parquet(
    path,
    row_group_size=2,
    raw=pa.array([b'b\xc3\xa9', None, b' ', b'd', None]),
    title=pa.array(['t', 'u', '', None, None]).dictionary_encode(),
  )
  texts = [row['text'] for row in train_rows(path, cache_dir, 'title,raw')]
  assert texts == ['t\nbé', 'u\n', '\nd']
  source = spec(f'files:{tmp_path}|train=*.parquet|text=title,raw')
  described = files_source.describe(source, cache_dir)
  assert described['blank_rows'] == 2


def test_what_is_known(tmp_path, cache_dir):
  (tmp_path / 'x.txt').write_text('four')
  (tmp_path / 'y.jsonl.gz').write_bytes(gzip.compress(b'{"text": "a"}'))
  source = spec(f'files:{tmp_path}|train=*.gz|test=*.txt')
  assert files_source.describe(source, cache_dir) == {
    'files': 2,
    'bytes': 4 + len(gzip.compress(b'{"text": "a"}')),
    'formats': ['.jsonl gzip', '.txt'],
    'documents': {'train': 1, 'test': 1},
    'blank_rows': 0,
  }


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('x.txt', b' \n', 'x.txt is empty; remove it'),
    ('x.txt', b'', 'x.txt is empty'),
    ('x.jsonl', b'\n \n', 'x.jsonl is empty'),
    ('x.jsonl.gz', b'', 'x.jsonl.gz is empty'),
    ('x.txt', b'\xff\xfe', r'x.txt is not UTF-8 \(byte 0\)'),
    ('x.txt', b'\xef\xbb\xbfab\xff', r'x.txt is not UTF-8 \(byte 5\)'),
    (
      'x.jsonl',
      b'{"text": "a"}\n{"text": "\xe4"}\n',
      r'x.jsonl is not UTF-8 \(byte 24\)',
    ),
    ('x.jsonl', b'{"text": "a"}\n{"text": \n', 'x.jsonl, line 2: not JSON'),
    ('x.jsonl', b'[' * 100_000, 'x.jsonl, line 1: not JSON'),
    ('x.jsonl', b'1' * 5000, 'x.jsonl, line 1: not JSON'),
    (
      'x.jsonl.gz',
      gzip.compress(b'{"text": "a"}\n\nx', mtime=0),
      'x.jsonl.gz, line 3: not JSON',
    ),
    (
      'x.json.zst',
      zstd(b'{"text": "a"}\n[]'),
      'x.json.zst, line 2: expected .*, not list',
    ),
    (
      'x.jsonl',
      b'{"txt": "a", "id": 1}\n',
      "x.jsonl, line 1: expected .*'text'; it has 'txt', 'id'",
    ),
    ('x.jsonl', b'{}\n', "x.jsonl, line 1: expected .*'text'; it has none"),
    ('x.jsonl', b'{"text": ""}\n', "x.jsonl, line 1: expected .*'text'"),
    ('x.jsonl', b'{"text": 1}\n', "x.jsonl, line 1: expected .*'text'"),
    ('x.jsonl', b'["text"]\n', "x.jsonl, line 1: expected .*'text'"),
    ('x.csv', b'a,b\n', 'x.csv: expected one of .txt, .md, .py, .jsonl'),
    ('x.parquet.gz', b'', 'x.parquet.gz: expected one of .txt'),
    ('x.txt.gz', gzip.compress(b'abc', mtime=0)[:-4], 'x.txt.gz is truncated'),
    ('x.jsonl.zst', zstd(b'abc')[:-1], 'x.jsonl.zst is truncated'),
    ('x.jsonl.gz', b'{"text": "a"}', 'x.jsonl.gz is not valid gzip'),
    ('x.parquet', b'PAR1 and not so', 'x.parquet is not valid Parquet'),
    ('x.txt', b'one document', 'has 1 documents and none falls into'),
  ],
)
def test_bad_files(tmp_path, cache_dir, name, content, message):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(UserError, match=message) as caught:
    files_source.open_splits(files(f'{tmp_path}/*'), cache_dir)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('columns', 'message'),
  [
    ({'body': ['a']}, "x.parquet has no column 'text'; it has 'body': "),
    ({'text': [1]}, "x.parquet: column 'text' is int64, not text"),
    ({'text': [['a']]}, "x.parquet: column 'text' is list.*, not text"),
    ({'text': [b'a', b'b\xff']}, r'x.parquet, row 2 is not UTF-8 \(byte 1\)'),
    ({'text': pa.array([], pa.string())}, 'x.parquet is empty; remove it'),
    ({'text': [' ', None]}, 'x.parquet is empty; remove it'),
  ],
)
def test_bad_parquet(tmp_path, cache_dir, columns, message):
  write_parquet(tmp_path / 'x.parquet', **columns)
  with pytest.raises(UserError, match=message) as caught:
    files_source.open_splits(files(f'{tmp_path}/*'), cache_dir)
  assert '\n' not in str(caught.value)


def test_parquet_that_is_damaged_within(tmp_path, cache_dir):
  path = tmp_path / 'x.parquet'
  write_parquet(path, text=[os.urandom(50).hex() for _ in range(100)])
  content = bytearray(path.read_bytes())
  content[4:2000] = bytes(1996)
  path.write_bytes(content)
  with pytest.raises(UserError, match=r'x.parquet is not valid Parquet'):
    files_source.open_splits(files(path), cache_dir)


def test_no_file(tmp_path, cache_dir):
  with pytest.raises(UserError, match='matches no file'):
    files_source.open_splits(files(f'{tmp_path}/*.txt'), cache_dir)
  (tmp_path / 'x.txt').write_text('train')
  with pytest.raises(UserError, match=r'test\*.txt matches no file'):
    files_source.open_splits(
      spec(f'files:{tmp_path}|train=x.txt|test=test*.txt'), cache_dir
    )


def test_dangling_link(tmp_path, cache_dir):
  os.symlink(tmp_path / 'gone.txt', tmp_path / 'x.txt')
  with pytest.raises(UserError, match=r'x.txt cannot be read: No such file'):
    files_source.digest(files(tmp_path / '*.txt'), cache_dir)


def test_a_file_that_changes_under_a_reader(tmp_path, cache_dir):
  path = tmp_path / 'x.jsonl'
  path.write_text(lines([{'text': 'first'}, {'text': 'second'}]))
  source = spec(f'files:{tmp_path}|train=*.jsonl')
  rows = files_source.open_splits(source, cache_dir)['train']
  path.write_text(lines([{'text': 'longer'}, {'text': 'than before'}]))
  with pytest.raises(UserError, match=r'x.jsonl has changed since it was'):
    rows[1]
  again = files_source.open_splits(source, cache_dir)['train']
  assert [row['text'] for row in again] == ['longer', 'than before']


def test_a_file_that_takes_the_place_of_another(tmp_path, cache_dir):
  path = tmp_path / 'x.jsonl'
  for texts in (['ab', 'cd'], ['a', 'bcd']):
    (tmp_path / 'new').write_text(lines({'text': text} for text in texts))
    os.replace(tmp_path / 'new', path)
    assert [row['text'] for row in train_rows(path, cache_dir)] == texts
  path = tmp_path / 'x.parquet'
  for texts in (['ab', 'cd'], ['a', 'bcd']):
    write_parquet(tmp_path / 'new', text=texts)
    os.replace(tmp_path / 'new', path)
    assert [row['text'] for row in train_rows(path, cache_dir)] == texts


def _mixed_source(folder):
  texts = [f'text {i}' for i in range(60)]
  (folder / 'a.jsonl').write_text(lines({'text': text} for text in texts[:20]))
  (folder / 'b.jsonl.gz').write_bytes(
    gzip.compress(lines({'text': text} for text in texts[20:40]).encode())
  )
  write_parquet(folder / 'c.parquet', text=texts[40:])
  return spec(f'files:{folder}|train=*'), texts


def _read_texts(pickled, places):
  rows = pickle.loads(pickled)
  return [rows[place]['text'] for place in places]


def test_rows_in_another_process(tmp_path, cache_dir):
  source, texts = _mixed_source(tmp_path)
  rows = files_source.open_splits(source, cache_dir)['train']
  assert rows[0]['text'] == texts[0]  # its files are open before it is pickled
  pickled = pickle.dumps(rows)
  assert len(pickled) < 2000
  for method in ('fork', 'spawn'):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
      found = pool.submit(_read_texts, pickled, range(60)).result()
    assert found == texts


def test_rows_in_threads(tmp_path, cache_dir):
  source, texts = _mixed_source(tmp_path)
  rows = files_source.open_splits(source, cache_dir)['train']
  places = np.random.default_rng(0).integers(60, size=2000).tolist()
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda place: rows[place]['text'], places))
  assert found == [texts[place] for place in places]


def test_the_index_is_built_once(tmp_path, cache_dir, monkeypatch):
  source, texts = _mixed_source(tmp_path)
  files_source.open_splits(source, cache_dir)
  monkeypatch.setattr(files_source, '_documents', None)
  rows = files_source.open_splits(source, cache_dir)['train']
  assert [row['text'] for row in rows] == texts


def _peak():
  """The most memory that this process has held, in bytes."""
  status = pathlib.Path('/proc/self/status').read_text()
  return 1024 * int(re.search(r'VmHWM:\s+(\d+) kB', status)[1])


def _index_and_read(pattern, cache_dir):
  """How far the peak of memory rises."""
  before = _peak()
  rows = files_source.open_splits(files(pattern), cache_dir)['train']
  for place in range(0, len(rows), 7):
    assert len(rows[place]['text']) == 10_000
  return _peak() - before


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_memory_does_not_grow_with_the_text(tmp_path, cache_dir):
  (tmp_path / 'x.jsonl').write_text(
    lines({'text': f'{i:04} ' + 'a' * 9_995} for i in range(6000))
  )
  (tmp_path / 'y.jsonl.zst').write_bytes(
    zstd((tmp_path / 'x.jsonl').read_bytes())
  )
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
    risen = pool.submit(_index_and_read, f'{tmp_path}/*', cache_dir).result()
  assert risen < 30e6  # of 120e6 bytes of text
