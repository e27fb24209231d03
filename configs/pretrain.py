"""Pre-training one model: `--config=configs/pretrain.py:SIZE`."""

from ml_collections import ConfigDict

from configs import model
from configs.errors import UserError
from configs.sizes import SIZES
from configs.tree import with_overrides

DEFAULT_SIZE = 'nest-98k'


def get_config(size: str | None = None) -> ConfigDict:
  """The recipe for one size of `configs.sizes.SIZES`, locked.

  Raises:
    UserError: a size that is not in the table.
  """
  size = size or DEFAULT_SIZE
  if size not in SIZES:
    raise UserError(f'no size {size!r}; choose from {", ".join(SIZES)}')
  config = ConfigDict()
  config.name = size
  config.model = model.get_config()

  data = config.data = ConfigDict()
  # tfds:NAME | files:GLOB of .txt, .md, .py or .jsonl
  data.source = 'tfds:python_docs/docstrings'
  data.cache_dir = ''  # prepared text and tokens; '' = ~/.cache/scalenest
  data.tokenizer = 'bpe'  # bpe (trained on the train split) | byte
  data.vocab_size = 512  # of the tokenizer; byte: 257
  data.sequence_length = 128  # tokens
  data.batch_size = 4  # sequences, over all devices
  data.seed = 0  # document order

  mesh = config.mesh = ConfigDict()  # devices along each axis; -1 fills
  mesh.data = -1  # batch, parameters replicated
  mesh.fsdp = 1  # batch and parameters
  mesh.tensor = 1  # heads, feed-forward width and vocabulary
  mesh.expert = 1  # batch, and of a mixture the experts

  optimizer = config.optimizer = ConfigDict()  # AdamW
  optimizer.learning_rate = 8e-3  # at the schedule's peak
  optimizer.b1 = 0.9
  optimizer.b2 = 0.98
  optimizer.eps = 1e-9
  optimizer.weight_decay = 0.1  # times the learning rate; matrices only
  optimizer.clip_norm = 1.0  # of the global gradient

  schedule = config.schedule = ConfigDict()
  schedule.kind = 'wsd'  # wsd (warm up, stay, decay) | cosine
  schedule.warmup_steps = 60
  schedule.decay_steps = 200  # wsd: the last steps, linear
  schedule.final_ratio = 0.0  # of the last learning rate to the peak

  train = config.train = ConfigDict()
  train.num_steps = 1000
  train.seed = 0  # initial parameters
  train.accumulate_steps = 1  # micro-batches a step
  train.log_every_steps = 10
  train.eval_every_steps = 500  # loss on the validation split; 0 = at the end
  train.eval_sequences = 512  # of the validation split; 0 = all

  checkpoint = config.checkpoint = ConfigDict()
  checkpoint.every_steps = 500
  checkpoint.keep_last = 2
  checkpoint.keep_steps = ()  # also saved, and kept for good
  # workdir of a run that is equal up to this one's decay: start from its
  # checkpoint there rather than from nothing
  checkpoint.branch_from = ''

  log = config.log = ConfigDict()
  log.tensorboard = False
  log.wandb_project = ''  # '' = no Weights & Biases
  return with_overrides(config, SIZES[size])
