"""Two S3 servers of different making: ministack for everything, Swift for signatures, error codes and flat memory.

ministack never looks at the secret, and does not know the limits on the length of a key or on one batch of deletes.
Swift does; but several of those who put a key if it is absent, at the same moment, may all be told that they won: never
test exclusivity on it.
"""

from __future__ import annotations

import os
import pwd
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .certificate import Certificate
from .process import Process, data_directory, find, free_ports, http_status, listens, started


@dataclass(frozen=True)
class S3Server:
    """Where an S3 server is, and who may use it."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    process: Process = field(repr=False)
    region: str = "us-east-1"

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    @property
    def environ(self) -> dict[str, str]:
        """What makes boto3's own configuration chain find this server, in this process or in a command's."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def client(self, endpoint: str | None = None, secret_key: str | None = None, **config: Any) -> Any:
        """A boto3 client.

        :param endpoint: another one, such as a proxy's.
        :param config: parameters of botocore's `Config`.
        """
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            region_name=self.region,
            config=Config(**{"s3": {"addressing_style": "path"}, "max_pool_connections": 16, **config}),
        )


@contextmanager
def ministack(certificate: Certificate | None = None) -> Iterator[S3Server]:
    """A ministack, with its data in memory.

    :param certificate: makes it speak HTTPS.
    """
    command = find("ministack", "ministack")
    with data_directory() as directory:

        def attempt() -> S3Server:
            (port,) = free_ports(1)
            environ = {
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(port),
                "SERVICES": "s3,sts,iam",
                "AUTH": "true",
                "LOG_LEVEL": "ERROR",
                "HOME": str(directory),
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
            }
            if certificate is not None:
                paths = {"MINISTACK_SSL_CERT": str(certificate.path), "MINISTACK_SSL_KEY": str(certificate.key)}
                environ |= {"USE_SSL": "1", **paths}
            process = Process([command], directory / "log", environ)
            scheme = "http" if certificate is None else "https"
            server = S3Server("ministack", f"{scheme}://127.0.0.1:{port}", "test", "test", process)
            _await(process, lambda: listens(port) if certificate else http_status(server.endpoint) is not None)
            return server

        server = started(attempt)
        try:
            yield server
        finally:
            server.process.stop()


def _await(process: Process, answers: Any) -> None:
    try:
        process.wait_until(answers)
    except BaseException:
        process.stop()
        raise


# ---- Swift: a proxy, and three servers behind it

_PROXY = (
    "catch_errors gatekeeper listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-server"
)
_FILTERS = {
    **{name: {} for name in ("catch_errors", "gatekeeper", "listing_formats", "bulk", "copy", "slo", "dlo", "symlink")},
    "s3api": {"location": "us-east-1", "auth_pipeline_check": "false"},
    "tempauth": {"user_test_tester": "testing .admin"},
    "versioned_writes": {"allow_object_versioning": "true"},
}
_BEHIND = ("object", "container", "account")


def _section(title: str, values: dict[str, Any]) -> str:
    return f"[{title}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def _configure_swift(directory: Path, ports: dict[str, int]) -> None:
    common = {
        "bind_ip": "127.0.0.1",
        "workers": 0,
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "swift_dir": directory,
        "devices": directory / "d",
        "mount_check": "false",
    }
    (directory / "d" / "d1").mkdir(parents=True, exist_ok=True)
    policy = _section("storage-policy:0", {"name": "gold", "default": "yes"})
    (directory / "swift.conf").write_text(_section("swift-hash", {"swift_hash_path_suffix": "tests"}) + policy)
    for kind in _BEHIND:
        app = {"use": f"egg:swift#{kind}", "recon_cache_path": directory, "container_update_timeout": 30}
        text = _section("DEFAULT", common | {"bind_port": ports[kind]})
        text += _section("pipeline:main", {"pipeline": f"{kind}-server"}) + _section(f"app:{kind}-server", app)
        (directory / f"{kind}.conf").write_text(text)
    text = _section("DEFAULT", common | {"bind_port": ports["proxy"]}) + _section("pipeline:main", {"pipeline": _PROXY})
    text += _section("app:proxy-server", {"use": "egg:swift#proxy", "account_autocreate": "true"})
    for name, values in _FILTERS.items():
        text += _section(f"filter:{name}", {"use": f"egg:swift#{name}"} | values)
    (directory / "proxy.conf").write_text(text)


_RINGS = """
import sys
from swift.common.ring import RingBuilder
for kind, port in (pair.split("=") for pair in sys.argv[2:]):
    ring = RingBuilder(6, 1, 1)
    ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1.0})
    ring.rebalance()
    ring.get_ring().save(f"{sys.argv[1]}/{kind}.ring.gz")
"""


@contextmanager
def swift() -> Iterator[S3Server]:
    """OpenStack Swift with its S3 API."""
    bin_directory = Path(find("swift-proxy-server", "swift")).parent
    with data_directory() as directory, ExitStack() as running:

        def attempt() -> S3Server:
            running.close()  # those of a try before this one
            ports = dict(zip((*_BEHIND, "proxy"), free_ports(4), strict=True))
            _configure_swift(directory, ports)
            pairs = [f"{kind}={ports[kind]}" for kind in _BEHIND]
            rings = Process([str(bin_directory / "python"), "-c", _RINGS, str(directory), *pairs], directory / "rings")
            if rings.wait():
                raise RuntimeError(f"no rings for Swift: {rings.last_words()}")
            processes = {}
            for kind, port in ports.items():
                command = [str(bin_directory / f"swift-{kind}-server"), str(directory / f"{kind}.conf")]
                processes[port] = Process(command, directory / f"{kind}.log")
                running.callback(processes[port].stop)
            for port, process in processes.items():
                process.wait_until(lambda port=port: listens(port))  # type: ignore[misc]
            address = f"http://127.0.0.1:{ports['proxy']}"
            return S3Server("swift", address, "test:tester", "testing", processes[ports["proxy"]])

        yield started(attempt)


# ---- for one test


def empty(client: Any, bucket: str) -> None:
    """Remove a bucket with all that is in it, uploads that were never finished included."""
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", ()):
            client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
        if keys:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    client.delete_bucket(Bucket=bucket)


@contextmanager
def fresh_bucket(client: Any) -> Iterator[str]:
    """A bucket that nobody else has."""
    bucket = f"pdt-{uuid.uuid4().hex[:16]}"
    client.create_bucket(Bucket=bucket)
    try:
        yield bucket
    finally:
        try:
            empty(client, bucket)
        except client.exceptions.NoSuchBucket:
            pass  # the test removed it
