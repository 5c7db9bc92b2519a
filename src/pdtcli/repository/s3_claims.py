"""Claims in a bucket: an object that is created if it is absent, and by one of all who try.

"Conditional writes" in the Amazon S3 user guide: PUT with ``If-None-Match: *``, answered with 412 when there is an
object, and with 409 when another such request is under way.
"""

from __future__ import annotations

import time
import uuid
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any

from .s3_calls import Bucket, attempts
from .s3_errors import Absent, Busy, Changed, NotOffered
from .s3_streams import pause

__all__ = ("HIDDEN", "create_object", "is_older", "sweep_probes", "why_not")

HIDDEN = ".pdt-"
"""What the names begin in that are this package's own."""

PROBE = f"{HIDDEN}probe-"

_claimable: weakref.WeakKeyDictionary[Any, dict[str, str]] = weakref.WeakKeyDictionary()
"""By client and bucket: why claims are not safe there, or the empty string."""


def why_not(bucket: Bucket, prefix: str) -> str:
    """Why the server cannot decide who of several created an object first, or the empty string; in a thread.

    Asked once: an object is created twice, under a name that no job has. A server that does not know the condition
    stores it twice. OpenStack Swift knows it, and keeps it only while nobody else is at it.
    """
    answers = _claimable.setdefault(bucket.client, {})
    if bucket.name not in answers:
        key = f"{prefix}{PROBE}{uuid.uuid4().hex}"
        reason = ""
        try:
            answer = bucket.do("put_object", Key=key, Body=bytearray(), IfNoneMatch="*")
            if "x-openstack-request-id" in answer["ResponseMetadata"]["HTTPHeaders"]:
                reason = "is OpenStack Swift, which lets several of those who race for an object win"
            else:
                bucket.do("put_object", Key=key, Body=bytearray(), IfNoneMatch="*")
                reason = "does not heed the condition If-None-Match when it stores an object"
        except Changed:
            pass
        except NotOffered:
            reason = "does not know the condition If-None-Match when it stores an object"
        finally:
            _forget(bucket, key)
        answers[bucket.name] = reason
    return answers[bucket.name]


def create_object(bucket: Bucket, key: str, body: bytearray, mimetype: str) -> bool:
    """Store an object unless there is one, in a thread; whether it was stored."""
    token = uuid.uuid4().hex
    attempt = 0
    while True:
        try:
            bucket.put(key, body, mimetype, IfNoneMatch="*", Metadata={"pdt-claim": token})
            return True
        except Changed:
            # Perhaps by this very request: its answer was lost, and the client asked again.
            try:
                head = bucket.do("head_object", Key=key)
            except Absent:
                return False
            return bool(head.get("Metadata", {}).get("pdt-claim") == token)
        except Busy:
            attempt += 1
            if attempt >= attempts(bucket.client):
                raise
            time.sleep(pause(attempt))


def _forget(bucket: Bucket, key: str) -> None:
    try:
        bucket.do("delete_object", Key=key)
    except Absent:
        pass


def is_older(moment: datetime, age: timedelta) -> bool:
    """Whether something that a server says happened then is that old; clocks differ by minutes at most."""
    return datetime.now(tz=UTC) - moment > age


def sweep_probes(bucket: Bucket, prefix: str) -> None:
    """Remove the probes of processes that were killed, in a thread."""
    for entry in bucket.do("list_objects_v2", Prefix=prefix + PROBE).get("Contents", ()):
        if is_older(entry["LastModified"], timedelta(hours=1)):
            _forget(bucket, entry["Key"])
