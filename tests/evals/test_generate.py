"""Texts from a checkpoint, against one plain pass for each token."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from flax import linen as nn

from configs.errors import UserError
from data.tokenizer import ByteTokenizer, LibraryTokenizer
from evals.generate import _written, generate
from evals.prompts import encode, rows_of
from evals.writers import put, sampler
from evals.writing import Writing
from model import beam
from model.beam import Ranking
from model.generate import Choice, Prompts
from model.sampling import Sampling
from model.transformer import abstract_inputs, make
from train.mesh.config import MeshConfig
from train.mesh.sharding import logical_rules
from train.pretrained import load_pretrained

ROOT = pathlib.Path(__file__).parents[2]
PROMPTS = [
  'In the kitchen, number 7: bread, the',
  'In',
  '',
  'In the garden, number 12: apple, the bee, the daisy, the hedge, the',
]
GREEDY = Writing(max_tokens=20, temperature=0.0)


def _write(pretrained, prompts=PROMPTS, writing=GREEDY, **changes):
  writing = dataclasses.replace(writing, **changes)
  return generate(pretrained, prompts, writing, show_progress=False)


def _plain(pretrained, prompt, max_tokens, prefix=False):
  """The likeliest tokens, each from an unpadded pass over all before it."""
  tokens = [pretrained.tokenizer.separator_id]
  tokens += pretrained.tokenizer.encode(prompt).tolist()
  start = len(tokens)

  @jax.jit
  def logits(row, segments):
    places = jnp.arange(row.shape[1])[None]
    seen = places < start if prefix else None
    return pretrained.model.apply(
      {'params': pretrained.params}, row, segments, places, seen
    )

  while len(tokens) < start + max_tokens:
    row, segments = np.zeros((2, 1, 96), np.int32)
    row[0, : len(tokens)], segments[0, : len(tokens)] = tokens, 1
    odds = logits(row, segments)[0, len(tokens) - 1]
    tokens.append(int(odds[: pretrained.tokenizer.vocab_size].argmax()))
    if tokens[-1] == tokens[0]:
      break
  return tokens[start:]


def test_texts_are_those_of_plain_passes(pretrained):
  for prompt, found in zip(PROMPTS, _write(pretrained), strict=True):
    expected = _plain(pretrained, prompt, 20)
    assert found.tokens.tolist() == expected
    tokenizer = pretrained.tokenizer
    assert prompt + found.text == tokenizer.decode(
      [*tokenizer.encode(prompt), *expected]
    )
    ended = expected[-1] == tokenizer.separator_id
    assert found.ending == ('separator' if ended else 'length')


def test_a_prompt_that_sees_itself_whole(pretrained):
  found = _write(pretrained, max_tokens=8, prefix=True)
  for prompt, written in zip(PROMPTS, found, strict=True):
    expected = _plain(pretrained, prompt, 8, prefix=True)
    assert written.tokens.tolist() == expected


@pytest.mark.parametrize('changes', [{'top_k': 1}, {'top_p': 1e-6}])
def test_drawing_from_one_token_takes_it(pretrained, changes):
  greedy = [written.text for written in _write(pretrained)]
  found = _write(pretrained, temperature=2.0, seed=3, **changes)
  assert [written.text for written in found] == greedy


def test_a_penalty_of_length_makes_texts_longer(pretrained):
  library = json.loads(pretrained.tokenizer.to_json())['tokenizer']
  # A frequent token ends a text.
  tokenizer = LibraryTokenizer(json.dumps(library), ',')
  often = dataclasses.replace(pretrained, tokenizer=tokenizer)
  sizes = [
    sum(
      len(written.tokens)
      for written in _write(
        often, temperature=1.0, num_beams=4, length_penalty=penalty
      )
    )
    for penalty in (-9.0, 9.0)
  ]
  assert sizes[0] < sizes[1]


@pytest.mark.parametrize('num_beams', [1, 2])
def test_rows_without_a_token_are_never_written(pretrained, num_beams):
  few = dataclasses.replace(pretrained, tokenizer=ByteTokenizer())
  draws = {'temperature': 9.0 if num_beams == 1 else 1.0}
  found = _write(few, num_beams=num_beams, **draws)
  assert max(written.tokens.max() for written in found) <= 256


def test_a_prompt_fills_what_a_continuation_leaves(pretrained):
  (encoded,) = encode(pretrained, ['x' + PROMPTS[3] * 9], 20)
  # The separator, and one less than the rest: the last token is not read.
  assert len(encoded.target) == 1 + 96 - 20
  (short,) = encode(pretrained, PROMPTS[1:2], 20)
  tokens = pretrained.tokenizer.encode(PROMPTS[1])
  assert short.target.tolist() == [pretrained.tokenizer.separator_id, *tokens]


def test_a_blank_at_the_start_of_a_continuation_is_kept():
  words = {'</s>': 0, '▁the': 1, '▁sea': 2, '▁is': 3}
  library = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, '</s>'))
  library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
  library.decoder = tokenizers.decoders.Metaspace()
  tokenizer = LibraryTokenizer(library.to_str(), '</s>')
  written = _written(tokenizer, 'the sea', np.array([3, 2, 0]), GREEDY)
  assert (written.text, written.ending) == (' is sea', 'separator')


@pytest.mark.parametrize(
  ('changes', 'mesh'),
  [
    ({'temperature': 1.0}, MeshConfig(data=2, fsdp=2, tensor=2)),
    ({'num_beams': 3}, MeshConfig(data=2, fsdp=2, tensor=2)),
    ({}, MeshConfig(data=2, fsdp=1, tensor=1, sequence=4)),
  ],
)
def test_company_and_devices_change_nothing(
  eval_run, pretrained, changes, mesh
):
  writing = Writing(max_tokens=20, **changes)
  alone = _write(pretrained, writing=writing)
  # Numbers decide what is drawn: the same ones in a larger company.
  crowd = _write(pretrained, PROMPTS + PROMPTS[:2] * 4, writing)
  divided = load_pretrained(eval_run, mesh_config=mesh)
  for other in (crowd, _write(divided, writing=writing)):
    assert [o.text for o in other[:4]] == [a.text for a in alone]
  if 'temperature' in changes:
    again = _write(pretrained, writing=writing, seed=1)
    assert [a.text for a in again] != [a.text for a in alone]


def test_one_program_serves_all_of_a_bucket(pretrained, caplog):
  def compiled(prompts, **changes):
    caplog.clear()
    with jax.log_compiles():
      _write(pretrained, prompts, **changes)
    lines = [record.getMessage() for record in caplog.records]
    found = [line for line in lines if 'Finished XLA compilation' in line]
    return [line for line in found if 'start' in line or 'go_on' in line]

  texts = ['one two three four five six', 'seven', 'eight']
  compiled(texts, max_tokens=30)
  assert compiled(texts[::-1], max_tokens=25, temperature=0.7) == []
  assert compiled([*texts, 'nine'], max_tokens=18, top_k=3, seed=2) == []
  assert len(compiled(texts, max_tokens=33)) == 2


def test_the_cache_is_divided_like_the_model(eval_run):
  mesh_config = MeshConfig(data=2, fsdp=2, tensor=2)
  pretrained = load_pretrained(eval_run, mesh_config=mesh_config)
  encoded = encode(pretrained, PROMPTS, 16)
  batch = put(rows_of(pretrained, encoded, range(4)), pretrained.mesh)
  start, _ = sampler(pretrained.model, pretrained.mesh, 16, False)
  choice = Choice(Sampling(), 0, 320)
  now, _, _ = start(pretrained.params, batch, jax.random.key(0), choice)
  keys = now.cache.memory.own.keys_BxSxKxDh
  layers, rows, length, heads, width = keys.shape
  local = keys.sharding.shard_shape(keys.shape)
  assert local == (layers, rows // 4, length, heads // 2, width)


def test_no_device_reads_the_beams_of_another(eval_run):
  pretrained = load_pretrained(eval_run, mesh_config=MeshConfig(8, 1, 1))
  rows = rows_of(pretrained, encode(pretrained, PROMPTS, 16), range(4))
  batch = put(rows, pretrained.mesh)
  model, ranking = pretrained.model, Ranking(1.0, 0, 320, 16)

  def search(params, batch):
    prompts = Prompts(batch['tokens'], batch['segment_ids'])
    found = beam.start(
      params, prompts, ranking, model=model, num_beams=4, room=16
    )
    return beam.go_on(params, found, ranking, model=model)

  with jax.set_mesh(pretrained.mesh), logical_rules():
    lowered = jax.jit(search).lower(pretrained.params, batch)
  text = lowered.compile().as_text()
  # Of the cache, 4 heads of 4 numbers a place.
  gathered = re.findall(r'= f32\[([\d,]*)\]\S* all-gather', text)
  assert not [shape for shape in gathered if shape.endswith(',4,4')]


def test_padding_takes_no_place_of_an_expert(pretrained):
  experts = _random(
    pretrained, num_experts=4, experts_per_token=2, expert_capacity=0.5
  )
  together = _write(experts)
  for prompt, text in zip(PROMPTS, together, strict=True):
    (alone,) = _write(experts, [prompt])
    assert alone.tokens.tolist() == text.tokens.tolist()


def test_a_text_ends_before_a_string(pretrained):
  (whole,) = _write(pretrained, PROMPTS[:1], max_tokens=60)
  stop = whole.text[10:13]
  (found,) = _write(pretrained, PROMPTS[:1], max_tokens=60, stop=('@@', stop))
  assert found.ending == 'stop'
  assert found.text == whole.text[: whole.text.index(stop)]
  tokens = pretrained.tokenizer.decode(found.tokens)
  assert stop in tokens
  assert stop not in pretrained.tokenizer.decode(found.tokens[:-1])


def test_a_long_prompt_loses_its_oldest_tokens(pretrained):
  tokens = pretrained.tokenizer.encode('x' + PROMPTS[3] * 9)
  kept = pretrained.tokenizer.decode(tokens[-(96 - 20) :])
  long, short = _write(pretrained, ['x' + PROMPTS[3] * 9, kept])
  assert long.tokens.tolist() == short.tokens.tolist()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'max_tokens': 0}, 'max_tokens = 0: at least 1'),
    ({'max_tokens': 97}, 'max_tokens = 97: the model was trained for texts of'),
    ({'max_tokens': 96}, 'max_tokens = 96: leaves no room for a prompt'),
    ({'temperature': -0.5}, 'temperature = -0.5: 0, or from'),
    ({'temperature': float('nan')}, 'temperature = nan: 0, or from'),
    ({'length_penalty': float('inf')}, 'length_penalty = inf: -100 to'),
    ({'seed': 2**31}, 'seed = 2147483648: at least 0, below'),
    ({'top_p': 0.0}, 'top_p = 0.0: above 0'),
    ({'stop': ('',)}, 'an empty text is everywhere'),
    ({'num_beams': 2}, 'beam search draws nothing'),
  ],
)
def test_what_cannot_be(pretrained, changes, message):
  with pytest.raises(UserError, match=message):
    _write(pretrained, **changes)
  with pytest.raises(UserError, match='no prompt'):
    _write(pretrained, [])
  with pytest.raises(UserError, match='is no valid text'):
    _write(pretrained, ['\udcff'])


def _random(pretrained, **changes):
  """A model of another architecture with the same tokenizer."""
  model_config = dataclasses.replace(pretrained.config.model, **changes)
  model = make(model_config)
  inputs = [jnp.ones(x.shape, x.dtype) for x in abstract_inputs(model_config)]
  params = nn.unbox(jax.jit(model.init)(jax.random.key(1), *inputs))['params']
  params = jax.tree.map(lambda x: 3 * x, params)
  config = dataclasses.replace(pretrained.config, model=model_config)
  return dataclasses.replace(
    pretrained, config=config, model=model, params=params
  )


def test_an_encoder_decoder_answers_what_it_reads(pretrained):
  t5 = _random(
    pretrained,
    architecture='encoder_decoder',
    positions='relative',
    start_token=5,
  )
  separator = t5.tokenizer.separator_id

  @jax.jit
  def logits(*inputs):
    return t5.model.apply({'params': t5.params}, *inputs)

  def padded(tokens):
    row, segments = np.zeros((2, 1, 80), np.int32)
    row[0, : len(tokens)], segments[0, : len(tokens)] = tokens, 1
    return row, segments, np.arange(80)[None]

  for prompt, found in zip(PROMPTS, _write(t5, max_tokens=8), strict=True):
    source = padded([*t5.tokenizer.encode(prompt), separator])
    target = [5]
    for _ in range(len(found.tokens)):
      odds = logits(*source, *padded(target))[0, len(target) - 1]
      target.append(int(odds[: t5.tokenizer.vocab_size].argmax()))
    assert found.tokens.tolist() == target[1:]


@pytest.fixture(scope='module')
def word_tokenizer():
  words = [
    '[PAD]',
    '[CLS]',
    '[SEP]',
    '[MASK]',
    'the',
    'boat',
    'bread',
    'sails',
    'is',
    'in',
    'harbour',
  ]
  vocabulary = {word: index for index, word in enumerate(words)}
  library = tokenizers.Tokenizer(
    tokenizers.models.WordPiece(vocabulary, unk_token='[PAD]')
  )
  library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  library.decoder = tokenizers.decoders.WordPiece()
  library.post_processor = tokenizers.processors.TemplateProcessing(
    single='[CLS] $A [SEP]', special_tokens=[('[CLS]', 1), ('[SEP]', 2)]
  )
  return LibraryTokenizer(library.to_str(), '[SEP]')


def test_an_encoder_fills_the_surest_blank_first(pretrained, word_tokenizer):
  bert = _random(
    dataclasses.replace(pretrained, tokenizer=word_tokenizer),
    architecture='encoder',
    mlm_head=True,
    tied_head=True,
    vocab_size=11,
  )
  blanks = '[MASK]'
  prompts = [
    *(f'the {blanks} is {blanks} {word} {blanks}' for word in ('in', 'boat')),
    '<mask>',
    'bread',
  ]
  found = [written.text for written in _write(bert, prompts)]
  assert found.pop() == 'bread'
  orders = []
  for prompt, text in zip(prompts[:-1], found, strict=True):
    orders.append([])
    words = prompt.replace('<mask>', '[MASK]').split()
    tokens = [1, *(word_tokenizer.id_of(word) for word in words), 2]
    while 3 in tokens:
      row = jnp.asarray(tokens)[None]
      inputs = row, jnp.ones_like(row), jnp.arange(row.size)[None]
      logits = bert.model.apply({'params': bert.params}, *inputs)[0]
      odds = np.array(jax.nn.softmax(logits.at[:, 3].set(-jnp.inf)))
      blanks = [n for n, token in enumerate(tokens) if token == 3]
      place = max(blanks, key=lambda n: odds[n].max())
      orders[-1].append(place)
      tokens[place] = int(odds[place].argmax())
    assert text == word_tokenizer.decode(tokens[1:-1])
  assert any(order != sorted(order) for order in orders)


def test_encoders_that_fill_nothing(pretrained):
  bare = _random(pretrained, architecture='encoder', tied_head=True)
  with pytest.raises(UserError, match='without a masked-token head'):
    _write(bare)
  masked = _random(
    pretrained, architecture='encoder', tied_head=True, mlm_head=True
  )
  with pytest.raises(UserError, match=r'has none of \[MASK\], <mask>'):
    _write(masked)


def test_the_command(eval_run, tmp_path):
  out = tmp_path / 'texts.json'
  command = [sys.executable, '-m', 'evals.generate', f'--checkpoint={eval_run}']
  flags = ['--prompt=In the', '--prompt=a', '--max_tokens=5', f'--out={out}']
  done = subprocess.run(
    [*command, *flags], cwd=ROOT, capture_output=True, text=True, check=True
  )
  told = json.loads(out.read_text())
  texts = [line['prompt'] + line['text'] for line in told['texts']]
  assert done.stdout == '\n'.join(texts) + '\n'
  assert told['writing']['max_tokens'] == 5
