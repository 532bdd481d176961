"""Makes tests/golden/cases: what Hugging Face's LlamaForCausalLM computes, for the golden tests. README.md: the fields.

    python tests/golden/make_golden.py [--cases DIR]     (torch, transformers, safetensors; CPU; seconds)
"""
import argparse
import pathlib
import platform

import torch
import transformers
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from reference import (BETAS, EPS, adamw, build, forward, mean_loss, random_weights, relative_error, write_json,
                       write_tensors)

BATCHES = 4           # batches that the training steps cycle through; logits are of the first, gradients mostly
STEPS = 20
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.3    # on matrices only; so large that its absence, or gains decaying too, moves the losses above 1e-4
MAX_NORM = 2.0        # where a case says nothing; between the norms of mha: some steps are clipped and others are not
DRAWS = 16            # of rounding, over which bf16_errors.json's "rms" is taken
JITTER = 2.0 ** -8    # relative, of the weights from draw to draw: half of bf16's spacing

COMMON = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", bos_token_id=1, eos_token_id=2,
              max_position_embeddings=128, initializer_range=0.02, attention_bias=False, mlp_bias=False,
              tie_word_embeddings=False, torch_dtype="float32")
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)

# Each: the seed, B, T, what the targets look like, and config.json. Keys are those that released models have.
# all_gradients: the gradients of all four batches are stored (grad1.NAME .. grad3.NAME too), not of the first alone.
CASES = {
    "mha": dict(seed=1, shape=(2, 33), targets="all", config=dict(
        vocab_size=131, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
        rms_norm_eps=1e-5, rope_theta=10000.0)),
    "gqa": dict(seed=2, shape=(2, 29), targets="masked", config=dict(
        vocab_size=131, hidden_size=36, intermediate_size=52, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-5, rope_theta=1000000.0, rope_scaling=None)),
    "tied": dict(seed=3, shape=(2, 31), targets="all", config=dict(
        vocab_size=131, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=1, head_dim=8, rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True)),
    "llama3": dict(seed=4, shape=(2, 37), targets="all", config=dict(
        vocab_size=131, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, rms_norm_eps=1e-5, rope_theta=500000.0, rope_scaling=LLAMA3)),
    "packed": dict(seed=5, shape=(3, 36), targets="documents", max_norm=1.7, all_gradients=True, config=dict(
        vocab_size=131, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=10000.0)),
    "odd": dict(seed=6, shape=(1, 29), targets="all", config=dict(
        vocab_size=101, hidden_size=27, intermediate_size=37, num_hidden_layers=3, num_attention_heads=3,
        num_key_value_heads=1, head_dim=10, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "bf16_weights": dict(seed=7, shape=(2, 32), targets="all", stored=torch.bfloat16, config=dict(
        vocab_size=131, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=10000.0)),
}


def random_batch(case, generator):
    """tokens, targets, doc_start (B, T). Low tokens are frequent, so that rows of the embedding's gradient add up."""
    batch, length = case["shape"]
    skewed = torch.rand(batch, length + 1, generator=generator) ** 2
    text = (skewed * case["config"]["vocab_size"]).long()
    tokens, targets, doc_start = text[:, :-1].clone(), text[:, 1:].clone(), torch.zeros(batch, length).long()
    if case["targets"] == "masked":
        targets[torch.rand(batch, length, generator=generator) < 0.3] = -1
    if case["targets"] == "documents":
        for row in range(batch):
            pack_row(row, length, targets, doc_start, generator)
    return tokens, targets, doc_start


def pack_row(row, length, targets, doc_start, generator):
    """Documents of 1 to 14 tokens; the first row also begins and ends with documents of one token."""
    begin = 0
    while begin < length:
        size = int(torch.randint(1, 15, (1,), generator=generator))
        if row == 0 and (begin == 0 or begin + size >= length):
            size = 1 if begin in (0, length - 1) else length - 1 - begin
        end = min(begin + size, length)
        doc_start[row, begin:end] = begin
        targets[row, end - 1] = -1
        begin = end


def backward(case, weights, batch, dtype, attention):
    """{"logits", "loss", "grad.NAME"...} of one batch."""
    model = build(case["config"], weights, dtype, attention)
    tokens, targets, doc_start = batch
    logits = forward(model, tokens, doc_start)
    loss = mean_loss(logits, targets)
    loss.backward()
    grads = {f"grad.{name}": p.grad for name, p in model.named_parameters()}
    return {"logits": logits, "loss": loss.reshape(1), **grads}


def initial_losses(case, weights, batches, dtype, attention):
    """{"losses"}: of every batch, before any training."""
    model = build(case["config"], weights, dtype, attention)
    with torch.no_grad():
        return {"losses": torch.stack([mean_loss(forward(model, t, d), targets) for t, targets, d in batches])}


def train(case, weights, batches, dtype, attention):
    """losses20 (before each update) and grad_norms20 (before clipping). bf16: a bf16 copy computes, fp32 is updated."""
    model = build(case["config"], weights, dtype, attention)
    working = list(model.parameters())
    master = [p.detach().float().requires_grad_() for p in working] if dtype == torch.bfloat16 else working
    if master is not working:
        for (name, _), p in zip(model.named_parameters(), master):
            p.data = weights[name].clone()
    optimizer = adamw(master, LEARNING_RATE, WEIGHT_DECAY, decay_gains=False)
    losses, norms = [], []
    for step in range(STEPS):
        tokens, targets, doc_start = batches[step % BATCHES]
        loss = mean_loss(forward(model, tokens, doc_start), targets)
        model.zero_grad()
        loss.backward()
        if master is not working:
            for p, w in zip(master, working):
                p.grad = w.grad.float()
        norms.append(torch.nn.utils.clip_grad_norm_(master, case.get("max_norm", MAX_NORM)).detach().double())
        optimizer.step()
        if master is not working:
            for p, w in zip(master, working):
                w.data = p.data.to(dtype)
        losses.append(loss.detach().double())
    return {"losses20": torch.stack(losses), "grad_norms20": torch.stack(norms)}


def bf16_errors(case, weights, batches, truth):
    """Per tensor and batch: eager, sdpa, and the root mean square of eager over DRAWS models that round otherwise."""
    generator = torch.Generator().manual_seed(1000 + case["seed"])

    def against(reference, weights, batch, attention):
        found = backward(case, weights, batch, torch.bfloat16, attention)
        return {k: relative_error(v, reference[k]) for k, v in found.items()}

    errors = {}
    for batch in batches:
        reference = backward(case, weights, batch, torch.float64, "sdpa")
        squares = dict.fromkeys(reference, 0.0)
        for _ in range(DRAWS):
            moved = jittered(case, weights, generator)
            exactly = backward(case, moved, batch, torch.float64, "sdpa")
            for k, e in against(exactly, moved, batch, "eager").items():
                squares[k] += e * e / DRAWS
        ways = {way: against(reference, weights, batch, way) for way in ("eager", "sdpa")}
        for k in reference:
            entry = errors.setdefault(k, {"eager": [], "sdpa": [], "rms": []})
            for way, found in (ways | {"rms": {k: v ** 0.5 for k, v in squares.items()}}).items():
                entry[way].append(found[k])
    for attention in ("eager", "sdpa"):
        for run in (initial_losses, train):
            for k, v in run(case, weights, batches, torch.bfloat16, attention).items():
                errors.setdefault(k, {})[attention] = relative_error(v, truth[k])
    return errors


def jittered(case, weights, generator):
    """Nearly the same model, which rounds otherwise: every weight is moved by about half of bf16's spacing."""
    stored = case.get("stored", torch.float32)
    return {k: (v * (1 + JITTER * torch.randn(v.shape, generator=generator))).to(stored).float()
            for k, v in weights.items()}


def later_gradients(case, weights, batches, dtype, attention):
    """{"grad1.NAME".."grad3.NAME"}: of the batches after the first, where the case wants them."""
    if not case.get("all_gradients"):
        return {}
    passes = {i: backward(case, weights, batches[i], dtype, attention) for i in range(1, BATCHES)}
    return {k.replace("grad.", f"grad{i}.", 1): v for i, found in passes.items() for k, v in found.items()
            if k.startswith("grad.")}


def make_case(name, case, root):
    generator = torch.Generator().manual_seed(case["seed"])
    case["config"] = {**COMMON, **case["config"]}
    stored = case.get("stored", torch.float32)
    weights = {k: v.to(stored).float() for k, v in random_weights(case["config"], generator).items()}
    batches = [random_batch(case, generator) for _ in range(BATCHES)]
    truth, single = (backward(case, weights, batches[0], *how) | initial_losses(case, weights, batches, *how)
                     | train(case, weights, batches, *how) | later_gradients(case, weights, batches, *how)
                     for how in ((torch.float64, "sdpa"), (torch.float32, "eager")))
    fp32 = {k: relative_error(single[k], v) for k, v in truth.items()}
    assert max(fp32.values()) < 1e-5, (name, fp32)  # the unmodified class agrees with the f64 equations
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    config = case["config"] if stored == torch.float32 else {**case["config"], "torch_dtype": "bfloat16"}
    write_json(folder / "config.json", config)
    write_json(folder / "case.json", dict(
        seed=case["seed"], steps=STEPS, learning_rate=LEARNING_RATE, adam_beta1=BETAS[0], adam_beta2=BETAS[1],
        adam_eps=EPS, weight_decay=WEIGHT_DECAY, weight_decay_on="matrices", max_grad_norm=case.get("max_norm", MAX_NORM)))
    write_json(folder / "fp32_errors.json", fp32)
    write_json(folder / "bf16_errors.json", bf16_errors(case, weights, batches, truth))
    write_tensors(folder / "model.safetensors", {k: v.to(stored) for k, v in weights.items()})
    inputs = {k: torch.stack(v).int() for k, v in zip(("tokens", "targets", "doc_start"), zip(*batches))}
    write_tensors(folder / "golden.safetensors", inputs | {k: v.float() for k, v in truth.items()})
    check_files(folder, truth)
    print(f"{name:14} loss {truth['loss'].item():.3f} -> {truth['losses20'][-1]:.3f}  norm "
          f"{truth['grad_norms20'][0]:.2f} -> {truth['grad_norms20'][-1]:.2f}  worst fp32 {max(fp32.values()):.1e}")


def check_files(folder, truth):
    """The files as written, through the library's own loader, give the truth; without what makes them special, not."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    golden = load_file(folder / "golden.safetensors")
    tokens, doc_start = golden["tokens"][0].long(), golden["doc_start"][0].long()
    with torch.no_grad():
        assert relative_error(forward(model, tokens, doc_start), truth["logits"]) < 1e-5
        whole = relative_error(model(input_ids=tokens, use_cache=False).logits, truth["logits"])
        assert whole > 0.1 if doc_start.any() else whole < 1e-5
        if model.config.rope_parameters["rope_type"] != "default":
            model.model.rotary_emb.inv_freq[:] = model.model.rotary_emb.compute_default_rope_parameters(model.config)[0]
            assert relative_error(forward(model, tokens, doc_start), truth["logits"]) > 0.1  # the scaling matters


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=pathlib.Path, default=pathlib.Path(__file__).parent / "cases")
    root = parser.parse_args().cases
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    torch.use_deterministic_algorithms(True)
    for name, case in CASES.items():
        make_case(name, case, root)
    (root / "README.md").write_text(
        "Made by `tests/golden/make_golden.py`; `tests/golden/README.md` has the fields. Versions: "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}.\n")


if __name__ == "__main__":
    main()
