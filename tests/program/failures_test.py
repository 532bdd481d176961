#!/usr/bin/env python3
"""failures_test.py SHERD MPIRUN SAMPLE: disks that fill up, ranks that die, ranks that hang."""
import os
import resource
import signal
import socket
import subprocess
import time

from run_folder import COMMUNICATION, DOES_NOT_FIT, SHERD, RunFolder, main

CHECKPOINT_BYTES = 3 * 4 * 40864  # masters and both moments


class FullDisk(RunFolder):
    def expect_the_run_to_go_on(self, saved):
        """After a save that failed: the good checkpoints are there, and the run goes on from the newest."""
        self.assertEqual([name for name in self.checkpoints() if not name.endswith(".tmp")], saved)

    def test_a_limit_on_the_size_of_files(self):
        self.reshape(hidden_size=256, intermediate_size=768)  # a checkpoint of 21 MB: MPI's own files have 4 MB
        self.trained(steps=3)

        def small_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))

        # restore_signals: as a batch system's limits do it, a write that is too long fails, and no signal is sent
        done = self.train(steps=5, preexec_fn=small_files, restore_signals=False)
        self.refused(done, DOES_NOT_FIT, "the checkpoint of step 5 was not written", "File too large", "free some space",
                     "The checkpoints before it are untouched")
        self.expect_the_run_to_go_on(["step-00000003"])
        self.assertIn("resumed from run/step-00000003", self.trained(steps=5).stdout)

    def test_a_disk_that_fills_up_at_the_end_of_a_new_beginnings_first_save(self):
        os.mkdir(self.path("run"))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={CHECKPOINT_BYTES * 4}", "tmpfs", self.path("run")]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            self.skipTest("only root may mount a small disk")
        self.addCleanup(subprocess.run, ["umount", self.path("run")], check=True)
        self.trained(steps=2)
        rank_file = os.stat(self.path("run/step-00000002/rank-0000.h5")).st_blocks * 512
        disk = os.statvfs(self.path("run"))
        with open(self.path("run/filler"), "wb") as filler:  # leaves room for the next rank file and little else
            filler.write(bytes(disk.f_bavail * disk.f_frsize - rank_file - 4096))
        done = self.train("--resume", "none", steps=1)
        self.refused(done, DOES_NOT_FIT, "the checkpoint of step 1 was not written", "free some space")
        self.expect_the_run_to_go_on(["step-00000002"])
        os.remove(self.path("run/filler"))
        self.assertIn("resumed from run/step-00000002", self.trained(steps=3).stdout)

    def test_a_full_disk(self):
        os.mkdir(self.path("run"))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={CHECKPOINT_BYTES * 5 // 2}", "tmpfs", self.path("run")]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            self.skipTest("only root may mount a small disk")
        self.addCleanup(subprocess.run, ["umount", self.path("run")], check=True)
        done = self.train("--save-every", "1", "--keep-checkpoints", "0", "--total-batch-size", "2", steps=5, ranks=2)
        self.refused(done, DOES_NOT_FIT, "the checkpoint of step 3 was not written", "run/step-00000003.tmp",
                     "free some space", "The checkpoints before it are untouched")
        self.expect_the_run_to_go_on(["step-00000001", "step-00000002"])
        subprocess.run(["mount", "-o", f"remount,size={CHECKPOINT_BYTES * 10}", self.path("run")], check=True)
        done = self.trained("--save-every", "1", "--keep-checkpoints", "0", "--total-batch-size", "2", steps=5, ranks=2)
        self.assertIn("resumed from run/step-00000002", done.stdout)
        self.assertEqual(self.checkpoints(), [f"step-0000000{step}" for step in (1, 2, 3, 4, 5)])


class LostRank(RunFolder):
    RANKS, LOST, PATIENCE = 3, 1, 60

    def setUp(self):
        super().setUp()
        args = self.train_args("--from-scratch", "--total-batch-size", "3", "--comm-timeout", "3", "--log-every", "10",
                               steps=100_000_000)
        self.output = open(self.path("output"), "w+b")
        self.addCleanup(self.output.close)
        self.job = subprocess.Popen([*self.launcher(self.RANKS), SHERD, *args], cwd=self.folder, stdout=self.output,
                                    stderr=self.output)
        self.addCleanup(self.end)

    def end(self):
        self.job.kill()
        self.job.wait()

    def text(self):
        with open(self.path("output"), encoding="utf-8") as file:
            return file.read()

    def wait_until(self, condition):
        deadline = time.monotonic() + self.PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.text())
            time.sleep(0.05)

    def process_of(self, rank):
        """The process of a rank, from what mpirun tells its children."""
        with open(f"/proc/{self.job.pid}/task/{self.job.pid}/children", encoding="ascii") as file:
            children = [int(child) for child in file.read().split()]
        for child in children:
            with open(f"/proc/{child}/environ", "rb") as file:
                if f"OMPI_COMM_WORLD_RANK={rank}".encode() in file.read().split(b"\0"):
                    return child
        return self.fail(f"no rank {rank} among {children}")

    def lose(self, how):
        """Sends the signal to one rank in mid-run; the exit code of the job, which must end soon."""
        self.wait_until(lambda: "step 20/" in self.text() or self.job.poll() is not None)
        self.assertIsNone(self.job.poll(), self.text())
        self.processes = [self.process_of(rank) for rank in range(self.RANKS)]
        os.kill(self.processes[self.LOST], how)
        self.wait_until(lambda: self.job.poll() is not None)
        return self.job.returncode

    def expect_nobody_left(self):
        self.wait_until(lambda: not any(os.path.exists(f"/proc/{process}") for process in self.processes))

    def test_a_rank_that_dies(self):
        self.assertNotEqual(self.lose(signal.SIGKILL), 0)
        self.assertRegex(self.text(), r"process rank 1 .*exited on signal 9|rank 1 .*has not arrived")
        self.expect_nobody_left()

    def test_a_rank_that_hangs(self):
        self.assertEqual(self.lose(signal.SIGSTOP), COMMUNICATION, self.text())
        host = socket.gethostname()
        self.assertRegex(self.text(), rf"waited 3 s in vain for rank 1 \({host}\).*, which has not arrived")
        self.assertIn("raise --comm-timeout", self.text())
        self.expect_nobody_left()


if __name__ == "__main__":
    main()
