"""What stays the same throughout a run, and what is made from it."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from configs.errors import UserError
from data import corpus as corpora
from data import pipeline
from data.recipe import Recipe
from train import program as programs
from train.accounting import Clock
from train.checkpoint import Meta
from train.config import RunConfig
from train.heldout import heldout_loss, padded_token_bytes
from train.mesh.sharding import local_rows
from train.processes.peers import Peers
from train.program import Program
from train.recipes import recipe_of
from train.step import TrainState


@dataclasses.dataclass(frozen=True)
class Job:
  """One run, as this process sees it.

  Attributes:
    config: of the run.
    tree: the same, as JSON.
    folder: its workdir.
    corpus: that is trained on.
    recipe: of its rows.
    rows: all rows of training.
    program: the compiled steps.
    peers: the processes of the run.
    clock: where this process's time goes.
  """

  config: RunConfig
  tree: dict[str, Any]
  folder: pathlib.Path
  corpus: corpora.Corpus
  recipe: Recipe
  rows: pipeline.TrainRows
  program: Program
  peers: Peers
  clock: Clock

  @functools.cached_property
  def dropout_key(self) -> jax.Array | None:
    """Of the run's dropout, apart from that of its initial parameters."""
    if not self.config.model.dropout:
      return None
    key = jax.random.fold_in(jax.random.key(self.config.train.seed), 1)
    replicated = NamedSharding(self.program.mesh, PartitionSpec())
    return jax.device_put(key, replicated)

  def batches(self) -> pipeline.Batches:
    """The training batches, this process's rows, from the first step."""
    data = self.config.data
    own = local_rows(self.program.mesh, data.batch_size)
    return pipeline.train_batches(self.rows, data, own)

  def meta(self, step: int, data_state: Any, spikes: dict[str, Any]) -> Meta:
    """What a checkpoint of this step says of itself; none is older than it."""
    begun = step > 0
    return Meta(
      config=self.tree,
      tokenizer=self.corpus.tokenizer.to_json(),
      corpus={'digest': self.corpus.digest, **self.corpus.description},
      data_state=data_state,
      step=step,
      seconds=self.clock.training_seconds if begun else 0.0,
      clock=self.clock.state() if begun else {},
      spikes=spikes,
    )

  def validate(self, state: TrainState) -> dict[str, float]:
    """Loss on the validation split, of the parameters to evaluate."""
    data, mesh = self.config.data, self.program.mesh
    found = heldout_loss(
      self.program.eval_step,
      self.program.averaged(state),
      pipeline.eval_batches(
        self.corpus,
        'validation',
        data,
        self.recipe,
        data.batch_size,
        self.config.train.eval_sequences,
        local_rows(mesh, data.batch_size),
      ),
      padded_token_bytes(self.corpus.tokenizer, self.config.model.vocab_size),
      mesh,
      data.batch_size,
    )
    return {f'validation_{k}': v for k, v in found.items()}


def make_job(
  config: RunConfig,
  tree: dict[str, Any],
  folder: pathlib.Path,
  mesh: Mesh,
  peers: Peers,
  clock: Clock,
  compiled_step: str = '',
) -> Job:
  """Prepares the text and compiles the steps, in all processes of a run.

  Args:
    config: of the run.
    tree: the same, as JSON.
    folder: its workdir.
    mesh: over which it is laid out.
    peers: the processes of the run.
    clock: of this one.
    compiled_step: file of `train.compiled` to read the training step from.

  Raises:
    UserError: the text, the model or the compiled step cannot be had, or the
      processes find different text.
  """
  # The others find in the cache what process 0 has prepared, if they share it.
  with peers.first():
    corpus = corpora.prepare(config.data)
    recipe = recipe_of(config, corpus.tokenizer)
    rows = pipeline.train_rows(
      corpus,
      config.data,
      recipe,
      config.train.most_batches * config.data.batch_size,
    )
  digests = peers.gather(corpus.digest)
  with peers.first():
    for index, digest in enumerate(digests):
      if digest != digests[0]:
        raise UserError(
          f'data.source: process {index} of {peers.count} finds other text '
          f'than process 0 ({digest} and {digests[0]}); give all machines the '
          'same files and packages'
        )
  with clock.spend('compile'):
    program = programs.build(
      config.model,
      config.optimizer,
      config.train.step,
      recipe.shape,
      mesh,
      config.mesh.placement,
      compiled_step,
    )
    # Gloo waits half a minute for a process that computes for the first time.
    peers.meet()
  return Job(config, tree, folder, corpus, recipe, rows, program, peers, clock)
