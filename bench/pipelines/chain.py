"""Ten process tasks in a row over plain directories; what one has done is what the next may start."""

from pdtcli import (
    FileRepository,
    LocalLinuxManager,
    Pipeline,
    ProcessTask,
    ResourceManager,
    Resources,
    Session,
    YamlMetadataFileRepository,
)

TASKS = 10

session = Session()
quota = ResourceManager(Resources.parse("2", "1Ti"))


@session.resource
async def localhost():
    yield LocalLinuxManager("bench", local_path="state")


tasks = []
before = FileRepository("input", ".txt")
for number in range(TASKS):
    task = ProcessTask(
        f"task{number}",
        localhost,
        quota,
        Resources.parse("1", "1Mi"),
        YamlMetadataFileRepository(f"pids{number}"),
        "true",
        done=YamlMetadataFileRepository(f"done{number}"),
        failed=YamlMetadataFileRepository(f"failed{number}"),
    )
    task.link("input", before, is_input=True)
    tasks.append(task)
    before = FileRepository(f"done{number}", ".yaml")
pipeline = Pipeline(tasks, session, [quota])
