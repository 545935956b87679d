"""Words that say nothing about anybody: two texts that share only these share no content."""

STOP_WORDS = frozenset(
    """
    about above after again against ain't all also always and another any anybody anyone anything are aren't
    around ask away back bad because been before being below best better between big both but came can can't
    cannot come could couldn't day did didn't different does doesn't doing don't done down during each else
    enough even ever every everybody everyone everything far few find first for from fun gave get gets getting
    give glad goes going good got great had hadn't happy hard has hasn't have haven't having he'd he'll he's
    hello her here here's hers herself hey him himself his hope how how's i'd i'll i'm i've interested
    interesting into isn't it'd it'll it's its itself just keep kind know last least let let's like liked likes
    little long look looking lot lots love loved loves made make makes making many may maybe me mean meet might
    more most much must my myself name need never new nice nobody not nothing now off often oh okay old once one
    ones only other others our ours ourselves out over own people person place pretty put quite really right
    said same saw say see seem seen she she'd she'll she's should shouldn't since some somebody someone
    something sometimes soon sorry sound sounds still such sure take talk tell than thank thanks that that's the
    their theirs them themselves then there there's these they they'd they'll they're they've thing things think
    this those though thought through time today together told too took tried true try trying two under until
    upon use used usually very wait want wanted wants was wasn't way we'd we'll we're we've well went were
    weren't what what's when where where's which while who who's whole whom whose why will wish with without
    won't wonderful would wouldn't wow yeah year years yes yet you you'd you'll you're you've your yours
    yourself
    """.split()  # noqa: SIM905  (a list of them would be three hundred lines)
)
"""Function words of English, and words that every friendly conversation is full of."""
