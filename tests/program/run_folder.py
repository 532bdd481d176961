"""What the program's tests share: a folder with a small model, a text and its corpus, and the program run in it.

Every test file is started as FILE_test.py SHERD MPIRUN SAMPLE: the program, tools/mpirun.sh, a .jsonl file of games.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

SHERD, MPIRUN, SAMPLE = (os.path.abspath(path) for path in sys.argv[1:4])
USAGE, BAD_INPUT, DOES_NOT_FIT, COMMUNICATION = 2, 3, 4, 5

SHAPE = {"model_type": "llama", "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "intermediate_size": 80, "hidden_act": "silu", "max_position_embeddings": 512,
         "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "initializer_range": 0.02,
         "bos_token_id": 1, "eos_token_id": 2}
GAMES = 300


def shapes(config):
    """The name and shape of every parameter, as Hugging Face's Llama has them."""
    width, wide, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    keys = width // config["num_attention_heads"] * config["num_key_value_heads"]
    table = {"model.embed_tokens.weight": (vocab, width), "model.norm.weight": (width,),
             "lm_head.weight": (vocab, width)}
    block = {"input_layernorm": (width,), "self_attn.q_proj": (width, width), "self_attn.k_proj": (keys, width),
             "self_attn.v_proj": (keys, width), "self_attn.o_proj": (width, width),
             "post_attention_layernorm": (width,), "mlp.gate_proj": (wide, width), "mlp.up_proj": (wide, width),
             "mlp.down_proj": (width, wide)}
    for layer in range(config["num_hidden_layers"]):
        table.update({f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()})
    return table


def elements(shape):
    return shape[0] * (shape[1] if len(shape) == 2 else 1)


def write_safetensors(path, table):
    """A model of this table: gains are 1, matrices small and different everywhere."""
    header, data = {}, bytearray()
    for name, shape in table.items():
        count = elements(shape)
        values = [1.0] * count if len(shape) == 1 else [((i * 7919) % 201 - 100) / 3000 for i in range(count)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * count]}
        data += struct.pack(f"<{count}f", *values)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def flip_byte(path, place=0.5):
    """Damages a file in one byte: at half of its length, where the data of a rank's file lie."""
    with open(path, "r+b") as file:
        file.seek(int(os.path.getsize(path) * place))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x40]))


class RunFolder(unittest.TestCase):
    """Tests in a folder that holds model/config.json, games.jsonl, tokenizer.model and corpus.h5, made once a class."""

    @classmethod
    def setUpClass(cls):
        cls.prepared = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.prepared.cleanup)
        here = cls.prepared.name
        with open(SAMPLE, encoding="utf-8") as sample, open(f"{here}/games.jsonl", "w", encoding="utf-8") as games:
            games.writelines(line for line, _ in zip(sample, range(GAMES)))
        os.mkdir(f"{here}/model")
        with open(f"{here}/model/config.json", "w", encoding="utf-8") as file:
            json.dump(SHAPE, file)
        done = cls.command("prepare", "--input", "games.jsonl", "--tokenizer", "tokenizer.model", "--train-tokenizer", "300",
                           cwd=here)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        shutil.copytree(self.prepared.name, self.folder, dirs_exist_ok=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def reshape(self, **changes):
        """model/config.json with other values."""
        self.write("model/config.json", json.dumps({**SHAPE, **changes}))

    @staticmethod
    def launcher(ranks):
        return [MPIRUN, str(ranks)] if ranks > 1 else []

    @classmethod
    def command(cls, *args, cwd, ranks=1, env=None, **options):
        options["env"] = {**(env or os.environ), "XDG_CACHE_HOME": os.path.join(cwd, "cache")}
        return subprocess.run([*cls.launcher(ranks), SHERD, *args], capture_output=True, text=True, cwd=cwd,
                              timeout=120, check=False, **options)

    def sherd(self, *args, ranks=1, **options):
        return self.command(*args, cwd=self.folder, ranks=ranks, **options)

    @staticmethod
    def train_args(*more, output="run", steps=3):
        return ["train", "--model", "model", "--data", "corpus.h5", "--output", output, "--dtype", "fp32",
                "--threads", "1", "--max-seq-length", "64", "--learning-rate", "1e-3", "--eval-batches", "1",
                "--max-training-steps", str(steps), "--device", "cpu", *more]

    def train(self, *more, output="run", steps=3, ranks=1, **options):
        """`sherd train --from-scratch`, in fp32, on short sequences."""
        return self.sherd(*self.train_args("--from-scratch", *more, output=output, steps=steps), ranks=ranks, **options)

    def trained(self, *more, **options):
        """The same, and it must go well. Returns what was printed."""
        done = self.train(*more, **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def refused(self, done, code, *parts):
        """The program ended with this code, and its one error message, on however many ranks, holds these parts."""
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        messages = [line for line in done.stderr.splitlines() if line.startswith("sherd: error: ")]
        self.assertEqual(len(messages), 1, done.stderr)
        for part in parts:
            self.assertIn(part, messages[0])

    def metrics(self, output="run"):
        """The steps of metrics.jsonl, in order."""
        with open(self.path(output, "metrics.jsonl"), encoding="utf-8") as file:
            lines = [json.loads(line, parse_float=str) for line in file]  # numbers as they were printed
        return [line for line in lines if "loss" in line]

    def losses(self, output="run"):
        return {line["step"]: line["loss"] for line in self.metrics(output)}

    def checkpoints(self, output="run"):
        return sorted(name for name in os.listdir(self.path(output)) if name.startswith("step-"))


def main():
    unittest.main(argv=sys.argv[:1])
