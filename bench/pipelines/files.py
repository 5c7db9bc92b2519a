"""One process task over plain directories, for pdt and for pydatatask: input/, pids/ and done/ in the current one."""

import os

try:
    import pdtcli as lib
except ModuleNotFoundError:
    import pydatatask as lib

session = lib.Session()
quota = lib.ResourceManager(lib.Resources.parse(os.environ.get("BENCH_QUOTA", "2"), "1Ti"))


@session.resource
async def localhost():
    yield lib.LocalLinuxManager("bench", local_path=os.path.abspath("state"))


task = lib.ProcessTask(
    "task",
    localhost,
    quota,
    lib.Resources.parse("1", "1Mi"),
    lib.YamlMetadataFileRepository("pids"),
    os.environ.get("BENCH_SCRIPT", "#!/bin/sh\ntrue\n"),
    done=lib.YamlMetadataFileRepository("done"),
    environ={},
)
task.link("input", lib.FileRepository("input", ".txt"), is_input=True)
pipeline = lib.Pipeline([task], session, [quota])

if __name__ == "__main__":
    lib.main(pipeline)
