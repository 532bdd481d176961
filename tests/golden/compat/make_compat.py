"""Makes tests/golden/compat: the reference demo's arithmetic (--preset demo-compat), a tiny model on emulated ranks.

PrincetonUniversity/multi_gpu_training, 04_model_parallel_with_fsdp: each rank's loss is the mean over the tokens of its
micro-batch over the number of micro-batches; FSDP averages the ranks' gradients, whatever number of tokens they saw;
AdamW decays every parameter; nothing is clipped; the learning rate rises from 0 over the first tenth of the steps and
falls linearly. The log shows rank 0's loss. Batch 1 per rank, so the demo never pads: here sequences run unpadded.

    python tests/golden/compat/make_compat.py [--out DIR]
"""
import argparse
import math
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from reference import (BETAS, EPS, adamw, build, forward, mean_loss, random_weights, relative_error, write_json,
                       write_tensors)

SEED, STEPS, RANKS, MICRO, LENGTH = 42, 20, 4, 2, 24  # T = 24, where longer sequences were truncated
LEARNING_RATE, WEIGHT_DECAY, WARMUP_RATIO = 1e-2, 0.01, 0.1
CONFIG = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", bos_token_id=1, eos_token_id=2,
              max_position_embeddings=128, initializer_range=0.02, attention_bias=False, mlp_bias=False,
              tie_word_embeddings=False, torch_dtype="float32", vocab_size=97, hidden_size=24, intermediate_size=40,
              num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=10000.0)


def random_sequences(generator):
    """(STEPS, RANKS, MICRO) sequences of 2 to LENGTH tokens, every fourth one truncated, that is of full length."""
    shape = (STEPS, RANKS, MICRO)
    lengths = torch.randint(2, LENGTH + 1, shape, generator=generator)
    lengths[torch.rand(shape, generator=generator) < 0.25] = LENGTH
    draws = (torch.rand(*shape, LENGTH, generator=generator) ** 2 * CONFIG["vocab_size"]).long()
    return draws, lengths


def schedule(optimizer):
    """The demo's: warm-up from 0 over ceil(10%) of the steps, then linear to 0 at the step after the last."""
    warmup = math.ceil(STEPS * WARMUP_RATIO)

    def factor(step):
        return step / max(1, warmup) if step < warmup else max(0.0, (STEPS - step) / max(1, STEPS - warmup))
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def sequence_loss(model, sequence, dtype):
    """One sequence alone, as the demo runs it: labels are the tokens, shifted inside the model (fp32)."""
    if dtype == torch.float32:
        return model(input_ids=sequence, labels=sequence, use_cache=False).loss
    targets = torch.cat((sequence[:, 1:], torch.full((1, 1), -1)), dim=1)
    return mean_loss(forward(model, sequence, torch.zeros_like(sequence)), targets)


def train(weights, sequences, dtype, attention):
    """losses (STEPS, RANKS): what each rank's log would show; learning_rates (STEPS): those of the updates."""
    draws, lengths = sequences
    model = build(CONFIG, weights, dtype, attention)
    optimizer = adamw(model.parameters(), LEARNING_RATE, WEIGHT_DECAY, decay_gains=True)
    scheduler = schedule(optimizer)
    losses, rates = torch.zeros(STEPS, RANKS, dtype=torch.float64), []
    for step in range(STEPS):
        for rank in range(RANKS):
            for micro in range(MICRO):
                sequence = draws[step, rank, micro, :lengths[step, rank, micro]][None]
                loss = sequence_loss(model, sequence, dtype) / MICRO
                (loss / RANKS).backward()  # FSDP's average of the ranks' gradients
                losses[step, rank] += loss.item()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    return {"losses": losses, "learning_rates": torch.tensor(rates, dtype=torch.float64)}


def padded(draws, lengths):
    """tokens (pad 0) and targets (-1 on the last token and on pads), (STEPS, RANKS, MICRO, LENGTH)."""
    time = torch.arange(LENGTH)
    tokens = draws.masked_fill(time >= lengths[..., None], 0)
    targets = draws.roll(-1, dims=-1).masked_fill(time >= lengths[..., None] - 1, -1)
    return {"tokens": tokens.int(), "targets": targets.int(), "lengths": lengths.int()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(SEED)
    weights = random_weights(CONFIG, generator)
    sequences = random_sequences(generator)
    truth = train(weights, sequences, torch.float64, "sdpa")
    single = train(weights, sequences, torch.float32, "eager")
    errors = {k: relative_error(single[k], v) for k, v in truth.items()}
    assert max(errors.values()) < 1e-5, errors  # the class with its own labels and masks agrees with the f64 equations
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", CONFIG)
    write_json(out / "case.json", dict(
        seed=SEED, steps=STEPS, ranks=RANKS, gradient_accumulation_steps=MICRO, batch_size_per_device=1,
        learning_rate=LEARNING_RATE, warmup_ratio=WARMUP_RATIO, adam_beta1=BETAS[0], adam_beta2=BETAS[1], adam_eps=EPS,
        weight_decay=WEIGHT_DECAY, weight_decay_on="all", max_grad_norm=0))
    write_json(out / "fp32_errors.json", errors)
    write_tensors(out / "model.safetensors", weights)
    write_tensors(out / "golden.safetensors", padded(*sequences) | {k: v.float() for k, v in truth.items()})
    print(f"compat: rank 0's loss {truth['losses'][0, 0]:.3f} -> {truth['losses'][-1, 0]:.3f}, mean "
          f"{truth['losses'][0].mean():.3f} -> {truth['losses'][-1].mean():.3f}, fp32 {errors['losses']:.1e}")


if __name__ == "__main__":
    main()
