"""Which tokens begin words."""

import itertools
import pathlib
import re

import numpy as np
import pytest

from data import token_text, tokenizer

CORPUS = pathlib.Path(__file__).parents[2] / '../shared/data/corpus'
MARKS = r'[^\W_]'  # letters and numbers


@pytest.fixture(scope='module')
def text():
  paths = sorted(CORPUS.glob('*/*.txt'))
  if not paths:
    pytest.skip(f'{CORPUS} is absent')
  return ''.join(path.read_text()[10_000:30_000] for path in paths[::3])


@pytest.fixture(params=['byte', 'bpe'])
def any_tokenizer(request, text):
  if request.param == 'byte':
    return tokenizer.ByteTokenizer()
  return tokenizer.train_bpe([text], 1500)


def _words(found, text):
  """Texts of runs of tokens, each from one that begins a word."""
  ids = found.encode(text)
  starts = np.flatnonzero(found.starts_word[ids])
  bounds = [0, *starts[starts > 0], len(ids)]
  return [
    found.decode(ids[start:stop]) for start, stop in itertools.pairwise(bounds)
  ]


def test_words_of_letters_are_words(any_tokenizer, text):
  plain = ' '.join(re.findall('[a-zA-Z]+', text))
  words = [word.strip() for word in _words(any_tokenizer, plain)]
  assert words == plain.split(' ')


def test_words_of_real_text(any_tokenizer, text):
  words = _words(any_tokenizer, text)
  assert ''.join(words) == text
  for word, after in itertools.pairwise(words):
    # marks and blanks, and then letters and numbers only
    assert re.fullmatch(rf'([^\w]|_)*{MARKS}*', word), repr(word)
    # and all of these that are there
    assert not re.match(MARKS, after) or not re.search(MARKS + '$', word)


@pytest.mark.parametrize(
  'token, begins',
  [
    (' the', True),
    (' ', True),
    ('\n\n', True),
    ('ing', False),
    ('1', False),
    ('é', False),
    ('я', False),
    ('\u0301', False),
    (',', True),
    ("'s", True),
    ('_', True),
    ('—', True),
    ('中文', True),
    ('の', True),
    ('한', False),
    ('👩', True),
    (b'', True),  # a special token
    ('é'.encode()[1:], False),
    ('é'.encode()[:1], False),
    ('한'.encode()[:2], False),
    ('—'.encode()[:2], True),
    ('中'.encode()[:1], True),
    ('👩'.encode()[:1], True),
    (b'\xff', True),
  ],
)
def test_by_hand(token, begins):
  text = token if isinstance(token, bytes) else token.encode()
  assert token_text.begins_word(text) is begins


def test_special_tokens_begin_words():
  for found in (
    tokenizer.ByteTokenizer(['[MASK]']),
    tokenizer.train_bpe(['the cat'], 280, ['[MASK]']),
  ):
    assert found.starts_word.shape == (found.vocab_size,)
    assert found.starts_word.dtype == bool
    assert found.starts_word[found.special_ids].all()
