#!/usr/bin/env python3
"""resume_test.py SHERD MPIRUN SAMPLE: a run that was interrupted goes on as if it had not been."""
import json
import os
import shutil

from run_folder import BAD_INPUT, SHAPE, RunFolder, elements, flip_byte, main, shapes

BATCH = ("--total-batch-size", "12")


class Resume(RunFolder):
    def keep_only(self, *checkpoints):
        """The run's folder as an interruption right after these checkpoints would have left it."""
        for name in self.checkpoints():
            if name not in checkpoints:
                shutil.rmtree(self.path("run", name))

    def state(self, checkpoint, output="run"):
        """{(parameter, state): its bytes} of a checkpoint, read as its manifest says."""
        folder = self.path(output, checkpoint)
        with open(f"{folder}/manifest.json", encoding="utf-8") as file:
            manifest = json.load(file)
        found = {}
        for rank_file in manifest["files"]:
            with open(f"{folder}/rank-{rank_file['rank']:04}.h5", "rb") as file:
                for piece in rank_file["pieces"]:
                    file.seek(piece["offset"])
                    found.setdefault((piece["name"], piece["state"]), []).append(
                        (piece["first"], file.read(4 * piece["count"])))
        return {key: b"".join(data for _, data in sorted(pieces)) for key, pieces in found.items()}

    def assert_close(self, losses, reference):
        self.assertEqual(losses.keys(), reference.keys())
        for step, loss in losses.items():
            self.assertLess(abs(float(loss) / float(reference[step]) - 1), 1e-5, f"step {step}")

    def test_the_same_ranks_give_the_same_bits(self):
        for ranks in (1, 2):
            with self.subTest(ranks=ranks):
                output = f"straight{ranks}"
                self.trained(*BATCH, "--save-every", "3", output=output, steps=6, ranks=ranks)
                shutil.copytree(self.path(output, "step-00000003"), self.path(f"run{ranks}", "step-00000003"))
                done = self.trained(*BATCH, "--save-every", "3", output=f"run{ranks}", steps=6, ranks=ranks)
                self.assertIn(f"resumed from run{ranks}/step-00000003: step 3", done.stdout)
                straight = self.losses(output)
                self.assertEqual(self.losses(f"run{ranks}"), {step: straight[step] for step in (4, 5, 6)})
                state = self.state("step-00000006", f"run{ranks}")
                self.assertEqual(len(state), 3 * 21)
                for name, shape in shapes(SHAPE).items():
                    self.assertEqual(len(state[name, "master"]), 4 * elements(shape))
                self.assertEqual(state, self.state("step-00000006", output))
                self.assertNotEqual(state, self.state("step-00000003", output))

    def test_moments_in_bf16(self):
        more = (*BATCH, "--moments-dtype", "bf16", "--save-every", "3")
        self.trained(*more, output="straight", steps=6, ranks=2)
        shutil.copytree(self.path("straight", "step-00000003"), self.path("run", "step-00000003"))
        self.assertNotIn("moments-dtype", self.trained(*more, steps=6, ranks=2).stdout)
        state = self.state("step-00000006")
        self.assertEqual(state, self.state("step-00000006", "straight"))
        for (name, kind), data in state.items():  # files hold fp32, whose lower half a bf16 leaves empty
            if kind != "master":
                self.assertEqual({data[i:i + 2] for i in range(0, len(data), 4)}, {b"\0\0"}, name)
        done = self.trained(*BATCH, steps=7, ranks=2)
        self.assertIn('changed since that checkpoint: moments-dtype: "bf16" and "fp32"', done.stdout)

    def test_other_numbers_of_ranks(self):
        self.trained(*BATCH, output="straight", steps=9)
        for ranks, begin in ((2, 0), (3, 3), (1, 6)):
            done = self.trained(*BATCH, "--save-every", "3", "--keep-checkpoints", "0", steps=9, ranks=ranks)
            self.assertEqual(begin > 0, f"resumed from run/step-{begin:08}" in done.stdout, done.stdout)
            self.keep_only(f"step-{begin + 3:08}")
        lines = self.metrics()  # each part ran to the end; what came after its checkpoint was run again
        parts = [lines[:9], lines[9:15], lines[15:]]
        for part, begin in zip(parts, (0, 3, 6)):
            self.assertEqual([line["step"] for line in part], list(range(begin + 1, 10)))
            losses = {line["step"]: line["loss"] for line in part}
            self.assert_close(losses, {s: loss for s, loss in self.losses("straight").items() if s > begin})

    def test_a_damaged_checkpoint_is_passed_over(self):
        self.trained(*BATCH, "--save-every", "3", steps=6, ranks=2)
        flip_byte(self.path("run/step-00000006/rank-0001.h5"))
        done = self.trained(*BATCH, steps=8, ranks=2)
        self.assertRegex(done.stderr, r"warning.*step-00000006/rank-0001\.h5: damaged.*trying the next older")
        self.assertEqual(done.stderr.count("trying the next older"), 1)
        self.assertIn("resumed from run/step-00000003", done.stdout)
        self.assertNotIn("resumed from run/step-00000006", done.stdout)
        self.assertEqual([line["step"] for line in self.metrics()[6:]], [4, 5, 6, 7, 8])
        self.assertTrue(os.path.isdir(self.path("run/replaced-step-00000006")))  # nothing is lost

    def test_a_new_beginning_sets_later_checkpoints_aside(self):
        self.trained(*BATCH, steps=4)
        done = self.trained(*BATCH, "--resume", "none", "--save-every", "2", steps=3)
        self.assertIn("run/step-00000004 is later than this run's beginning", done.stdout)
        self.assertEqual(self.checkpoints(), ["step-00000002", "step-00000003"])
        self.assertIn("resumed from run/step-00000003", self.trained(*BATCH, steps=5).stdout)
        self.trained(*BATCH, "--resume", "none", steps=1)
        self.assertEqual(self.checkpoints(), ["step-00000001"])
        aside = sorted(name for name in os.listdir(self.path("run")) if name.startswith("replaced-"))
        self.assertEqual(aside, [f"replaced-step-0000000{step}" for step in (3, 4, 5)])

    def test_without_a_good_checkpoint_nothing_is_begun_anew(self):
        self.trained(*BATCH, steps=2, ranks=2)
        flip_byte(self.path("run/step-00000002/rank-0000.h5"))
        before = self.metrics()
        for ranks in (1, 2):
            self.refused(self.train(*BATCH, steps=4, ranks=ranks), BAD_INPUT, "step-00000002/rank-0000.h5: damaged",
                         "no good checkpoint is left", "--resume none")
        self.assertEqual(self.metrics(), before)
        self.assertIn("weights: drawn", self.trained(*BATCH, "--resume", "none", steps=1).stdout)

    def test_a_checkpoint_of_another_model(self):
        self.trained(steps=1)
        with open(self.path("run/config.json"), encoding="utf-8") as file:
            described = file.read()
        self.reshape(intermediate_size=96)
        self.refused(self.train(steps=2), BAD_INPUT, "run/config.json is of another model than --model model",
                     '"intermediate_size": 80', '"intermediate_size": 96', "another --output")
        self.refused(self.train("--resume", "run/step-00000001", output="other", steps=2), BAD_INPUT,
                     "model.layers.0.mlp.gate_proj.weight", "(80, 32)", "(96, 32)")
        self.reshape(rope_theta=500000.0)  # the same shapes, another meaning
        self.refused(self.train(steps=2), BAD_INPUT, '"rope_theta": 10000', '"rope_theta": 500000')
        with open(self.path("run/config.json"), encoding="utf-8") as file:
            self.assertEqual(file.read(), described)

    def test_a_corpus_of_another_tokenizer_than_the_runs(self):
        self.trained(steps=1)
        shutil.copy(self.path("tokenizer.model"), self.path("first.model"))
        os.remove(self.path("tokenizer.model"))
        done = self.sherd("prepare", "--input", "games.jsonl", "--tokenizer", "tokenizer.model", "--train-tokenizer",
                          "280", "--output", "corpus.h5")
        self.assertEqual(done.returncode, 0, done.stderr)
        for ranks in (1, 2):
            self.refused(self.train(steps=2, ranks=ranks), BAD_INPUT, "run/step-00000001",
                         "would mean other text", "tokenizer.model")
        with open(self.path("run/tokenizer.model"), "rb") as kept, open(self.path("first.model"), "rb") as first:
            self.assertEqual(kept.read(), first.read())
        self.refused(self.train("--tokenizer", "first.model", output="new", steps=1), BAD_INPUT, "first.model")
        self.trained("--tokenizer", "tokenizer.model", output="new", steps=1)

    def test_a_users_own_config_stays_as_it_is(self):
        with open(self.path("model/config.json"), encoding="utf-8") as file:
            own = file.read()
        self.trained(output="model", steps=1)
        with open(self.path("model/config.json"), encoding="utf-8") as file:
            self.assertEqual(file.read(), own)

    def test_only_the_newest_checkpoints_are_kept(self):
        self.trained("--save-every", "1", "--keep-checkpoints", "2", steps=4)
        self.assertEqual(self.checkpoints(), ["step-00000003", "step-00000004"])

    def test_a_run_that_is_done(self):
        self.trained(steps=2)
        before = self.metrics()
        done = self.trained(steps=2)
        self.assertIn("nothing to do: the run has 2 steps and the checkpoint is at step 2", done.stdout)
        self.assertEqual(self.metrics(), before)
        self.assertEqual(self.checkpoints(), ["step-00000002"])

    def test_a_checkpoint_by_name(self):
        self.trained(*BATCH, "--save-every", "1", "--keep-checkpoints", "0", steps=3)
        done = self.trained(*BATCH, "--resume", "run/step-00000001", output="other", steps=3)
        self.assertIn("resumed from run/step-00000001", done.stdout)
        self.assertEqual(self.losses("other"), {s: loss for s, loss in self.losses().items() if s > 1})


if __name__ == "__main__":
    main()
