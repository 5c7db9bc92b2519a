"""Names that no value may have."""

from __future__ import annotations

import pytest

from pdtcli import BlobRepository, InvalidJobId


async def refuses_the_name(repository: BlobRepository, job: str) -> None:
    """Assert that a repository takes no value of a name that is no job id; it holds `good`."""
    for mode in ("r", "rb", "w", "wb"):
        with pytest.raises(InvalidJobId):
            await repository.open(job, mode)
    with pytest.raises(InvalidJobId):
        await repository.delete(job)
    with pytest.raises(InvalidJobId):
        await repository.delete_many(["good", job])
    assert not await repository.contains(job)
    assert await repository.among([job, "good"]) == {"good"}
