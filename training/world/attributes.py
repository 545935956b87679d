"""The facts that a person of the made-up world can have, and every way of stating and asking them.

Templates serve both persons of speech: ``[a|b]`` is ``a`` in the first or second person and ``b`` in the third, ``{S}`` is
*I* or *she*, ``{P}`` is *my* or *her*, ``{n}`` the person's name, ``{v}`` the value and ``{av}`` the value with *a* or *an*.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.world import values


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One kind of fact.

    Attributes:
        key: its name in this code and in evaluation reports.
        labels: names of the field in a character sheet.
        choices: the closed set of values; empty for an open vocabulary.
        make: draws an open-vocabulary value; unused for a closed set.
        states: clauses that state the fact, without the final stop.
        asks: questions seen in training.
        asks_unseen: questions kept for evaluation.
    """

    key: str
    labels: tuple[str, ...]
    choices: tuple[str, ...] = ()
    make: Callable[[Random], str] | None = None
    states: tuple[str, ...]
    asks: tuple[str, ...]
    asks_unseen: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether its values come from an open vocabulary."""
        return self.make is not None

    def value(self, random: Random, *, reserved: bool) -> str:
        """A value; for an open vocabulary from the asked side of the split (see :func:`values.is_reserved`)."""
        if self.make is None:
            return random.choice(self.choices)
        return values.draw(self.make, random, reserved=reserved)


def _closed(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(","))


NAME = Attribute(
    key="name",
    labels=("Name", "Full name", "Character"),
    make=values.full_name,
    states=("{P} name is {v}", "{S} [am|is] called {v}", "people call {O} {v}"),
    asks=("What is [your|this person's] name?", "Who [are you|is this]?", "What [are you|is this person] called?", "Tell me [your|the] name."),
    asks_unseen=("May I ask [your|the] name?", "By what name do people know [you|this person]?"),
)

ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(
        key="home",
        labels=("Home", "Lives in", "Residence", "Town"),
        make=values.town,
        states=("{S} live[|s] in {v}", "{P} home is in {v}", "{S} [have|has] a house in {v}", "these days {S} live[|s] in {v}"),
        asks=("Where [do you|does {n}] live?", "Where is [your|{n}'s] home?", "Which town [do you|does {n}] live in?", "In what town is [your|{n}'s] house?"),
        asks_unseen=("What place [do you|does {n}] call home?", "Where could I find [your|{n}'s] house?"),
    ),
    Attribute(
        key="birthplace",
        labels=("Birthplace", "Born in", "Place of birth"),
        make=values.town,
        states=("{S} [was|was] born in {v}", "{P} birthplace is {v}", "{S} grew up in {v}", "{S} first came from {v}"),
        asks=("Where [were you|was {n}] born?", "What is [your|{n}'s] birthplace?", "Where did [you|{n}] grow up?", "Where [do you|does {n}] come from?"),
        asks_unseen=("In which place did [you|{n}] spend [your|the] childhood?", "What town [were you|was {n}] born in?"),
    ),
    Attribute(
        key="friend",
        labels=("Best friend", "Friend", "Closest friend"),
        make=values.first_name,
        states=("{P} best friend is {v}", "{v} is {P} best friend", "{S} [have|has] a close friend called {v}", "{P} oldest friend is {v}"),
        asks=("Who is [your|{n}'s] best friend?", "What is the name of [your|{n}'s] best friend?", "Which friend is closest to [you|{n}]?", "Who is [your|{n}'s] oldest friend?"),
        asks_unseen=("What is [your|{n}'s] closest friend called?", "Tell me who [your|{n}'s] best friend is."),
    ),
    Attribute(
        key="sister",
        labels=("Sister",),
        make=values.first_name,
        states=("{P} sister is called {v}", "{S} [have|has] a sister named {v}", "{v} is {P} sister", "{P} sister's name is {v}"),
        asks=("What is [your|{n}'s] sister called?", "Who is [your|{n}'s] sister?", "What is the name of [your|{n}'s] sister?", "Tell me the name of [your|{n}'s] sister."),
        asks_unseen=("What do people call [your|{n}'s] sister?", "Could you name [your|{n}'s] sister?"),
    ),
    Attribute(
        key="teacher",
        labels=("Teacher", "Mentor", "Taught by"),
        make=values.full_name,
        states=("{P} teacher was {v}", "{S} learned everything from {v}", "{v} was {P} teacher", "{S} studied under {v}"),
        asks=("Who was [your|{n}'s] teacher?", "Who taught [you|{n}]?", "Whom did [you|{n}] learn from?", "What was the name of [your|{n}'s] teacher?"),
        asks_unseen=("Under whom did [you|{n}] study?", "Who gave [you|{n}] lessons?"),
    ),
    Attribute(
        key="pet_name",
        labels=("Pet's name", "Name of pet"),
        make=values.first_name,
        states=("{P} pet is named {v}", "{P} pet answers to {v}", "the name of {P} pet is {v}", "{S} named {P} pet {v}"),
        asks=("What is the name of [your|{n}'s] pet?", "What is [your|{n}'s] pet called?", "What did [you|{n}] name [your|the] pet?", "Which name does [your|{n}'s] pet have?"),
        asks_unseen=("How [do you|does {n}] call [your|the] pet?", "Tell me the name of [your|{n}'s] pet."),
    ),
    Attribute(
        key="employer",
        labels=("Employer", "Works at", "Workplace"),
        make=values.organisation,
        states=("{S} work[|s] at {v}", "{P} employer is {v}", "{S} [am|is] employed by {v}", "every day {S} go[|es] to work at {v}"),
        asks=("Where [do you|does {n}] work?", "Who is [your|{n}'s] employer?", "Which place [do you|does {n}] work at?", "Who employs [you|{n}]?"),
        asks_unseen=("Who pays [your|{n}'s] wages?", "What is [your|{n}'s] place of work?"),
    ),
    Attribute(
        key="street",
        labels=("Street", "Address"),
        make=values.street,
        states=("{P} house stands on {v}", "{P} street is {v}", "{P} address is on {v}", "{P} front door opens on {v}"),
        asks=("On which street [do you|does {n}] live?", "What is [your|{n}'s] street?", "What street is [your|{n}'s] house on?", "What is the name of [your|{n}'s] street?"),
        asks_unseen=("Which street does [your|{n}'s] house stand on?", "What is [your|{n}'s] address?"),
    ),
    Attribute(
        key="birth_year",
        labels=("Born", "Year of birth", "Birth year"),
        make=values.year,
        states=("{S} [was|was] born in the year {v}", "{P} birth year is {v}", "{S} came into the world in {v}", "{P} year of birth is {v}"),
        asks=("In which year [were you|was {n}] born?", "What is [your|{n}'s] year of birth?", "When [were you|was {n}] born?", "What year did [you|{n}] come into the world?"),
        asks_unseen=("Which year is [your|{n}'s] birth year?", "What is the year in which [you were|{n} was] born?"),
    ),
    Attribute(
        key="lucky_number",
        labels=("Lucky number",),
        make=values.small_number,
        states=("{P} lucky number is {v}", "{S} always bet[|s] on the number {v}", "the number {v} brings {O} luck", "{S} believe[|s] in the lucky number {v}"),
        asks=("What is [your|{n}'s] lucky number?", "Which number brings [you|{n}] luck?", "Which number [do you|does {n}] bet on?", "Tell me [your|{n}'s] lucky number."),
        asks_unseen=("What number [do you|does {n}] believe in?", "Which number is lucky for [you|{n}]?"),
    ),
    Attribute(
        key="badge",
        labels=("Badge", "Badge number", "Member number"),
        make=values.long_number,
        states=("{P} badge has the number {v}", "{P} badge number is {v}", "{S} carr[y|ies] badge {v}", "the number on {P} badge is {v}"),
        asks=("What is [your|{n}'s] badge number?", "Which number is on [your|{n}'s] badge?", "What number does [your|{n}'s] badge have?", "Tell me [your|{n}'s] badge number."),
        asks_unseen=("Could you read me [your|{n}'s] badge number?", "What does it say on [your|{n}'s] badge?"),
    ),
    Attribute(
        key="password",
        labels=("Password", "Secret word"),
        make=values.word,
        states=("{P} secret word is {v}", "{P} password is {v}", "the secret word {S} use[|s] is {v}", "{S} open[|s] doors with the word {v}"),
        asks=("What is [your|{n}'s] secret word?", "What is [your|{n}'s] password?", "Which word is [your|{n}'s] secret?", "Tell me [your|{n}'s] secret word."),
        asks_unseen=("Which secret word [do you|does {n}] use?", "What word opens [your|{n}'s] doors?"),
    ),
    Attribute(
        key="occupation",
        labels=("Occupation", "Job", "Profession", "Trade"),
        choices=_closed(
            "baker, blacksmith, botanist, bricklayer, butcher, carpenter, cartographer, clockmaker, cook, dentist, doctor, "
            "driver, electrician, engineer, farmer, ferryman, fisherman, florist, gardener, glassblower, goldsmith, "
            "guard, historian, hunter, journalist, judge, lawyer, librarian, locksmith, mechanic, merchant, midwife, "
            "miller, miner, musician, nurse, painter, pharmacist, photographer, pilot, plumber, poet, potter, sailor, "
            "sculptor, shepherd, singer, soldier, tailor, teacher, translator, vet, waiter, weaver, zookeeper"
        ),
        states=("{S} [am|is] {av}", "{S} work[|s] as {av}", "{P} job is that of {av}", "{S} earn[|s] a living as {av}", "by trade {S} [am|is] {av}"),
        asks=("What is [your|{n}'s] job?", "What [do you|does {n}] do for a living?", "What work [do you|does {n}] do?", "What is [your|{n}'s] profession?"),
        asks_unseen=("How [do you|does {n}] earn a living?", "What trade [do you|does {n}] follow?"),
    ),
    Attribute(
        key="colour",
        labels=("Favourite colour", "Colour"),
        choices=_closed(
            "amber, beige, black, blue, brown, copper, crimson, gold, green, grey, indigo, ivory, lilac, orange, pink, "
            "purple, red, scarlet, silver, teal, turquoise, violet, white, yellow"
        ),
        states=("{P} favourite colour is {v}", "{S} like[|s] the colour {v} best", "{S} always wear[|s] {v}", "no colour pleases {O} more than {v}"),
        asks=("What is [your|{n}'s] favourite colour?", "Which colour [do you|does {n}] like best?", "What colour [do you|does {n}] wear?", "What colour pleases [you|{n}] most?"),
        asks_unseen=("Which colour is dearest to [you|{n}]?", "Name [your|{n}'s] favourite colour."),
    ),
    Attribute(
        key="food",
        labels=("Favourite food", "Food", "Favourite dish"),
        choices=_closed(
            "apple pie, bean soup, beef stew, black bread, cabbage rolls, carrot cake, cheese toast, cherry tart, chicken "
            "curry, corn bread, dumplings, egg salad, fish pie, fried rice, garlic bread, goose liver, honey cake, "
            "lamb chops, lemon cake, lentil soup, mushroom pie, mussels, noodles, olives, onion soup, oysters, pancakes, "
            "pasta, pea soup, pickles, pizza, plum jam, porridge, potato salad, pumpkin pie, roast duck, rye bread, "
            "smoked eel, spinach, sushi, tomato soup, waffles"
        ),
        states=("{P} favourite food is {v}", "{S} love[|s] to eat {v}", "nothing tastes better to {O} than {v}", "{S} could eat {v} every day"),
        asks=("What is [your|{n}'s] favourite food?", "What [do you|does {n}] love to eat?", "Which food [do you|does {n}] like best?", "What dish tastes best to [you|{n}]?"),
        asks_unseen=("What would [you|{n}] gladly eat every day?", "Which dish is [your|{n}'s] favourite?"),
    ),
    Attribute(
        key="drink",
        labels=("Favourite drink", "Drink"),
        choices=_closed(
            "apple juice, barley water, beer, black tea, buttermilk, cider, cocoa, coffee, ginger ale, grape juice, green "
            "tea, hot milk, lemonade, mead, mint tea, orange juice, plum wine, red wine, rose tea, tonic water"
        ),
        states=("{P} favourite drink is {v}", "{S} like[|s] to drink {v}", "{S} never refuse[|s] a cup of {v}", "in the evening {S} drink[|s] {v}"),
        asks=("What is [your|{n}'s] favourite drink?", "What [do you|does {n}] like to drink?", "Which drink [do you|does {n}] prefer?", "What [do you|does {n}] drink in the evening?"),
        asks_unseen=("What may I pour for [you|{n}]?", "Which drink is [your|{n}'s] favourite?"),
    ),
    Attribute(
        key="hobby",
        labels=("Hobby", "Pastime", "Free time"),
        choices=_closed(
            "archery, baking, beekeeping, bird watching, bowling, calligraphy, camping, candle making, chess, "
            "climbing, cycling, dancing, drawing, embroidery, fencing, fishing, gardening, hiking, juggling, kite "
            "flying, knitting, magic tricks, model trains, origami, poetry, pottery, puzzles, reading, rowing, running, "
            "sailing, sewing, singing, skating, skiing, stamp collecting, star gazing, swimming, wood carving, yoga"
        ),
        states=("{P} hobby is {v}", "in {P} free time {S} enjoy[|s] {v}", "{S} spend[|s] every weekend on {v}", "{S} [am|is] very fond of {v}"),
        asks=("What is [your|{n}'s] hobby?", "What [do you|does {n}] enjoy in [your|the] free time?", "What [do you|does {n}] do on weekends?", "Which pastime [do you|does {n}] like?"),
        asks_unseen=("How [do you|does {n}] spend [your|the] free time?", "What [do you|does {n}] do for fun?"),
    ),
    Attribute(
        key="instrument",
        labels=("Instrument", "Plays"),
        choices=_closed(
            "accordion, banjo, bassoon, bugle, cello, clarinet, cornet, drums, fiddle, flute, guitar, harmonica, harp, "
            "horn, lute, mandolin, oboe, organ, piano, recorder, saxophone, trombone, trumpet, tuba, viola, violin"
        ),
        states=("{S} play[|s] the {v}", "{P} instrument is the {v}", "{S} practise[|s] the {v} every day", "{S} [am|is] good at playing the {v}"),
        asks=("Which instrument [do you|does {n}] play?", "What is [your|{n}'s] instrument?", "What instrument [do you|does {n}] practise?", "On which instrument can [you|{n}] play?"),
        asks_unseen=("What instrument are [your|{n}'s] hands good at?", "What [do you|does {n}] make music with?"),
    ),
    Attribute(
        key="pet",
        labels=("Pet", "Animal"),
        choices=_closed(
            "badger, beetle, budgie, camel, canary, cat, crow, dog, donkey, duck, eel, falcon, ferret, fox, frog, goat, "
            "goldfish, goose, hamster, hedgehog, hen, horse, lizard, llama, magpie, mole, monkey, mouse, otter, owl, "
            "parrot, pig, pony, rabbit, rat, raven, sheep, snail, snake, spider, squirrel, swan, toad, turtle"
        ),
        states=("{S} keep[|s] {av} as a pet", "{P} pet is {av}", "{S} share[|s] the house with {av}", "{av} follows {O} everywhere"),
        asks=("What kind of pet [do you|does {n}] have?", "What animal is [your|{n}'s] pet?", "Which animal [do you|does {n}] keep?", "What animal lives with [you|{n}]?"),
        asks_unseen=("Which animal follows [you|{n}] everywhere?", "What sort of animal shares [your|{n}'s] house?"),
    ),
    Attribute(
        key="fear",
        labels=("Fear", "Afraid of"),
        choices=_closed(
            "bats, bees, blood, caves, clowns, crowds, darkness, deep water, dogs, dolls, fire, flying, ghosts, heights, "
            "ice, lightning, mirrors, moths, needles, rats, silence, snakes, spiders, storms, thunder, tunnels, wolves"
        ),
        states=("{S} [am|is] afraid of {v}", "{P} greatest fear is {v}", "{S} cannot stand {v}", "nothing frightens {O} more than {v}"),
        asks=("What [are you|is {n}] afraid of?", "What is [your|{n}'s] greatest fear?", "What frightens [you|{n}]?", "What can [you|{n}] not stand?"),
        asks_unseen=("What scares [you|{n}] most?", "What [do you|does {n}] fear?"),
    ),
    Attribute(
        key="language",
        labels=("Second language", "Also speaks", "Foreign language"),
        choices=_closed(
            "Arabic, Basque, Czech, Danish, Dutch, Finnish, French, German, Greek, Hindi, Hungarian, Irish, Italian, "
            "Japanese, Korean, Latin, Persian, Polish, Russian, Spanish, Swahili, Swedish, Thai, Turkish, Urdu, Welsh"
        ),
        states=("{S} also speak[|s] {v}", "{P} second language is {v}", "{S} learned {v} as a child", "{S} can read books in {v}"),
        asks=("Which foreign language [do you|does {n}] speak?", "What is [your|{n}'s] second language?", "Which language did [you|{n}] learn as a child?", "In what language can [you|{n}] read books?"),
        asks_unseen=("What other language [do you|does {n}] know?", "Besides English, what [do you|does {n}] speak?"),
    ),
    Attribute(
        key="temper",
        labels=("Temper", "Character trait", "Nature"),
        choices=_closed(
            "anxious, bold, brave, calm, careful, cheerful, clumsy, curious, dreamy, funny, gentle, gloomy, greedy, "
            "grumpy, honest, humble, jealous, kind, lazy, loyal, modest, nosy, patient, polite, proud, quiet, reckless, "
            "restless, shy, stubborn, thrifty, vain, wise, witty"
        ),
        states=("{S} [am|is] known to be {v}", "{P} friends say that {S} [am|is] {v}", "{P} nature is {v}", "by temper {S} [am|is] {v}"),
        asks=("What is [your|{n}'s] nature?", "What [are you|is {n}] known to be?", "How would friends describe [you|{n}]?", "What is [your|{n}'s] temper?"),
        asks_unseen=("What sort of character [do you|does {n}] have?", "In a word, what [are you|is {n}] like?"),
    ),
    Attribute(
        key="vehicle",
        labels=("Vehicle", "Transport", "Travels by"),
        choices=_closed(
            "balloon, barge, bicycle, bus, canoe, caravan, carriage, cart, ferry, glider, horse cart, kayak, motorbike, "
            "old van, raft, rowing boat, sailing boat, scooter, sledge, sports car, steam train, taxi, tractor, tram, truck, wagon"
        ),
        states=("{S} travel[|s] by {v}", "{S} get[|s] around by {v}", "{P} favourite way to travel is by {v}", "{S} go[|es] everywhere by {v}"),
        asks=("How [do you|does {n}] travel?", "How [do you|does {n}] get around?", "By what means [do you|does {n}] travel?", "What [do you|does {n}] travel by?"),
        asks_unseen=("How [do you|does {n}] go from place to place?", "What takes [you|{n}] everywhere?"),
    ),
    Attribute(
        key="season",
        labels=("Favourite time of year", "Best month"),
        choices=_closed("January, February, March, April, May, June, July, August, September, October, November, December"),
        states=("{P} favourite month is {v}", "{S} like[|s] the month of {v} best", "{S} always look[|s] forward to {v}", "{S} feel[|s] happiest in {v}"),
        asks=("What is [your|{n}'s] favourite month?", "Which month [do you|does {n}] like best?", "What month [do you|does {n}] look forward to?", "In which month [are you|is {n}] happiest?"),
        asks_unseen=("What month makes [you|{n}] happy?", "Which month is the best for [you|{n}]?"),
    ),
    Attribute(
        key="dream",
        labels=("Dream", "Wish", "Goal"),
        choices=_closed(
            "build a boat, buy a farm, climb a volcano, cross the desert, fly a plane, grow roses, keep bees, learn to "
            "dance, live by the sea, meet the queen, open a shop, own a castle, paint a church, plant a forest, run a "
            "school, sail the world, see the pole, sing on stage, swim with whales, travel by night, win a race, write a novel"
        ),
        states=("{S} dream[|s] to {v} one day", "{P} dream is to {v}", "{S} want[|s] to {v}", "one day {S} hope[|s] to {v}"),
        asks=("What is [your|{n}'s] dream?", "What [do you|does {n}] dream to do?", "What [do you|does {n}] want to do one day?", "What [do you|does {n}] hope to do?"),
        asks_unseen=("What is [your|{n}'s] greatest wish?", "What would [you|{n}] love to do one day?"),
    ),
)

BY_KEY = {attribute.key: attribute for attribute in (NAME, *ATTRIBUTES)}
