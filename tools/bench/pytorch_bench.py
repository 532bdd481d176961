"""Training speed of Hugging Face's LlamaForCausalLM on this CPU, beside which `make bench` prints Sherd's.

    python tools/bench/pytorch_bench.py --config tools/bench/shapes/llama_30m.json --batch 4 --seq 512 --threads 2
    torchrun --nproc-per-node 2 tools/bench/pytorch_bench.py ...    (DDP over gloo; --batch and --threads are per rank)

Random weights and tokens, SDPA attention, AdamW (fused, or foreach where there is no fused one on CPUs), no clipping.
fp32 is fp32 throughout; bf16 measures autocast over fp32 weights and a model that is bf16 throughout (optimizer state
included: less work than training with fp32 master weights) and counts the faster. Prints one JSON line (rank 0).
"""
import argparse
import copy
import json
import os
import platform
import statistics
import time

import torch
import torch.distributed as dist
import transformers
from transformers import LlamaConfig, LlamaForCausalLM


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="a config.json: the shape")
    parser.add_argument("--batch", type=int, default=4, help="sequences per rank and step")
    parser.add_argument("--seq", type=int, default=512, help="tokens per sequence")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--mode", choices=("plain", "compile"), default="plain")
    parser.add_argument("--steps", type=int, default=5, help="timed steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    return parser.parse_args()


def optimizer_of(model):
    """AdamW and which implementation it got."""
    try:
        return torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True), "fused"
    except RuntimeError:
        return torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=True), "foreach"


def build(config, args, variant):
    torch.manual_seed(42)
    model = LlamaForCausalLM(copy.deepcopy(config)).train()
    if variant == "pure":
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
    model = torch.compile(model) if args.mode == "compile" else model
    return torch.nn.parallel.DistributedDataParallel(model) if dist.is_initialized() else model


def measure(config, args, variant):
    """Seconds of every timed step of one variant (fp32, autocast, pure), and AdamW's implementation."""
    model = build(config, args, variant)
    optimizer, implementation = optimizer_of(model)
    seconds = []
    for step in range(args.warmup + args.steps):
        tokens = torch.randint(config.vocab_size, (args.batch, args.seq))
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=variant == "autocast"):
            loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= args.warmup:
            seconds.append(time.perf_counter() - start)
    return seconds, implementation


def main():
    args = arguments()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    ranks, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    torch.set_num_threads(args.threads)
    with open(args.config) as file:
        config = LlamaConfig(**json.load(file), attn_implementation="sdpa")
    tokens = args.batch * args.seq * ranks
    result = {}
    for variant in (("fp32",) if args.dtype == "fp32" else ("autocast", "pure")):
        seconds, implementation = measure(config, args, variant)
        median = statistics.median(seconds)
        result[variant] = dict(tokens_per_second=round(tokens / median, 1), seconds_per_step=round(median, 4),
                               fastest=round(min(seconds), 4), slowest=round(max(seconds), 4))
    best = max(result, key=lambda variant: result[variant]["tokens_per_second"])
    if rank == 0:
        print(json.dumps(dict(
            config=os.path.basename(args.config), batch=args.batch, seq=args.seq, threads=args.threads, ranks=ranks,
            dtype=args.dtype, mode=args.mode, steps=args.steps, best=best, **result[best], variants=result,
            adamw=implementation, torch=torch.__version__, transformers=transformers.__version__,
            python=platform.python_version(), cpu_capability=torch.backends.cpu.get_cpu_capability())), flush=True)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
