"""Tokenizers from the files of others, against their own libraries."""

import base64
import json
import pathlib

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from configs.errors import UserError
from data import bpe_files, tokenizer

SHARED = pathlib.Path(__file__).parents[2] / '../shared/data'
TEXTS = [
  '',
  "I'LL say: it's 12345 or ½, don't!",
  'Zürich, 東京 مرحبا 👩‍👩‍👧 e\u0301 \u2028 \x00 <|endoftext|> ǅ',
  '  a\n\n  b \r\n\t//x!\n/y  ',
]
# what patterns look at, and what they might take for it
CHARS = "aAsStlvedLR'ſK  \n\r\t1!/_-\u00a0\u3000é中²ǅʰ\u0301\u200d\x85😀"
ALL = settings(derandomize=True, database=None, deadline=None, max_examples=50)


def _write_ranks(path, tokens):
  lines = [b'%s %d' % (base64.b64encode(t), i) for t, i in tokens.items()]
  path.write_bytes(b'\n'.join(lines) + b'\n')
  return str(path)


def _ranks(tokens):
  """Ranks of all bytes, and of these tokens after them."""
  every = [bytes([byte]) for byte in range(256)]
  return {token: rank for rank, token in enumerate([*every, *tokens])}


def _theirs(tokens, encoding, monkeypatch):
  tiktoken = pytest.importorskip('tiktoken')
  public = pytest.importorskip('tiktoken_ext.openai_public')
  monkeypatch.setattr(public, 'load_tiktoken_bpe', lambda *_, **__: {})
  pattern = public.ENCODING_CONSTRUCTORS[encoding]()['pat_str']
  return tiktoken.Encoding(
    'x', pat_str=pattern, mergeable_ranks=tokens, special_tokens={}
  )


def _assert_equal(ours, theirs, texts):
  batch = ours.encode_batch(texts)
  expected = theirs.encode_ordinary_batch(texts, num_threads=2)
  for text, ids, other in zip(texts, batch, expected, strict=True):
    assert ids.tolist() == other, repr(text)


@pytest.fixture(scope='module')
def gpt2():
  folder = SHARED / 'tasks/gpt2_bpe'
  if not folder.is_dir():
    pytest.skip(f'{folder} is absent')
  return tokenizer.load_tokenizer(str(folder), ['<|fim_prefix|>'])


def _words():
  paths = sorted((SHARED / 'corpus').glob('*/*.txt'))
  if not paths:
    pytest.skip(f'{SHARED}/corpus is absent')
  return [path.read_text()[20_000:40_000] for path in paths[::4]]


@pytest.mark.parametrize(
  'text, ids',
  [  # as published
    ('Hello world', [15496, 995]),
    (' Hello world', [18435, 995]),
    ('Hello, world!', [15496, 11, 995, 0]),
    ('<|endoftext|>', [27, 91, 437, 1659, 5239, 91, 29]),
  ],
)
def test_gpt2_by_published_ids(gpt2, text, ids):
  assert gpt2.encode(text).tolist() == ids
  assert gpt2.decode(ids) == text


def test_gpt2_has_its_own_separator(gpt2):
  assert gpt2.separator_id == gpt2.id_of('<|endoftext|>') == 50256
  assert gpt2.id_of('<|fim_prefix|>') == 50257
  assert gpt2.vocab_size == 50258
  assert gpt2.special_ids.tolist() == [50256, 50257]


def test_gpt2_is_tiktokens(gpt2, tmp_path, monkeypatch):
  byte_of = {c: bytes([b]) for b, c in enumerate(bpe_files.byte_characters())}
  vocabulary = json.loads(gpt2.to_json())['tokenizer']['model']['vocab']
  tokens = {
    b''.join(byte_of[char] for char in token): rank
    for token, rank in vocabulary.items()
    if rank != 50256
  }
  theirs = _theirs(tokens, 'r50k_base', monkeypatch)
  _assert_equal(gpt2, theirs, TEXTS + _words())
  path = _write_ranks(tmp_path / 'r50k_base.tiktoken', tokens)
  ranks = tokenizer.load_tokenizer(path)
  assert (ranks.separator_id, ranks.vocab_size) == (50256, 50257)
  _assert_equal(ranks, theirs, TEXTS + _words())


@pytest.mark.parametrize('encoding', ['r50k_base', 'cl100k_base', 'o200k_base'])
def test_texts_are_cut_as_tiktoken_does(tmp_path, monkeypatch, encoding):
  # These tokens show whether two characters are in one piece.
  firsts = [char.encode() for char in "aAsStled'1! \n/"]
  tokens = _ranks([a + bytes([b]) for a in firsts for b in range(256)])
  path = _write_ranks(tmp_path / f'x.{encoding}.tiktoken', tokens)
  ours = tokenizer.load_tokenizer(path)
  theirs = _theirs(tokens, encoding, monkeypatch)
  assert ours.separator_id == len(tokens)

  @ALL
  @given(texts=st.lists(st.text(CHARS), min_size=20, max_size=20))
  def of_classes(texts):
    _assert_equal(ours, theirs, texts)

  @ALL
  @given(texts=st.lists(st.text(), min_size=20, max_size=20))
  def of_anything(texts):
    _assert_equal(ours, theirs, texts)

  of_classes()
  of_anything()
  points = [p for p in range(0x323B0) if not 0xD800 <= p < 0xE000]
  _assert_equal(
    ours,
    theirs,
    [
      ''.join(f"a{c}A{c}1{c}!{c}'{c} {c}A" for c in map(chr, points[i::409]))
      for i in range(409)
      if i % 4 == 0
    ],
  )


@ALL
@given(
  tokens=st.lists(st.text('ab', min_size=2, max_size=6), unique=True),
  texts=st.lists(st.text('ab', min_size=1, max_size=30), min_size=20),
)
def test_any_ranks_merge_as_tiktoken_does(tmp_path_factory, tokens, texts):
  # Of these some cannot be made from two others, or are older than theirs.
  every = _ranks([token.encode() for token in tokens])
  with pytest.MonkeyPatch.context() as patch:
    theirs = _theirs(every, 'r50k_base', patch)
  folder = tmp_path_factory.mktemp('ranks')
  path = _write_ranks(folder / 'x.r50k_base.tiktoken', every)
  _assert_equal(tokenizer.load_tokenizer(path), theirs, texts + tokens)


def test_a_token_that_no_merge_makes(tmp_path):
  path = _write_ranks(
    tmp_path / 'x.r50k_base.tiktoken', _ranks([b'abc', b'xy'])
  )
  found = tokenizer.load_tokenizer(path)
  assert found.encode('abc').tolist() == [256]
  assert found.encode('xabc xyabc').tolist() == [
    *b'xabc ',
    257,
    *b'abc',
  ]


def test_a_published_name_has_its_special_tokens(tmp_path):
  path = _write_ranks(tmp_path / 'cl100k_base.tiktoken', _ranks([b'ab']))
  found = tokenizer.load_tokenizer(path, ['<|fim_suffix|>', '[MASK]'])
  assert found.separator_id == 100257
  assert found.id_of('<|fim_suffix|>') == 100260
  assert found.id_of('[MASK]') == 100277
  assert found.vocab_size == 100278
  # nothing lies between
  assert set(range(257, 100278)) == set(found.special_ids.tolist())
  again = tokenizer.tokenizer_from_json(found.to_json())
  assert again.digest == found.digest
  np.testing.assert_array_equal(again.encode('abab'), [256, 256])


def _library(separator):
  library = tokenizers.Tokenizer(
    models.BPE(
      {'a': 0, 'b': 1, 'ab': 2, '</s>': 3, '<|im_end|>': 4}, [('a', 'b')]
    )
  )
  library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  library.decoder = decoders.ByteLevel()
  library.add_special_tokens(separator)
  return library


@pytest.mark.parametrize(
  'own, settings_, separator, index',
  [
    (['</s>'], None, '</s>', 3),
    (['</s>', '<|im_end|>'], {'eos_token': '<|im_end|>'}, '<|im_end|>', 4),
    (['</s>'], {'eos_token': {'content': '</s>'}}, '</s>', 3),
    (['</s>'], {}, '</s>', 3),
    ([], None, '<|endoftext|>', 5),
  ],
)
def test_what_ends_a_text(tmp_path, own, settings_, separator, index):
  (tmp_path / 'tokenizer.json').write_text(_library(own).to_str())
  if settings_ is not None:
    text = json.dumps(settings_)
    (tmp_path / 'tokenizer_config.json').write_text(text)
  found = tokenizer.load_tokenizer(str(tmp_path))
  assert found.id_of(separator) == found.separator_id == index
  assert found.encode('ab').tolist() == [2]
  again = tokenizer.load_tokenizer(str(tmp_path / 'tokenizer.json'))
  assert again.digest == found.digest


def test_an_added_token_is_made_special(tmp_path):
  library = _library(['</s>'])
  library.add_tokens(['ba'])
  path = tmp_path / 'tokenizer.json'
  path.write_text(library.to_str())
  assert tokenizer.load_tokenizer(str(path)).encode('ba').tolist() == [5]
  found = tokenizer.load_tokenizer(str(path), ['ba'])
  assert found.special_tokens == {'</s>': 3, 'ba': 5}
  assert found.encode('ba').tolist() == [1, 0]


def test_an_older_layout_is_read_as_the_library_reads_it(tmp_path):
  new, old = tmp_path / 'new.json', tmp_path / 'old.json'
  new.write_text(_library(['</s>']).to_str())
  tree = json.loads(new.read_text())
  del tree['model']['type'], tree['model']['dropout'], tree['version']
  tree['model']['merges'] = ['a b']
  old.write_text(json.dumps(tree))
  expected = tokenizer.load_tokenizer(str(new))
  for _ in range(2):
    found = tokenizer.load_tokenizer(str(old))
    assert found.encode('abb').tolist() == [2, 1]
    for name in ('token_bytes', 'starts_word', 'special_ids'):
      np.testing.assert_array_equal(
        getattr(found, name), getattr(expected, name)
      )
    again = tokenizer.tokenizer_from_json(found.to_json())
    assert again.digest == found.digest
    tree.pop('decoder', None)
    old.write_text(json.dumps(tree))


def _missing(path):
  return path / 'x.json'


def _empty(path):
  return path


def _other(path):
  (path / 'x.bin').write_text('')
  return path / 'x.bin'


def _broken(path):
  (path / 'tokenizer.json').write_text('{"model": 1}')
  return path / 'tokenizer.json'


def _binary(path):
  (path / 'tokenizer.json').write_bytes(b'\x80\x81{}')
  return path / 'tokenizer.json'


def _odd_end(path):
  (path / 'tokenizer.json').write_text(_library(['</s>']).to_str())
  settings_ = {'eos_token': {'lstrip': False}}
  (path / 'tokenizer_config.json').write_text(json.dumps(settings_))
  return path


def _odd_added(path):
  (path / 'tokenizer.json').write_text('{"added_tokens": [{"id": 1}]}')
  return path


def _without_merges(path):
  (path / 'my_vocab.json').write_text('{}')
  return path


def _no_bpe(path):
  (path / 'vocab.json').write_text('[]')
  (path / 'merges.txt').write_text('')
  return path


def _no_pattern(path):
  (path / 'x.tiktoken').write_text('YQ== 0')
  return path


def _no_ranks(path):
  (path / 'r50k_base.tiktoken').write_text('YQ== 0\n# b 1\n')
  return path


def _few_bytes(path):
  (path / 'r50k_base.tiktoken').write_text('AA== 0\n')
  return path


def _negative_rank(path):
  (path / 'r50k_base.tiktoken').write_text('AA== 0\nAQ== -1\n')
  return path


def _large_rank(path):
  (path / 'r50k_base.tiktoken').write_text(f'AA== 0\nAQ== {2**31}\n')
  return path


def _empty_model(path):
  pytest.importorskip('sentencepiece')
  (path / 'x.model').write_bytes(b'')
  return path


def _no_model(path):
  pytest.importorskip('sentencepiece')
  (path / 'x.model').write_text('YQ== 0\n')
  return path


@pytest.mark.parametrize(
  'make, told',
  [
    (_missing, 'no such file or folder; expected a tokenizer.json'),
    (_empty, 'the folder has no tokenizer'),
    (_other, 'expected a tokenizer.json'),
    (_broken, 'this is no tokenizer.json'),
    (_binary, 'is no tokenizer.json: it is not UTF-8'),
    (_odd_end, 'eos_token = {"lstrip": false}: expected the token'),
    (_odd_added, 'each of added_tokens must have content and special'),
    (_without_merges, 'my_merges.txt is not beside my_vocab.json'),
    (_no_bpe, 'are no BPE'),
    (_no_pattern, 'x.tiktoken does not say how texts are cut'),
    (_no_ranks, 'line 2: expected a token in base64'),
    (_few_bytes, 'no token for the byte 0x01'),
    (_negative_rank, 'line 2: rank -1 is none; ranks are from 0 to 2147483647'),
    (_large_rank, 'line 2: rank 2147483648 is none'),
    (_empty_model, 'no SentencePiece model: it is empty'),
    (_no_model, 'no SentencePiece model'),
  ],
)
def test_a_mistake_is_one_line(tmp_path, make, told):
  path = make(tmp_path)
  with pytest.raises(UserError) as error:
    tokenizer.load_tokenizer(str(path))
  message = str(error.value)
  assert message.startswith(f'data.tokenizer = {str(path)!r}: ')
  assert told in message
  assert '\n' not in message
