"""The classifier's features, scores and step."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from configs import model as base
from configs.tree import to_dataclass
from data.tokenizer import ByteTokenizer
from finetune.classifier import TextClassifier, encode, features, scores
from finetune.config import FinetuneConfig
from finetune.fit import indices_of
from finetune.module import Classifier, abstract_params, with_head
from finetune.step import train_step
from model.config import ModelConfig
from model.transformer import Decoder
from train.mesh.config import MeshConfig
from train.optimizer_config import OptimizerConfig
from train.step import first_state

SHAPE = to_dataclass(
  ModelConfig,
  {
    **base.get_config(),
    'vocab_size': 257,
    'num_layers': 1,
    'width': 8,
    'num_heads': 2,
    'num_kv_heads': 2,
    'head_width': 4,
    'ffn_width': 12,
    'max_length': 16,
    'tied_head': True,
  },
)
TEXTS = ['a', 'some text', 'a longer text than fits']
LABELS = np.array([[2], [0], [1]])


@pytest.fixture(scope='module')
def classifier(filled, one_device):
  model = Classifier(SHAPE, 3)
  params = filled(abstract_params(model, one_device), seed=1)
  names = ('x', 'y', 'z')
  return TextClassifier(model, params, one_device, ByteTokenizer(), names, 12)


@pytest.fixture(scope='module')
def encoded(classifier):
  return encode(classifier.tokenizer, TEXTS, classifier.max_length)


def test_texts_are_cut_or_padded(encoded):
  assert encoded['tokens'].tolist() == [
    [256, *b'a', *[0] * 10],
    [256, *b'some text', 0, 0],
    [256, *b'a longer te'],
  ]
  assert encoded['segment_ids'].sum(axis=1).tolist() == [2, 10, 12]


def test_features_are_the_mean_hidden_state_of_the_text(classifier, encoded):
  found = features(classifier, encoded)
  for row, text in enumerate(TEXTS[:2]):
    tokens = jnp.array([[256, *text.encode()]])
    hidden = jax.jit(Decoder(SHAPE).apply, static_argnames='method')(
      {'params': classifier.params['decoder']},
      tokens,
      jnp.ones_like(tokens),
      jnp.arange(tokens.shape[1])[None],
      method='hidden',
    )
    np.testing.assert_allclose(found[row], hidden[0].mean(0), atol=1e-5)


def test_scores_are_linear_in_the_features(classifier, encoded):
  head = classifier.params['head']
  expected = features(classifier, encoded) @ head['kernel'] + head['bias']
  np.testing.assert_allclose(scores(classifier, encoded), expected, atol=1e-5)


def _stepped(model, params, batch, rate):
  """A step of plain gradient descent: the state after it, and its metrics."""
  state = first_state(params, optax.sgd).replace(step=jnp.int32(4))
  step = functools.partial(train_step, model=model, optimizer=optax.sgd)
  return step(state, batch, jnp.float32(rate))


@pytest.fixture(scope='module')
def stepped(classifier, encoded):
  """That, compiled: a function of the parameters and the learning rate."""
  batch = {**encoded, 'labels': LABELS}
  step = jax.jit(functools.partial(_stepped, classifier.model, batch=batch))
  return lambda params, rate: step(params, rate=rate)


def test_the_loss_is_cross_entropy(classifier, encoded, stepped):
  log_p = special.log_softmax(scores(classifier, encoded), axis=-1)
  _, metrics = stepped(classifier.params, 0.0)
  assert float(metrics['loss']) == pytest.approx(
    -log_p[np.arange(3), LABELS[:, 0]].mean(), rel=1e-5
  )


def test_a_new_head_knows_nothing(classifier, encoded, stepped):
  decoder = classifier.params['decoder']
  params = with_head(classifier.model, classifier.mesh, decoder)
  fresh = dataclasses.replace(classifier, params=params)
  assert (scores(fresh, encoded) == 0).all()
  _, metrics = stepped(params, 0.0)
  assert float(metrics['loss']) == pytest.approx(math.log(3))


def test_a_step_goes_down_the_gradient(classifier, stepped):
  after, before = stepped(classifier.params, 1e-5)
  _, later = stepped(after.params, 0.0)
  # to first order, a step of r along the gradient g lowers the loss by r g^2
  assert float(before['loss'] - later['loss']) == pytest.approx(
    1e-5 * float(before['grad_norm']) ** 2, rel=0.05
  )
  assert after.step == 5


def test_each_epoch_shows_every_example_once():
  config = FinetuneConfig(
    task='library',
    mode='full',
    seed=5,
    max_length=8,
    train_examples=0,
    eval_examples=0,
    batch_size=4,
    num_steps=9,
    warmup_steps=0,
    log_every_steps=1,
    eval_every_steps=0,
    probe_l2=1.0,
    optimizer=OptimizerConfig(1e-3, 0.9, 0.99, 1e-8, 0.0, 1.0),
    mesh=MeshConfig(1, 1, 1),
  )
  shown = np.concatenate([indices_of(step, 6, config) for step in range(9)])
  epochs = shown.reshape(6, 6)
  assert (np.sort(epochs) == np.arange(6)).all()
  assert len({tuple(epoch) for epoch in epochs}) > 1
  assert (indices_of(3, 6, config) == shown[12:16]).all()
  other = dataclasses.replace(config, seed=6)
  assert [*indices_of(0, 600, other)] != [*indices_of(0, 600, config)]
