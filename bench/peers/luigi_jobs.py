"""The jobs of the bench for luigi: one task for each file in input/, which leaves a file in done/."""

import os
import subprocess

import luigi


class Job(luigi.Task):
    job = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(f"done/{self.job}.yaml")

    def run(self):
        subprocess.run(["true"], check=True)
        with self.output().open("w"):
            pass


class All(luigi.WrapperTask):
    def requires(self):
        return [Job(job=name.removesuffix(".txt")) for name in os.listdir("input")]
