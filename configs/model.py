"""The shape of a transformer: every key of the `model` section."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """A small decoder of today's kind, from which every size departs."""
  model = ConfigDict()
  model.architecture = 'decoder'  # decoder | encoder | encoder_decoder
  model.vocab_size = 512  # rows of the embedding; at least data.vocab_size
  model.num_layers = 2  # encoder_decoder: of each of the two
  model.width = 64  # of the residual stream
  model.num_heads = 4  # query heads
  model.num_kv_heads = 4  # divides num_heads
  model.head_width = 16
  model.ffn_width = 168
  # swiglu | geglu | gelu | gelu_exact | relu; the first two have a gate
  model.activation = 'swiglu'
  model.norm = 'rms'  # rms | layer
  model.norm_epsilon = 1e-6
  # pre: of what a layer reads, and a last one; post: of each sum (BERT, GPT-1)
  model.norm_position = 'pre'
  model.parallel_residual = False  # attention and feed-forward read the same
  model.biases = False  # of every linear layer

  model.num_experts = 0  # feed-forward layers to choose from; 0 = one, for all
  model.experts_per_token = 2
  # of what an expert would take if all took as many; 0.0 = no token is dropped
  model.expert_capacity = 0.0
  model.router_balance = 0.01  # weight in the loss of uneven use of experts
  model.router_z = 0.001  # weight in the loss of large router logits

  model.positions = 'rotary'  # rotary | learned | sinusoidal | relative
  model.max_length = 128  # tokens; of learned positions the table's rows
  model.rope_theta = 10_000.0  # rotary positions: base of the wavelengths
  model.rope_fraction = 1.0  # of each head that is turned
  model.rope_factor = 1.0  # by which long wavelengths are stretched (Llama 3)
  model.rope_low_frequency = 1.0  # turns in the original length: stretched...
  model.rope_high_frequency = 4.0  # ...below the one, kept above the other
  model.rope_original_length = 8192  # tokens, before stretching
  model.relative_buckets = 32  # relative positions (T5)
  model.relative_max_distance = 128  # tokens; further ones share a bucket

  model.attention_scale = 'sqrt'  # of scores: sqrt: Dh^-1/2 | none
  model.attention_softcap = 0.0  # c * tanh(score / c); 0 = none
  model.qk_norm = False  # RMS norm of each query and key
  model.embedding_norm = False  # a norm before the first layer (BERT)
  model.token_types = 0  # encoder: kinds of segments (BERT: 2)
  model.pooler = False  # encoder: tanh(linear(first token)) (BERT)
  model.mlm_head = False  # encoder: scores of masked tokens (BERT)
  model.num_classes = 0  # encoder: scored from what the pooler gives; 0 = none
  model.start_token = 0  # encoder_decoder: which a target begins with
  model.tied_head = False  # the output head is the embedding
  model.scale_tied_head = False  # what a tied head reads, times D^-1/2 (T5)
  model.logit_softcap = 0.0  # c * tanh(logit / c); 0 = none
  model.dropout = 0.0  # of embeddings, attention weights and layers' outputs

  # standard | mup | depth_mup | complete_p: which scales and learning rates
  # follow width and depth (model/parametrization.py)
  model.parametrization = 'standard'
  model.base_width = 64  # beside standard: the size whose recipe this is
  model.base_head_width = 16
  model.base_layers = 2

  # auto | xla | splash | cudnn: what computes attention, of TPUs and of GPUs;
  # auto is splash on a TPU, cudnn on a GPU, and xla where they cannot
  model.attention = 'auto'
  model.compute_dtype = 'float32'  # float32 | bfloat16; sums are float32
  # native: in the compute dtype | int8: of layers, in 8-bit integers (qwix)
  model.matmul = 'native'
  model.scan_layers = False  # loop over layers in the compiled step
  # what the backward pass recomputes: none | dots: all but what linear layers
  # return | full: all but what each layer reads | offload: as full, and what
  # each layer reads is kept in the host's memory
  model.remat = 'none'
  return model
