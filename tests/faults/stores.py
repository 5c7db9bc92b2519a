"""Where a pipeline under fault keeps its data, from both sides.

`pdt` uses a store through the repositories that `blobs` and `values` give; the checker looks at the same data through
`visible`, by other means than pdt's. Another kind of store is one more class here, and a line in `STORES`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from pdtcli import BlobRepository, MetadataRepository, Session

Settings = dict[str, Any]


class Store(ABC):
    """A place with blobs and values, by name and job.

    :param settings: what says where it is; goes to the processes of pdt as JSON.
    """

    kind: str

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.environ: dict[str, str] = {}
        """What processes of pdt have in their environment."""

    # ---- in a process of pdt

    def attach(self, session: Session) -> None:
        """Have the session open what the repositories need."""

    @abstractmethod
    def blobs(self, name: str) -> BlobRepository:
        """The repository of that name, for bytes."""

    @abstractmethod
    def values(self, name: str) -> MetadataRepository:
        """The repository of that name, for small structured values."""

    # ---- in the test

    @abstractmethod
    def visible(self, name: str) -> dict[str, Any]:
        """What anybody would see now: bytes, or documents where the store has such."""

    @abstractmethod
    def put(self, name: str, job: str, data: bytes) -> None:
        """Store bytes in the blob repository of that name."""

    @abstractmethod
    def remove(self, name: str, job: str) -> None:
        """Delete one job, as a user would."""

    @abstractmethod
    def litter(self) -> list[str]:
        """What is there and is nobody's value."""

    def close(self) -> None:
        """Let go of what `visible` needed."""


class FileStore(Store):
    """Directories: a name is a subdirectory."""

    kind = "files"

    @property
    def base(self) -> Path:
        return Path(self.settings["directory"])

    def blobs(self, name: str) -> BlobRepository:
        from pdtcli import FileRepository

        return FileRepository(self.base / name)

    def values(self, name: str) -> MetadataRepository:
        from pdtcli import YamlMetadataFileRepository

        return YamlMetadataFileRepository(self.base / name)

    def visible(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        try:
            entries = os.listdir(self.base / name)
        except FileNotFoundError:
            return found
        for entry in entries:
            if not entry.startswith("."):
                try:
                    found[entry.removesuffix(".yaml")] = (self.base / name / entry).read_bytes()
                except FileNotFoundError:
                    pass  # removed since it was listed
        return found

    def put(self, name: str, job: str, data: bytes) -> None:
        (self.base / name).mkdir(parents=True, exist_ok=True)
        hidden = self.base / name / f".{job}"
        hidden.write_bytes(data)
        hidden.rename(self.base / name / job)

    def remove(self, name: str, job: str) -> None:
        for path in (self.base / name / job, self.base / name / f"{job}.yaml"):
            path.unlink(missing_ok=True)

    def litter(self) -> list[str]:
        return sorted(str(path) for path in self.base.rglob(".*"))


class S3Store(Store):
    """A bucket: a name is a prefix. Settings: `endpoint`, where pdt goes, `direct`, the server itself, and `bucket`."""

    kind = "s3"

    def attach(self, session: Session) -> None:
        from pdtcli import s3_client

        opener = s3_client(
            self.settings["endpoint"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            connect_timeout=2.0,
            read_timeout=self.settings.get("patience", 10.0),
            max_attempts=2,
        )
        self._inside = session.resource(opener)

    def blobs(self, name: str) -> BlobRepository:
        from pdtcli import S3BucketRepository

        return S3BucketRepository(self._inside, self.settings["bucket"], f"{name}/", create=False)

    def values(self, name: str) -> MetadataRepository:
        from pdtcli import YamlMetadataS3Repository

        return YamlMetadataS3Repository(self._inside, self.settings["bucket"], f"{name}/", create=False)

    @cached_property
    def client(self) -> Any:
        """A client of the test's own."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.settings["direct"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def visible(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        bucket = self.settings["bucket"]
        listing = self.client.list_objects_v2(Bucket=bucket, Prefix=f"{name}/").get("Contents", ())
        for key in (entry["Key"] for entry in listing):
            job = key.removeprefix(f"{name}/")
            if not job.startswith("."):
                try:
                    data = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
                except self.client.exceptions.NoSuchKey:
                    continue
                found[job.removesuffix(".yaml")] = data
        return found

    def put(self, name: str, job: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.settings["bucket"], Key=f"{name}/{job}", Body=data)

    def remove(self, name: str, job: str) -> None:
        for key in (f"{name}/{job}", f"{name}/{job}.yaml"):
            self.client.delete_object(Bucket=self.settings["bucket"], Key=key)

    def litter(self) -> list[str]:
        bucket = self.settings["bucket"]
        uploads = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        keys = [entry["Key"] for entry in self.client.list_objects_v2(Bucket=bucket).get("Contents", ())]
        # The probe of a killed claim is swept when it is an hour old, since till then it may be somebody's.
        hidden = [key for key in keys if "/.pdt-" in key and "/.pdt-probe-" not in key]
        return hidden + [f"upload of {upload['Key']}" for upload in uploads]

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()


class MongoStore(Store):
    """A database: a name is a collection, or a bucket of GridFS. Settings: `uri`, `direct` and `database`."""

    kind = "mongo"

    def attach(self, session: Session) -> None:
        from pdtcli import mongo_database

        patience = self.settings.get("patience", 10.0)
        self._inside = session.resource(
            mongo_database(self.settings["uri"], self.settings["database"], timeout=patience)
        )

    def blobs(self, name: str) -> BlobRepository:
        from pdtcli import MongoBlobRepository

        return MongoBlobRepository(self._inside, name)

    def values(self, name: str) -> MetadataRepository:
        from pdtcli import MongoMetadataRepository

        return MongoMetadataRepository(self._inside, name)

    @cached_property
    def client(self) -> Any:
        """A client of the test's own."""
        from pymongo import MongoClient

        return MongoClient(self.settings["direct"], tz_aware=True)

    @property
    def database(self) -> Any:
        return self.client[self.settings["database"]]

    def visible(self, name: str) -> dict[str, Any]:
        import gridfs

        found: dict[str, Any] = {}
        if f"{name}.files" not in self.database.list_collection_names():
            return {document["_id"]: document for document in self.database[name].find()}
        bucket = gridfs.GridFSBucket(self.database, name)
        for job in self.database[f"{name}.files"].distinct("filename"):
            try:
                found[job] = bucket.open_download_stream_by_name(job).read()
            except gridfs.errors.NoFile:
                continue
        return found

    def put(self, name: str, job: str, data: bytes) -> None:
        import gridfs

        gridfs.GridFSBucket(self.database, name).upload_from_stream(job, data)

    def remove(self, name: str, job: str) -> None:
        import gridfs

        bucket = gridfs.GridFSBucket(self.database, name)
        for document in list(self.database[f"{name}.files"].find({"filename": job})):
            bucket.delete(document["_id"])
        self.database[name].delete_one({"_id": job})

    def litter(self) -> list[str]:
        found = []
        names = self.database.list_collection_names()
        for bucket in (name.removesuffix(".files") for name in names if name.endswith(".files")):
            stored = set(self.database[f"{bucket}.files"].distinct("_id"))
            # What a lease names is removed by the first sweep an hour later.
            leased = set(self.database[f"{bucket}.leases"].distinct("_id"))
            lost = set(self.database[f"{bucket}.chunks"].distinct("files_id")) - stored - leased
            found += [f"chunks of {bucket} {each}" for each in lost]
        return found

    def close(self) -> None:
        # Each keeps some forty files open in the server, which has room for a few hundred worlds.
        self.client.drop_database(self.settings["database"])
        self.client.close()


STORES: dict[str, Callable[[Settings], Store]] = {each.kind: each for each in (FileStore, S3Store, MongoStore)}
