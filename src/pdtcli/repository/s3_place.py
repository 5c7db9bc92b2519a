"""A bucket that is asked directly: calls become signed requests, and answers what the client would have given.

Nothing here decides whether a bucket may be asked so; that is `s3_lean`'s. A call with a parameter that is not known
here is no request, and left to the client.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from .s3_attempts import Attempts, Debt
from .s3_http import Answer, Pool
from .s3_sign import Signer
from .s3_xml import read_listing

__all__ = ("FIRST", "NAMES", "OPERATIONS", "Place")

NOTHING = hashlib.sha256(b"").hexdigest()


class Operation(NamedTuple):
    """How a call of the client becomes a request.

    :ivar name: in the service's own words.
    :ivar query: the parameters that are part of the URL, by their names there.
    :ivar fixed: what is always part of the URL.
    """

    name: str
    method: str
    query: Mapping[str, str] = {}
    fixed: tuple[tuple[str, str], ...] = ()


NAMES = "list_names"
"""The client's ``list_objects_v2`` where only names are wanted: the answer has them as a `Listing`, if at all."""

FIRST = "get_first"
"""The client's ``get_object`` where the beginning is enough: the answer may end with the first of the parts that the
value was stored in, and its ``ContentRange`` then tells how long the value is.

To give up the rest of an answer is dear where the server has it under way; and a range, which would do the same, is
refused where a value is empty, and comes without the checksum that one part has."""

OPERATIONS = {
    "get_object": Operation("GetObject", "GET"),
    FIRST: Operation("GetObject", "GET", {}, (("partNumber", "1"),)),
    "head_object": Operation("HeadObject", "HEAD"),
    "put_object": Operation("PutObject", "PUT"),
    "delete_object": Operation("DeleteObject", "DELETE"),
    "upload_part": Operation("UploadPart", "PUT", {"PartNumber": "partNumber", "UploadId": "uploadId"}),
    NAMES: Operation(
        "ListObjectsV2",
        "GET",
        {
            "ContinuationToken": "continuation-token",
            "Delimiter": "delimiter",
            "MaxKeys": "max-keys",
            "Prefix": "prefix",
            "StartAfter": "start-after",
        },
        (("encoding-type", "url"), ("list-type", "2")),
    ),
}

_HEADERS = {"ContentType": "content-type", "IfMatch": "if-match", "IfNoneMatch": "if-none-match", "Range": "range"}

_NO_PARTS = (400, 405, 416, 501)
"""Answers of servers that do not know the first part of a value, or of a value that has none."""

_range_from_start = re.compile(r"bytes 0-(\d+)/(\d+)").fullmatch

_MOVED = ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")


class Request(NamedTuple):
    """A request before it is signed."""

    operation: Operation
    path: str
    query: str
    headers: dict[str, str]
    body: bytearray | bytes


class Place:
    """A bucket, and how the client asks for what is in it.

    :param debt: must not lead to the client, which would then never go away.
    :param host: as the header says it.
    :param path: of the bucket, without a slash at its end.
    :param config: the client's.
    """

    def __init__(
        self, debt: Debt, pool: Pool, signer: Signer, host: str, path: str, user_agent: str, config: Any
    ) -> None:
        self._debt = debt
        self._pool = pool
        self._signer = signer
        self._host = host
        self._path = path
        self._agent = f"User-Agent: {user_agent}\r\n" if user_agent else ""
        self._hashes = (config.s3 or {}).get("payload_signing_enabled") is not False
        self._sends_checksums = getattr(config, "request_checksum_calculation", None) == "when_supported"
        self._checks = getattr(config, "response_checksum_validation", None) == "when_supported"
        self._knows_parts = True

    def request(self, name: str, parameters: Mapping[str, Any]) -> Request | None:
        """A call as a request; None for one that the client is to make."""
        if name == FIRST and not self._knows_parts:
            name = "get_object"
        operation = OPERATIONS.get(name)
        if operation is None:
            return None
        headers = {}
        query = list(operation.fixed)
        path, body = self._path or "/", b""
        for parameter, value in parameters.items():
            if parameter == "Key" and value:
                path = f"{self._path}/{quote(value, safe='/-._~')}"
            elif parameter == "Body" and isinstance(value, (bytes, bytearray)):
                body = value  # type: ignore[assignment]
            elif (field := operation.query.get(parameter)) is not None:
                query.append((field, quote(str(value), safe="-._~")))
            elif (header := _HEADERS.get(parameter)) is not None:
                headers[header] = value
            elif parameter == "Metadata":
                headers.update((f"x-amz-meta-{field.lower()}", text) for field, text in value.items())
            else:
                return None
        if not all(text.isascii() and text.isprintable() for text in headers.values()):
            return None
        if self._checks and operation.name == "GetObject":
            headers["x-amz-checksum-mode"] = "ENABLED"
        if self._sends_checksums and operation.method == "PUT":
            from zlib import crc32

            headers["x-amz-sdk-checksum-algorithm"] = "CRC32"
            headers["x-amz-checksum-crc32"] = base64.b64encode(crc32(body).to_bytes(4)).decode()
        return Request(operation, path, "&".join(f"{field}={value}" for field, value in sorted(query)), headers, body)

    def perform(self, client: Any, request: Request) -> dict[str, Any] | None:
        """Make the call; None when the bucket is somewhere else.

        :raises botocore.exceptions.BotoCoreError: when there is no answer.
        :raises botocore.exceptions.ClientError: when the answer is a refusal.
        """
        from botocore.exceptions import HTTPClientError

        attempts = Attempts(client, request.operation.name, self._debt)
        while True:
            try:
                answer = self._send(request)
                if request.operation is OPERATIONS[FIRST] and not _is_clear(answer):
                    answer.body.close()
                    self._knows_parts = answer.status == 416
                    request = request._replace(operation=OPERATIONS["get_object"], query="")
                    continue
                if answer.status < 300:
                    result = self._result(request, answer)
                    attempts.succeeded(answer)
                    return result
                body = answer.body.read()
            except HTTPClientError as error:
                attempts.failed(error)
                continue
            refusal = attempts.refused(answer, body)
            if refusal is not None:
                return None if answer.status in (301, 307) or _code(refusal) in _MOVED else _throw(refusal)

    def _send(self, request: Request) -> Answer:
        operation, path, query, extra, body = request
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        payload = (hashlib.sha256(body).hexdigest() if body else NOTHING) if self._hashes else "UNSIGNED-PAYLOAD"
        headers = {"host": self._host, "x-amz-content-sha256": payload, "x-amz-date": moment, **extra}
        credentials = self._signer.current()
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        headers = dict(sorted(headers.items()))
        authorization = self._signer.authorization(
            credentials, [operation.method, path, query], headers, payload, moment
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(body)}\r\n" if operation.method == "PUT" else ""
        target = f"{path}?{query}" if query else path
        head = (
            f"{operation.method} {target} HTTP/1.1\r\n{lines}{length}{self._agent}"
            f"Accept-Encoding: identity\r\nAuthorization: {authorization}\r\n\r\n"
        )
        return self._pool.exchange(head.encode(), body, bodiless=operation.method == "HEAD")

    def _result(self, request: Request, answer: Answer) -> dict[str, Any]:
        """An answer in the form in which the client gives it."""
        headers = answer.headers
        result: dict[str, Any] = {
            "ResponseMetadata": {"HTTPStatusCode": answer.status, "HTTPHeaders": headers},
            "Metadata": {name[11:]: value for name, value in headers.items() if name.startswith("x-amz-meta-")},
        }
        if "content-length" in headers and "transfer-encoding" not in headers:
            result["ContentLength"] = int(headers["content-length"])
        for name, field in (("etag", "ETag"), ("content-range", "ContentRange"), ("accept-ranges", "AcceptRanges")):
            if name in headers:
                result[field] = headers[name]
        if request.operation.name == "GetObject":
            result["Body"] = answer.body
            if self._checks and _is_whole(answer):
                answer.body.checksum = _checksum(headers)
            return result
        content = answer.body.read()
        if request.operation.name == "ListObjectsV2":
            try:
                result["Listing"] = read_listing(content)
            except ValueError as error:
                from botocore.exceptions import ResponseParserError

                raise ResponseParserError(str(error)) from error
        return result


def _is_clear(answer: Answer) -> bool:
    """Whether an answer to `FIRST` tells how much of the value it is.

    One without a range is all of it, unless the value came in parts (its ETag has their number behind a hyphen): a
    server may have sent the first of them and not said so.
    """
    if answer.status >= 300:
        return answer.status not in _NO_PARTS
    if "content-range" in answer.headers:
        return _range_from_start(answer.headers["content-range"]) is not None
    return "-" not in answer.headers.get("etag", "-")


def _is_whole(answer: Answer) -> bool:
    match = _range_from_start(answer.headers.get("content-range", ""))
    return answer.status == 200 or (match is not None and int(match[1]) + 1 == int(match[2]))


def _throw(error: Exception) -> Any:
    raise error


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code"))


# ---- checksums of what was received


def _checksum(headers: Mapping[str, str]) -> Any:
    """What compares a body with the checksum that is told for all of it; None when there is none that is known."""
    try:
        from botocore.httpchecksum import _CHECKSUM_CLS as kinds
    except ImportError:
        return None
    for name, kind in kinds.items():
        expected = headers.get(f"x-amz-checksum-{name}", "-")
        if "-" not in expected:  # that of all parts together is no checksum of the bytes
            return _Compared(kind(), expected)
    return None


class _Compared:
    def __init__(self, checksum: Any, expected: str) -> None:
        self._expected = expected
        self._checksum = checksum
        self.update: Callable[[bytes], None] = checksum.update

    def compare(self) -> None:
        if self._checksum.digest() != base64.b64decode(self._expected):
            from botocore.exceptions import FlexibleChecksumError

            raise FlexibleChecksumError(
                error_msg=f"Expected checksum {self._expected} did not match calculated checksum: "
                f"{self._checksum.b64digest()}"
            )
