#!/usr/bin/env python3
"""cuda_test.py SHERD MPIRUN SAMPLE: --device cuda, with a SHERD whose GPU is emulated (tests/emulation)."""
import json
import os
import re

from run_folder import DOES_NOT_FIT, USAGE, RunFolder, main

INTERNAL, HARDWARE = 1, 7
ECC = 214  # cudaErrorECCUncorrectable


def emulated(**settings):
    return {**os.environ, **{f"EMULATED_CUDA_{name}": str(value) for name, value in settings.items()}}


class Devices(RunFolder):
    def on_cuda(self, *more, **options):
        return self.train("--device", "cuda", *more, **options)

    def search_products(self):
        """So that the next run's kernels are those of its steps."""
        self.assertEqual(self.on_cuda(steps=1, output="searched").returncode, 0)

    def test_none(self):
        done = self.on_cuda(env=emulated(DEVICES=0))
        self.refused(done, USAGE, "--device cuda", "no GPU", "--gpus-per-node", "--device cpu")

    def test_none_is_no_reason_to_stop_when_nobody_asked_for_one(self):
        done = self.train("--device", "auto", env=emulated(DEVICES=0), steps=1)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout + done.stderr, r"\bcpu, 1 thread")

    def test_too_old(self):
        done = self.on_cuda(env=emulated(CAPABILITY=75))
        self.refused(done, USAGE, "Emulated GPU", "compute capability 7.5", "8.0")

    def test_too_old_for_fp8(self):
        done = self.on_cuda("--dtype", "bf16", "--fp8", env=emulated(CAPABILITY=80))
        self.refused(done, USAGE, "--fp8 needs compute capability 8.9 or later", "Emulated GPU", "8.0")

    def test_a_library_that_is_too_old(self):
        done = self.on_cuda(env={**os.environ, "EMULATED_CUBLASLT_VERSION": "120805"})
        self.refused(done, USAGE, "cuBLASLt is of version 120805", "CUDA 13")

    def test_too_small(self):
        done = self.on_cuda(env=emulated(BYTES=80 << 20))
        self.refused(done, DOES_NOT_FIT, "cuda:0", "GiB", "rank")

    def test_an_error_of_the_hardware_in_a_step(self):
        self.search_products()
        done = self.on_cuda(env=emulated(FAILS_AT=250, FAILS_WITH=ECC), steps=10)
        self.refused(done, HARDWARE, "cuda:0", "cudaErrorECCUncorrectable", "drained", "checkpoint")

    def test_an_error_of_one_rank_in_a_collective_ends_both(self):
        self.search_products()
        done = self.on_cuda(env=emulated(FAILS_AT=250, FAILS_WITH=ECC), steps=10, ranks=2)
        self.assertEqual(done.returncode, HARDWARE, done.stdout + done.stderr)
        self.assertIn("cudaErrorECCUncorrectable", done.stderr)

    def test_debug_names_the_operation(self):
        self.search_products()
        done = self.on_cuda("--debug", env=emulated(FAILS_AT=250), steps=10)
        self.refused(done, INTERNAL, "cudaErrorLaunchFailure")
        self.assertRegex(done.stderr, r"(forward|backward|optimizer) / (model|head|embed)\S* ?/? ?\S*")


class Training(RunFolder):
    def test_follows_the_cpu_and_goes_on_where_it_stopped(self):
        for steps in (3, 6):  # the second goes on from the first one's checkpoint, on the other device in the third run
            self.trained(steps=steps, output="cpu")
            self.trained("--device", "cuda", ranks=1, steps=steps, output="gpu")
            self.trained("--device", "cuda" if steps == 3 else "cpu", steps=steps, output="both")
        self.assertLess(max(abs(float(a) / float(b) - 1) for a, b in zip(self.losses("both").values(),
                                                                         self.losses("cpu").values())), 1e-5)
        ours, theirs = self.losses("gpu"), self.losses("cpu")
        self.assertEqual(sorted(ours), [1, 2, 3, 4, 5, 6])
        for step, loss in theirs.items():
            self.assertLess(abs(float(ours[step]) / float(loss) - 1), 1e-5, f"step {step}")

    def test_tells_what_lies_beside_the_arena(self):
        done = self.trained("--device", "cuda")  # of two ranks each would count its own emulated memory
        said = re.search(r"GPU memory after two steps: (\d+) bytes of arena per rank, and ([\d.]+) MiB beside it", done.stdout)
        self.assertTrue(said, done.stdout + done.stderr)
        self.assertLess(abs(float(said[2])), 0.1)  # no library of the emulation takes any; pages are rounded
        done = self.trained("--device", "cuda", steps=4, env=emulated(LIBRARY_BYTES=300 << 20))
        self.assertIn("300.0 MiB per rank beside the arena", done.stderr)
        plan = self.sherd("plan", "--model", "model", "--ranks", "2", "--device", "cuda", "--dtype", "fp32",
                          "--max-seq-length", "64")
        self.assertEqual(plan.returncode, 0, plan.stderr)
        self.assertRegex(plan.stdout, r"runtime +0\.250 GiB")

    def test_one_rank_repeats_its_bits(self):
        for output in ("first", "second"):
            self.trained("--device", "cuda", "--dtype", "bf16", steps=3, output=output)
        self.assertEqual(self.losses("first"), self.losses("second"))

    def test_work_that_cannot_be_recorded_is_enqueued(self):
        self.trained("--device", "cuda", steps=4, output="recorded")
        done = self.trained("--device", "cuda", steps=4, output="enqueued", env=emulated(GRAPHS=0))
        self.assertIn("cannot record a step's work as a CUDA graph (cudaErrorMemoryAllocation", done.stderr)
        done = self.trained("--device", "cuda", "--no-cuda-graphs", steps=4, output="not-asked", env=emulated(GRAPHS=0))
        self.assertNotIn("cannot record", done.stderr)
        self.assertEqual(self.losses("recorded"), self.losses("enqueued"))
        self.assertEqual(self.losses("recorded"), self.losses("not-asked"))

    def test_a_model_says_the_same_on_both_devices(self):
        self.trained("--device", "cuda", steps=2)
        said = {}
        for device in ("cpu", "cuda"):
            done = self.sherd("generate", "--model", "run", "--prompt", "e2e4", "--max-new-tokens", "8", "--temperature", "0",
                              "--device", device)
            self.assertEqual(done.returncode, 0, done.stderr)
            said[device] = done.stdout
        self.assertEqual(said["cpu"], said["cuda"])

    def test_version_names_the_device(self):
        self.assertTrue(re.search(r"cuda: .*1 device: Emulated GPU", self.sherd("--version").stdout))


class Algorithms(RunFolder):
    """Rank 0 chooses the products' algorithms, all ranks take them, the checkpoint records them."""

    def chosen(self, output, *more, **options):
        """Of how many shapes the algorithms came from the checkpoint, from the cache, from a search."""
        done = self.trained("--device", "cuda", *more, output=output, **options)
        said = re.search(r"products: (\d+) shapes; algorithms of (\d+) from the checkpoint, (\d+) from .*, (\d+) searched",
                         done.stdout + done.stderr)
        self.assertTrue(said, done.stdout + done.stderr)
        counts = [int(n) for n in said.groups()]
        self.assertEqual(counts[0], sum(counts[1:]))
        return counts[1:]

    def recorded(self, output):
        with open(self.path(output, self.checkpoints(output)[-1], "manifest.json"), encoding="utf-8") as file:
            return json.load(file)["algorithms"]

    def test_are_searched_once_and_recorded(self):
        checkpoint, cache, searched = self.chosen("first", ranks=2)
        self.assertEqual((checkpoint, cache), (0, 0))
        self.assertGreater(searched, 10)
        text = self.recorded("first")
        self.assertEqual(text.count(" algorithm 0000000000000002"), searched)  # the fastest (fake_cublas_lt.hpp)
        self.assertEqual(self.chosen("second", ranks=2), [0, searched, 0])
        self.assertEqual(self.losses("first"), self.losses("second"))

        [file] = os.listdir(self.path("cache", "sherd"))
        self.write(f"cache/sherd/{file}", text.replace("0000000000000002", "0000000000000003"))  # a checksum now wrong
        self.assertEqual(self.chosen("first", steps=5), [searched, 0, 0])
        self.assertEqual(self.recorded("first"), text)
        self.assertEqual(self.chosen("third"), [0, 0, searched])

    def test_of_another_device_are_searched_again(self):
        searched = self.chosen("run")[2]
        self.assertEqual(self.chosen("run", steps=5, env=emulated(CAPABILITY=80)), [0, 0, searched])
        self.assertIn(" sm 80 ", self.recorded("run"))


class Attention(RunFolder):
    """--attention auto: cuDNN's where a comparison finds it right and faster (tests/emulation/fake_cudnn.cpp)."""

    def run_with(self, cudnn, output, *more, steps=2, attention="auto", dtype="bf16", **options):
        """What a run says whose cuDNN is of this kind."""
        env = emulated(KERNEL_MICROSECONDS=1000)  # long, so that few samples do
        if cudnn:
            env["EMULATED_CUDNN"] = cudnn
        done = self.trained("--device", "cuda", "--dtype", dtype, "--attention", attention, *more, output=output,
                            steps=steps, env=env, **options)
        return done.stdout + done.stderr

    def recorded(self, output):
        """The section on attention of the newest checkpoint's algorithms."""
        with open(self.path(output, self.checkpoints(output)[-1], "manifest.json"), encoding="utf-8") as file:
            text = json.load(file)["algorithms"]
        return text[text.index("sherd-attention"):] if "sherd-attention" in text else ""

    def test_the_faster_is_compared_once_recorded_and_gone_on_with(self):
        said = self.run_with("faster", "run", ranks=2)
        self.assertRegex(said, r"attention: 1 shapes, cuDNN \S+; kernels of 0 from the checkpoint, 0 from .*, 1 compared now")
        text = self.recorded("run")
        self.assertRegex(text, r"B 1 T 64 heads 4 2 8 documents \d+ forward own us \S+ cudnn us \S+ faster\n")
        self.assertRegex(text, r" backward own us \S+ cudnn us \S+ faster\n")
        said = self.run_with("slower", "second", ranks=2)
        self.assertRegex(said, r"0 from the checkpoint, 1 from \S+attention-Emulated-GPU\S+, 0 compared now")
        self.assertEqual(self.recorded("second"), text)
        self.assertEqual(self.losses("run"), self.losses("second"))

        [file] = [name for name in os.listdir(self.path("cache", "sherd")) if name.startswith("attention")]
        os.remove(self.path("cache", "sherd", file))
        said = self.run_with("slower", "run", steps=3, ranks=2)
        self.assertRegex(said, "1 from the checkpoint, 0 from .*, 0 compared now")
        self.assertEqual(self.recorded("run"), text)
        self.run_with("faster", "run", steps=4, attention="own", ranks=2)
        self.assertEqual(self.recorded("run"), "")

    def test_ours_stays_where_cudnn_is_wrong_or_absent_or_not_asked_for(self):
        said = self.run_with("wrong", "wrong")
        self.assertEqual(said.count("cuDNN's results are wrong, so ours computes it"), 2, said)
        self.assertIn(" wrong\n", self.recorded("wrong"))
        self.assertRegex(self.run_with("", "absent"), "attention: ours; cuDNN's cannot be used: EMULATED_CUDNN is not set")
        self.assertEqual(self.recorded("absent"), "")
        for output, options in (("own", {"attention": "own"}), ("fp32", {"dtype": "fp32"})):
            self.assertNotIn("attention", self.run_with("faster", output, **options))
            self.assertEqual(self.recorded(output), "")
        self.assertEqual(self.losses("wrong"), self.losses("absent"))

    def test_its_memory_is_in_the_plan(self):
        sums = {}
        for attention in ("own", "auto"):
            for dtype in ("bf16", "fp32"):
                done = self.sherd("plan", "--model", "model", "--device", "cuda", "--max-seq-length", "64", "--dtype", dtype,
                                  "--attention", attention)
                self.assertEqual(done.returncode, 0, done.stderr)
                sums[attention, dtype] = int(re.search(r"states and buffers .* (\d+) bytes", done.stdout + done.stderr)[1])
        self.assertGreater(sums["auto", "bf16"], sums["own", "bf16"] + (1 << 20))
        self.assertEqual(sums["auto", "fp32"], sums["own", "fp32"])
        done = self.trained("--attention", "auto", "--dtype", "bf16")  # on the CPU it means nothing
        self.assertNotIn("attention", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
