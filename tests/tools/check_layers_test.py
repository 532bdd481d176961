"""tools/check_layers.py finds what it is for: each case is a tree of a few files with one fault, or none."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECKER = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_layers.py"
HEADER = "#pragma once\n"


def check(files):
    """(exit code, output) of the checker over a tree made of {path: text}."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            target = pathlib.Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        done = subprocess.run([sys.executable, CHECKER, folder], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout


class CheckLayers(unittest.TestCase):
    def accepts(self, files):
        code, output = check(files)
        self.assertEqual(code, 0, output)

    def refuses(self, files, message):
        code, output = check(files)
        self.assertEqual(code, 1, output)
        self.assertIn(message, output)

    def test_lower_own_and_library_includes_pass(self):
        self.accepts({"include/sherd/ops/ops.hpp": HEADER + "#include <vector>\n#include <sherd/base/error.hpp>\n",
                      "src/ops/cpu/a.cpp": '#include "sherd/ops/ops.hpp"\n#include "tile.hpp"\n'})

    def test_upward_include_is_found_with_its_line(self):
        self.refuses({"src/ops/a.cpp": "// first line\n#include <sherd/train/step.hpp>\n"}, "src/ops/a.cpp:2: ops (2)")

    def test_upward_include_in_a_public_header_is_found(self):
        self.refuses({"include/sherd/base/a.hpp": HEADER + '#  include "sherd/device/arena.hpp"\n'}, "base (0)")

    def test_equal_numbers_do_not_include_each_other(self):
        self.refuses({"src/comm/a.cpp": "#include <sherd/ops/ops.hpp>\n"}, "comm (2) includes ops (2)")

    def test_train_saves_through_io_but_io_does_not_train(self):
        self.accepts({"src/train/a.cpp": "#include <sherd/io/checkpoint.hpp>\n"})
        self.refuses({"src/io/a.cpp": "#include <sherd/train/step.hpp>\n"}, "io (5) includes train (5)")

    def test_unknown_layer_is_found(self):
        self.refuses({"src/base/a.cpp": "#include <sherd/network/a.hpp>\n"}, "which is no layer")
        self.refuses({"src/network/a.cpp": "int x;\n"}, "network/ is no layer")

    def test_relative_path_upwards_is_found(self):
        self.refuses({"src/ops/a.cpp": '#include "../train/step.hpp"\n'}, "name the file from include/")

    def test_missing_pragma_once_is_found(self):
        self.refuses({"include/sherd/base/a.hpp": "int x;\n"}, "no #pragma once")

    def test_400_lines_pass_and_401_do_not(self):
        self.accepts({"src/base/a.cpp": "\n" * 400})
        self.refuses({"src/base/a.cpp": "\n" * 401}, "401 lines")

    def test_vague_names_are_found(self):
        for path in ("utils/a.cpp", "misc.cpp", "util_strings.cpp", "string_utils.cpp", "common/a.cpp"):
            self.refuses({f"src/base/{path}": ""}, "does not say")
        self.accepts({"src/base/newest.cpp": "", "src/base/commoner.cpp": ""})

    def test_test_folder_without_layer_is_found(self):
        self.refuses({"src/base/a.cpp": "", "tests/unit/bases/a_test.cpp": ""}, "mirrors no layer")

    def test_layer_without_tests_is_only_a_warning(self):
        code, output = check({"src/base/a.cpp": ""})
        self.assertEqual(code, 0)
        self.assertIn("warning: src/base has no tests/unit/base", output)

    def test_empty_tree_is_not_a_pass(self):
        self.refuses({"README.md": "nothing"}, "nothing was checked")


if __name__ == "__main__":
    unittest.main()
