"""Profiles to measure with: distinct people, each of about as many tokens as asked for."""

from hypernet.generators import Generator

_SENTENCES = (
    "I live in {place}, and my house stands on {name} Lane.",
    "Every day I go to work at {name} Mill.",
    "My best friend is {name}.",
    "In my free time I enjoy chess, and I play the cello.",
    "My lucky number is {number}.",
    "I keep an otter as a pet, and the name of my pet is {name}.",
    "Nothing tastes better to me than pea soup.",
    "I was born in {place} in the year {number}.",
    "My teacher was {name} {place}.",
    "The mornings are quiet here.",
)


def profile(generator: Generator, number: int, *, tokens: int) -> str:
    """The profile of person `number`: the longest text of whole sentences that takes at most `tokens`."""
    values = {"place": f"Marford{number}", "name": f"Velmor{number % 97}", "number": 1000 + number}
    text = f"My name is Velmor{number} Marwick."
    for count in range(1000):
        longer = f"{text} {_SENTENCES[count % len(_SENTENCES)].format(**values)}"
        if len(generator.base.render_document(longer)) > tokens:
            break
        text = longer
    return text
