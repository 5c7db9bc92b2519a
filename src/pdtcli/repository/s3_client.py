"""A ready-made S3 client for sessions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..errors import BackendError, UsageError

__all__ = ("s3_client",)


def s3_client(
    endpoint_url: str | None = None,
    *,
    profile_name: str | None = None,
    region_name: str | None = None,
    aws_access_key_id: str | None = None,
    aws_secret_access_key: str | None = None,
    aws_session_token: str | None = None,
    verify: bool | str | None = None,
    connections: int = 16,
    connect_timeout: float = 10.0,
    read_timeout: float = 30.0,
    max_attempts: int = 5,
    **config: Any,
) -> Callable[[], AsyncIterator[Any]]:
    """A session resource that is a boto3 S3 client.

    .. code:: python

        client = session.resource(pdtcli.s3_client("https://s3.example.org"))
        results = pdtcli.S3BucketRepository(client, "results", suffix=".txt")

    What is None is left to boto3's own configuration: the environment (``AWS_PROFILE``, ``AWS_ACCESS_KEY_ID``,
    ``AWS_ENDPOINT_URL_S3``, …), the files in ``~/.aws``, the role of the instance or the container; see
    "Configuration" and "Credentials" in the guide of boto3.

    A server that accepts connections and never answers is given up after ``max_attempts * read_timeout`` seconds and
    the pauses between the attempts (at most 20 s each); one that cannot be connected to, after
    ``max_attempts * connect_timeout``.

    :param endpoint_url: of the server; that of Amazon Web Services when nothing else is configured.
    :param verify: False for no check of certificates, or the path of a file with those of the authorities to trust.
    :param connections: how many requests there are at once, and threads for them.
    :param connect_timeout: seconds.
    :param read_timeout: seconds in which nothing arrives.
    :param max_attempts: how often a request is tried, the first time included.
    :param config: anything else that `botocore.config.Config` takes.
    :raises UsageError: when what is configured makes no client, when the session opens.
    """

    async def s3() -> AsyncIterator[Any]:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        from .s3_lean import release

        try:
            session = boto3.session.Session(
                profile_name=profile_name,
                region_name=region_name,
                aws_access_key_id=aws_access_key_id,
                aws_secret_access_key=aws_secret_access_key,
                aws_session_token=aws_session_token,
            )
            options: dict[str, Any] = {
                "connect_timeout": connect_timeout,
                "read_timeout": read_timeout,
                "max_pool_connections": connections,
                "retries": {"mode": "standard", "total_max_attempts": max_attempts},
                "tcp_keepalive": True,
            }
            if not _is_configured(session, "request_checksum_calculation"):
                # Many servers do not know the newer checksums. The bytes are protected by TLS, or else by the hash in
                # the signature.
                options["request_checksum_calculation"] = "when_required"
            client = session.client("s3", endpoint_url=endpoint_url, verify=verify, config=Config(**(options | config)))
        except (BotoCoreError, ValueError, TypeError) as error:
            raise UsageError(f"there is no S3 client with these settings: {error}") from error
        except OSError as error:
            raise BackendError(f"the S3 client cannot be set up: {error}") from error
        try:
            yield client
        finally:
            release(client)
            client.close()

    s3.__name__ = s3.__qualname__ = "s3_client"
    return s3


def _is_configured(session: Any, name: str) -> bool:
    """Whether the environment or the profile sets an option."""
    return f"AWS_{name.upper()}" in os.environ or name in session._session.get_scoped_config()
