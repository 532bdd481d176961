"""tools/gpu_code.py on what a cuobjdump of our making prints: each fault is found, and only faults fail."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECKER = pathlib.Path(__file__).resolve().parents[2] / "tools" / "gpu_code.py"
MANGLED = "_ZN5sherd4cuda39_GLOBAL__N__12345678_7_rope_cu_0123456711rope_kernelINS_4bf16ELi8EEEvPT_l"
LOOP = ["LDG.E.128.CONSTANT R4, desc[UR4][R2.64]", "FADD R4, R4, R5", "STG.E.128 desc[UR4][R2.64], R4", "@P0 BRA 0x10"]


def instructions(lines):
    return "\n".join(f"        /*{16 * i:04x}*/                   {line} ;" for i, line in enumerate(lines))


def printed(lines, registers=32, stack=0, name=MANGLED, arch="90a"):
    """What cuobjdump -res-usage and -sass print of one kernel."""
    usage = (f"arch = sm_{arch}\n Function {name}:\n"
             f"  REG:{registers} STACK:{stack} SHARED:16 LOCAL:0 CONSTANT[0]:392 TEXTURE:0\n")
    code = f"arch = sm_{arch}\n\t\tFunction : {name}\n{instructions(['MOV R1, c[0x0][0x28]', *lines, 'EXIT'])}\n"
    return usage, code


class World:
    """A folder with the tools' stand-ins; what they print can be changed."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.table = self.folder / "kernels.tsv"
        for tool in ("cuobjdump", "nvdisasm"):
            script = self.folder / tool
            script.write_text(f'#!/bin/sh\ncase $1 in -res-usage) cat "{folder}/usage" ;; *) cat "{folder}/code" ;; esac\n')
            script.chmod(0o755)

    def prints(self, lines, **more):
        usage, code = printed(lines, **more)
        (self.folder / "usage").write_text(usage)
        (self.folder / "code").write_text(code)

    def run(self, *options, obj="rope.cu.o"):
        environment = {**os.environ, "PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run([sys.executable, CHECKER, *options, self.table, obj], capture_output=True, text=True,
                              check=False, env=environment)
        return done.returncode, done.stdout + done.stderr


class GpuCode(unittest.TestCase):
    def setUp(self):
        # pylint: disable-next=consider-using-with
        self.kept = tempfile.TemporaryDirectory()
        self.addCleanup(self.kept.cleanup)
        self.world = World(self.kept.name)
        self.world.prints(LOOP)
        self.assertEqual(self.world.run("--write")[0], 0)

    def after(self, lines, **more):
        self.world.prints(lines, **more)
        return self.world.run()

    def refuses(self, message, lines, **more):
        code, output = self.after(lines, **more)
        self.assertEqual(code, 1, output)
        self.assertIn(message, output)

    def test_what_was_written_passes_and_is_as_counted_by_hand(self):
        code, output = self.world.run()
        self.assertEqual(code, 0, output)
        self.assertIn("1 kernels read; 0 faults; 0 differ", output)
        row = self.world.table.read_text().splitlines()[-1].split("\t")
        # 65,536 / (32 x 32) are 64 warps; 4 instructions move 32 bytes
        self.assertEqual(row, ["rope", "rope_kernel<bf16, 8>", "90a", "32", "64", "0", "16", "128x1", "128x1", "0", "2"])

    def test_spills_are_found(self):
        self.refuses("rope.cu rope_kernel<bf16, 8> sm_90a: 24 bytes of stack, expected at most 0", LOOP, stack=24)

    def test_narrow_loads_and_stores_are_found(self):
        self.refuses("loads of 64 bits at most, expected 128", [LOOP[0].replace("128", "64"), *LOOP[1:]])
        self.refuses("loads of 16 bits in its main loop", ["LDG.E.U16 R9, desc[UR4][R2.64]", *LOOP])
        self.refuses("stores of 32 bits in its main loop", ["STG.E desc[UR4][R2.64], R4", *LOOP])
        self.refuses("stores are gone", [LOOP[0], LOOP[1], LOOP[3]])

    def test_calls_are_found(self):
        self.refuses("1 calls in its main loop, expected 0", ["CALL.REL.NOINC 0x90", *LOOP])

    def test_what_is_outside_the_main_loop_passes(self):
        code, output = self.after([*LOOP, "LDG.E.U16 R9, desc[UR4][R2.64]"])
        self.assertEqual(code, 0, output)

    def test_without_a_loop_all_before_the_last_exit_counts(self):
        self.world.prints(LOOP[:3])
        self.world.run("--write")
        row = self.world.table.read_text().splitlines()[-1].split("\t")
        self.assertEqual(row[7:], ["128x1", "128x1", "0", "2"])  # 5 instructions with MOV and EXIT: 2.5 rounds to even

    def test_more_registers_are_told_and_pass(self):
        code, output = self.after(LOOP, registers=129)
        self.assertEqual(code, 0, output)
        self.assertIn("1 differ", output)

    def test_unknown_kernels_pass_unless_they_spill(self):
        other = MANGLED.replace("rope_kernel", "ripe_kernel")
        code, output = self.after(LOOP, name=other)
        self.assertEqual(code, 0, output)
        self.assertIn("1 are not in it", output)
        self.refuses("8 bytes of stack, expected at most 0", LOOP, name=other, stack=8)

    def test_a_broken_table_is_named_with_its_line(self):
        self.world.table.write_text("rope\trope_kernel\n")
        code, output = self.world.run()
        self.assertEqual(code, 1)
        self.assertIn("kernels.tsv:1: 2 fields, expected 11", output)

    def test_without_objects_it_is_skipped_by_name(self):
        done = subprocess.run([sys.executable, CHECKER, self.world.table], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 77)
        self.assertIn("skipped: gpu_code: no objects", done.stdout)


if __name__ == "__main__":
    unittest.main()
