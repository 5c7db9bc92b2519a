"""The jobs of the bench for doit: one task for each file in input/, which leaves a file in done/."""

import os

DOIT_CONFIG = {"backend": "json", "dep_file": "doit.json"}


def task_job():
    for job in (name.removesuffix(".txt") for name in os.listdir("input")):
        yield {
            "name": job,
            "actions": [f"true >done/{job}.yaml"],
            "file_dep": [f"input/{job}.txt"],
            "targets": [f"done/{job}.yaml"],
        }
