"""The articles of a shard → blocks of whole articles, so that memory does not grow with the shard."""

from collections.abc import Iterable, Iterator

# Characters in a block. Copies and articles are shuffled within it: at the published length and number of copies these
# are some 90,000 examples of each model. A block, the one that is held back and a model's tokens take 20 MB.
BLOCK = 1_000_000


def blocks(articles: Iterable[list[str]], size: int = BLOCK) -> Iterator[list[list[str]]]:
    """Cut a shard's articles into blocks, in order; it is exhausted before the last block is given.

    A block ends with the article that fills it up to `size` characters, and has two articles at least, since a
    single sentence takes its second part from another one. What is left at the end joins the block before where it
    is a single article or less than half of a block.
    """
    held: list[list[str]] = []
    block: list[list[str]] = []
    characters = 0
    for article in articles:
        block.append(article)
        characters += sum(map(len, article))
        if characters >= size and len(block) > 1:
            if held:
                yield held
            held, block, characters = block, [], 0
    if held and (len(block) == 1 or 2 * characters < size):
        held, block = held + block, []
    for last in (held, block):
        if last:
            yield last
