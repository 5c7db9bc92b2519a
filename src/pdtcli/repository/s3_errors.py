"""What an S3 server, or the way to it, says when it refuses, as one sentence.

The codes are those of "Error responses" in the Amazon S3 API reference; HEAD has no body, so that only its status is
known. The exceptions that callers decide by (`Absent`, `Changed`, …) are sentences too, should one ever get through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import BackendError, PdtError, Unsupported, UsageError

__all__ = (
    "Absent",
    "Busy",
    "Changed",
    "NotOffered",
    "UploadGone",
    "is_bare",
    "no_claims",
    "shown_endpoint",
    "translate",
)


class Absent(BackendError):
    """There is no such object."""


class Changed(BackendError):
    """The condition that the request was made under does not hold."""


class Busy(BackendError):
    """Another conditional request for the same object is under way; to be repeated."""


class NotOffered(BackendError):
    """The server does not know the request, or an option of it."""


class OutOfRange(BackendError):
    """The object ends before the range that was asked for."""


class UploadGone(BackendError):
    """The multipart upload was completed or aborted."""


_KINDS: dict[str, type[PdtError]] = {
    "NoSuchKey": Absent,
    "404": Absent,
    "PreconditionFailed": Changed,
    "412": Changed,
    "ConditionalRequestConflict": Busy,
    "OperationAborted": Busy,
    "NoSuchUpload": UploadGone,
    "InvalidRange": OutOfRange,
    "416": OutOfRange,
    "NotImplemented": NotOffered,
    "501": NotOffered,
    "MethodNotAllowed": NotOffered,
    "MissingContentMD5": NotOffered,
    "InvalidBucketName": UsageError,
}

_KEY = "look at the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws)"
_REASONS = {
    "NoSuchBucket": "there is no such bucket: create it, or correct its name",
    "InvalidBucketName": "that is no valid name of a bucket: it takes 3 to 63 of a-z 0-9 - .",
    "InvalidAccessKeyId": f"the server does not know the access key: {_KEY}",
    "SignatureDoesNotMatch": f"the secret key is wrong: {_KEY}",
    "ExpiredToken": "the session token has expired: fetch a new one",
    "InvalidToken": f"the session token is not valid: {_KEY}",
    "AccessDenied": "no permission: the policy of the bucket, or of the user, has to allow it",
    "AllAccessDisabled": "no permission: all access to the bucket is switched off",
    "403": "no permission, or a wrong key: look at the credentials and at the policy of the bucket",
    "NoSuchKey": "there is no such object",
    "404": "there is no such object, or no such bucket",
    "PreconditionFailed": "it was changed by somebody else meanwhile: try again",
    "412": "it was changed by somebody else meanwhile: try again",
    "NoSuchUpload": "the upload was ended by somebody else: try again",
    "InvalidObjectState": "it is archived: restore it first",
    "PermanentRedirect": "the bucket is in another region: set the region (AWS_REGION, or region_name)",
    "301": "the bucket is in another region: set the region (AWS_REGION, or region_name)",
    "AuthorizationHeaderMalformed": "the request was signed for another region: set the region (AWS_REGION)",
    "SlowDown": "the server asks to slow down, and went on asking: try again later",
    "ServiceUnavailable": "the server is busy, and stayed busy: try again later",
    "503": "the server is busy, and stayed busy: try again later",
    "InternalError": "the server failed, and went on failing: try again later",
    "500": "the server failed, and went on failing: try again later",
    "EntityTooLarge": "the value is larger than the server takes",
    "QuotaExceeded": "the quota of the bucket is used up",
    "BucketAlreadyExists": "somebody else has a bucket of that name: choose another",
}


def shown_endpoint(client: Any) -> str:
    """The address of the server, without the user and password that may stand in it."""
    parts = urlsplit(client.meta.endpoint_url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def error_code(error: BaseException) -> str | None:
    """The server's own code for a refusal that was translated."""
    return _error_of(error.__cause__).get("Code") if error.__cause__ is not None else None


def is_bare(error: BaseException) -> bool:
    """Whether a refusal came without its reason, as those of HEAD do."""
    code = _error_of(error).get("Code")
    return code is not None and str(code) in ("400", "403", "301")


def _error_of(error: BaseException) -> Mapping[str, Any]:
    response = getattr(error, "response", None)
    found = response.get("Error") if isinstance(response, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def translate(error: Exception, what: str, client: Any) -> Exception:
    """`error`, which a client raised, as one of this package's; what is no matter of S3 is given back as it is.

    :param what: the object or bucket that was asked for, as a URI.
    """
    from botocore import exceptions as botocore
    from urllib3.exceptions import HTTPError

    where = shown_endpoint(client)
    match error:
        case PdtError():
            return error
        case botocore.ClientError():
            return _refusal(error, f"{what} at {where}")
        case botocore.NoCredentialsError() | botocore.PartialCredentialsError() | botocore.CredentialRetrievalError():
            return BackendError(f"{what}: there are no credentials for {where}: set AWS_ACCESS_KEY_ID and "
                                "AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws")  # fmt: skip
        case botocore.SSLError():
            return BackendError(f"{what}: the certificate of {where} was not accepted ({_short(error)}): set "
                                "AWS_CA_BUNDLE to that of the authority that issued it")  # fmt: skip
        case botocore.ConnectTimeoutError() | botocore.ReadTimeoutError():
            return BackendError(f"{what}: {where} did not answer in time, in as many attempts as the client makes: "
                                "look whether the server is well, or raise the timeouts of the client")  # fmt: skip
        case botocore.ProxyConnectionError():
            return BackendError(f"{what}: the proxy on the way to {where} cannot be reached: look at HTTPS_PROXY")
        case botocore.EndpointConnectionError():
            return BackendError(f"{what}: {where} cannot be reached: look at the address, and whether the server runs")
        case botocore.FlexibleChecksumError():
            return BackendError(f"{what}: it arrived from {where} with another checksum than it was stored with")
        case botocore.ParamValidationError() if "Invalid bucket name" in str(error):
            return UsageError(f"{what}: {_REASONS['InvalidBucketName']}")
        case botocore.ParamValidationError():
            return UsageError(f"{what} cannot be asked for: {_short(error)}")
        case botocore.BotoCoreError() | HTTPError() | ConnectionError() | TimeoutError():
            return BackendError(f"{what}: the connection to {where} broke, in as many attempts as the client makes: "
                                f"{_short(error)}")  # fmt: skip
    return error


def _refusal(error: Any, subject: str) -> PdtError:
    code = str(_error_of(error).get("Code", "?"))
    message = str(_error_of(error).get("Message") or "").rstrip(".")
    if code in ("RequestTimeTooSkewed", "RequestExpired"):
        there = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "another time")
        return BackendError(f"{subject}: the clocks differ too much, there it is {there}: set the one that is wrong")
    kind = _KINDS.get(code)
    if (reason := _REASONS.get(code)) is not None:
        return (kind or BackendError)(f"{subject}: {reason}")
    if code == "InvalidRequest" and "md5" in message.lower():
        kind = NotOffered
    return (kind or BackendError)(
        f"{subject}: the server refused it with {code}" + (f" ({message})" if message else "")
    )


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:199] + "…"


def no_claims(what: str, client: Any, reason: str) -> Unsupported:
    """The refusal of a claim."""
    return Unsupported(
        f"{what} cannot hold live records: {shown_endpoint(client)} {reason}; keep them in another store (files, "
        "MongoDB), or say single_host=True where only this machine starts jobs"
    )
