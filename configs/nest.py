"""The `nest` family: a whole recipe from one number, for studies.

A size is named by its parameters N outside the embedding and the output head,
and all else follows. Norms aside, a layer with a gate holds 4 w h + 3 w f
parameters, where w is the width, h what the heads make up and f the
feed-forward width.

- layers: (N / 120,000)^(1/3), at least 2, so that the width is about 100 times
  the depth from 1M on, as it is in published families (100 to 128 in GPT-3 and
  Llama 3). Below 1M there are always two layers and the width alone grows: the
  ratio falls to 24 at 50k.
- width: (N / (12 layers))^(1/2), to the nearest multiple of the head width, or
  of 8 below 32.
- heads: 16 wide below a width of 256, then 32, 64 from 512, 128 from 2,048; as
  many as fit.
- feed-forward width: what is then left of N, to the nearest multiple of 8. It
  is about 8/3 of the width, and N is met within 2% (4% below 50k).
- learning rate: 0.008 at 98k, falling with (12 layers width^2)^-0.36, the
  trend of the best of sweeps in factors of two between 12k and 590k, at batches
  of 512 tokens. Beyond, it is an extrapolation.
- sequence length: 128 tokens up to 1M, 512 up to 10M, 1,024 up to 100M, 2,048
  beyond.
- batch: 0.58 D^0.571 tokens (Li et al. 2025, arXiv:2503.04715) at D = 20 N, to
  the nearest power of two in sequences.
"""

import math
from collections.abc import Mapping
from typing import Any

_HEAD_WIDTHS = ((2048, 128), (512, 64), (256, 32), (0, 16))
_LENGTHS = ((1e6, 128), (10e6, 512), (100e6, 1024), (math.inf, 2048))
_UNITS = {'k': 1e3, 'm': 1e6, 'b': 1e9}


def nest(name: str) -> Mapping[str, Any]:
  """Overrides of a pre-training config for a name such as `nest-98k`."""
  params = float(name.removeprefix('nest-')[:-1]) * _UNITS[name[-1]]
  layers = max(2, round((params / 120_000) ** (1 / 3)))
  target = math.sqrt(params / (12 * layers))
  head_width = next(size for least, size in _HEAD_WIDTHS if target >= least)
  step = head_width if target >= 32 else 8
  width = step * round(target / step)
  heads = width // head_width
  attention = 4 * width * heads * head_width
  ffn_width = 8 * round((params / layers - attention) / (3 * width) / 8)
  ratio = 12 * layers * width**2 / (12 * 2 * 64**2)
  length = next(length for most, length in _LENGTHS if params <= most)
  sequences = 0.58 * (20 * params) ** 0.571 / length
  return {
    'model.num_layers': layers,
    'model.width': width,
    'model.num_heads': heads,
    'model.num_kv_heads': heads,
    'model.head_width': head_width,
    'model.ffn_width': ffn_width,
    'model.max_length': length,
    'data.sequence_length': length,
    'data.batch_size': 2 ** round(math.log2(sequences)),
    'optimizer.learning_rate': float(f'{8e-3 * ratio**-0.36:.2g}'),
  }
