import json
import os

import pytest

from configs.errors import UserError
from data import files_source
from data.splits import split_of


def _write_many(folder, count=100):
  for number in range(count):
    (folder / f'{number:03}.txt').write_text(f'Text {number}.')


def test_every_kind(tmp_path):
  _write_many(tmp_path)
  (tmp_path / 'a.md').write_text('# Ä\n')
  (tmp_path / 'b.py').write_text('x = 1\n')
  rows = [{'text': f'line {i}\u2028on', 'label': i} for i in range(3)]
  (tmp_path / 'c.jsonl').write_text(
    '\n\n'.join(json.dumps(r, ensure_ascii=False) for r in rows)
  )
  splits = files_source.read_splits(f'{tmp_path}/*')
  documents = [d for split in splits.values() for d in split]
  assert len(documents) == 105
  by_text = {d['text']: d for d in documents}
  assert by_text['# Ä\n']['path'] == 'a.md'
  assert by_text['line 2\u2028on'] == {**rows[2], 'path': 'c.jsonl'}
  for split, found in splits.items():
    for d in found:
      line = f':{2 * d["label"] + 1}' if 'label' in d else ''
      assert split_of(d['path'] + line) == split


def test_a_folder_may_move(tmp_path):
  for name in ('here', 'there'):
    (tmp_path / name / 'sub').mkdir(parents=True)
    _write_many(tmp_path / name / 'sub')
  here, there = (f'{tmp_path}/{n}/**/*.txt' for n in ('here', 'there'))
  assert files_source.read_splits(here) == files_source.read_splits(there)
  assert files_source.digest(here) == files_source.digest(there)
  (tmp_path / 'there' / 'sub' / '007.txt').write_text('Another text.')
  assert files_source.digest(here) != files_source.digest(there)


def test_one_file_by_its_name(tmp_path):
  lines = '\n'.join(json.dumps({'text': f'{i}'}) for i in range(100))
  (tmp_path / 'x.jsonl').write_text(lines)
  splits = files_source.read_splits(str(tmp_path / 'x.jsonl'))
  assert sum(map(len, splits.values())) == 100
  assert splits['train'][0]['path'] == 'x.jsonl'


def test_lone_surrogates_become_text(tmp_path):
  lines = '\n'.join(f'{{"text": "{i} \\ud800"}}' for i in range(100))
  (tmp_path / 'x.jsonl').write_text(lines)
  splits = files_source.read_splits(f'{tmp_path}/*.jsonl')
  assert all(d['text'].endswith(' ?') for d in splits['train'])


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('x.txt', b' \n', 'x.txt is empty'),
    ('x.txt', b'\xff\xfe', 'x.txt is not UTF-8'),
    ('x.jsonl', b'{"text": "a"}\n{"text": \n', 'x.jsonl, line 2: not JSON'),
    ('x.jsonl', b'{"txt": "a"}\n', "x.jsonl, line 1: expected .*'text'"),
    ('x.jsonl', b'{"text": ""}\n', "x.jsonl, line 1: expected .*'text'"),
    ('x.jsonl', b'["text"]\n', "x.jsonl, line 1: expected .*'text'"),
    ('x.csv', b'a,b\n', 'x.csv: expected one of .txt, .md, .py, .jsonl'),
    ('x.txt', b'one document', 'has 1 documents and none falls into'),
  ],
)
def test_bad_files(tmp_path, name, content, message):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(UserError, match=message) as caught:
    files_source.read_splits(f'{tmp_path}/*')
  assert '\n' not in str(caught.value)


def test_no_file(tmp_path):
  with pytest.raises(UserError, match='matches no file'):
    files_source.read_splits(f'{tmp_path}/*.txt')


def test_dangling_link(tmp_path):
  os.symlink(tmp_path / 'gone.txt', tmp_path / 'x.txt')
  with pytest.raises(UserError, match=r'x.txt cannot be read: No such file'):
    files_source.digest(str(tmp_path / '*.txt'))
