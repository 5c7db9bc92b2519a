"""Small whole programs, as users of the seed library wrote them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pdtcli


async def test_values_flow_through_a_pipeline_in_memory() -> None:
    numbers = pdtcli.InProcessMetadataRepository({str(n): n for n in range(20)})
    squares, roots = pdtcli.InProcessMetadataRepository(), pdtcli.InProcessMetadataRepository()

    @pdtcli.InProcessSyncTask("square", pdtcli.InProcessMetadataRepository())
    async def square(job: str, number: Any, squared: Any) -> None:
        await squared.dump(job, await number.info(job) ** 2)

    @pdtcli.InProcessSyncTask("root", pdtcli.InProcessMetadataRepository())
    async def root(job: str, squared: Any, rooted: Any) -> None:
        await rooted.dump(job, int((await squared.info(job)) ** 0.5))

    square.link("number", numbers, is_input=True)
    square.link("squared", squares, is_output=True)
    root.plug(square)
    root.link("rooted", roots, is_output=True)
    async with pdtcli.Pipeline([square, root], pdtcli.Session()) as pipeline:
        await pipeline.run()
        again = await pipeline.update()

    assert squares.data == {str(n): n * n for n in range(20)}
    assert roots.data == {str(n): n for n in range(20)}
    assert not again


async def test_a_session_s_resource_is_there_while_the_pipeline_works() -> None:
    session = pdtcli.Session()
    done = pdtcli.InProcessMetadataRepository()
    greetings = pdtcli.InProcessMetadataRepository()

    @session.resource
    async def greeting() -> AsyncIterator[str]:
        yield "good morning"

    @pdtcli.InProcessSyncTask("greet", done)
    async def greet(job: str, said: Any) -> None:
        await said.dump(job, f"{greeting()}, {job}")

    greet.link("who", pdtcli.InProcessMetadataRepository({"emma": None}), is_input=True)
    greet.link("said", greetings, is_output=True)
    async with pdtcli.Pipeline([greet], session) as pipeline:
        await pipeline.run()

    assert greetings.data == {"emma": "good morning, emma"}
    with pytest.raises(pdtcli.PdtError):
        greeting()


async def test_an_executor_does_the_work() -> None:
    texts = pdtcli.InProcessBlobRepository({f"text{n}": b"word " * n for n in range(10)})
    counts = pdtcli.InProcessMetadataRepository()
    done = pdtcli.InProcessMetadataRepository()
    with ThreadPoolExecutor(3) as executor:

        @pdtcli.ExecutorTask("count", executor, done)
        async def count(job: str, text: Any, words: Any) -> None:
            async with await text.open(job) as reader:
                await words.dump(job, len((await reader.read()).split()))

        count.link("text", texts, is_input=True)
        count.link("words", counts, is_output=True)
        async with pdtcli.Pipeline([count], pdtcli.Session()) as pipeline:
            await pipeline.run()

    assert counts.data == {f"text{n}": n for n in range(10)}
    assert {record["result"] for record in done.data.values()} == {"success"}


async def test_files_become_files(tmp_path: Path) -> None:
    for name in ("emma", "persuasion"):
        (tmp_path / f"{name}.txt").write_text(f"{name} by Jane Austen\n")
    texts = pdtcli.FileRepository(tmp_path, ".txt")
    shouts = pdtcli.FileRepository(tmp_path / "shouts", ".TXT")
    trees = pdtcli.DirectoryRepository(tmp_path / "trees", discard_empty=True)
    counts = pdtcli.YamlMetadataFileRepository(tmp_path / "counts")

    @pdtcli.InProcessSyncTask("shout", pdtcli.YamlMetadataFileRepository(tmp_path / "done"))
    async def shout(job: str, text: Any, shouted: Any, tree: Any, count: Any) -> None:
        async with await text.open(job, "r") as reader, await shouted.open(job, "w") as writer:
            words = await reader.read()
            await writer.write(words.upper())
        async with await tree.create(job) as path:
            for word in words.split():
                (path / word).touch()
        await count.dump(job, {"words": len(words.split()), "from": await text.info(job)})

    shout.link("text", texts, is_input=True)
    shout.link("shouted", shouts, is_output=True)
    shout.link("tree", trees, is_output=True)
    shout.link("count", counts, is_output=True)
    async with pdtcli.Pipeline([shout], pdtcli.Session()) as pipeline:
        await pipeline.run()

    assert (tmp_path / "shouts" / "emma.TXT").read_text() == "EMMA BY JANE AUSTEN\n"
    assert sorted(path.name for path in (tmp_path / "trees" / "persuasion").iterdir()) == [
        "Austen",
        "Jane",
        "by",
        "persuasion",
    ]
    assert await counts.info("emma") == {"words": 4, "from": str(tmp_path / "emma.txt")}
    assert await trees.keys() == await shouts.keys() == {"emma", "persuasion"}


async def test_related_items_are_joined_in() -> None:
    chapters = pdtcli.InProcessMetadataRepository({"e1": "emma", "e2": "emma", "s1": "sanditon", "w1": "watsons"})
    titles = pdtcli.InProcessMetadataRepository({"emma": "Emma", "sanditon": "Sanditon"})
    lines = pdtcli.InProcessMetadataRepository()

    @pdtcli.InProcessSyncTask("label", pdtcli.InProcessMetadataRepository())
    async def label(job: str, title: Any, line: Any) -> None:
        await line.dump(job, f"{await title.info(job)}, chapter {job[1:]}")

    label.link("chapter", chapters, is_input=True)
    label.link("title", pdtcli.RelatedItemRepository(titles, chapters), is_input=True)
    label.link("line", lines, is_output=True)
    async with pdtcli.Pipeline([label], pdtcli.Session()) as pipeline:
        await pipeline.run()

    assert lines.data == {"e1": "Emma, chapter 1", "e2": "Emma, chapter 2", "s1": "Sanditon, chapter 1"}


class Deck(pdtcli.Repository):
    """All that a repository of one's own needs."""

    def __init__(self, *cards: str) -> None:
        self.cards = list(cards)

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for card in self.cards:
            yield card

    async def info(self, job: str, /) -> str:
        return f"the {job}"

    async def delete(self, job: str, /) -> None:
        if job in self.cards:
            self.cards.remove(job)


async def test_a_repository_needs_three_methods(caplog: pytest.LogCaptureFixture) -> None:
    deck = Deck("ace", "king", "two of hearts")
    assert [card async for card in deck] == ["ace", "king"]
    assert await deck.keys() == {"ace", "king"}
    assert (await deck.contains("ace"), await deck.contains("two of hearts")) == (True, False)
    assert await deck.among(["king", "queen"]) == {"king"}
    assert await deck.info_all() == {"ace": "the ace", "king": "the king"}
    await deck.delete_many(["ace", "queen"])
    await deck.validate()
    assert await deck.keys() == {"king"}
    assert caplog.text.count("skipped 1 name that is not a valid job id: 'two of hearts'") == 1


async def test_such_a_repository_can_be_combined() -> None:
    red, black = Deck("ace", "king"), Deck("king", "queen")
    assert await pdtcli.AggregateAndRepository(red=red, black=black).keys() == {"king"}
    assert await pdtcli.BlockingRepository(red, black).keys() == {"ace"}

    async def shout(info: str) -> str:
        return info.upper()

    assert await red.map(shout).info_all() == {"ace": "THE ACE", "king": "THE KING"}


async def test_such_a_repository_can_feed_a_task() -> None:
    played: list[str] = []
    deck = Deck("ace", "king")

    @pdtcli.InProcessSyncTask("play", pdtcli.InProcessMetadataRepository(), ready=deck)
    async def play(job: str) -> None:
        played.append(job)
        await deck.delete(job)

    async with pdtcli.Pipeline([play], pdtcli.Session()) as pipeline:
        await asyncio.wait_for(pipeline.run(), 60)

    assert sorted(played) == ["ace", "king"]
