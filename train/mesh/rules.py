"""Which mesh axes each logical axis of an array lies along: tables by strategy.

Plain data. A table maps a logical axis (the name that `model/` gives to a
dimension) to the mesh axis or axes that it is divided along; `None` is not
divided. A strategy has a table for each kind of array, for it may well keep a
parameter whole and divide the moments that an optimizer has of it.

The mesh axes, what they are for, and who had them first:

- `data`: devices have different rows of a batch, and all of the parameters.
- `fsdp`: different rows, and a part of the parameters, which are gathered
  where they are used (Rajbhandari et al. 2020, ZeRO, arXiv:1910.02054; Zhao et
  al. 2023, PyTorch FSDP, arXiv:2304.11277).
- `sequence`: different places of the same rows, for contexts too long for one
  device. Queries stay where they are; keys and values are gathered (context
  parallelism as in Llama 3, Grattafiori et al. 2024, arXiv:2407.21783, section
  3.3.2).
- `tensor`: the same tokens, and a part of the heads, of the feed-forward width
  and of the vocabulary (Shoeybi et al. 2019, Megatron-LM, arXiv:1909.08053).
- `expert`: different rows, and other experts of a mixture, to which tokens
  travel (Lepikhin et al. 2020, GShard, arXiv:2006.16668).
"""

from collections.abc import Mapping
from typing import NamedTuple

# From the one that communicates least to the one that does most: the last lie
# on the fastest links.
MESH_AXES = ('data', 'fsdp', 'sequence', 'tensor', 'expert')

Axes = str | tuple[str, ...] | None
Table = Mapping[str, Axes]


class Rules(NamedTuple):
  """The tables of a strategy.

  Attributes:
    parameters: of the model.
    optimizer: of what an optimizer keeps of each parameter in its shape.
    activations: of all that is computed.
  """

  parameters: Table
  optimizer: Table
  activations: Table


# Of what comes from outside, [B, L]: the same whatever the strategy.
BATCH: Table = {
  'batch': ('data', 'fsdp', 'expert'),
  'length': 'sequence',
}

_PARAMETERS: Table = {
  'embed': 'fsdp',  # width of the residual stream
  'heads': 'tensor',
  'kv_heads': 'tensor',
  'head_width': None,
  'ffn': 'tensor',  # hidden width of a feed-forward layer
  'experts': 'expert',
  'vocab': 'tensor',
  'norm': None,
  'length': None,  # rows of a table of positions
  'layers': None,  # a stack of all layers
}

_ACTIVATIONS: Table = {
  **BATCH,
  'rows': ('data', 'fsdp'),  # of a batch whose experts are divided
  'keys': None,  # places that attention reads, gathered from all of `length`
  'stream_length': 'sequence',  # places of the stream between layers
  'stream': None,  # its width; `batch` has taken fsdp there
  'table_width': 'fsdp',  # of an embedding, before it is gathered
  'heads': 'tensor',
  'kv_heads': 'tensor',
  'ffn': 'tensor',
  'experts': 'expert',
  'slots': 'sequence',  # places of an expert that takes only so many
  'vocab': 'tensor',
  'layers': None,  # keys and values of a stack of layers
}

STRATEGIES: Mapping[str, Rules] = {
  # ZeRO stage 3 along `fsdp`, Megatron-LM along `tensor`: parameters, gradients
  # and moments are all divided. With mesh.fsdp = 1 it is plain data and tensor
  # parallelism.
  'fsdp': Rules(_PARAMETERS, _PARAMETERS, _ACTIVATIONS),
  # ZeRO stage 1 (Rajbhandari et al. 2020, section 5.1): parameters are whole
  # along `fsdp` and only the optimizer's state is divided there. Nothing is
  # gathered in forward and backward passes, and the new parameters once a step:
  # for models of which each device can hold all parameters.
  'zero1': Rules(
    {**_PARAMETERS, 'embed': None},
    _PARAMETERS,
    {**_ACTIVATIONS, 'table_width': None},
  ),
  # Sequence parallelism of Megatron-LM (Korthikanti et al. 2022,
  # arXiv:2205.05198, section 4.2.2): between layers, where nothing depends on
  # other places, the stream is divided by `tensor` too, along its length. A sum
  # over `tensor` becomes its two halves, reduce-scatter and all-gather, and
  # what is kept for the backward pass is divided by mesh.tensor.
  'megatron_sp': Rules(
    _PARAMETERS,
    _PARAMETERS,
    {**_ACTIVATIONS, 'stream_length': ('sequence', 'tensor')},
  ),
}
