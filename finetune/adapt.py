"""From a pre-trained model to a classifier, in one of three ways."""

import dataclasses
from typing import Any

import numpy as np

from evals.scores import Score, accuracy
from finetune import classifier as classifiers
from finetune import probe
from finetune.classifier import TextClassifier
from finetune.config import FinetuneConfig
from finetune.fit import fit
from finetune.module import Classifier, random_params, with_head
from finetune.tasks import Topics
from train.interrupt import StopRequest
from train.metrics import MetricWriter
from train.pretrained import Pretrained


def adapt(
  config: FinetuneConfig,
  pretrained: Pretrained,
  topics: Topics,
  writer: MetricWriter,
  stop: StopRequest,
  show_progress: bool,
) -> tuple[TextClassifier, int]:
  """The classifier, and the number of steps it took.

  `full` starts from the checkpoint and `scratch` from random parameters; both
  train all of them. `probe` fits a head to the checkpoint's features, which are
  computed once; it takes no steps, and nothing stops it.

  Args:
    config: the mode, and how long.
    pretrained: the model, or just its shape for `scratch`.
    topics: examples.
    writer: takes losses, and accuracies on the validation split.
    stop: ends training before the next step.
    show_progress: a progress bar on stderr.

  Raises:
    UserError: the loss is not finite, or a batch does not divide over the mesh.
  """
  mesh, classes = pretrained.mesh, topics.classes
  model = Classifier(pretrained.config.model, len(classes))
  params = (
    random_params(model, mesh, config.seed, pretrained.placement)
    if config.mode == 'scratch'
    else with_head(model, mesh, pretrained.params)
  )
  start = TextClassifier(
    model,
    params,
    mesh,
    pretrained.tokenizer,
    classes,
    config.max_length,
    pretrained.placement,
  )
  encoded, labels_N = _encoded(start, topics, 'train'), topics.labels('train')
  if config.mode == 'probe':
    features_NxD = classifiers.features(start, encoded)
    head = probe.fit(features_NxD, labels_N, len(classes), config.probe_l2)
    params = with_head(model, mesh, pretrained.params, head)
    return dataclasses.replace(start, params=params), 0

  def validate(params: Any) -> dict[str, float]:
    at_step = dataclasses.replace(start, params=params)
    return {'validation_acc': score_of(at_step, topics, 'validation').value}

  examples = {**encoded, 'labels': labels_N[:, None]}
  params, step = fit(
    start, examples, config, writer, validate, stop, show_progress
  )
  return dataclasses.replace(start, params=params), step


def score_of(classifier: TextClassifier, topics: Topics, split: str) -> Score:
  """Accuracy on a split."""
  scores_NxC = classifiers.scores(
    classifier, _encoded(classifier, topics, split)
  )
  return accuracy(np.argmax(scores_NxC, axis=-1) == topics.labels(split))


def _encoded(
  classifier: TextClassifier, topics: Topics, split: str
) -> dict[str, np.ndarray]:
  return classifiers.encode(
    classifier.tokenizer, topics.texts(split), classifier.max_length
  )
