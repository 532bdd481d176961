#!/usr/bin/env python3
"""Training speed of PyTorch on a GPU, beside which tools/gpu_bench.sh puts Sherd's: Hugging Face's LlamaForCausalLM of
the same shape, random weights and tokens.

    python3 tools/bench/pytorch_gpu_bench.py --model tools/bench/shapes/codellama_7b.json --batch 4 --seq 2048 --mode compile

As fast as PyTorch reasonably gets: parameters, gradients and AdamW's moments in bf16 (less work than with fp32 master
weights), fused AdamW, no activation checkpointing, whichever of SDPA's backends is the fastest at this shape, and with
--mode compile the whole model compiled. Every sequence is one causal document, and the loss is taken of fp32 logits, as the
class does it. Without transformers a Llama of this file is measured, and `model_class` says so.

Prints one JSON line, and {"unmeasured": reason} where something is missing; the exit code is 0 either way. Where memory
ends, it starts again: first with expandable segments, then with half the micro-batch and twice the accumulation, which
`batch` and `out_of_memory_at` say.
"""
import argparse
import contextlib
import gc
import json
import os
import platform
import statistics
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    print(json.dumps({"unmeasured": f"no PyTorch in {sys.executable}: {error}"}))
    sys.exit(0)
try:
    import transformers
    from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM
except ImportError:
    transformers = None

SEGMENTS = "PYTORCH_CUDA_ALLOC_CONF"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a config.json: the shape")
    parser.add_argument("--batch", type=int, default=4, help="sequences of a micro-batch")
    parser.add_argument("--seq", type=int, default=2048, help="tokens of a sequence")
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches of a step")
    parser.add_argument("--mode", choices=("plain", "compile", "compile-max-autotune"), default="plain")
    parser.add_argument("--passes-only", action="store_true", help="forward and backward: no clipping, no optimizer")
    parser.add_argument("--max-grad-norm", type=float, default=1.0, help="0: no clipping")
    parser.add_argument("--rounds", type=int, default=5, help="timed")
    parser.add_argument("--steps", type=int, default=1, help="of a round")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the first round")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model-class", choices=("auto", "own"), default="auto", help="own: the Llama of this file")
    parser.add_argument("--no-graphs", action="store_true", help="max-autotune without CUDA graphs")
    parser.add_argument("--out-of-memory-at", default="", help="what has been tried")
    return parser.parse_args()


# --- a Llama in plain PyTorch, for machines without transformers ---
class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        width = c["hidden_size"]
        self.heads, self.kv = c["num_attention_heads"], c["num_key_value_heads"]
        self.dim, self.eps = width // self.heads, c["rms_norm_eps"]
        self.before_attention, self.before_mlp = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.q = nn.Linear(width, self.heads * self.dim, bias=False)
        self.k = nn.Linear(width, self.kv * self.dim, bias=False)
        self.v = nn.Linear(width, self.kv * self.dim, bias=False)
        self.o = nn.Linear(self.heads * self.dim, width, bias=False)
        self.gate = nn.Linear(width, c["intermediate_size"], bias=False)
        self.up = nn.Linear(width, c["intermediate_size"], bias=False)
        self.down = nn.Linear(c["intermediate_size"], width, bias=False)

    def forward(self, x, cos, sin):
        def split(y, heads):
            return y.view(x.shape[0], x.shape[1], heads, self.dim).transpose(1, 2)

        def rotate(y):
            low, high = y.chunk(2, dim=-1)
            return y * cos + torch.cat((-high, low), dim=-1) * sin

        h = F.rms_norm(x, (x.shape[-1],), self.before_attention, self.eps)
        q, k = rotate(split(self.q(h), self.heads)), rotate(split(self.k(h), self.kv))
        a = F.scaled_dot_product_attention(q, k, split(self.v(h), self.kv), is_causal=True,
                                           enable_gqa=self.heads != self.kv)
        x = x + self.o(a.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))
        h = F.rms_norm(x, (x.shape[-1],), self.before_mlp, self.eps)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embedding = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.gain, self.eps = nn.Parameter(torch.ones(c["hidden_size"])), c["rms_norm_eps"]
        self.head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=c.get("initializer_range", 0.02))
        if c.get("tie_word_embeddings"):
            self.head.weight = self.embedding.weight
        self.theta, self.dim = c["rope_theta"], c["hidden_size"] // c["num_attention_heads"]

    def forward(self, input_ids, labels):
        x = self.embedding(input_ids)
        frequency = self.theta ** (-torch.arange(0, self.dim, 2, device=x.device, dtype=torch.float32) / self.dim)
        angle = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)[:, None] * frequency
        angle = torch.cat((angle, angle), dim=-1)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.head(F.rms_norm(x, (x.shape[-1],), self.gain, self.eps)).float()
        return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1))


def causal_attention(module, query, key, value, attention_mask, scaling=None, **_):
    """SDPA without a mask. The class's own hands it one when it is compiled, which the fast backends do not take."""
    if attention_mask is not None:
        raise RuntimeError("transformers made an attention mask; this benchmark is of causal sequences without one")
    out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling,
                                         enable_gqa=query.shape[1] != key.shape[1])
    return out.transpose(1, 2).contiguous(), None


def build(shape, args):
    """The model, its loss as a function of tokens, and what class it is of."""
    torch.manual_seed(42)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(args.device):
        if transformers is None or args.model_class == "own":
            model, name = Llama(shape), "plain PyTorch Llama of pytorch_gpu_bench.py"
        else:
            AttentionInterface.register("causal_sdpa", causal_attention)
            config = LlamaConfig(**shape, attn_implementation="causal_sdpa", use_cache=False)
            model, name = LlamaForCausalLM(config), f"LlamaForCausalLM of transformers {transformers.__version__}"
    torch.set_default_dtype(torch.float32)
    model.train()
    run = compiled(model, args)
    if name.startswith("plain"):
        return model, lambda tokens: run(tokens, tokens), name
    return model, lambda tokens: run(input_ids=tokens, labels=tokens, use_cache=False).loss, name


def compile_mode(args):
    if args.mode == "plain":
        return None
    if args.mode == "compile":
        return "default"
    # Gradients that accumulate lie in a graph's memory, which its next run overwrites.
    return "max-autotune-no-cudagraphs" if args.no_graphs or args.accumulation > 1 else "max-autotune"


def compiled(model, args):
    return model if args.mode == "plain" else torch.compile(model, mode=compile_mode(args), dynamic=False)


# --- SDPA's backend ---
def attention_milliseconds(shape, args, backend):
    """Of one layer's attention, forward and backward; None where this backend does not compute it."""
    from torch.nn.attention import sdpa_kernel
    heads, kv = shape["num_attention_heads"], shape["num_key_value_heads"]
    dim = shape["hidden_size"] // heads

    def tensor(count):
        return torch.randn(args.batch, count, args.seq, dim, device=args.device, dtype=torch.bfloat16, requires_grad=True)

    q, k, v = tensor(heads), tensor(kv), tensor(kv)
    gradient = torch.randn_like(q)
    times = []
    try:
        with sdpa_kernel([backend]):
            for i in range(8):
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                begin.record()
                F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv).backward(gradient)
                end.record()
                torch.cuda.synchronize()
                if i >= 3:
                    times.append(begin.elapsed_time(end))
    except RuntimeError:
        return None
    return round(statistics.median(times), 4)


def choose_attention(shape, args):
    """A context with the backends from the fastest on, and their times in milliseconds."""
    if args.device == "cpu":
        return contextlib.nullcontext(), {}
    from torch.nn.attention import SDPBackend, sdpa_kernel
    found = {}
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
        found[backend.name] = attention_milliseconds(shape, args, backend)
    usable = sorted((name for name in found if found[name] is not None), key=found.get)
    order = [getattr(SDPBackend, name) for name in usable] + [SDPBackend.MATH]
    gc.collect()
    torch.cuda.empty_cache()
    return sdpa_kernel(order, set_priority=True), found


def attention_used(step):
    """The attention operators that a step ran, by PyTorch's names."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    names = {event.key for event in profile.key_averages() if "scaled_dot_product" in event.key}
    return sorted(name for name in names if name != "aten::scaled_dot_product_attention")


# --- the measurement ---
class Steps:
    """Steps of one model on batches that are drawn once."""

    def __init__(self, shape, args):
        self.args = args
        self.model, self.loss_of, self.model_class = build(shape, args)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        size = (args.accumulation, args.batch, args.seq)
        self.batches = torch.randint(shape["vocab_size"], size, device=args.device)
        fused = dict(fused=True) if args.device != "cpu" else dict(foreach=True)
        self.optimizer = None if args.passes_only else torch.optim.AdamW(self.parameters, lr=1e-5, **fused)
        self.loss = None

    def run(self):
        for tokens in self.batches:
            if "autotune" in self.args.mode:
                torch.compiler.cudagraph_mark_step_begin()
            loss = self.loss_of(tokens) / self.args.accumulation
            loss.backward()
        if self.optimizer is not None:
            if self.args.max_grad_norm > 0:
                nn.utils.clip_grad_norm_(self.parameters, self.args.max_grad_norm, foreach=True)
            self.optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None
        self.loss = loss.detach()


def synchronize(args):
    if args.device != "cpu":
        torch.cuda.synchronize()


def measure(shape, args):
    context, attention = choose_attention(shape, args)
    with context:
        steps = Steps(shape, args)
        for _ in range(args.warmup):
            steps.run()
        used = attention_used(steps.run)
        rates = []
        for _ in range(args.rounds):
            synchronize(args)
            begin = time.perf_counter()
            for _ in range(args.steps):
                steps.run()
            synchronize(args)
            rates.append(args.steps * args.accumulation * args.batch * args.seq / (time.perf_counter() - begin))
    loss = float(steps.loss) * args.accumulation
    if loss != loss:
        return {"unmeasured": "PyTorch's loss is nan"}
    return dict(tokens_per_second=round(statistics.median(rates), 1), rounds=[round(rate, 1) for rate in rates],
                loss=round(loss, 5), parameters=sum(p.numel() for p in steps.parameters), model_class=steps.model_class,
                attention_milliseconds=attention, attention_used=used, **memory(args))


def memory(args):
    if args.device == "cpu":
        return {}
    return dict(peak_bytes=torch.cuda.max_memory_allocated(), reserved_bytes=torch.cuda.max_memory_reserved(),
                device=torch.cuda.get_device_name(), cudnn=torch.backends.cudnn.version())


def again_with_less(args):
    """Starts this program anew, where memory is not in pieces; returns if there is nothing left to try."""
    words = [word for word in sys.argv[1:]]
    tried = f"{args.out_of_memory_at},{args.batch}".strip(",")
    if "expandable" not in os.environ.get(SEGMENTS, "") and args.device != "cpu":
        os.environ[SEGMENTS] = "expandable_segments:True"
    elif args.batch % 2 == 0:
        words += ["--batch", str(args.batch // 2), "--accumulation", str(args.accumulation * 2)]
    else:
        return
    words += ["--out-of-memory-at", tried]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, os.path.abspath(__file__), *words])  # of repeated options the last counts


def attempt(shape, args):
    try:
        return measure(shape, args)
    except torch.OutOfMemoryError as error:
        again_with_less(args)
        return {"unmeasured": f"out of memory at micro-batches of {args.batch} x {args.seq}: {str(error).splitlines()[0]}"}
    except Exception as error:  # whatever a compiler or a backend throws
        if compile_mode(args) == "max-autotune":
            os.execv(sys.executable, [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--no-graphs"])
        return {"unmeasured": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}


def main():
    args = arguments()
    if args.device != "cpu" and not torch.cuda.is_available():
        print(json.dumps({"unmeasured": f"PyTorch {torch.__version__} sees no GPU"}))
        return
    torch.set_float32_matmul_precision("high")
    with open(args.model, encoding="utf-8") as file:
        shape = json.load(file)
    settings = dict(bench="pytorch", mode=args.mode, compile_mode=compile_mode(args), passes_only=args.passes_only,
                    batch=args.batch, seq=args.seq, accumulation=args.accumulation, dtype="bf16, moments and all",
                    max_grad_norm=0 if args.passes_only else args.max_grad_norm, torch=torch.__version__,
                    cuda=torch.version.cuda, python=platform.python_version(),
                    allocator=os.environ.get(SEGMENTS, ""), out_of_memory_at=args.out_of_memory_at)
    print(json.dumps({**settings, **attempt(shape, args)}), flush=True)


if __name__ == "__main__":
    main()
