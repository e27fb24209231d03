"""Pre-training one model: `--config=configs/pretrain.py:SIZE`."""

from ml_collections import ConfigDict

from configs import model
from configs.errors import UserError
from configs.grids import PUE
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
  # KIND:NAME, of tfds (data sets), files (a glob: .txt, .md, .py, .jsonl,
  # .parquet, also compressed or remote) or hf (Hugging Face); or a name in
  # configs/datasets.py. Options follow: |text=FIELD, |train=... (a slice of a
  # split, a glob), |validation=..., |test=.... Several are parted by `;`
  data.source = 'tfds:python_docs/docstrings'
  data.cache_dir = ''  # prepared text and tokens; '' = ~/.cache/scalenest
  # bpe (trained on the train split) | byte | path of a tokenizer.json, a
  # SentencePiece .model, a .tiktoken or a vocab.json beside its merges.txt
  data.tokenizer = 'bpe'
  data.vocab_size = 512  # of a bpe, what the objective marks with included
  # tokens of a row; of an encoder_decoder, of its source
  data.sequence_length = 128
  data.target_length = 0  # of an encoder_decoder; 0 = what the source needs
  data.batch_size = 4  # sequences, over all devices
  # split: documents one after the other, cut into rows | fit: whole documents
  # side by side (a long one is cut), which the other objectives need
  data.packing = 'split'
  data.unique_tokens = 0  # of the train split, read again and again; 0 = all
  data.num_workers = 0  # processes that prepare and read; 0 = this one
  data.seed = 0  # document order, and all that is drawn of a text

  objective = data.objective = ConfigDict()
  # causal | middle (fill-in-the-middle), of a decoder; masked (BERT), of an
  # encoder; spans (T5) | prefix | ul2, of an encoder_decoder or a decoder
  objective.kind = 'causal'
  objective.noise_density = 0.15  # masked, spans: share of tokens
  objective.mean_span = 3.0  # spans: tokens
  objective.whole_words = False  # masked: all tokens of a word
  objective.static = False  # the same noise in every epoch
  objective.middle_rate = 0.5  # middle: share of texts that are rearranged

  mixture = data.mixture = ConfigDict()  # of several sources, in their order
  # () = those of configs/mixtures.py, or else by their sizes in tokens
  mixture.weights = ()
  mixture.temperature = 1.0  # weights^(1 / temperature)
  mixture.max_epochs = ()  # of each source; 0 = no cap
  # a curriculum: (tokens seen from which it holds, weight, weight...), ...
  mixture.stages = ()

  filters = data.filters = ConfigDict()  # of documents, before all else
  filters.exact_duplicates = False  # in train: the first stays
  filters.near_duplicates = 0.0  # in train, from this Jaccard on; 0 = stay
  # what validation and test share with train is left out of them (evals), or of
  # train (train), or stays (none)
  filters.decontaminate = 'evals'
  filters.contamination_jaccard = 0.8  # of near-duplicates
  filters.contamination_ngrams = 0.7  # share of a document's 13-grams
  filters.scrub = False  # personal data is replaced by what it is: <EMAIL>
  filters.quality = ()  # rules of data/audit/quality.py that train must pass

  # of train, for controlled studies; of a mixture, of its first source
  change = data.interventions = ConfigDict()
  change.seed = 0
  change.duplicate_share = 0.0  # of documents that are repeated
  change.duplicate_times = 1  # how often each of them is there
  change.canaries = 0  # sequences put in, to test what is memorized
  change.canary_times = (1,)  # how often; canaries take turns
  change.label_noise = 0.0  # share of documents with another label_field
  change.label_field = ''
  change.corrupt_share = 0.0  # of documents whose words are shuffled
  change.drop_field = ''  # documents whose drop_field is drop_value
  change.drop_value = ''
  change.drop_share = 0.0  # are left out, this share of them

  mesh = config.mesh = ConfigDict()  # devices along each axis; -1 fills
  mesh.data = -1  # batch, parameters replicated
  mesh.fsdp = 1  # batch and parameters
  mesh.sequence = 1  # places of each row; attention gathers keys and values
  mesh.tensor = 1  # heads, feed-forward width and vocabulary
  mesh.expert = 1  # batch, and of a mixture the experts
  # slices of TPUs that an axis extends over; what it counts are all devices
  mesh.dcn_data = 1
  mesh.dcn_fsdp = 1
  # what lies along the axes, see train/mesh/rules.py: fsdp | zero1 (only
  # moments are divided by fsdp) | megatron_sp (places between layers by tensor,
  # too)
  mesh.strategy = 'fsdp'
  # parameters that lie otherwise, such as 'embedding.table: tensor, fsdp': the
  # end of a path, and for each dimension axes joined by +, or none
  mesh.overrides = ()

  optimizer = config.optimizer = ConfigDict()
  # adamw | adafactor | muon, which take the same learning rates | lion, a third
  # to a tenth of them with as much more decay | schedule_free (AdamW, averaged;
  # it wants schedule.kind = constant)
  optimizer.kind = 'adamw'
  optimizer.learning_rate = 8e-3  # at the schedule's peak
  # decay of the first moment (adafactor: 0.0 = none), and in schedule_free the
  # share of the average where gradients are taken
  optimizer.b1 = 0.9
  optimizer.b2 = 0.98  # decay of the second moment; of lion's only one
  optimizer.eps = 1e-9
  optimizer.momentum = 0.95  # muon: of matrices
  # muon: RMS of what changes a matrix, before the learning rate, which is about
  # that of AdamW; 0.0 = as large as sqrt(max(1, outputs / inputs)) makes it
  optimizer.update_rms = 0.2
  optimizer.state_dtype = 'float32'  # of moments: float32 | bfloat16
  optimizer.weight_decay = 0.1  # times the learning rate; matrices only
  optimizer.clip_norm = 1.0  # of the global gradient; 0.0 = no clipping
  # of the gradient of each array, of each layer's own; 0.0 = no clipping
  optimizer.clip_block_norm = 0.0
  # a moving average of the parameters over about 1 / (1 - ema_decay) steps is
  # evaluated and used instead of the last ones; 0.0 = none
  optimizer.ema_decay = 0.0

  schedule = config.schedule = ConfigDict()
  # after a linear warm-up: wsd (stay, then decay) | cosine | linear |
  # inverse_sqrt | constant
  schedule.kind = 'wsd'
  schedule.warmup_steps = 60
  schedule.decay_steps = 200  # wsd: the last steps
  schedule.decay = 'linear'  # wsd: its form, linear | sqrt (1 - sqrt)
  schedule.final_ratio = 0.0  # of the last learning rate to the peak

  train = config.train = ConfigDict()
  train.num_steps = 1000
  train.seed = 0  # initial parameters
  train.accumulate_steps = 1  # micro-batches a step
  # parts of a row whose logits are held one after the other, in training and
  # evaluation; divides its length
  train.loss_chunks = 1
  # weight in what is descended of the mean squared log-sum-exp of logits, which
  # keeps them from drifting (PaLM: 1e-4); 0.0 = none
  train.z_loss = 0.0
  # folder of compiled programs, which the next start of a run reads instead of
  # compiling; only you may write there; '' = none
  train.compile_cache = ''
  train.log_every_steps = 10
  train.eval_every_steps = 500  # loss on the validation split; 0 = at the end
  train.eval_sequences = 512  # of the validation split; 0 = all

  spike = train.spike = ConfigDict()  # a loss or gradient norm out of the way
  # skip: the step changes no parameter | rewind: back to a checkpoint, and on
  # with later batches | none: a loss that is not finite ends the run
  spike.action = 'none'
  spike.window_steps = 128  # finite steps before it that it is judged by
  # standard deviations above their median that are one; the deviation is told
  # from the median one
  spike.threshold = 6.0
  # rewind: to this many steps before the spike or more; as many batches behind
  # it are passed over
  spike.margin_steps = 100
  spike.max_rewinds = 20  # after which the run ends

  checkpoint = config.checkpoint = ConfigDict()
  checkpoint.every_steps = 500
  checkpoint.keep_last = 2
  checkpoint.keep_steps = ()  # also saved, and kept for good
  checkpoint.keep_every_steps = 0  # its multiples too; 0 = none
  checkpoint.keep_best = 0  # of lowest validation loss, each saved; 0 = none
  # where they lie: a folder, or gs://BUCKET/PATH, which a run that starts in an
  # empty workdir goes on from; '' = in the workdir
  checkpoint.folder = ''
  # workdir of a run that is equal up to this one's decay: start from its
  # checkpoint there rather than from nothing
  checkpoint.branch_from = ''

  log = config.log = ConfigDict()
  log.tensorboard = False
  log.wandb_project = ''  # '' = no Weights & Biases

  costs = config.costs = ConfigDict()  # what a run takes; it changes no result
  # rated (the chip's power) | measured (by codecarbon, of this machine)
  costs.energy = 'rated'
  costs.chip = ''  # of configs/chips.py; '' = detected
  costs.watts = 0.0  # of all devices together, assumed; 0 = rated or measured
  costs.usd_per_hour = 0.0  # of all devices together, assumed; 0 = by prices
  costs.prices = ''  # a JSON file {chip: USD an hour}; '' = configs/chips.py
  costs.region = 'world'  # whose electricity; of configs/grids.py
  costs.pue = PUE  # power of the building over that of its machines
  return with_overrides(config, SIZES[size])
