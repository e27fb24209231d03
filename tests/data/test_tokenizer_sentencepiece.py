"""SentencePiece models, against the library that makes them."""

import io
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from data import tokenizer

sentencepiece = pytest.importorskip('sentencepiece')

WORDS = 'the sea and a ship; the ships, and the seas of the north.'
KINDS = {
  'unigram': {'model_type': 'unigram', 'vocab_size': 40},
  'bpe': {
    'model_type': 'bpe',
    'vocab_size': 310,
    'byte_fallback': True,
    'normalization_rule_name': 'identity',
  },
  'no end': {
    'model_type': 'unigram',
    'vocab_size': 42,
    'eos_id': -1,
    'bos_id': -1,
    'control_symbols': ['[MASK]'],
    'user_defined_symbols': ['<u>'],
  },
}
SPECIAL = ('[MASK]', '<extra_id_0>')
ALL = settings(derandomize=True, database=None, deadline=None, max_examples=50)


def _model(kind):
  file = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([WORDS] * 50),
    model_writer=file,
    minloglevel=2,
    hard_vocab_limit=False,
    **KINDS[kind],
  )
  return file.getvalue()


@pytest.fixture(scope='module')
def models():
  return {kind: _model(kind) for kind in KINDS}


@pytest.fixture(params=list(KINDS))
def model(request, models):
  return models[request.param]


@ALL
@given(texts=st.lists(st.one_of(st.text(), st.text(WORDS + '\n▁é中<u>'))))
def test_ids_are_the_librarys(models, texts):
  for model in models.values():
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    for special in ((), SPECIAL):
      ours = tokenizer.SentencePieceTokenizer(model, special)
      batch = ours.encode_batch(texts)
      for text, ids in zip(texts, batch, strict=True):
        assert ids.tolist() == theirs.encode(text), repr(text)
        assert ours.encode(text).tolist() == ids.tolist()
        assert ours.decode(ids) == theirs.decode(ids.tolist())
        assert ids.dtype == np.int32
        ids += 1  # can be written to


def test_json_carries_everything(model):
  first = tokenizer.SentencePieceTokenizer(model, SPECIAL)
  again = tokenizer.tokenizer_from_json(first.to_json())
  assert again.digest == first.digest
  assert again.to_json() == first.to_json()
  assert again.special_tokens == first.special_tokens
  assert again.encode(WORDS).tolist() == first.encode(WORDS).tolist()
  assert json.loads(first.to_json()).keys() == {
    'kind',
    'model',
    'special_tokens',
  }
  other = tokenizer.SentencePieceTokenizer(model)
  assert other.digest != first.digest


def test_a_file_and_its_folder(tmp_path, model):
  path = tmp_path / 'm.model'
  path.write_bytes(model)
  digests = {
    tokenizer.load_tokenizer(str(name), SPECIAL).digest
    for name in (path, tmp_path)
  }
  assert digests == {tokenizer.SentencePieceTokenizer(model, SPECIAL).digest}


def test_special_tokens_by_hand(models):
  found = tokenizer.SentencePieceTokenizer(models['unigram'], SPECIAL)
  theirs = sentencepiece.SentencePieceProcessor(model_proto=models['unigram'])
  size = theirs.get_piece_size()
  assert found.special_tokens == {
    '<s>': 1,
    '</s>': 2,
    '[MASK]': size,
    '<extra_id_0>': size + 1,
  }
  assert found.separator_id == found.start_id == 2
  assert found.unknown_id == 0
  assert found.special_ids.tolist() == [0, 1, 2, size, size + 1]
  assert found.id_of('[MASK]') == size
  assert found.id_of('▁') == theirs.piece_to_id('▁') > 0
  assert found.id_of('never') is None
  ids = [2, *found.encode('the'), size, *found.encode('sea')]
  assert found.decode(ids) == 'the[MASK] sea'


def test_a_model_without_an_end(models):
  found = tokenizer.SentencePieceTokenizer(models['no end'], SPECIAL)
  mask = sentencepiece.SentencePieceProcessor(
    model_proto=models['no end']
  ).piece_to_id('[MASK]')
  assert found.id_of('[MASK]') == mask  # its own
  assert found.separator_id == found.id_of('<|endoftext|>')
  assert found.separator_id == found.vocab_size - 1
  with pytest.raises(UserError, match="'<u>': texts have it too"):
    tokenizer.SentencePieceTokenizer(models['no end'], ['<u>'])


def test_bytes_and_words(models):
  bpe = tokenizer.SentencePieceTokenizer(models['bpe'])
  ids = bpe.encode(WORDS + ' é')
  # one blank is put first
  assert bpe.token_bytes[ids].sum() == len((' ' + WORDS + ' é').encode())
  assert bpe.starts_word[bpe.id_of('▁the')]
  assert not bpe.starts_word[bpe.id_of('s')]
  assert bpe.starts_word[bpe.id_of('.')]
  assert not bpe.starts_word[bpe.id_of('<0x61>')]
  assert bpe.starts_word[bpe.id_of('<0x20>')]


def test_what_is_covered(models, caplog):
  tokenizer.check_covers(
    tokenizer.SentencePieceTokenizer(models['bpe']), ['中 é']
  )
  assert not caplog.records
  tokenizer.check_covers(
    tokenizer.SentencePieceTokenizer(models['unigram']), ['the 中']
  )
  assert 'are the unknown one' in caplog.text


def test_without_the_library(models, monkeypatch):
  monkeypatch.setitem(sys.modules, 'sentencepiece', None)
  with pytest.raises(UserError, match=r'pip install -e \.\[sentencepiece\]'):
    tokenizer.SentencePieceTokenizer(models['bpe'])
