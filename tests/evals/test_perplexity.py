"""Held-out loss against the training loop's, and its standard error."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from data import pipeline
from evals import perplexity
from evals.tasks import corpus_of
from train import program
from train.heldout import heldout_loss, padded_token_bytes


@pytest.fixture(scope='module')
def store(pretrained):
  return corpus_of(pretrained).stores['test']


def _batches(store, limit=0):
  return pipeline.eval_batches(store, 96, 8, num_sequences=limit)


def _documents(pretrained, store, whole):
  """Nats, tokens and bytes of each document, token by token."""
  found = []
  apply = jax.jit(pretrained.model.apply)
  for batch in _batches(store, 0 if whole else 5):
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
def test_values_and_errors_by_document(pretrained, store, whole):
  nats, tokens, num_bytes = _documents(pretrained, store, whole).T
  batches = _batches(store, 0 if whole else 5)
  found = perplexity.evaluate(pretrained, batches, 8, whole)
  assert found['loss'].value == pytest.approx(nats.sum() / tokens.sum(), 1e-5)
  assert found['loss'].n == len(nats)
  if whole:
    assert len(nats) == store.num_documents
  assert found['loss'].stderr == pytest.approx(_jackknife(nats, tokens), 0.15)
  bits = nats / math.log(2)
  assert found['bits_per_byte'].value == pytest.approx(
    bits.sum() / num_bytes.sum(), 1e-5
  )
  assert found['bits_per_byte'].stderr == pytest.approx(
    _jackknife(bits, num_bytes), 0.15
  )


def test_values_are_those_of_training(pretrained, store):
  compiled = program.build(
    pretrained.config.model,
    pretrained.config.optimizer,
    1,
    (8, 96),  # as the run that made it: compiled already
    pretrained.mesh,
  )
  there = heldout_loss(
    compiled.eval_step,
    pretrained.params,
    _batches(store),
    padded_token_bytes(pretrained.tokenizer, 320),
    pretrained.mesh,
    8,
  )
  found = perplexity.evaluate(pretrained, _batches(store), 8)
  for metric, score in found.items():
    assert score.value == pytest.approx(there[metric], 1e-5)


def test_a_model_that_knows_nothing(pretrained, store):
  blank = dataclasses.replace(
    pretrained, params=jax.tree.map(jnp.zeros_like, pretrained.params)
  )
  found = perplexity.evaluate(blank, _batches(store), 8)
  assert found['loss'].value == pytest.approx(math.log(320))
  assert found['loss'].stderr == pytest.approx(0, abs=1e-6)
  assert found['perplexity'].value == pytest.approx(320, rel=1e-5)
