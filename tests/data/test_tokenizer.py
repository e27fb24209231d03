import json
import logging

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from configs.errors import UserError
from data import tokenizer

TEXTS = [
  '',
  'plain words, and  spaces\n\n\ttabs',
  'Zürich, 東京, مرحبا, 👩‍👩‍👧, e\u0301, \u2028, \x00',
  'the separator is <|endoftext|> in a text',
  '<|endoftext|>',
]
SPECIAL = ('[MASK]', '<extra_id_0>', '<|fim_prefix|>')
ALL = settings(derandomize=True, database=None, deadline=None)


def _train(*args, **options):
  texts = ['the cat and the hat, ' * 9, *TEXTS]
  return tokenizer.train_bpe(texts, *args, **options)


@pytest.fixture(scope='module')
def bpe():
  return _train(300)


@pytest.fixture(scope='module')
def all_tokenizers(bpe):
  return {
    'byte': tokenizer.ByteTokenizer(),
    'byte with special': tokenizer.ByteTokenizer(SPECIAL),
    'bpe': bpe,
    'bpe with special': _train(300, SPECIAL),
  }


@pytest.fixture(params=['byte', 'byte with special', 'bpe', 'bpe with special'])
def any_tokenizer(request, all_tokenizers):
  return all_tokenizers[request.param]


@pytest.mark.parametrize('text', TEXTS)
def test_round_trip(any_tokenizer, text):
  ids = any_tokenizer.encode(text)
  assert ids.dtype == np.int32
  assert any_tokenizer.decode(ids) == text
  assert any_tokenizer.separator_id not in ids
  assert any_tokenizer.token_bytes[ids].sum() == len(text.encode())
  assert not len(ids) or ids.max() < any_tokenizer.vocab_size


@ALL
@given(text=st.text(), name=st.sampled_from(SPECIAL))
def test_no_text_has_special_tokens(all_tokenizers, text, name):
  for each in all_tokenizers.values():
    spelled = text + name + text
    ids = each.encode(spelled)
    assert each.decode(ids) == spelled
    assert not np.isin(ids, each.special_ids).any()
    assert each.token_bytes[ids].sum() == len(spelled.encode())


def test_batch_is_each(any_tokenizer):
  batch = any_tokenizer.encode_batch(TEXTS)
  for ids, text in zip(batch, TEXTS, strict=True):
    np.testing.assert_array_equal(ids, any_tokenizer.encode(text))
    assert ids.dtype == np.int32


def test_separator(any_tokenizer):
  separator = any_tokenizer.separator_id
  assert any_tokenizer.token_bytes[separator] == 0
  assert any_tokenizer.decode([separator, *any_tokenizer.encode('a')]) == 'a'
  assert separator in any_tokenizer.special_ids


def test_json_carries_everything(any_tokenizer):
  again = tokenizer.tokenizer_from_json(any_tokenizer.to_json())
  assert again.digest == any_tokenizer.digest
  assert again.to_json() == any_tokenizer.to_json()
  assert again.special_tokens == any_tokenizer.special_tokens
  for name in ('special_ids', 'token_bytes', 'starts_word'):
    theirs, ours = getattr(again, name), getattr(any_tokenizer, name)
    np.testing.assert_array_equal(theirs, ours)
  for text in TEXTS:
    np.testing.assert_array_equal(
      again.encode(text), any_tokenizer.encode(text)
    )


def test_bytes_by_hand():
  byte = tokenizer.ByteTokenizer()
  np.testing.assert_array_equal(byte.encode('aé'), [97, 195, 169])
  assert (byte.vocab_size, byte.separator_id) == (257, 256)
  assert byte.decode([255, 97]) == '\ufffda'


def test_special_tokens_of_bytes_by_hand():
  byte = tokenizer.ByteTokenizer(['[MASK]', '<x>'])
  assert byte.vocab_size == 259
  assert byte.special_ids.tolist() == [256, 257, 258]
  assert byte.special_tokens['<x>'] == byte.id_of('<x>') == 258
  assert byte.id_of('a') is None
  assert byte.decode([97, 257, 195, 169, 256, 258]) == 'a[MASK]é<x>'
  assert byte.token_bytes.tolist() == [1] * 256 + [0] * 3


def test_json_of_before_special_tokens(bpe):
  old = tokenizer.tokenizer_from_json('{"kind": "byte"}')
  assert old.to_json() == '{"kind": "byte"}'
  library = json.loads(bpe.to_json())['tokenizer']
  text = json.dumps(
    {'kind': 'library', 'separator': '<|endoftext|>', 'tokenizer': library}
  )
  assert tokenizer.tokenizer_from_json(text).digest == bpe.digest


def test_training_is_deterministic(bpe):
  words = [f'w{i * i % 97} x{i % 13}' for i in range(2000)]
  first, second = (tokenizer.train_bpe(iter(words), 400) for _ in range(2))
  assert first.digest == second.digest
  assert first.digest != bpe.digest


def test_without_special_tokens_training_is_the_librarys_alone():
  texts = [f'w{i * i % 97} x{i % 13}' for i in range(2000)]
  library = tokenizers.Tokenizer(models.BPE())
  library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  library.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=400,
    special_tokens=['<|endoftext|>'],
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    show_progress=False,
  )
  library.train_from_iterator(texts, trainer)
  tree = {'kind': 'library', 'separator': '<|endoftext|>'}
  tree['tokenizer'] = json.loads(library.to_str())
  assert tokenizer.train_bpe(texts, 400).to_json() == json.dumps(tree)


def test_special_tokens_come_last_and_move_nothing():
  plain, special = _train(297), _train(300, SPECIAL)
  assert special.vocab_size == 300
  assert [special.id_of(name) for name in SPECIAL] == [297, 298, 299]
  assert special.separator_id == 0
  assert special.special_ids.tolist() == [0, 297, 298, 299]
  for text in TEXTS:
    np.testing.assert_array_equal(plain.encode(text), special.encode(text))
  assert special.decode([297, *special.encode('é'), 0, 299]) == (
    '[MASK]é<|fim_prefix|>'
  )


@pytest.mark.parametrize(
  'tokens, told',
  [
    (['', 'a'], 'printable ASCII'),
    (['<é>'], 'printable ASCII'),
    (['a\nb'], 'printable ASCII'),
    (['<x>', '<x>'], 'twice'),
  ],
)
def test_what_is_no_special_token(tokens, told):
  for make in (tokenizer.ByteTokenizer, lambda names: _train(300, names)):
    with pytest.raises(UserError, match=told):
      make(tokens)


def test_a_special_token_that_texts_have():
  with pytest.raises(UserError, match="'cat': texts have it too"):
    tokenizer.train_bpe(['the cat and cat'] * 9, 300, ['cat'])


def test_no_room_for_special_tokens():
  with pytest.raises(UserError, match=r'data\.vocab_size = 259: at least 260'):
    _train(259, SPECIAL)
  assert _train(260, SPECIAL).vocab_size == 260


def test_merges_by_hand():
  # pairs: (a, b) 4 times, then (ab, ab) twice
  trained = tokenizer.train_bpe(['abab', 'abab'], 259)
  assert trained.vocab_size == 259
  ids = trained.encode('ababab')
  np.testing.assert_array_equal(trained.token_bytes[ids], [4, 2])
  assert trained.encode('ba').size == 2


def test_too_little_text_makes_fewer_tokens():
  assert tokenizer.train_bpe(['ab'], 5000).vocab_size == 258
  assert tokenizer.train_bpe(['ab'], 5000, SPECIAL).vocab_size == 261


def test_a_text_begins_with_what_its_tokenizer_puts_first():
  library = tokenizers.Tokenizer(
    models.WordLevel({'<s>': 0, '</s>': 1, 'a': 2}, '</s>')
  )
  plain = tokenizer.LibraryTokenizer(library.to_str(), '</s>')
  assert plain.start_id == plain.separator_id == 1
  library.post_processor = processors.TemplateProcessing(
    single='<s> $A', special_tokens=[('<s>', 0)]
  )
  marked = tokenizer.LibraryTokenizer(library.to_str(), '</s>')
  assert (marked.start_id, marked.separator_id) == (0, 1)
  assert marked.encode('a').tolist() == [2]


def _word_piece():
  words = ['[UNK]', '[SEP]', '[MASK]', 'cat', '##s', '##', 'a', '.']
  library = tokenizers.Tokenizer(
    models.WordPiece({w: i for i, w in enumerate(words)}, unk_token='[UNK]')
  )
  library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  library.decoder = decoders.WordPiece()
  library.add_special_tokens(['[UNK]', '[SEP]', '[MASK]'])
  return library


def test_a_word_piece():
  found = tokenizer.LibraryTokenizer(
    _word_piece().to_str(), '[SEP]', ['[MASK]', '<extra_id_0>']
  )
  # its own mask, and another token after the last id
  assert found.special_tokens == {
    '[UNK]': 0,
    '[SEP]': 1,
    '[MASK]': 2,
    '<extra_id_0>': 8,
  }
  assert (found.vocab_size, found.unknown_id) == (9, 0)
  assert found.special_ids.tolist() == [0, 1, 2, 5, 8]
  assert found.token_bytes.tolist() == [0, 0, 0, 3, 1, 0, 1, 1, 0]
  assert found.encode('cats a.').tolist() == [3, 4, 6, 7]
  assert np.flatnonzero(~found.starts_word).tolist() == [4, 5]


def test_a_token_for_the_unknown_is_no_text():
  library = tokenizers.Tokenizer(models.WordLevel({'a': 0, 'x': 1}, 'x'))
  found = tokenizer.LibraryTokenizer(library.to_str(), 'a')
  assert found.unknown_id == 1
  assert found.token_bytes.tolist() == [0, 0]


@pytest.mark.parametrize(
  'model',
  [
    models.WordLevel({'a': 0}, '[UNK]'),
    models.WordPiece({'a': 0}, unk_token='[UNK]'),
    models.Unigram([('a', -1.0)], None),
  ],
)
def test_what_fails_where_it_has_no_token(model):
  library = tokenizers.Tokenizer(model).to_str()
  with pytest.raises(UserError, match='cannot encode all texts: '):
    tokenizer.LibraryTokenizer(library, 'a')


def test_every_byte_is_covered(any_tokenizer):
  def unread():
    raise AssertionError
    yield

  tokenizer.check_covers(any_tokenizer, unread())


def test_a_character_that_is_left_out():
  library = tokenizers.Tokenizer(models.BPE({'<s>': 0, 'a': 1, 'b': 2}, []))
  library.pre_tokenizer = pre_tokenizers.Whitespace()
  found = tokenizer.LibraryTokenizer(library.to_str(), '<s>')
  assert found.encode('aéb').tolist() == [1, 2]
  tokenizer.check_covers(found, ['a b', 'ba\n'])
  with pytest.raises(UserError) as error:
    tokenizer.check_covers(found, ['ab', 'aéb'])
  assert str(error.value).startswith(
    "data.tokenizer: it has no token for 'é' (U+00E9, bytes c3 a9)"
  )


def test_a_byte_that_is_left_out(bpe):
  tree = json.loads(bpe.to_json())['tokenizer']
  kept = {t: i for t, i in tree['model']['vocab'].items() if '©' not in t}
  tree['model'] |= {'vocab': kept, 'merges': []}  # no 0xA9
  found = tokenizer.LibraryTokenizer(json.dumps(tree))
  tokenizer.check_covers(found, ['a ü'])
  with pytest.raises(UserError, match='bytes c3 a9'):
    tokenizer.check_covers(found, ['a é'])


def test_the_share_of_the_unknown_is_told_once(caplog):
  found = tokenizer.LibraryTokenizer(_word_piece().to_str(), '[SEP]')
  with caplog.at_level(logging.WARNING):
    tokenizer.check_covers(found, ['cats a.'])
  assert not caplog.records
  with caplog.at_level(logging.WARNING):
    tokenizer.check_covers(found, ['cats a.'] * 600 + ['cat dog'] * 300)
  (record,) = caplog.records
  # 600 * 4 + 300 * 2 tokens, of which 300
  assert '10% of the tokens (300 of 3000)' in record.getMessage()
