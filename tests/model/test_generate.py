"""Generation with a cache equals generation without one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import model as base
from configs.tree import to_dataclass
from model import beam, generate
from model.beam import Ranking
from model.config import ModelConfig
from model.generate import Choice, Prompts
from model.sampling import Sampling, draw, kept_logits
from model.transformer import abstract_inputs, make

VOCAB = 11
STOP = 3
ROOM = 6
TINY = to_dataclass(
  ModelConfig,
  {
    **base.get_config(),
    'vocab_size': VOCAB,
    'width': 16,
    'num_heads': 4,
    'num_kv_heads': 2,
    'head_width': 4,
    'ffn_width': 24,
    'max_length': 32,
  },
)
GPT2 = dataclasses.replace(
  TINY, norm='layer', positions='learned', biases=True, tied_head=True
)
NEOX = dataclasses.replace(
  TINY, parallel_residual=True, rope_fraction=0.5, scan_layers=True
)
EXPERTS = dataclasses.replace(
  TINY, num_experts=3, positions='sinusoidal', qk_norm=True
)
T5 = dataclasses.replace(
  TINY,
  architecture='encoder_decoder',
  positions='relative',
  relative_buckets=8,
  relative_max_distance=9,
  attention_scale='none',
)
CONFIGS = {
  'llama': TINY,
  'gpt2': GPT2,
  'neox': NEOX,
  'experts': EXPERTS,
  't5': T5,
}
GREEDY = Choice(Sampling(temperature=0.0), STOP, VOCAB)
TEXTS = ([5, 1, 4, 7], [2], [9, 8])
SOURCES = ([1, 2, 6], [10, 10, 4, 4, 5], [7])


@functools.cache
def _params(config):
  """Large enough that each token matters."""
  inputs = (jnp.ones((1, 1), jnp.int32),) * len(abstract_inputs(config))
  params = nn.unbox(jax.jit(make(config).init)(jax.random.key(0), *inputs))
  random = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: x + random.normal(0, 0.4, x.shape).astype(np.float32),
    params['params'],
  )


def _prompts(config, texts=TEXTS, sources=SOURCES, left=5, right=6):
  tokens = np.zeros((2, len(texts), left), np.int32)
  source = np.zeros((2, len(texts), right), np.int32)
  for row, (text, read) in enumerate(zip(texts, sources, strict=True)):
    tokens[:, row, left - len(text) :] = text, np.ones(len(text))
    source[:, row, : len(read)] = read, np.ones(len(read))
  if config.architecture == 'decoder':
    return Prompts(*map(jnp.asarray, tokens))
  return Prompts(*map(jnp.asarray, (*tokens, *source)))


@functools.cache
def _next(config):
  """(text, source, prefix) to log p of the next token, without a cache.

  `prefix` is how many tokens see each other.
  """

  @jax.jit
  def log_odds(tokens, segments, sources, seen):
    places = jnp.arange(16)[None]
    args = tokens, segments, places
    if config.architecture == 'decoder':
      args = (*args, places < seen)
    else:
      args = (*sources, places, *args)
    logits = make(config).apply({'params': _params(config)}, *args)[0]
    return jax.nn.log_softmax(logits)

  def padded(tokens):
    both = np.zeros((2, 1, 16), np.int32)
    both[:, 0, : len(tokens)] = tokens, np.ones(len(tokens))
    return both

  def call(text, source, prefix=0):
    found = log_odds(*padded(text), padded(source), prefix)
    return np.asarray(found[len(text) - 1], np.float64)

  return call


def _greedy(config, text, source, room=ROOM, prefix=0):
  found = []
  while len(found) < room and STOP not in found:
    odds = _next(config)([*text, *found], source, prefix)
    found.append(int(odds.argmax()))
  return found


def _cut(tokens):
  """Up to and with the token that ends a text."""
  tokens = list(map(int, tokens))
  return tokens[: tokens.index(STOP) + 1] if STOP in tokens else tokens


@functools.cache
def _compiled(config, room=ROOM, prefix=False):
  model = make(config)
  start = functools.partial(
    generate.start, model=model, room=room, prefix=prefix
  )
  return jax.jit(start), jax.jit(functools.partial(generate.go_on, model=model))


def _generate(config, prompts, choice=GREEDY, seed=0, prefix=False):
  start, go_on = _compiled(config, prefix=prefix)
  rows = jnp.arange(len(prompts.tokens_BxL))
  keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))
  now = start(_params(config), prompts, keys(rows), choice)
  return go_on(_params(config), now, choice, ROOM)


@pytest.mark.parametrize('name', CONFIGS)
def test_the_likeliest_tokens_are_those_found_without_a_cache(name):
  config = CONFIGS[name]
  now = _generate(config, _prompts(config))
  for row, pair in enumerate(zip(TEXTS, SOURCES, strict=True)):
    expected = _greedy(config, *pair)
    assert _cut(now.tokens_BxT[row]) == expected
  assert int(now.written) == max(
    len(_greedy(config, *pair)) for pair in zip(TEXTS, SOURCES, strict=True)
  )


def test_a_text_that_has_ended_only_repeats_its_end():
  rows = _generate(TINY, _prompts(TINY), Choice(Sampling(9.0), STOP, VOCAB))
  ended = 0
  for row in np.asarray(rows.tokens_BxT):
    text = _cut(row)
    after = row[len(text) : int(rows.written)]
    assert set(after.tolist()) <= {STOP}
    ended += len(after) > 0
  assert ended


def test_a_prompt_may_see_itself_whole():
  now = _generate(TINY, _prompts(TINY), prefix=True)
  whole, causal = (
    [_greedy(TINY, text, (), prefix=prefix and len(text)) for text in TEXTS]
    for prefix in (True, False)
  )
  assert [_cut(row) for row in now.tokens_BxT] == whole
  assert whole != causal


def _rows_alone(config, prompts, row, **kwargs):
  one = jax.tree.map(lambda x: x[row : row + 1], prompts)
  return _generate(config, one, **kwargs)


def test_a_seed_draws_the_same_text_in_any_company():
  choice = Choice(Sampling(), STOP, VOCAB)
  prompts = _prompts(TINY)
  first, again, other = (
    _generate(TINY, prompts, choice, seed).tokens_BxT for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()
  alone = _rows_alone(TINY, prompts, 0, choice=choice).tokens_BxT
  assert _cut(alone[0]) == _cut(first[0])


def test_tokens_are_drawn_as_often_as_they_are_likely():
  rows = 4000
  prompts = _prompts(TINY, (TEXTS[0],) * rows, ((),) * rows)
  now = _generate(TINY, prompts, Choice(Sampling(0.7), STOP, VOCAB))
  odds = _next(TINY)(TEXTS[0], ()) / 0.7
  expected = np.exp(odds) / np.exp(odds).sum()
  found = np.bincount(now.tokens_BxT[:, 0], minlength=VOCAB) / rows
  # Three standard errors of the likeliest.
  np.testing.assert_allclose(found, expected, atol=3 * 0.5 / rows**0.5)


def test_what_is_drawn_from_by_hand():
  odds = np.array([0.05, 0.5, 0.15, 0.3])
  logits = jnp.log(jnp.asarray(odds))[None]

  def kept(**changes):
    found = kept_logits(logits, Sampling(**changes))[0]
    return [index for index in range(4) if np.isfinite(found[index])]

  assert kept() == [0, 1, 2, 3]
  assert kept(top_k=2) == [1, 3]
  assert kept(top_p=0.5) == [1]
  assert kept(top_p=0.51) == [1, 3]
  assert kept(top_p=0.96) == [0, 1, 2, 3]
  # Of two tokens the first has 5/8, which is above 0.6.
  assert kept(top_k=2, top_p=0.6) == [1]
  # Squared and scaled: .685, .247, .062, .007.
  assert kept(temperature=0.5, top_p=0.94) == [1, 2, 3]
  np.testing.assert_allclose(
    kept_logits(logits, Sampling(2.0))[0], np.log(odds) / 2, rtol=1e-6
  )


def test_no_temperature_takes_the_likeliest_whatever_the_key():
  logits = jnp.asarray([[0.0, 2.0, 1.0]] * 9)
  keys = jax.random.split(jax.random.key(0), 9)
  assert set(np.asarray(draw(logits, Sampling(0.0), keys))) == {1}
  assert len(set(np.asarray(draw(logits, Sampling(9.0), keys)))) > 1


def test_tokens_without_a_text_are_never_chosen():
  choice = GREEDY._replace(num_ids=4)
  now = _generate(TINY, _prompts(TINY), choice)
  assert int(now.tokens_BxT.max()) < 4


@functools.cache
def _search(config, num_beams, room):
  model = make(config)
  start = functools.partial(
    beam.start, model=model, num_beams=num_beams, room=room
  )
  return jax.jit(start), jax.jit(functools.partial(beam.go_on, model=model))


def _best(config, num_beams, penalty, room=4, num_ids=VOCAB):
  ranking = Ranking(penalty, STOP, num_ids, room)
  start, go_on = _search(config, num_beams, room)
  found = start(_params(config), _prompts(config), ranking)
  return go_on(_params(config), found, ranking)


def _all_texts(config, text, source, num_ids, room):
  """(score of every text without a penalty, its tokens)."""
  found, open_ones = [], [(0.0, ())]
  for _ in range(room):
    longer = []
    for total, tokens in open_ones:
      odds = _next(config)([*text, *tokens], source)[:num_ids]
      odds -= np.log(np.exp(odds).sum())
      longer += [(total + odds[i], (*tokens, i)) for i in range(num_ids)]
    found += [pair for pair in longer if pair[1][-1] == STOP]
    open_ones = [pair for pair in longer if pair[1][-1] != STOP]
  return found + open_ones


@pytest.mark.parametrize('name', ['llama', 't5'])
@pytest.mark.parametrize('penalty', [0.0, 1.0])
def test_beams_that_hold_all_texts_find_the_best(name, penalty):
  """With 4 tokens, 27 beams hold every text of up to 4 tokens."""
  config = CONFIGS[name]
  found = _best(config, 27, penalty, room=4, num_ids=4)
  for row, pair in enumerate(zip(TEXTS, SOURCES, strict=True)):
    ranked = sorted(
      (
        (total / len(tokens) ** penalty, tokens)
        for total, tokens in _all_texts(config, *pair, 4, 4)
      ),
      reverse=True,
    )
    for place in range(3):
      score, tokens = ranked[place]
      assert _cut(found.done_tokens_BxWxT[row, place])[: len(tokens)] == list(
        tokens
      )
      assert found.scores_BxW[row, place] == pytest.approx(score, abs=1e-4)


def test_company_keeps_no_search_open():
  """Where longer texts rank higher, a row that went on would find others."""
  config, room = TINY, 12
  start, go_on = _search(config, 2, room)
  ranking = Ranking(1.0, 4, VOCAB, room)  # 4 is a token that ends many

  def found(prompts):
    beams = start(_params(config), prompts, ranking)
    beams = go_on(_params(config), beams, ranking)
    return beams.done_tokens_BxWxT, beams.written

  random = np.random.default_rng(5)
  texts = [random.integers(4, VOCAB, 3).tolist() for _ in range(16)]
  prompts = _prompts(config, texts, ((),) * 16)
  together, last = found(prompts)
  early = 0
  for row in range(16):
    alone, own = found(jax.tree.map(lambda x, n=row: x[n : n + 1], prompts))
    np.testing.assert_array_equal(together[row], alone[0])
    early += bool(own < last)
  assert early  # rows that were done before the others


def test_one_beam_takes_the_likeliest_tokens():
  found = _best(TINY, 1, 1.0, room=ROOM)
  for row, pair in enumerate(zip(TEXTS, SOURCES, strict=True)):
    expected = _greedy(TINY, *pair)
    assert _cut(found.done_tokens_BxWxT[row, 0]) == expected
