"""The articles of a shard → blocks of whole articles, so that memory does not grow with the shard."""

from collections.abc import Iterable, Iterator

# Characters in a block. Copies and articles are shuffled within it: some 90,000 examples of each model, at the
# published length and number of copies. A block, the block before it and a model's tokens take 20 MB.
BLOCK = 1_000_000


def blocks(articles: Iterable[list[str]], size: int = BLOCK) -> Iterator[list[list[str]]]:
    """Cut a shard's articles into blocks, in order. `articles` is exhausted before the last block is yielded.

    A block ends with the article that brings it to `size` characters. It has two articles at least, since a single
    sentence takes its second part from another article. A rest of one article, or of less than half a block, joins the
    block before it.
    """
    previous: list[list[str]] = []
    block: list[list[str]] = []
    characters = 0
    for article in articles:
        block.append(article)
        characters += sum(map(len, article))
        if characters >= size and len(block) > 1:
            if previous:
                yield previous
            previous, block, characters = block, [], 0
    if previous and (len(block) == 1 or 2 * characters < size):
        previous, block = previous + block, []
    yield from filter(None, (previous, block))
