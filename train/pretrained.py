"""A trained model as its users want it: parameters, tokenizer, config."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from configs.errors import UserError
from configs.tree import to_dataclass
from data.tokenizer import Tokenizer, tokenizer_from_json
from model.transformer import Transformer, abstract_inputs, make
from train import checkpoint
from train.checkpoint import Meta
from train.config import RunConfig
from train.mesh.config import MeshConfig
from train.mesh.placement import DEFAULT, Placement
from train.mesh.sharding import make_mesh, tree_shardings, unbox


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A checkpoint, loaded.

  Attributes:
    folder: where it lies.
    meta: what it says of itself.
    config: of the run that made it.
    model: the module that `params` belong to.
    params: laid out over `mesh`.
    mesh: of `train.mesh.rules.MESH_AXES`.
    tokenizer: the one it was trained with.
    placement: of `params` over the mesh.
  """

  folder: pathlib.Path
  meta: Meta
  config: RunConfig
  model: Transformer
  params: Any
  mesh: Mesh
  tokenizer: Tokenizer
  placement: Placement = DEFAULT


def load_pretrained(
  path: pathlib.Path | str,
  step: int | None = None,
  mesh_config: MeshConfig | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> Pretrained:
  """Loads a checkpoint's parameters onto devices.

  Args:
    path: a run's workdir, or a checkpoint folder.
    step: of a workdir, which checkpoint; None means the newest.
    mesh_config: layout over the devices; by default the parameters are
      replicated and batches are divided.
    devices: to use; all by default.

  Raises:
    UserError: there is no such checkpoint.
  """
  folder = checkpoint.find(path, step)
  meta = checkpoint.load_meta(folder)
  config = to_dataclass(RunConfig, meta.config)
  mesh_config = mesh_config or MeshConfig(data=-1, fsdp=1, tensor=1)
  mesh, placement = make_mesh(mesh_config, devices), mesh_config.placement
  model = make(config.model)
  abstract = abstract_params(model, mesh, placement)
  params = checkpoint.load_params(folder, abstract)
  tokenizer = tokenizer_from_json(meta.tokenizer)
  return Pretrained(
    folder, meta, config, model, params, mesh, tokenizer, placement
  )


def check_decoder(pretrained: Pretrained) -> None:
  """Raises UserError where a model does not predict each next token."""
  architecture = pretrained.config.model.architecture
  if architecture != 'decoder':
    raise UserError(
      f'{pretrained.folder} is of architecture {architecture!r}: this needs a '
      'decoder'
    )


def abstract_params(
  model: Transformer, mesh: Mesh, placement: Placement = DEFAULT
) -> Any:
  """Shapes and shardings of a model's parameters."""
  inputs = abstract_inputs(model.config)
  boxed = jax.eval_shape(model.init, jax.random.key(0), *inputs)
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    unbox(boxed['params']),
    tree_shardings(boxed['params'], mesh, placement),
  )
