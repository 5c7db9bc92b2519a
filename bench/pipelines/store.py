"""Repositories in an S3 bucket and in directories, to copy between; $AWS_ENDPOINT_URL and the like say where it is."""

from pdtcli import (
    FileRepository,
    InProcessMetadataRepository,
    InProcessSyncTask,
    Pipeline,
    S3BucketRepository,
    Session,
    s3_client,
)

session = Session()
client = session.resource(s3_client())
task = InProcessSyncTask("task", InProcessMetadataRepository(), func=lambda: None, disabled=True)
for name in ("many", "some", "long"):
    task.link(name, S3BucketRepository(client, "bench", f"{name}/"))
for name in ("from", "to"):
    task.link(name, FileRepository(name))
pipeline = Pipeline([task], session)
