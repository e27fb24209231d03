"""Packed, batched likelihoods against one plain pass for each text."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs.errors import UserError
from data.tokenizer import ByteTokenizer
from evals.likelihood import Request, encode_pairs, log_likelihoods, score
from train.pretrained import load_pretrained

PAIRS = [
  ('In the kitchen', ', number 7: bread, the knife'),
  ('In the harbour, number 9: ', 'rope'),
  ('', 'sail, the tide, the mast.'),
  ('anchor, the boat, the gull, the mast, the rope, the ', 'sail, the tide'),
  ('daisy', '.'),
  ('ä € \n\n', '  ß'),
]


def _plain(pretrained, context, continuation):
  """-> log p of the continuation's tokens, in one unpadded pass."""
  tokenizer = pretrained.tokenizer
  whole = tokenizer.encode(context + continuation)
  split = len(tokenizer.encode(context.rstrip()))
  tokens = jnp.array([[tokenizer.separator_id, *whole]])
  logits = jax.jit(pretrained.model.apply)(
    {'params': pretrained.params},
    tokens[:, :-1],
    jnp.ones_like(tokens[:, :-1]),
    jnp.arange(len(whole))[None],
  )
  log_p = special.log_softmax(np.asarray(logits[0], np.float64), axis=-1)
  return sum(log_p[i, whole[i]] for i in range(split, len(whole)))


def test_likelihoods_are_those_of_a_plain_pass(pretrained):
  found = log_likelihoods(pretrained, PAIRS, show_progress=False)
  plain = [_plain(pretrained, *pair) for pair in PAIRS[1:4]]
  assert found.dtype == np.float64
  np.testing.assert_allclose(found[1:4], plain, rtol=1e-5)


def test_neighbours_in_a_batch_change_nothing(pretrained):
  together = log_likelihoods(pretrained, PAIRS * 20, show_progress=False)
  np.testing.assert_allclose(
    together.reshape(20, -1),
    np.tile(together[: len(PAIRS)], (20, 1)),
    rtol=1e-5,
  )
  alone = log_likelihoods(pretrained, PAIRS[:1], show_progress=False)
  np.testing.assert_allclose(alone, together[:1], rtol=1e-5)


def test_eight_devices_find_the_same(eval_run, pretrained):
  spread = load_pretrained(eval_run)
  assert spread.mesh.size == 8
  np.testing.assert_allclose(
    log_likelihoods(spread, PAIRS, show_progress=False),
    log_likelihoods(pretrained, PAIRS, show_progress=False),
    rtol=1e-5,
  )


@pytest.mark.parametrize('tied', [True, False])
def test_probabilities_of_all_next_tokens_add_up_to_one(pretrained, tied):
  config = dataclasses.replace(pretrained.config.model, tied_head=tied)
  model = type(pretrained.model)(config)
  params = dict(pretrained.params)
  if tied:
    del params['head']
  run = dataclasses.replace(pretrained.config, model=config)
  changed = dataclasses.replace(
    pretrained, model=model, params=params, config=run
  )
  prompt = [pretrained.tokenizer.separator_id, 5, 6, 7]
  requests = [
    Request(np.array([*prompt, token], np.int32), 1)
    for token in range(config.vocab_size)
  ]
  log_p = score(changed, requests, show_progress=False)
  assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-4)


def _encode(context, continuation, max_length=50):
  return encode_pairs(ByteTokenizer(), [(context, continuation)], max_length)[0]


def test_a_text_begins_with_the_separator():
  request = _encode('ab', 'cd')
  assert request.tokens.tolist() == [256, *b'abcd']
  assert request.num_scored == 2


def test_blanks_before_a_continuation_belong_to_it():
  assert _encode('ab ', 'cd').num_scored == 3
  assert _encode('ab', ' cd').num_scored == 3


def test_tokens_are_those_of_the_whole_text(pretrained):
  tokenizer = pretrained.tokenizer
  context, continuation = 'the har', 'bour'
  request = encode_pairs(tokenizer, [(context, continuation)], 50)[0]
  assert request.tokens.tolist() == [
    tokenizer.separator_id,
    *tokenizer.encode(context + continuation),
  ]
  # ' harbour' is one token here, so there is no boundary within it
  alone = len(tokenizer.encode(context))
  whole = len(request.tokens) - 1
  assert request.num_scored == max(1, whole - alone)


def test_the_oldest_context_goes_first():
  request = _encode('abcdefgh', 'ij', max_length=5)
  # five tokens go in, the separator among them, and five come out
  assert request.tokens.tolist() == [256, *b'fghij']
  assert request.num_scored == 2


def test_a_continuation_must_fit():
  assert _encode('ab', 'c' * 5, max_length=5).num_scored == 5
  with pytest.raises(UserError, match=r'6 tokens.*sequence_length = 5'):
    _encode('ab', 'c' * 6, max_length=5)
  with pytest.raises(UserError, match='nothing to score'):
    _encode('ab', '')


def test_scoring_leaves_parameters_alone(pretrained):
  before = jax.tree.map(np.array, pretrained.params)
  log_likelihoods(pretrained, PAIRS, show_progress=False)
  jax.tree.map(np.testing.assert_array_equal, before, pretrained.params)
