#!/usr/bin/env python3
"""bad_input_test.py SHERD MPIRUN SAMPLE: what is wrong with an input is said, with what to do, and nothing is lost."""
import json
import os
import re
import shutil

from run_folder import BAD_INPUT, GAMES, SHAPE, USAGE, RunFolder, main, shapes, write_safetensors


class BadModel(RunFolder):
    def test_a_model_that_is_not_there(self):
        self.refused(self.sherd("train", "--model", "absent", "--data", "corpus.h5"), BAD_INPUT, "absent",
                     "expected a Hugging Face config.json")

    def test_weights_that_are_not_there(self):
        self.refused(self.sherd(*self.train_args()), BAD_INPUT, "model: neither model.safetensors nor",
                     "--from-scratch")

    def test_a_truncated_file_of_weights(self):
        weights = self.path("model/model.safetensors")
        write_safetensors(weights, shapes(SHAPE))
        self.assertEqual(self.sherd(*self.train_args(steps=1)).returncode, 0)  # whole, it is good
        size = os.path.getsize(weights)
        os.truncate(weights, size - 1000)
        promised = 4 * 40864
        self.refused(self.sherd(*self.train_args(output="again")), BAD_INPUT, "model.safetensors",
                     f"{promised - 1000} bytes of data, its header promises {promised}", "truncated, fetch it again")
        os.truncate(weights, 100)
        self.refused(self.sherd(*self.train_args(output="again")), BAD_INPUT, "model.safetensors", "100 bytes",
                     "truncated, fetch it again")

    def test_a_shape_that_config_json_does_not_have(self):
        write_safetensors(self.path("model/model.safetensors"), shapes({**SHAPE, "intermediate_size": 96}))
        self.refused(self.sherd(*self.train_args()), BAD_INPUT, "model.layers.0.mlp.gate_proj.weight", "(96, 32)",
                     "(80, 32)", "config.json")

    def test_a_vocabulary_that_config_json_does_not_have(self):
        write_safetensors(self.path("model/model.safetensors"), shapes({**SHAPE, "vocab_size": 320}))
        self.refused(self.sherd(*self.train_args()), BAD_INPUT, "model.embed_tokens.weight", "(320, 32)", "(300, 32)",
                     "config.json")

    def test_a_parameter_that_is_missing(self):
        table = shapes(SHAPE)
        del table["model.layers.1.mlp.up_proj.weight"]
        write_safetensors(self.path("model/model.safetensors"), table)
        self.refused(self.sherd(*self.train_args()), BAD_INPUT, "model.layers.1.mlp.up_proj.weight")

    def test_all_ranks_end_when_one_model_is_bad(self):
        write_safetensors(self.path("model/model.safetensors"), shapes({**SHAPE, "vocab_size": 320}))
        self.refused(self.sherd(*self.train_args(), ranks=2), BAD_INPUT, "model.embed_tokens.weight")


class BadDevice(RunFolder):
    def test_a_gpu_of_a_build_that_has_none(self):
        if "cuda: not in this build" not in self.sherd("--version").stdout:
            self.skipTest("this build has CUDA")
        self.refused(self.train("--device", "cuda", ranks=2), USAGE, "--device cuda", "no CUDA", "--device cpu")

    def test_a_gpu_that_is_not_there(self):
        if not re.search(r"(?m)^cuda: .*no (driver|device)$", self.sherd("--version").stdout):
            self.skipTest("this build has no CUDA, or this machine has a GPU")
        self.refused(self.train("--device", "cuda", ranks=2), USAGE, "--device cuda", "no GPU is here", "--device cpu")
        self.assertEqual(self.train("--device", "auto").returncode, 0)


class BadCorpus(RunFolder):
    def test_a_tokenizer_with_more_pieces_than_the_model_has_rows(self):
        self.reshape(vocab_size=200)
        self.refused(self.train(), BAD_INPUT, "corpus.h5", "300 pieces", "rows for 200", "belong together")
        self.assertFalse(os.path.exists(self.path("run")))

    def test_a_corpus_of_another_tokenizer(self):
        done = self.sherd("prepare", "--input", "games.jsonl", "--tokenizer", "model/tokenizer.model",
                          "--train-tokenizer", "280", "--output", "other.h5")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.refused(self.train(), BAD_INPUT, "corpus.h5: made with another tokenizer", "model/tokenizer.model",
                     "prepare the corpus with this one")

    def test_a_corpus_that_is_not_there_or_is_none(self):
        shutil.move(self.path("corpus.h5"), self.path("kept.h5"))
        for ranks in (1, 3):
            self.refused(self.train(ranks=ranks), BAD_INPUT, "corpus.h5", "sherd prepare")
        self.write("corpus.h5", "not HDF5")
        self.refused(self.train(), BAD_INPUT, "corpus.h5", "HDF5")
        shutil.copy(self.path("kept.h5"), self.path("corpus.h5"))
        os.truncate(self.path("corpus.h5"), os.path.getsize(self.path("corpus.h5")) // 2)
        self.refused(self.train(), BAD_INPUT, "corpus.h5")

    def test_a_corpus_with_less_than_one_batch(self):
        self.refused(self.train("--total-batch-size", "1000000"), BAD_INPUT, "a global batch takes 1000000",
                     "use more data")


class BadText(RunFolder):
    def prepare(self, *more, ranks=1):
        return self.sherd("prepare", "--input", "text.jsonl", "--tokenizer", "tokenizer.model", "--output", "new.h5",
                          *more, ranks=ranks)

    def lines(self, *texts):
        self.write("text.jsonl", "".join(text + "\n" for text in texts))

    def test_a_broken_line(self):
        game = json.dumps({"text": "e2e4 e7e5 g1f3 1-0"})
        for broken in ('{"text": "e2e4', '{"moves": "e2e4"}', '{"text": 7}', "e2e4 e7e5"):
            self.lines(game, game, broken, game)
            self.refused(self.prepare(), BAD_INPUT, "text.jsonl:3: ", "correct the line", "--skip-bad-lines")
            self.assertFalse(os.path.exists(self.path("new.h5")))

    def test_broken_lines_are_skipped_and_counted_on_request(self):
        game = json.dumps({"text": "e2e4 e7e5 g1f3 1-0"})
        self.lines(*[game] * 20, '{"text": "e2e4', *[game] * 20, "{}", *[game] * 20)
        for ranks in (1, 2):
            done = self.prepare("--skip-bad-lines", ranks=ranks)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("60 documents", done.stdout)
            self.assertIn("2 broken lines were skipped", done.stdout)

    def test_an_empty_corpus(self):
        for texts in ((), ('{"text": ""}',) * 3):
            self.lines(*texts)
            self.refused(self.prepare(), BAD_INPUT, "there is no document in text.jsonl", "an empty corpus")
        self.lines("broken", "broken")
        for ranks in (1, 2):
            self.refused(self.prepare("--skip-bad-lines", ranks=ranks), BAD_INPUT,
                         "there is no document in text.jsonl", "2 broken lines")

    def test_a_text_that_is_not_there(self):
        for ranks in (1, 2):
            self.refused(self.prepare(ranks=ranks), BAD_INPUT, "text.jsonl", "No such file")

    def test_a_tokenizer_that_is_none(self):
        self.lines('{"text": "e2e4 e7e5"}')
        self.write("tokenizer.model", '{"version": "1.0"}')
        self.refused(self.prepare(), BAD_INPUT, "tokenizer.model: not a sentencepiece model", "tokenizer.json")

    def test_a_document_longer_than_the_sequence_is_split_and_it_is_said(self):
        self.lines(*[json.dumps({"text": " ".join(["e2e4 e7e5"] * 200)})] * 5)
        self.assertEqual(self.prepare("--eval-fraction", "0").returncode, 0)
        done = self.trained("--data", "new.h5", steps=1)
        self.assertIn("5 training documents are longer than 65 tokens and were split", done.stdout)
        done = self.trained("--data", "new.h5", "--no-packing", output="padded", steps=1)
        self.assertIn("5 training documents are longer than 64 tokens and were cut", done.stdout)


class BadSettings(RunFolder):
    def test_ranks_that_the_shard_size_does_not_divide(self):
        self.refused(self.train("--sharding", "hybrid", "--shard-size", "2", ranks=3), USAGE, "shard-size is 2",
                     "3 ranks", "choose a divisor of 3")

    def test_a_batch_that_the_ranks_do_not_divide(self):
        self.refused(self.train("--total-batch-size", "10", ranks=3), USAGE, "total-batch-size is 10", "3 ranks",
                     "the nearest that fit: 9 or 12")

    def test_unknown_flags_and_keys(self):
        self.refused(self.train("--max-trainig-steps", "5"), USAGE, "there is no --max-trainig-steps",
                     "did you mean --max-training-steps?")
        self.write("run.toml", 'seed = 1\nlearning_rat = 0.1\n')
        self.refused(self.sherd("train", "--config", "run.toml"), USAGE, "run.toml:2: there is no learning-rat",
                     "did you mean learning-rate?")

    def test_an_output_that_cannot_be_made(self):
        for ranks in (1, 2):
            self.refused(self.train("--output", "corpus.h5/run", ranks=ranks), BAD_INPUT, "corpus.h5/run",
                         "Not a directory")

    def test_what_is_missing(self):
        self.refused(self.sherd("train", "--data", "corpus.h5"), USAGE, "--model is missing")
        self.refused(self.sherd("train", "--model", "model"), USAGE, "--data is missing")

    def test_a_corpus_of_this_many_games(self):
        """That the other tests run on what they think they do."""
        self.assertIn(f"{GAMES} documents", self.sherd("prepare", "--input", "games.jsonl", "--tokenizer",
                                                        "tokenizer.model").stdout)


if __name__ == "__main__":
    main()
