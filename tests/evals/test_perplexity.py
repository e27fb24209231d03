"""Held-out loss against the training loop's, and its standard error."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs.errors import UserError
from data import pipeline
from data.batch import BatchShape
from evals import perplexity
from evals.tasks import corpus_of
from model.transformer import make
from train import program
from train.heldout import heldout_loss, padded_token_bytes
from train.pretrained import abstract_params
from train.recipes import recipe_of


@pytest.fixture(scope='module')
def batches(pretrained):
  """(rows at most) to batches of the test split, 8 rows of 96 tokens each."""
  corpus = corpus_of(pretrained)
  recipe = recipe_of(pretrained.config, corpus.tokenizer)
  return functools.partial(
    pipeline.eval_batches, corpus, 'test', pretrained.config.data, recipe, 8
  )


def _documents(pretrained, batches, whole):
  """Nats, tokens and bytes of each document, token by token."""
  found = []
  apply = jax.jit(pretrained.model.apply)
  for batch in batches:
    logits = apply(
      {'params': pretrained.params},
      *(batch[key] for key in ('tokens', 'segment_ids', 'positions')),
    )
    log_p = special.log_softmax(np.asarray(logits, np.float64), axis=-1)
    for b, i in np.argwhere(batch['weights'] > 0):
      target = batch['targets'][b, i]
      starts = batch['tokens'][b, i] == pretrained.tokenizer.separator_id
      if starts or (i == 0 and not whole):
        found.append([0.0, 0, 0])
      found[-1][0] -= log_p[b, i, target]
      found[-1][1] += 1
      found[-1][2] += pretrained.tokenizer.token_bytes[target]
  return np.array(found)


def _jackknife(x, y):
  """The standard error of sum x / sum y from leaving out one at a time."""
  n = len(x)
  left = (x.sum() - x) / (y.sum() - y)
  return math.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())


@pytest.mark.parametrize('whole', [True, False])
def test_values_and_errors_by_document(pretrained, batches, whole):
  limit = 0 if whole else 5
  nats, tokens, num_bytes = _documents(pretrained, batches(limit), whole).T
  found = perplexity.evaluate(pretrained, batches(limit), 8, whole)
  assert found['loss'].value == pytest.approx(nats.sum() / tokens.sum(), 1e-5)
  assert found['loss'].n == len(nats)
  if whole:
    stores = corpus_of(pretrained).stores['test']
    assert len(nats) == sum(sum(store.num_documents_K) for store in stores)
  assert found['loss'].stderr == pytest.approx(_jackknife(nats, tokens), 0.15)
  bits = nats / math.log(2)
  assert found['bits_per_byte'].value == pytest.approx(
    bits.sum() / num_bytes.sum(), 1e-5
  )
  assert found['bits_per_byte'].stderr == pytest.approx(
    _jackknife(bits, num_bytes), 0.15
  )


def test_values_are_those_of_training(pretrained, batches):
  compiled = program.build(
    pretrained.config.model,
    pretrained.config.optimizer,
    pretrained.config.train.step,
    BatchShape(8, 96),  # as the run that made it: compiled already
    pretrained.mesh,
  )
  there = heldout_loss(
    compiled.eval_step,
    pretrained.params,
    batches(),
    padded_token_bytes(pretrained.tokenizer, 320),
    pretrained.mesh,
    8,
  )
  for whole in (True, False):
    found = perplexity.evaluate(pretrained, batches(), 8, whole)
    for metric, score in found.items():
      assert score.value == pytest.approx(there[metric], 1e-5)


def test_a_model_that_knows_nothing(pretrained, batches):
  blank = dataclasses.replace(
    pretrained, params=jax.tree.map(jnp.zeros_like, pretrained.params)
  )
  found = perplexity.evaluate(blank, batches(), 8, whole=True)
  assert found['loss'].value == pytest.approx(math.log(320))
  assert found['loss'].stderr == pytest.approx(0, abs=1e-6)
  assert found['perplexity'].value == pytest.approx(320, rel=1e-5)


SHAPES = {
  'prefix': ({}, BatchShape(2, 6, has_prefix=True)),
  'masked': (
    {'architecture': 'encoder', 'tied_head': True, 'mlm_head': True},
    BatchShape(2, 6),
  ),
  'spans': (
    {'architecture': 'encoder_decoder'},
    BatchShape(2, 6, source_length=4),
  ),
}
# Five documents in two rows; two of them have no target, so that the targets of
# two documents of one number follow on each other.
SEGMENTS = np.array([[1, 1, 1, 1, 2, 0], [1, 1, 2, 3, 3, 0]])
WEIGHTS = np.array([[1, 0, 1, 1, 0, 0], [1, 2, 0, 0, 1, 0]])


def _other(pretrained, changes):
  """A random model of another shape."""
  config = dataclasses.replace(pretrained.config.model, **changes)
  model = make(config)
  random = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: jnp.asarray(random.normal(0, 0.3, x.shape), x.dtype),
    abstract_params(model, pretrained.mesh),
  )
  run = dataclasses.replace(pretrained.config, model=config)
  return dataclasses.replace(pretrained, config=run, model=model, params=params)


def _batch(shape):
  random = np.random.default_rng(1)
  batch = shape.empty(2)
  for name, array in batch.items():
    if name == 'weights':
      array[:] = WEIGHTS
    elif name.endswith('segment_ids'):
      array[:] = SEGMENTS[:, : array.shape[1]]
    elif name.endswith('positions'):
      array[:] = np.arange(array.shape[1])
    elif name == 'prefix':
      array[:, 0] = 1
    else:
      array[:] = random.integers(1, 300, array.shape)
  return batch


@pytest.mark.parametrize('name', SHAPES)
def test_documents_of_other_objectives_are_the_segments_of_rows(
  pretrained, name
):
  changes, shape = SHAPES[name]
  other, batch = _other(pretrained, changes), _batch(shape)
  keys = ['tokens', 'segment_ids', 'positions']
  if name == 'spans':
    keys = [f'source_{key}' for key in keys] + keys
  if name == 'prefix':
    keys.append('prefix')
  logits = jax.jit(other.model.apply)(
    {'params': other.params}, *(batch[key] for key in keys)
  )
  log_p = special.log_softmax(np.asarray(logits, np.float64), axis=-1)
  documents = {}
  for b, i in np.argwhere(WEIGHTS):
    sums = documents.setdefault((b, SEGMENTS[b, i]), np.zeros(3))
    target, weight = batch['targets'][b, i], WEIGHTS[b, i]
    size = pretrained.tokenizer.token_bytes[target]
    sums += weight * np.array([-log_p[b, i, target], 1, size])
  nats, weight, size = np.array(list(documents.values())).T
  found = perplexity.evaluate(other, [batch], 2)
  assert found['loss'].value == pytest.approx(nats.sum() / weight.sum(), 1e-5)
  assert found['loss'].n == found['bits_per_byte'].n == 3
  spread = np.sum((nats - nats.sum() / weight.sum() * weight) ** 2)
  assert found['loss'].stderr == pytest.approx(
    math.sqrt(3 / 2 * spread) / weight.sum(), 1e-4
  )
  assert found['bits_per_byte'].value == pytest.approx(
    nats.sum() / math.log(2) / size.sum(), 1e-5
  )
  # A batch without a target, and rows of another batch, are apart.
  idle = batch | {'weights': np.zeros_like(batch['weights'])}
  twice = perplexity.evaluate(other, [idle, batch, batch], 2)
  assert twice['loss'].value == pytest.approx(found['loss'].value)
  assert twice['loss'].n == 6


def test_targets_that_stand_for_no_text_have_no_bits_per_byte(pretrained):
  batch = _batch(BatchShape(2, 6))
  separator = pretrained.tokenizer.separator_id
  batch['targets'][:] = separator
  found = perplexity.evaluate(pretrained, [batch], 2)
  assert set(found) == {'loss', 'perplexity'}
  assert found['loss'].n == 3


def test_a_model_that_scores_no_tokens(pretrained):
  bare = SHAPES['masked'][0] | {'mlm_head': False}
  other = _other(pretrained, bare)
  with pytest.raises(UserError, match=r'model\.mlm_head = False'):
    perplexity.evaluate(other, [_batch(BatchShape(2, 6))], 2)


def _sums(nats, weight, num_bytes):
  return lambda *_: {'nats': nats, 'weight': weight, 'bytes': num_bytes}


def _heldout(pretrained, *sums):
  return heldout_loss(
    _sums(*sums), {}, [_batch(BatchShape(2, 6))], np.ones(9), pretrained.mesh, 2
  )


def test_heldout_loss_of_sums(pretrained):
  found = _heldout(pretrained, 6.0, 4.0, 3.0)
  assert found['loss'] == 1.5
  assert found['bits_per_byte'] == pytest.approx(2 / math.log(2))
  assert found['perplexity'] == pytest.approx(math.exp(1.5))
  without = _heldout(pretrained, 6.0, 4.0, 0.0)
  assert set(found) - set(without) == {'bits_per_byte'}
  with pytest.raises(UserError, match='no token to predict'):
    _heldout(pretrained, 0.0, 0.0, 0.0)
