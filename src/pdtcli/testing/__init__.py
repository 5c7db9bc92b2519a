"""The tests that every repository has to pass, whoever wrote it and wherever its values are.

They need pytest and pytest-asyncio. A kind of repository is put through them by a class that says how to make an empty
one:

.. code:: python

    from pdtcli.testing import BlobRepositorySuite

    class TestMyRepository(BlobRepositorySuite):
        @pytest_asyncio.fixture
        async def repository(self, tmp_path):
            async with MyRepository(tmp_path) as repository:
                yield repository

Attributes say what the store cannot do and hooks look into it from outside; see `RepositorySuite`.
"""

from __future__ import annotations

import pytest

# Before these modules are imported, so that their assertions tell what they saw.
pytest.register_assert_rewrite(f"{__name__}.base", f"{__name__}.blobs", f"{__name__}.metadata", f"{__name__}.writers")

from .base import NOT_JOBS, UNUSUAL_JOBS, RepositorySuite  # noqa: E402
from .blobs import BlobRepositorySuite  # noqa: E402
from .metadata import MetadataRepositorySuite  # noqa: E402

__all__ = ("NOT_JOBS", "UNUSUAL_JOBS", "BlobRepositorySuite", "MetadataRepositorySuite", "RepositorySuite")
