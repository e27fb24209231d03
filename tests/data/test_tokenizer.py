import numpy as np
import pytest
import tokenizers

from data import tokenizer

TEXTS = [
  '',
  'plain words, and  spaces\n\n\ttabs',
  'Zürich, 東京, مرحبا, 👩‍👩‍👧, e\u0301, \u2028, \x00',
  'the separator is <|endoftext|> in a text',
  '<|endoftext|>',
]


@pytest.fixture(scope='module')
def bpe():
  return tokenizer.train_bpe(['the cat and the hat, ' * 9, *TEXTS], 300)


@pytest.fixture(params=['byte', 'bpe'])
def any_tokenizer(request, bpe):
  return bpe if request.param == 'bpe' else tokenizer.ByteTokenizer()


@pytest.mark.parametrize('text', TEXTS)
def test_round_trip(any_tokenizer, text):
  ids = any_tokenizer.encode(text)
  assert ids.dtype == np.int32
  assert any_tokenizer.decode(ids) == text
  assert any_tokenizer.separator_id not in ids
  assert any_tokenizer.token_bytes[ids].sum() == len(text.encode())
  assert not len(ids) or ids.max() < any_tokenizer.vocab_size


def test_batch_is_each(any_tokenizer):
  batch = any_tokenizer.encode_batch(TEXTS)
  for ids, text in zip(batch, TEXTS, strict=True):
    np.testing.assert_array_equal(ids, any_tokenizer.encode(text))
    assert ids.dtype == np.int32


def test_separator(any_tokenizer):
  separator = any_tokenizer.separator_id
  assert any_tokenizer.token_bytes[separator] == 0
  assert (any_tokenizer.token_bytes > 0).sum() == any_tokenizer.vocab_size - 1
  assert any_tokenizer.decode([separator, *any_tokenizer.encode('a')]) == 'a'


def test_json_carries_everything(any_tokenizer):
  again = tokenizer.tokenizer_from_json(any_tokenizer.to_json())
  assert again.digest == any_tokenizer.digest
  assert again.to_json() == any_tokenizer.to_json()
  for text in TEXTS:
    np.testing.assert_array_equal(
      again.encode(text), any_tokenizer.encode(text)
    )


def test_bytes_by_hand():
  byte = tokenizer.ByteTokenizer()
  np.testing.assert_array_equal(byte.encode('aé'), [97, 195, 169])
  assert (byte.vocab_size, byte.separator_id) == (257, 256)
  assert byte.decode([255, 97]) == '\ufffda'


def test_training_is_deterministic(bpe):
  words = [f'w{i * i % 97} x{i % 13}' for i in range(2000)]
  first, second = (tokenizer.train_bpe(iter(words), 400) for _ in range(2))
  assert first.digest == second.digest
  assert first.digest != bpe.digest


def test_merges_by_hand():
  # pairs: (a, b) 4 times, then (ab, ab) twice
  trained = tokenizer.train_bpe(['abab', 'abab'], 259)
  assert trained.vocab_size == 259
  ids = trained.encode('ababab')
  np.testing.assert_array_equal(trained.token_bytes[ids], [4, 2])
  assert trained.encode('ba').size == 2


def test_too_little_text_makes_fewer_tokens():
  assert tokenizer.train_bpe(['ab'], 5000).vocab_size == 258


def test_a_text_begins_with_what_its_tokenizer_puts_first():
  library = tokenizers.Tokenizer(
    tokenizers.models.WordLevel({'<s>': 0, '</s>': 1, 'a': 2}, '</s>')
  )
  plain = tokenizer.LibraryTokenizer(library.to_str(), '</s>')
  assert plain.start_id == plain.separator_id == 1
  library.post_processor = tokenizers.processors.TemplateProcessing(
    single='<s> $A', special_tokens=[('<s>', 0)]
  )
  marked = tokenizer.LibraryTokenizer(library.to_str(), '</s>')
  assert (marked.start_id, marked.separator_id) == (0, 1)
  assert marked.encode('a').tolist() == [2]
