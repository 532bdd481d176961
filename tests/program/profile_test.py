#!/usr/bin/env python3
"""profile_test.py SHERD MPIRUN SAMPLE DEVICE: --profile, with the CPU or with an emulated GPU (tests/emulation)."""
import json
import os
import re
import sys
from decimal import Decimal

from run_folder import RunFolder, main

DEVICE = sys.argv[4]
KINDS = {"gemm", "attention", "elementwise", "optimizer", "communication"}
UNITS = {"embedding", "model.layers.0", "model.layers.1", "head"}


class ProfiledRun(RunFolder):
    def profiled(self, *more, steps=6, **options):
        return self.trained("--device", DEVICE, "--gradient-accumulation-steps", "2", *more, steps=steps, **options)

    def read(self, name, output="run"):
        with open(self.path(output, "profile", name), encoding="utf-8") as file:
            return json.load(file, parse_float=Decimal)

    def slices(self, name="rank-0.json", output="run"):
        """By thread name: (name, category, begin, end, args), checked to lie within or beside each other."""
        threads, found = {}, {}
        for event in self.read(name, output)["traceEvents"]:
            if event["ph"] == "M":
                if event["name"] == "thread_name":
                    threads[event["tid"]] = event["args"]["name"]
                continue
            self.assertEqual(event["ph"], "X")
            self.assertGreaterEqual(event["dur"], 0)
            found.setdefault(threads[event["tid"]], []).append(
                (event["name"], event["cat"], event["ts"], event["ts"] + event["dur"], event["args"]))
        for thread in found.values():
            open_ends = []
            for name, _, begin, end, _ in thread:
                while open_ends and open_ends[-1] <= begin:
                    open_ends.pop()
                self.assertTrue(not open_ends or end <= open_ends[-1], name)
                open_ends.append(end)
            for level in ("phase", "unit"):  # are in order, and none overlaps the next
                same = [(begin, end) for _, category, begin, end, _ in thread if category == level]
                self.assertTrue(all(a[1] <= b[0] for a, b in zip(same, same[1:])), level)
        return found

    def check_shares(self, share):
        self.assertEqual(set(share), KINDS | {"other", "idle"})
        self.assertTrue(all(0 <= part <= 1 for part in share.values()), share)
        self.assertLess(abs(sum(share.values()) - 1), 1e-6)
        self.assertEqual(share["other"], 0)


class Profile(ProfiledRun):
    def test_off_writes_nothing(self):
        self.profiled(steps=3)
        self.assertFalse(os.path.exists(self.path("run", "profile")))

    def test_two_steps(self):
        done = self.profiled("--profile", "2")
        self.assertEqual(sorted(os.listdir(self.path("run", "profile"))), ["rank-0.json", "summary.json"])
        threads = self.slices()
        self.assertEqual([name for name, *_ in threads["steps"]], ["step 3", "step 4"])
        for step in (3, 4):
            mine = [slice for slice in threads["compute"] if slice[4]["step"] == step]
            phases = [(name, args.get("micro_batch")) for name, category, _, _, args in mine if category == "phase"]
            self.assertEqual(phases, [("step", None), ("forward", 0), ("backward", 0), ("step", None), ("forward", 1),
                                      ("backward", 1), ("step", None), ("optimizer", None), ("step", None)])
            self.assertEqual({name for name, category, *_ in mine if category == "unit"}, UNITS)
            self.assertEqual({category for _, category, *_ in mine} - {"phase", "unit", "communication"},
                             KINDS - {"communication"})
            begin, end = next((begin, end) for name, _, begin, end, _ in threads["steps"] if name == f"step {step}")
            self.assertTrue(all(begin <= b and e <= end for _, _, b, e, _ in mine))
        summary = self.read("summary.json")
        self.assertEqual(summary["version"], 1)
        self.assertEqual([step["step"] for step in summary["steps"]], [3, 4])
        for share in (summary["share"], *(step["share"] for step in summary["steps"])):
            self.check_shares(share)
        self.assertEqual(summary["idle_share"], summary["share"]["idle"])
        self.assertGreater(summary["share"]["gemm"], 0)
        table = {op["op"]: op for op in summary["operations"]}
        self.assertEqual(table["linear"]["count"], 2 * 2 * 2 * 4)  # steps, micro-batches, blocks, products
        self.assertGreater(table["linear"]["flops_per_second"], 0)
        self.assertGreater(table["rmsnorm_grad"]["bytes_per_second"], 0)
        self.assertEqual(len(re.findall(r"(?m)^profile: step [34]  [\d.]+ ms  gemm [\d.]+%.*  idle [\d.]+%", done.stdout)),
                         2)
        self.assertRegex(done.stdout, r"(?m)^  linear +gemm +32 ")
        self.assertEqual(sorted(self.losses()), [1, 2, 3, 4, 5, 6])

    def test_changes_no_bit_of_the_run(self):
        self.profiled("--profile", "3", output="with")
        self.profiled(output="without")
        self.assertEqual(self.losses("with"), self.losses("without"))

    def test_of_two_ranks(self):
        self.profiled("--profile", "1", "--sharding", "full", ranks=2)
        self.assertEqual(sorted(os.listdir(self.path("run", "profile"))), ["rank-0.json", "rank-1.json", "summary.json"])
        begins = []
        for rank in (0, 1):
            threads = self.slices(f"rank-{rank}.json")
            comm = threads["comm"]
            units = {name for name, category, *_ in comm if category == "unit"}
            self.assertLessEqual({"gather model.layers.1", "reduce model.layers.1", "reduce head", "gradient norm"}, units)
            gathers = [args for name, _, _, _, args in comm if name == "all_gather" and
                       args["unit"] == "gather model.layers.1"]
            self.assertTrue(gathers and all(args["bytes"] == gathers[0]["bytes"] > 0 for args in gathers))
            self.assertIn("waits for communication", {name for name, *_ in threads["compute"]})
            begins.append(threads["steps"][0][2])
        self.assertLess(abs(begins[0] - begins[1]), 2_000_000)  # microseconds, on one clock
        summary = self.read("summary.json")
        self.assertEqual([rank["rank"] for rank in summary["by_rank"]], [0, 1])
        for rank in summary["by_rank"]:
            self.check_shares(rank["share"])
        self.assertGreater(summary["by_rank"][1]["collectives_seconds_per_step"], 0)

    def test_of_a_run_that_ends_before(self):
        done = self.profiled("--profile", "50", steps=4)
        self.assertEqual([step["step"] for step in self.read("summary.json")["steps"]], [3, 4])
        done = self.profiled("--profile", "50", steps=2, output="short")
        self.assertIn("nothing was traced", done.stderr)
        self.assertFalse(os.path.exists(self.path("short", "profile")))

    def test_beside_evaluations_and_checkpoints(self):
        self.profiled("--profile", "2", "--eval-every", "1", "--save-every", "1")
        phases = [name for name, category, *_ in self.slices()["compute"] if category == "phase"]
        self.assertEqual(phases.count("forward"), 4)  # an evaluation has no phase, and is between the steps

    def test_what_cannot_be_written_does_not_end_the_run(self):
        os.makedirs(self.path("run"))
        self.write("run/profile", "a file in the way")
        done = self.profiled("--profile", "1", steps=4)
        self.assertRegex(done.stderr, r"--profile 1: .*profile")
        self.assertEqual(sorted(self.losses()), [1, 2, 3, 4])

    def test_too_many_steps_are_refused(self):
        done = self.train("--device", DEVICE, "--profile", "101")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("--profile", done.stderr)


class SpeedOfLight(RunFolder):
    def test_is_in_every_line(self):
        done = self.trained("--device", DEVICE, steps=2)
        self.assertEqual(len(re.findall(r"(?m)^step \d/2 .*MFU [\d.]+%  SOL [\d.]+%  mem", done.stdout)), 2)
        needs = re.search(r"a step needs (\S+) TFLOP and (\S+) GB of memory traffic per rank: (\S+) s", done.stdout)
        self.assertTrue(needs, done.stdout)
        for line in self.metrics():
            seconds = float(line["seconds"])  # to the microsecond; the least time to four digits, the share to five decimals
            reached = float(needs[3]) / seconds
            self.assertLess(abs(float(line["speed_of_light"]) - reached), (1e-3 + 1e-6 / seconds) * reached + 1e-5)

    def test_counts_products_in_eight_bits_at_their_own_rate(self):
        done = self.trained("--device", DEVICE, "--dtype", "bf16", "--fp8", steps=1)
        needs = re.search(r"a step needs (\S+) TFLOP, (\S+) of them in eight bits, and (\S+) GB of memory traffic per rank: "
                          r"(\S+) s at the (\S+) TFLOP/s, (\S+) in eight bits, and (\S+) GB/s", done.stdout)
        self.assertTrue(needs, done.stdout)
        flops, f8, gigabytes, seconds, rate, f8_rate, bandwidth = map(float, needs.groups())
        self.assertGreater(f8, 0)
        self.assertLess(f8, flops)
        self.assertEqual(f8_rate / rate, 2 if DEVICE == "cuda" else 1)  # as the emulated device says; a CPU has one rate
        least = (flops - f8) / rate + f8 / f8_rate + gigabytes / bandwidth
        self.assertLess(abs(seconds - least), 4e-3 * least)  # each is told to four digits

    def test_does_not_count_what_is_computed_again(self):
        needs = set()
        for kept in ("none", "selective", "block"):
            done = self.trained("--device", DEVICE, "--activation-checkpointing", kept, steps=1, output=kept)
            needs.add(re.search(r"a step needs \S+ TFLOP and \S+ GB", done.stdout)[0])
        self.assertEqual(len(needs), 1)


if DEVICE == "cuda":
    class Idle(ProfiledRun):
        """The emulated device counts what the host takes for its launches."""

        def idle(self, host):
            env = {**os.environ, "EMULATED_CUDA_HOST_MICROSECONDS": str(host)}
            self.profiled("--profile", "1", steps=4, output=f"host-{host}", env=env)
            return float(self.read("summary.json", f"host-{host}")["idle_share"])

        def test_follows_the_host(self):
            self.assertLess(self.idle(0), 0.001)
            self.assertGreater(self.idle(4000), 0.5)


if __name__ == "__main__":
    main()
