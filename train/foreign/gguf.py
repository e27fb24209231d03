"""Llama-family weights in a GGUF file: the only place that knows `gguf`.

Quantized tensors are dequantized to float32 as they are read. Names, config and
tokenizer come out as Hugging Face has them.
"""

import pathlib
import re
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from configs.errors import UserError
from data.tokenizer import LibraryTokenizer

_ONCE = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
}
_OF_LAYER = {
  'attn_norm': 'input_layernorm',
  'attn_q': 'self_attn.q_proj',
  'attn_k': 'self_attn.k_proj',
  'attn_v': 'self_attn.v_proj',
  'attn_output': 'self_attn.o_proj',
  'ffn_norm': 'post_attention_layernorm',
  'ffn_gate': 'mlp.gate_proj',
  'ffn_up': 'mlp.up_proj',
  'ffn_down': 'mlp.down_proj',
}
_CONTROL = 3  # token type of what no text has
_DIGITS_APART = ('smollm',)
_PRE_TOKENIZERS = ('gpt-2', *_DIGITS_APART)


class GgufWeights:
  """See `train.foreign.weights.Weights`."""

  def __init__(self, path: pathlib.Path):
    """Opens a file.

    Raises:
      UserError: it is missing, of another family, or `gguf` is not installed.
    """
    try:
      import gguf
    except ImportError as error:
      raise UserError(
        'gguf is not installed: run `pip install -e .[hf]`'
      ) from error
    if not path.is_file():
      raise UserError(f'{path} is no file')
    try:
      reader = gguf.GGUFReader(path)
    except ValueError as error:
      raise UserError(f'{path} is no GGUF file: {error}') from error
    self._dequantize = gguf.quants.dequantize
    self._fields = reader.fields
    family = self._field('general.architecture')
    if family != 'llama':
      raise UserError(f'{path} is of architecture {family!r}: only llama')
    self._tensors = {_their_name(t.name): t for t in reader.tensors}
    self.names = set(self._tensors)
    self.config = self._config()

  def own_name(self, name: str) -> str:
    return name

  def shape(self, name: str) -> tuple[int, ...]:
    return tuple(int(size) for size in reversed(self._tensors[name].shape))

  def read(self, name: str) -> np.ndarray:
    tensor = self._tensors[name]
    array = self._dequantize(tensor.data, tensor.tensor_type)
    array = np.asarray(array, np.float32).reshape(self.shape(name))
    heads = {
      'q_proj': self.config['num_attention_heads'],
      'k_proj': self.config['num_key_value_heads'],
    }
    for part, count in heads.items():
      if f'.{part}.' in name:
        # GGUF has the two of a rotated pair side by side, we have the halves.
        paired = array.reshape(count, -1, 2, array.shape[-1])
        return paired.swapaxes(1, 2).reshape(array.shape)
    return array

  def tokenizer(self) -> LibraryTokenizer:
    kind = (
      self._field('tokenizer.ggml.model'),
      self._field('tokenizer.ggml.pre'),
    )
    if kind[0] != 'gpt2' or kind[1] not in _PRE_TOKENIZERS:
      raise UserError(
        f'tokenizer of kind {kind}: only gpt2 with one of '
        + ', '.join(_PRE_TOKENIZERS)
      )
    tokens = self._field('tokenizer.ggml.tokens')
    merges = self._field('tokenizer.ggml.merges')
    library = tokenizers.Tokenizer(
      models.BPE(
        {token: index for index, token in enumerate(tokens)},
        [tuple(merge.split(' ')) for merge in merges],
      )
    )
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if kind[1] in _DIGITS_APART:
      steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    library.pre_tokenizer = pre_tokenizers.Sequence(steps)
    library.decoder = decoders.ByteLevel()
    types = self._field('tokenizer.ggml.token_type')
    library.add_special_tokens(
      [t for t, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    )
    if 'tokenizer.ggml.add_bos_token' in self._fields and self._field(
      'tokenizer.ggml.add_bos_token'
    ):
      number = self._field('tokenizer.ggml.bos_token_id')
      library.post_processor = processors.TemplateProcessing(
        single=[tokens[number], '$A'],
        special_tokens=[(tokens[number], number)],
      )
    separator = tokens[self._field('tokenizer.ggml.eos_token_id')]
    return LibraryTokenizer(library.to_str(), separator)

  def _config(self) -> dict[str, Any]:
    keys = {
      'num_hidden_layers': 'block_count',
      'hidden_size': 'embedding_length',
      'intermediate_size': 'feed_forward_length',
      'num_attention_heads': 'attention.head_count',
      'num_key_value_heads': 'attention.head_count_kv',
      'rms_norm_eps': 'attention.layer_norm_rms_epsilon',
      'rope_theta': 'rope.freq_base',
      'max_position_embeddings': 'context_length',
    }
    config = {k: self._field(f'llama.{name}') for k, name in keys.items()}
    # As written by people, not as a float32 has it.
    config['rms_norm_eps'] = float(f'{config["rms_norm_eps"]:.6g}')
    for unknown in ('rope.scaling.type', 'rope.scaling.factor'):
      if f'llama.{unknown}' in self._fields:
        raise UserError(f'llama.{unknown} of a GGUF file: not supported')
    return config | {
      'model_type': 'llama',
      'hidden_act': 'silu',
      'vocab_size': len(self._field('tokenizer.ggml.tokens')),
      'tie_word_embeddings': 'lm_head.weight' not in self.names,
    }

  def _field(self, name: str) -> Any:
    if name not in self._fields:
      raise UserError(f'the GGUF file has no {name}')
    return self._fields[name].contents()


def _their_name(name: str) -> str:
  """Hugging Face's name of a tensor; its own where there is none."""
  found = re.fullmatch(r'blk\.(\d+)\.(\w+)\.weight', name)
  if found and found[2] in _OF_LAYER:
    return f'model.layers.{found[1]}.{_OF_LAYER[found[2]]}.weight'
  return _ONCE.get(name, name)
