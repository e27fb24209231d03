"""`fastokens` in the place of `tokenizers`: only where ids are the same."""

import json
import pathlib
import sys

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from data import fast_bpe, library_tokenizer, tokenizer

CORPUS = pathlib.Path(__file__).parents[2] / '../shared/data/corpus'
ALL = settings(derandomize=True, database=None, deadline=None, max_examples=200)
TEXTS = ["it's 'Stop' <|endoftext|> [MASK]", '', 'x\n\n  ſ中\u00a0', 'ab' * 9]


@pytest.fixture(scope='module')
def bpe():
  texts = ['the cat and the hat, ' * 9, *TEXTS]
  return tokenizer.train_bpe(texts, 320, ['[MASK]'])


def _library(found):
  library = json.loads(found.to_json())['tokenizer']
  library = tokenizers.Tokenizer.from_str(json.dumps(library))
  library.encode_special_tokens = True
  return library


@pytest.fixture(scope='module')
def fast(bpe):
  pytest.importorskip('fastokens')
  found = fast_bpe.encoder(_library(bpe))
  assert found is not None
  return found


@ALL
@given(
  texts=st.lists(
    st.one_of(st.text(), st.text("asSTll'reve  \n\t1!²é中\u00a0\u0301"))
  )
)
def test_any_texts(bpe, fast, texts):
  for text, ids in zip(texts, fast(texts), strict=True):
    assert ids.tolist() == bpe.encode(text).tolist(), repr(text)


def _assert_same_on(texts):
  found = tokenizer.train_bpe(texts[::10], 2048)
  encode = fast_bpe.encoder(_library(found))
  expected = _library(found).encode_batch_fast(texts)
  for text, ids, other in zip(texts, encode(texts), expected, strict=True):
    assert ids.tolist() == other.ids, text[:100]


def _books():
  pytest.importorskip('fastokens')
  paths = sorted(CORPUS.glob('*/*.txt'))
  if not paths:
    pytest.skip(f'{CORPUS} is absent')
  return [path.read_text() for path in paths]


def test_real_text():
  _assert_same_on([book[100_000:160_000] for book in _books()])


@pytest.mark.long
def test_all_of_the_real_text():
  books = _books()
  lines = [line for book in books for line in book.split('\n\n')]
  _assert_same_on(books + lines)


def test_large_batches_are_encoded_fast(bpe, fast, monkeypatch):
  monkeypatch.setattr(library_tokenizer, '_MANY', 100)
  found = tokenizer.tokenizer_from_json(bpe.to_json())
  calls = []
  monkeypatch.setattr(
    fast_bpe, 'encoder', lambda library: calls.append(library) or fast
  )
  for _ in range(4):
    for text, ids in zip(TEXTS, found.encode_batch(TEXTS), strict=True):
      assert ids.tolist() == bpe.encode(text).tolist()
      assert ids.dtype == np.int32
      ids += 1  # can be written to
  assert len(calls) == 1


def test_other_ids_are_never_used(bpe, monkeypatch, caplog):
  def wrong(tree):
    pad = library_tokenizer.LibraryTokenizer(json.dumps(tree))
    return lambda texts: [ids + 1 for ids in pad.encode_batch(texts)]

  monkeypatch.setattr(fast_bpe, '_cuts_alike', lambda: True)
  monkeypatch.setattr(fast_bpe, '_open', wrong)
  assert fast_bpe.encoder(_library(bpe)) is None
  assert 'it is not used' in caplog.text


def test_other_pieces_are_never_used(bpe, monkeypatch):
  monkeypatch.setattr(fast_bpe, '_POINTS', (range(0x300),))
  monkeypatch.setattr(fast_bpe, '_LENGTH', 2)
  pattern = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
    r'|\s+(?!\S)|\s+'
  ]

  def other(tree):
    library = tokenizers.Tokenizer.from_str(json.dumps(tree))
    cut = pre_tokenizers.Split(tokenizers.Regex(pattern[0]), 'isolated')
    level = pre_tokenizers.ByteLevel(False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([cut, level])
    return lambda texts: [
      np.array(found.ids) for found in library.encode_batch_fast(texts)
    ]

  monkeypatch.setattr(fast_bpe, '_open', other)
  cuts_alike = fast_bpe._cuts_alike.__wrapped__
  assert not cuts_alike()  # contractions of capital letters
  pattern[0] = pattern[0].replace('(?i:', '(?:')
  assert cuts_alike()
  pattern[0] = pattern[0].replace(r' ?\p{N}+', r' ?\p{Nd}+')
  assert not cuts_alike()  # ² is none of these
  pattern[0] = pattern[0].replace(r'\p{Nd}', r'\p{N}')
  assert cuts_alike()
  pattern[0] = pattern[0].replace(r'\s+(?!\S)|', '')
  assert not cuts_alike()  # of blanks, the last one goes with a word


def test_without_the_package(bpe, monkeypatch):
  monkeypatch.setitem(sys.modules, 'fastokens', None)
  assert fast_bpe.encoder(_library(bpe)) is None


@pytest.mark.parametrize(
  'change',
  [
    {'normalizer': {'type': 'NFC'}},
    {'pre_tokenizer': None},
    {
      'pre_tokenizer': {
        'type': 'ByteLevel',
        'add_prefix_space': True,
        'trim_offsets': True,
        'use_regex': True,
      }
    },
  ],
)
def test_what_is_not_plain(bpe, change):
  tree = json.loads(bpe.to_json())['tokenizer']
  library = tokenizers.Tokenizer.from_str(json.dumps(tree | change))
  assert fast_bpe.encoder(library) is None
