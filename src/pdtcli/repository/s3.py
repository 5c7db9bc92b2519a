"""Repositories in a bucket of a store that speaks the S3 protocol (Amazon S3 API reference, version 2006-03-01).

A job is the object ``PREFIX JOB SUFFIX``. An object appears when its upload is complete, so nothing is ever half there.
Calls are made in threads (`s3_calls`), by boto3 or past it (`s3_lean`); streams are in `s3_streams` and `s3_upload`,
listings in `s3_listing`, the words for errors in `s3_errors`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from .. import job as job_ids
from ..errors import BackendError, JobNotFound, PdtError
from ..state import lock_file
from ..stream import ReadStream, WriteStream
from . import s3_listing
from .base import BlobRepository, job_getter
from .s3_calls import Bucket
from .s3_claims import HIDDEN, create_object, is_older, sweep_probes, why_not
from .s3_errors import Absent, NotOffered, OutOfRange, error_code, no_claims
from .s3_streams import ObjectReader
from .s3_upload import ObjectWriter
from .yaml import YamlMetadataRepository, dump, load

__all__ = ("S3BucketInfo", "S3BucketRepository", "YamlMetadataS3Repository")

log = logging.getLogger(__name__)

BATCH = 1000
"""The most objects that one request deletes."""

FEW = 16
"""So many jobs are asked for one by one; for more, a listing is cheaper."""

STALE = timedelta(days=7)
"""An upload that began so long ago and is not complete was given up."""


@dataclass(frozen=True)
class S3BucketInfo:
    """What templates see of a job in a bucket; as a string it is the URI.

    :ivar endpoint: the URL of the server.
    :ivar uri: the job's, as in ``s3://bucket/prefix/job.ext``.
    :ivar bucket: the name of the bucket.
    :ivar prefix: what stands before the job in the name of the object.
    :ivar suffix: what stands behind it.
    """

    endpoint: str
    uri: str
    bucket: str
    prefix: str
    suffix: str

    def __str__(self) -> str:
        return self.uri


class S3BucketRepository(BlobRepository):
    """A bucket, or the part of it whose names begin and end in certain ways, as a blob repository.

    :param client: a boto3 S3 client, or a function that returns one, such as a resource of the session (`s3_client`).
    :param bucket: its name.
    :param prefix: what stands before the job in the name of an object; ends in a slash if it is to be a directory.
    :param suffix: what stands behind it; begins with a dot if it is to be an extension.
    :param mimetype: the content type of new objects.
    :param incluster_endpoint: the URL of the server as jobs see it, for `info`; that of the client when None.
    :param create: whether a bucket that is missing is created when the pipeline opens.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str = "",
        suffix: str = "",
        mimetype: str = "application/octet-stream",
        incluster_endpoint: str | None = None,
        *,
        create: bool = True,
    ) -> None:
        self._client = client
        self.bucket = bucket
        self.prefix = prefix
        self.suffix = suffix
        self.mimetype = mimetype
        self.incluster_endpoint = incluster_endpoint
        self.create = create

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.bucket}/{self.prefix}*{self.suffix}>"

    @property
    def client(self) -> Any:
        """The boto3 client.

        :raises PdtError: when it comes from a session that is not open.
        """
        return self._client() if callable(self._client) else self._client

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}*{self.suffix}"

    @property
    def _bucket(self) -> Bucket:
        return Bucket(self.client, self.bucket)

    def object_name(self, job: str) -> str:
        """The name of the object that holds `job`.

        :raises InvalidJobId: for a name that is no job id.
        """
        return f"{self.prefix}{job_ids.check(job)}{self.suffix}"

    async def validate(self) -> None:
        """Look whether the bucket is there and may be listed; create it where it is missing and `create` is true.

        Uploads to this repository that were begun and given up more than seven days ago are ended.

        :raises BackendError: when the bucket cannot be used.
        """
        bucket = self._bucket
        sweeping = bucket.threads.submit(partial(self._sweep, bucket))
        try:
            await bucket.threads.submit(partial(s3_listing.page, bucket, self.prefix, limit=1))
        except BackendError as error:
            if not self.create or error_code(error) not in ("NoSuchBucket", "404"):
                raise
            await bucket.threads.settle(partial(_create, bucket))
        await sweeping

    def _sweep(self, bucket: Bucket) -> None:
        """Remove what writers that were killed have left, in a thread."""
        try:
            uploads = bucket.do("list_multipart_uploads", Prefix=self.prefix).get("Uploads", ())
            for upload in uploads:
                if is_older(upload["Initiated"], STALE) and self._jobs([upload["Key"]])[0]:
                    bucket.do("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
        except PdtError as error:  # not everybody may, and not every server can
            log.debug("%s: unfinished uploads were not looked for: %s", self, error)

    # ---- keys

    def _jobs(self, keys: Iterable[str]) -> tuple[set[str], list[str]]:
        """The jobs of these objects, and the other names between prefix and suffix."""
        first, last = len(self.prefix), len(self.suffix)
        least = first + last
        names = [key[first : len(key) - last] for key in keys if key.endswith(self.suffix) and len(key) > least]
        good, bad = job_ids.split_valid(names)
        return good, [name for name in bad if not name.startswith(HIDDEN)]

    async def keys(self) -> set[str]:
        good, bad = self._jobs(await s3_listing.keys(self._bucket, self.prefix))
        self.warn_skipped(bad)
        return good

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        async for keys in s3_listing.pages(self._bucket, self.prefix):
            good, bad = self._jobs(keys)
            for name in [*good, *bad]:
                yield name

    async def contains(self, job: str, /) -> bool:
        if not job_ids.is_valid(job):
            return False
        try:
            await self._bucket.call("head_object", Key=self.object_name(job))
        except Absent:
            return False
        return True

    async def among(self, jobs: Collection[str]) -> set[str]:
        wanted = {job for job in jobs if job_ids.is_valid(job)}
        if len(wanted) > FEW:
            return (await self.keys()) & wanted
        bucket = self._bucket

        def look(job: str) -> str | None:
            try:
                bucket.do("head_object", Key=self.object_name(job))
            except Absent:
                return None
            return job

        return {job for job in await bucket.threads.each(look, wanted) if job is not None}

    # ---- values

    @job_getter
    async def info(self, job: str, /) -> Any:
        """Where the object is, or would be: an `S3BucketInfo`."""
        endpoint = self.incluster_endpoint or self.client.meta.endpoint_url
        uri = f"s3://{self.bucket}/{self.object_name(job)}"
        return S3BucketInfo(endpoint, uri, self.bucket, self.prefix, self.suffix)

    async def open_reader(self, job: str, /) -> ReadStream:
        try:
            return await ObjectReader.opened(self._bucket, self.object_name(job))
        except Absent:
            raise JobNotFound(f"{self} does not hold {job}") from None

    async def open_writer(self, job: str, /) -> WriteStream:
        return ObjectWriter(self._bucket, self.object_name(job), self.mimetype)

    @job_getter
    async def read_range(self, job: str, start: int, length: int, /) -> bytes:
        """Some bytes of a value; fewer than `length` where it ends, none behind its end.

        :param start: of the first byte, from 0.
        :raises JobNotFound: when the job is not here.
        """
        key, bucket = self.object_name(job), self._bucket
        if length <= 0:
            return b""
        try:
            return await bucket.threads.submit(lambda: ObjectReader(bucket, key).part(start, length))
        except OutOfRange:
            return b""
        except Absent:
            raise JobNotFound(f"{self} does not hold {job}") from None

    # ---- deletes

    async def delete(self, job: str, /) -> None:
        try:
            await self._bucket.settle("delete_object", Key=self.object_name(job))
        except Absent:
            pass

    async def delete_many(self, jobs: Iterable[str]) -> None:
        doomed = [self.object_name(job) for job in dict.fromkeys(jobs)]
        bucket = self._bucket
        if len(doomed) > 1:
            batches = [doomed[start : start + BATCH] for start in range(0, len(doomed), BATCH)]
            left = await bucket.threads.each(partial(_delete_batch, bucket), batches, at_once=1)
            doomed = [key for keys in left for key in keys]
        await bucket.threads.each(partial(_delete_one, bucket), doomed)


def _delete_batch(bucket: Bucket, keys: list[str]) -> list[str]:
    """Delete at most 1,000 objects, in a thread; those that have to be deleted one by one."""
    objects = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
    try:
        answer = bucket.do("delete_objects", Delete=objects)
    except NotOffered:
        return keys
    # What failed is tried again alone, and then tells why in the way that everything does.
    return [failure["Key"] for failure in answer.get("Errors", ()) if failure.get("Code") != "NoSuchKey"]


def _delete_one(bucket: Bucket, key: str) -> None:
    try:
        bucket.do("delete_object", Key=key)
    except Absent:
        pass


def _create(bucket: Bucket) -> None:
    """Create a bucket, in a thread."""
    region = bucket.client.meta.region_name
    place: dict[str, Any] = {}
    if region is not None and region not in ("us-east-1", "aws-global"):
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        try:
            bucket.do("create_bucket", **place)
        except BackendError as error:
            if error_code(error) not in ("InvalidLocationConstraint", "IllegalLocationConstraintException"):
                raise
            bucket.do("create_bucket")  # a server to which regions mean nothing
    except BackendError as error:
        if error_code(error) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists", "OperationAborted"):
            raise
        try:
            s3_listing.page(bucket, "", limit=1)  # somebody was faster, perhaps another of us
        except BackendError:
            raise error from None
        return
    log.warning("created the bucket %s, which was missing", bucket.name)


class YamlMetadataS3Repository(YamlMetadataRepository, S3BucketRepository):
    """Metadata as one YAML object a job.

    Live records can be held by servers that decide who of several creates an object first (Amazon S3, Ceph, MinIO and
    others; `docs/s3.md` has a list). Whether this one does is tried out with the first claim.

    :param single_host: only one user on one machine starts jobs here. Then a server that does not decide it can hold
        live records too: a lock on this machine decides.
    """

    def __init__(
        self,
        client: Callable[[], Any] | Any,
        bucket: str,
        prefix: str = "",
        suffix: str = ".yaml",
        mimetype: str = "text/yaml",
        incluster_endpoint: str | None = None,
        *,
        create: bool = True,
        single_host: bool = False,
    ) -> None:
        super().__init__(client, bucket, prefix, suffix, mimetype, incluster_endpoint, create=create)
        self.single_host = single_host

    def _sweep(self, bucket: Bucket) -> None:
        try:
            sweep_probes(bucket, self.prefix)
        except PdtError as error:
            log.debug("%s: what claims left was not looked for: %s", self, error)

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The value of `job`, or ``{}``.

        :raises InvalidValue: when what is stored is not YAML.
        """
        bucket = self._bucket
        return (await bucket.threads.submit(partial(self._load, bucket, job)))[1]

    def _load(self, bucket: Bucket, job: str) -> tuple[bool, Any]:
        """Whether `job` is there, and its value; in a thread."""
        try:
            data = ObjectReader(bucket, self.object_name(job)).whole()
        except Absent:
            return False, {}
        return True, load(data, f"{self}: {job}")

    async def info_all(self) -> dict[str, Any]:
        return await self.info_many(await self.keys())

    async def info_many(self, jobs: Collection[str]) -> dict[str, Any]:
        bucket = self._bucket
        wanted = [job for job in dict.fromkeys(jobs) if job_ids.is_valid(job)]
        found = await bucket.threads.each(lambda job: (job, *self._load(bucket, job)), wanted)
        return {job: value for job, there, value in found if there}

    @job_getter
    async def dump(self, job: str, data: Any, /) -> None:
        key, body, bucket = self.object_name(job), bytearray(dump(data)), self._bucket
        await bucket.threads.settle(partial(bucket.put, key, body, self.mimetype))

    @job_getter
    async def claim(self, job: str, data: Any, /) -> bool:
        """Store `data` unless something is there; whether it was stored.

        :raises Unsupported: when the server does not decide it and `single_host` is false.
        """
        key, body, bucket = self.object_name(job), bytearray(dump(data)), self._bucket
        reason = await bucket.threads.settle(partial(why_not, bucket, self.prefix))
        if not reason:
            return await bucket.threads.settle(partial(create_object, bucket, key, body, self.mimetype))
        if not self.single_host:
            raise no_claims(repr(self), bucket.client, reason)
        with lock_file("s3-claim", self.place).holding(job) as got:
            if not got or await self.contains(job):
                return False
            await self.dump(job, data)
            return True
