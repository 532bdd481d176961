"""What the golden scripts share: Hugging Face's Llama with random weights, the same in exact (f64) arithmetic, errors.

Hugging Face's class computes RMSNorm, the rotary angles and the softmax in fp32 whatever the model's dtype, so a model
that is merely cast to f64 is no truth. `exact` replaces those three by their equations in f64; the callers then hold
the unmodified fp32 class against it.
"""
import copy
import json
import math
import types

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

BETAS, EPS = (0.9, 0.999), 1e-8


def llama_config(config, **options):
    """LlamaConfig writes into the dicts it is given: it gets its own."""
    return LlamaConfig(**copy.deepcopy(config), **options)


def build(config, weights, dtype, attention="eager"):
    """LlamaForCausalLM of a config.json (a dict) with the given weights as parameters of `dtype`.

    Only parameters are cast: the rotary frequencies stay fp32, as after from_pretrained(dtype=...).
    """
    model = LlamaForCausalLM(llama_config(config, attn_implementation=attention)).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.data = weights[name].to(dtype, copy=True)  # training must not reach `weights`
    model.tie_weights()
    return exact(model) if dtype == torch.float64 else model


def random_weights(config, generator):
    """Weights that make every activation of order 1 and every attention row uneven; gains scatter around 1."""
    weights = {}
    for name, parameter in LlamaForCausalLM(llama_config(config)).named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            weights[name] = 1 + 0.2 * noise
        elif "embed_tokens" in name:
            weights[name] = noise * (0.3 if config["tie_word_embeddings"] else 1.0)
        else:
            weights[name] = noise * (1.2 / math.sqrt(parameter.shape[1]))
    return weights


def exact(model):
    """Replaces what the class computes in fp32 by f64; needs attention="sdpa", which is f64 throughout."""
    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def rotary(self, x, position_ids):
        angles = position_ids[..., None].double() * inverse_frequencies(self.config)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    assert model.config._attn_implementation == "sdpa"
    expected = inverse_frequencies(model.config)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq.double(), expected, rtol=1e-6, atol=0)
    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = types.MethodType(norm, module)
    model.model.rotary_emb.forward = types.MethodType(rotary, model.model.rotary_emb)
    return model


def inverse_frequencies(config):
    """theta^(-2j/D) in f64; with llama3 scaling as Llama 3.1's model card states it."""
    rope = config.rope_parameters
    frequency = rope["rope_theta"] ** (-torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim)
    if rope["rope_type"] == "default":
        return frequency
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)
    blend = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - blend) * frequency / rope["factor"] + blend * frequency


def forward(model, tokens, doc_start):
    """Logits (B, T, V): block-diagonal causal attention, positions counted from each document's start."""
    time = torch.arange(tokens.shape[1])
    seen = (time[None, None, :] <= time[None, :, None]) & (time[None, None, :] >= doc_start[:, :, None])
    dtype = next(model.parameters()).dtype
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
    return model(input_ids=tokens, attention_mask=mask[:, None], position_ids=time - doc_start, use_cache=False).logits


def mean_loss(logits, targets):
    """Mean over the targets that are not -1, in fp32 as Hugging Face's loss is (f64 where the logits are)."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


def adamw(parameters, lr, weight_decay, decay_gains):
    """torch.optim.AdamW; with decay_gains also the 1-D parameters decay, as with model.parameters()."""
    parameters = list(parameters)
    groups = [{"params": [p for p in parameters if p.dim() > 1 or decay_gains], "weight_decay": weight_decay},
              {"params": [p for p in parameters if p.dim() == 1 and not decay_gains], "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=BETAS, eps=EPS, foreach=False)


def relative_error(found, truth):
    """L2 norm of the difference over the L2 norm of the truth, in f64."""
    found, truth = found.detach().double(), truth.detach().double()
    return ((found - truth).norm() / truth.norm()).item()


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_tensors(path, tensors):
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})
