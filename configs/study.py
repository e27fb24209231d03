"""A whole experiment: `--config=configs/study.py:pocket`."""

from ml_collections import ConfigDict

from configs import model, pretrain
from configs.errors import UserError

STUDIES = ('pocket',)

# Of a model: what all rungs share. The rest is what a size stands for.
SHARED_MODEL_KEYS = (
  'vocab_size',
  'attention',
  'compute_dtype',
  'scan_layers',
  'remat',
  'matmul',
)

# Of a pre-training config: what the ladder sets for each rung.
RUNG_KEYS = {
  'model': tuple(
    key for key in model.get_config() if key not in SHARED_MODEL_KEYS
  ),
  'optimizer': ('learning_rate',),
  'schedule': ('kind', 'warmup_steps', 'decay_steps'),
  'train': ('num_steps', 'seed', 'eval_every_steps'),
  'checkpoint': ('every_steps', 'keep_last', 'keep_steps', 'branch_from'),
}


def get_config(name: str | None = None) -> ConfigDict:
  """The `pocket` study: minutes on two cores, from text to verified forecast.

  Raises:
    UserError: a study that does not exist.
  """
  name = name or STUDIES[0]
  if name not in STUDIES:
    raise UserError(f'no study {name!r}; choose from {", ".join(STUDIES)}')
  config = ConfigDict()
  config.name = name
  config.seed = 0  # of the parameters and the data order of every rung

  ladder = config.ladder = ConfigDict()  # every size at every number of tokens
  ladder.sizes = ('nest-12k', 'nest-25k', 'nest-56k', 'nest-98k', 'nest-222k')
  ladder.tokens = (600_000, 1_000_000, 1_600_000)
  ladder.warmup_tokens = 40_000
  ladder.decay_fraction = 0.2  # of a rung's tokens; the rest is shared

  noise = config.noise = ConfigDict()  # one rung again, with other seeds
  noise.size = 'nest-12k'
  noise.tokens = 1_000_000
  noise.repeats = 2  # beside the one of the ladder

  heldout = config.heldout = ConfigDict()  # forecast first, then trained
  heldout.size = 'nest-886k'
  heldout.tokens = 1_900_000

  law = config.law = ConfigDict()
  # total | non_embedding | active: the N of fits. Of small models the embedding
  # is a good part, and leaving it out bends the law (Pearce and Song 2024,
  # arXiv:2406.12907).
  law.params = 'total'
  # Laws of loss that are pooled, so that their disagreement is in the interval.
  # The first is the one that is drawn.
  law.forms = ('chinchilla', 'over_training', 'kaplan_offset')
  law.level = 0.9  # of intervals and forecasts
  law.resamples = 1000  # bootstrap refits

  evals = config.evals = ConfigDict()
  evals.task = 'continuation'  # whose score is forecast
  evals.metric = 'acc_mutual_info'  # of the task: an accuracy
  evals.chance = 0.25  # what guessing scores
  evals.shots = 0  # worked examples in the prompt
  evals.items = 1000
  evals.heldout_rows = 512  # of the test split, each a sequence; 0 = all

  finetune = config.finetune = ConfigDict()
  finetune.task = 'library'  # of configs/finetune.py
  finetune.sizes = ('nest-98k',)  # adapted at their most tokens
  finetune.modes = ('full', 'scratch', 'probe')

  # Every other key of a pre-training run, shared by all rungs.
  shared = pretrain.get_config().unlock()
  shared.data.batch_size = 4  # many small steps suit few tokens
  # Assumptions, not measurements, of a small machine outside a data centre.
  shared.costs.watts = 30.0  # of two busy cores with their memory
  shared.costs.usd_per_hour = 0.1
  shared.costs.pue = 1.0
  del shared.name
  for section, keys in RUNG_KEYS.items():
    for key in keys:
      del shared[section][key]
    if not shared[section]:
      del shared[section]
  config.pretrain = shared
  return config.lock()
