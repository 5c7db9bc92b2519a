"""What is tried again, and when, for requests that a boto3 client did not send itself: as the client says.

Its rules hang on its events (`needs-retry` and `after-call`; "Retries" in the guide of boto3), so that each mode, limit
and budget counts that the client was made with, for its own requests and these together.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from .s3_http import Answer

__all__ = ("Attempts", "Debt")


class Debt(Protocol):
    """What is known of a client."""

    owed: int
    """So many answers are still to be told to the client's rules, which give attempts out of a budget."""


class Attempts:
    """The client's own rules for what is tried again (its event needs-retry, "Retries" in the guide of boto3)."""

    def __init__(self, client: Any, operation: str, state: Debt) -> None:
        self._client = client
        self._operation = operation
        self._state = state
        self._count = 0
        self._context: dict[str, Any] = {}

    def failed(self, error: Exception) -> None:
        """There was no answer: wait for the next attempt, or raise the error."""
        if not self._again(None, error):
            raise error

    def refused(self, answer: Answer, body: bytes) -> Exception | None:
        """The answer was no: wait for the next attempt, or give the error."""
        from botocore.parsers import create_parser

        shape = self._model.output_shape
        headers = self._http(answer).headers
        parsed = create_parser("rest-xml").parse(
            {"headers": headers, "status_code": answer.status, "body": body}, shape
        )
        if self._again((self._http(answer), parsed), None):
            return None
        self._state.owed = 500
        error = self._client.exceptions.from_code(parsed.get("Error", {}).get("Code"))
        made: Exception = error(parsed, self._operation)
        return made

    def succeeded(self, answer: Answer) -> None:
        """Tell the rules, when they have something to give back."""
        if self._state.owed or self._count:
            self._state.owed = max(0, self._state.owed - 1)
            self._client.meta.events.emit(
                f"after-call.s3.{self._operation}",
                http_response=self._http(answer),
                parsed={},
                model=self._model,
                context=self._context,
            )

    @property
    def _model(self) -> Any:
        return self._client.meta.service_model.operation_model(self._operation)

    def _http(self, answer: Answer) -> Any:
        from botocore.awsrequest import AWSResponse

        return AWSResponse(self._client.meta.endpoint_url, answer.status, answer.headers, None)

    def _again(self, response: Any, error: Exception | None) -> bool:
        from botocore.hooks import first_non_none_response

        self._count += 1
        self._context.setdefault("s3_redirect", {"redirected": True, "bucket": "", "params": {}})
        delay = first_non_none_response(
            self._client.meta.events.emit(
                f"needs-retry.s3.{self._operation}",
                response=response,
                endpoint=self._client._endpoint,
                operation=self._model,
                attempts=self._count,
                caught_exception=error,
                request_dict={"context": self._context, "url": "", "headers": {}},
            )
        )
        if delay is None:
            return False
        self._state.owed = 500
        if delay:
            time.sleep(delay)
        return True
