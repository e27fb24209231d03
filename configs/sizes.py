"""Models by name, as overrides of a pre-training config: plain data.

Published families at their published sizes, `nest`, our own for studies, and
`pocket`, for trying other objectives than the next token.
Learning rates are the published peaks; where a paper gives none, that of the
GPT-3 of nearest size.
"""

from collections.abc import Mapping
from typing import Any

from configs.nest import nest

Overrides = Mapping[str, Any]

# GPT-2 (Radford et al. 2019): pre-norm GPT with learned positions.
_GPT2: Overrides = {
  'model.vocab_size': 50_257,
  'model.activation': 'gelu',
  'model.norm': 'layer',
  'model.norm_epsilon': 1e-5,
  'model.biases': True,
  'model.positions': 'learned',
  'model.max_length': 1024,
  'model.tied_head': True,
  'data.sequence_length': 1024,
}
# GPT-1 (Radford et al. 2018).
_GPT1: Overrides = {
  **_GPT2,
  'model.vocab_size': 40_478,
  'model.norm_position': 'post',
  'model.max_length': 512,
  'data.sequence_length': 512,
}
# GPT-3 (Brown et al. 2020), all of its attention dense.
_GPT3: Overrides = {
  **_GPT2,
  'model.max_length': 2048,
  'data.sequence_length': 2048,
}
# BERT (Devlin et al. 2019) with its head of masked tokens; without the pooler,
# which only its other objective, the next sentence, trains.
_BERT: Overrides = {
  'model.architecture': 'encoder',
  'model.vocab_size': 30_522,
  'model.activation': 'gelu_exact',
  'model.norm': 'layer',
  'model.norm_epsilon': 1e-12,
  'model.norm_position': 'post',
  'model.biases': True,
  'model.positions': 'learned',
  'model.max_length': 512,
  'model.embedding_norm': True,
  'model.token_types': 2,
  'model.mlm_head': True,
  'model.tied_head': True,
  'data.sequence_length': 512,
  'data.objective.kind': 'masked',
  'optimizer.learning_rate': 1e-4,
}
# T5 v1.0 (Raffel et al. 2020).
_T5: Overrides = {
  'model.architecture': 'encoder_decoder',
  'model.vocab_size': 32_128,
  'model.activation': 'relu',
  'model.positions': 'relative',
  'model.attention_scale': 'none',
  'model.tied_head': True,
  'model.scale_tied_head': True,
  'model.max_length': 512,
  'data.sequence_length': 512,
  'data.objective.kind': 'spans',
  'data.packing': 'fit',
  'optimizer.learning_rate': 1e-3,
}
# T5 v1.1 (Shazeer 2020 and its release notes).
_T5_V11: Overrides = {
  **_T5,
  'model.activation': 'geglu',
  'model.tied_head': False,
  'model.scale_tied_head': False,
}
# Pythia (Biderman et al. 2023), a GPT-NeoX.
_PYTHIA: Overrides = {
  'model.vocab_size': 50_304,
  'model.activation': 'gelu_exact',
  'model.norm': 'layer',
  'model.norm_epsilon': 1e-5,
  'model.biases': True,
  'model.rope_fraction': 0.25,
  'model.parallel_residual': True,
  'model.max_length': 2048,
  'data.sequence_length': 2048,
}
# Llama 3 (Grattafiori et al. 2024).
_LLAMA3: Overrides = {
  'model.vocab_size': 128_256,
  'model.norm_epsilon': 1e-5,
  'model.rope_theta': 500_000.0,
  'model.max_length': 8192,
  'data.sequence_length': 8192,
}
# Chinchilla (Hoffmann et al. 2022); positions are rotary here, relative there.
_CHINCHILLA: Overrides = {
  'model.vocab_size': 32_000,
  'model.activation': 'gelu',
  'model.max_length': 2048,
  'data.sequence_length': 2048,
  'model.tied_head': True,
}
# Mixtral (Jiang et al. 2024).
_MIXTRAL: Overrides = {
  'model.vocab_size': 32_000,
  'model.norm_epsilon': 1e-5,
  'model.rope_theta': 1_000_000.0,
  'model.num_experts': 8,
  'model.experts_per_token': 2,
  'model.max_length': 32_768,
  'data.sequence_length': 32_768,
}
# SmolLM2 (Ben Allal et al. 2025), a small Llama.
_SMOLLM2: Overrides = {
  'model.vocab_size': 49_152,
  'model.norm_epsilon': 1e-5,
  'model.rope_theta': 100_000.0,
  'model.tied_head': True,
  'model.max_length': 2048,
  'data.sequence_length': 2048,
}


def _shape(
  layers: int,
  width: int,
  heads: int,
  ffn_width: int,
  kv_heads: int | None = None,
  head_width: int | None = None,
) -> Overrides:
  return {
    'model.num_layers': layers,
    'model.width': width,
    'model.num_heads': heads,
    'model.num_kv_heads': kv_heads or heads,
    'model.head_width': head_width or width // heads,
    'model.ffn_width': ffn_width,
  }


def _gpt(
  family: Overrides, layers: int, width: int, heads: int, rate: float
) -> Overrides:
  """Feed-forward layers of four times the width."""
  return {
    **family,
    **_shape(layers, width, heads, 4 * width),
    'optimizer.learning_rate': rate,
  }


def _bert(layers: int, width: int) -> Overrides:
  return {**_BERT, **_shape(layers, width, width // 64, 4 * width)}


def _t5(
  family: Overrides,
  layers: int,
  width: int,
  heads: int,
  ffn_width: int,
  head_width: int = 64,
) -> Overrides:
  shape = _shape(layers, width, heads, ffn_width, head_width=head_width)
  return {**family, **shape}


def _llama(
  family: Overrides,
  layers: int,
  width: int,
  heads: int,
  kv_heads: int,
  ffn_width: int,
  rate: float,
) -> Overrides:
  shape = _shape(layers, width, heads, ffn_width, kv_heads)
  return {**family, **shape, 'optimizer.learning_rate': rate}


# `gpt3-6b` of MaxText, github.com/AI-Hypercomputer/maxtext: what its compiler
# reports for TPUs is what ours is measured against.
_MAXTEXT_GPT3_6B: Overrides = {
  **_GPT3,
  **_shape(48, 3072, 12, 4 * 3072),
  'model.vocab_size': 32_768,
  'model.max_length': 16_384,
  'data.batch_size': 16,
  'optimizer.learning_rate': 1.2e-4,
}
# BERT's and T5's objectives in minutes on two cores. The layers are those of
# `nest`: with BERT's learned positions, masked tokens take longer to learn.
_POCKET: dict[str, Overrides] = {
  'pocket-bert': {
    **_shape(4, 64, 4, 168),
    'model.architecture': 'encoder',
    'model.mlm_head': True,
    'model.tied_head': True,
    'data.batch_size': 16,
    'data.objective.kind': 'masked',
    'optimizer.learning_rate': 8e-3,
  },
  'pocket-t5': {
    **_shape(2, 64, 4, 168),
    'model.architecture': 'encoder_decoder',
    'model.positions': 'relative',
    'data.batch_size': 16,
    'data.objective.kind': 'spans',
    'data.packing': 'fit',
    'optimizer.learning_rate': 8e-3,
  },
}
# The first seven are the pocket study's: two layers, grown in width alone.
_NEST = (
  *('nest-12k', 'nest-25k', 'nest-56k', 'nest-98k'),
  *('nest-222k', 'nest-396k', 'nest-886k'),
  *('nest-50k', 'nest-100k', 'nest-300k', 'nest-1m', 'nest-3m', 'nest-10m'),
  *('nest-30m', 'nest-100m', 'nest-300m', 'nest-1b', 'nest-3b', 'nest-10b'),
)

SIZES: dict[str, Overrides] = {
  **{name: nest(name) for name in _NEST},
  **_POCKET,
  'gpt1': _gpt(_GPT1, 12, 768, 12, 2.5e-4),
  'gpt2': _gpt(_GPT2, 12, 768, 12, 6e-4),
  'gpt2-medium': _gpt(_GPT2, 24, 1024, 16, 3e-4),
  'gpt2-large': _gpt(_GPT2, 36, 1280, 20, 2.5e-4),
  'gpt2-xl': _gpt(_GPT2, 48, 1600, 25, 2e-4),
  'gpt3-125m': _gpt(_GPT3, 12, 768, 12, 6e-4),
  'gpt3-350m': _gpt(_GPT3, 24, 1024, 16, 3e-4),
  'gpt3-760m': _gpt(_GPT3, 24, 1536, 16, 2.5e-4),
  # The paper gives 24 heads of 128, which make up 3,072, not 2,048.
  'gpt3-1.3b': _gpt(_GPT3, 24, 2048, 16, 2e-4),
  'gpt3-2.7b': _gpt(_GPT3, 32, 2560, 32, 1.6e-4),
  'gpt3-6.7b': _gpt(_GPT3, 32, 4096, 32, 1.2e-4),
  # The paper gives a width of 5,140, which its 40 heads of 128 do not make up.
  'gpt3-13b': _gpt(_GPT3, 40, 5120, 40, 1e-4),
  'gpt3-175b': _gpt(_GPT3, 96, 12_288, 96, 0.6e-4),
  'maxtext-gpt3-6b': _MAXTEXT_GPT3_6B,
  'bert-tiny': _bert(2, 128),
  'bert-mini': _bert(4, 256),
  'bert-small': _bert(4, 512),
  'bert-medium': _bert(8, 512),
  'bert-base': _bert(12, 768),
  'bert-large': _bert(24, 1024),
  't5-small': _t5(_T5, 6, 512, 8, 2048),
  't5-base': _t5(_T5, 12, 768, 12, 3072),
  't5-large': _t5(_T5, 24, 1024, 16, 4096),
  't5-3b': _t5(_T5, 24, 1024, 32, 16_384, 128),
  't5-11b': _t5(_T5, 24, 1024, 128, 65_536, 128),
  't5-v1.1-small': _t5(_T5_V11, 8, 512, 6, 1024),
  't5-v1.1-base': _t5(_T5_V11, 12, 768, 12, 2048),
  't5-v1.1-large': _t5(_T5_V11, 24, 1024, 16, 2816),
  't5-v1.1-xl': _t5(_T5_V11, 24, 2048, 32, 5120),
  't5-v1.1-xxl': _t5(_T5_V11, 24, 4096, 64, 10_240),
  'pythia-14m': _gpt(_PYTHIA, 6, 128, 4, 1e-3),
  'pythia-31m': _gpt(_PYTHIA, 6, 256, 8, 1e-3),
  'pythia-70m': _gpt(_PYTHIA, 6, 512, 8, 1e-3),
  'pythia-160m': _gpt(_PYTHIA, 12, 768, 12, 6e-4),
  'pythia-410m': _gpt(_PYTHIA, 24, 1024, 16, 3e-4),
  'pythia-1b': _gpt(_PYTHIA, 16, 2048, 8, 3e-4),
  'pythia-1.4b': _gpt(_PYTHIA, 24, 2048, 16, 2e-4),
  'pythia-2.8b': _gpt(_PYTHIA, 32, 2560, 32, 1.6e-4),
  'pythia-6.9b': _gpt(
    {**_PYTHIA, 'model.vocab_size': 50_432}, 32, 4096, 32, 1.2e-4
  ),
  'pythia-12b': _gpt(
    {**_PYTHIA, 'model.vocab_size': 50_688}, 36, 5120, 40, 1.2e-4
  ),
  'llama3-8b': _llama(_LLAMA3, 32, 4096, 32, 8, 14_336, 3e-4),
  'llama3-70b': _llama(_LLAMA3, 80, 8192, 64, 8, 28_672, 1.5e-4),
  'llama3-405b': _llama(_LLAMA3, 126, 16_384, 128, 8, 53_248, 8e-5),
  # Its relative positions take a further D x H Dh matrix a layer, 5.4B in all.
  'chinchilla-70b': _gpt(_CHINCHILLA, 80, 8192, 64, 1e-4),
  'mixtral-8x7b': _llama(_MIXTRAL, 32, 4096, 32, 8, 14_336, 3e-4),
  'smollm2-135m': _llama(_SMOLLM2, 30, 576, 9, 3, 1536, 3e-3),
}
