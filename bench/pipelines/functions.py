"""One in-process task over plain directories, for pdt and for pydatatask: input/ and done/ in the current one."""

try:
    import pdtcli as lib
except ModuleNotFoundError:
    import pydatatask as lib


async def work(job):
    """Nothing, so that all that is measured is what comes with it."""


task = lib.InProcessSyncTask("task", lib.YamlMetadataFileRepository("done"), func=work)
task.link("input", lib.FileRepository("input", ".txt"), is_input=True)
pipeline = lib.Pipeline([task], lib.Session(), [])

if __name__ == "__main__":
    lib.main(pipeline)
