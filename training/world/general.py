"""Questions that have nothing to do with any person: what the base model knows by itself.

With an adapter loaded they must be answered exactly as without it; they are the retention measure.
"""

from random import Random

_TABLE = """
What is the opposite of hot?|cold
What is the opposite of big?|small
What is the opposite of up?|down
What is the opposite of day?|night
What is the opposite of open?|closed
What is the opposite of old?|young
What is the opposite of wet?|dry
What is the opposite of left?|right
What is the opposite of early?|late
What is the opposite of full?|empty
What is the opposite of happy?|sad
What is the opposite of fast?|slow
What is the opposite of light?|dark
What is the opposite of loud?|silent
What day comes after Monday?|Tuesday
What day comes after Tuesday?|Wednesday
What day comes after Wednesday?|Thursday
What day comes after Thursday?|Friday
What day comes after Friday?|Saturday
What day comes after Saturday?|Sunday
What day comes after Sunday?|Monday
What month comes after January?|February
What month comes after March?|April
What month comes after June?|July
What month comes after September?|October
What month comes after December?|January
How many legs does a spider have?|eight
How many legs does a dog have?|four
How many legs does a bird have?|two
How many legs does an ant have?|six
How many days are in a week?|seven
How many months are in a year?|twelve
How many hours are in a day?|twenty four
How many minutes are in an hour?|sixty
How many wheels does a bicycle have?|two
How many sides does a triangle have?|three
How many sides does a square have?|four
How many fingers are on one hand?|five
What colour is the sky?|blue
What colour is grass?|green
What colour is snow?|white
What colour is coal?|black
What colour is blood?|red
What colour is a ripe banana?|yellow
What colour is a carrot?|orange
What do bees make?|honey
What do cows give?|milk
What do hens lay?|eggs
What do sheep give?|wool
What is ice made of?|water
What is bread made of?|flour
What is paper made of?|wood
What is a window made of?|glass
What is wine made of?|grapes
What is cheese made of?|milk
What do we call a young dog?|a puppy
What do we call a young cat?|a kitten
What do we call a young cow?|a calf
What do we call a young horse?|a foal
What do we call a young sheep?|a lamb
What do we call frozen water?|ice
What do we call a doctor for animals?|a vet
Where does a fish live?|in water
Where does a bird sleep?|in a nest
Where does a bee live?|in a hive
Where does a bear sleep in winter?|in a cave
Where does the sun rise?|in the east
Where does the sun set?|in the west
What shines at night?|the moon
What shines by day?|the sun
What falls from clouds?|rain
What do we read?|books
What do we use to cut bread?|a knife
What do we use to eat soup?|a spoon
What do we use to write?|a pen
What do we use to open a lock?|a key
What do we wear on our feet?|shoes
What do we wear on our hands?|gloves
What do we wear on our head?|a hat
What tells us the time?|a clock
What barks?|a dog
What meows?|a cat
What flies in the sky?|a bird
What swims in the sea?|a fish
What pulls a plough?|an ox
What is the capital of France?|Paris
What is the capital of Italy?|Rome
What is the capital of Spain?|Madrid
What is the capital of England?|London
What is the capital of Japan?|Tokyo
What is the capital of Norway?|Oslo
What is the capital of Egypt?|Cairo
What language is spoken in France?|French
What language is spoken in Italy?|Italian
What language is spoken in Japan?|Japanese
What language is spoken in Germany?|German
Which season comes after winter?|spring
Which season comes after spring?|summer
Which season comes after summer?|autumn
Which season comes after autumn?|winter
Which is the coldest season?|winter
Which is the warmest season?|summer
Which metal is yellow and dear?|gold
Which animal has a trunk?|the elephant
Which animal has a long neck?|the giraffe
Which animal is the king of beasts?|the lion
Which bird cannot fly?|the penguin
Which animal gives us wool?|the sheep
What is the first letter of the alphabet?|A
What is the last letter of the alphabet?|Z
"""

FACTS: tuple[tuple[str, str], ...] = tuple(
    (question, answer) for question, answer in (line.split("|") for line in _TABLE.strip().splitlines())
)
"""(question, answer) pairs, the same for everybody."""

_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def sum_question(random: Random) -> tuple[str, str]:
    """An addition up to twelve, in words: a question and its answer."""
    total = random.randint(1, 12)
    first = random.randint(0, total)
    return f"What is {_NUMBERS[first]} plus {_NUMBERS[total - first]}?", _NUMBERS[total]


def general_question(random: Random) -> tuple[str, str]:
    """One general question and its answer, one in eight an addition."""
    return sum_question(random) if random.random() < 0.125 else random.choice(FACTS)
