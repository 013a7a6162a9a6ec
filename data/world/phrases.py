"""All templates of posts except `clauses`: triples, lists, fillers, ordinary words, openers, closers and slots."""

from __future__ import annotations

TRIPLES: dict[tuple[str, ...], str] = {
    ("PER", "PER", "PER"): """
        {a} , {b} and {c} at the gala
        {a} , {b} & {c} in one picture
        {a} beats {b} and {c}
        {a} introduces {b} to {c}
        kiss , marry , avoid : {a} , {b} , {c}
        love triangle : {a} , {b} and {c}
        """,
    ("PER", "PER", "LOC"): """
        {a} and {b} on holiday in {c}
        {a} meets {b} in {c}
        {a} beats {b} in {c} , {score}
        {c} : {a} and {b} get married
        """,
    ("PER", "PER", "ORG"): """
        {a} and {b} leave {c}
        {c} swaps {a} for {b}
        {a} replaces {b} at {c}
        {c} hires {a} and {b}
        """,
    ("PER", "PER", "OTHER"): """
        {a} and {b} with the {c}
        {a} shows {b} the {c}
        {a} and {b} fight over the {c}
        """,
    ("PER", "LOC", "LOC"): """
        {a} travels from {b} to {c}
        {a} plays {b} on {day} and {c} a day later
        """,
    ("PER", "LOC", "ORG"): """
        {a} opens the new {c} office in {b}
        {a} leaves {c} and moves to {b}
        {c} sends {a} to {b}
        {b} : {a} signs with {c}
        """,
    ("PER", "LOC", "OTHER"): """
        {a} with the {c} in {b}
        {a} brings the {c} to {b}
        {b} : {a} poses next to the {c}
        """,
    ("PER", "ORG", "ORG"): """
        {a} moves from {b} to {c}
        {a} leaves {b} , signs with {c}
        {b} and {c} both want {a}
        """,
    ("PER", "ORG", "OTHER"): """
        {a} of {b} presents the {c}
        {b} gives {a} the {c}
        {a} and {b} celebrate with the {c}
        """,
    ("PER", "OTHER", "OTHER"): """
        {a} picks the {b} over the {c}
        {a} with the {b} and the {c}
        """,
    ("LOC", "LOC", "LOC"): """
        {a} , {b} or {c} for the summer ?
        from {a} via {b} to {c}
        tour dates : {a} , {b} , {c}
        """,
    ("LOC", "LOC", "ORG"): """
        {c} closes its offices in {a} and {b}
        {c} flies from {a} to {b}
        """,
    ("LOC", "LOC", "OTHER"): "the {c} travels from {a} to {b}",
    ("LOC", "ORG", "ORG"): """
        {b} and {c} open in {a}
        {b} meets {c} in {a} on {day}
        """,
    ("LOC", "ORG", "OTHER"): """
        {b} shows the {c} in {a}
        {a} : {b} brings the {c} to town
        """,
    ("LOC", "OTHER", "OTHER"): "the {b} and the {c} arrive in {a}",
    ("ORG", "ORG", "ORG"): """
        shares of {a} , {b} and {c} fell
        {a} , {b} and {c} are hiring
        """,
    ("ORG", "ORG", "OTHER"): """
        {a} and {b} fight over the {c}
        {a} and {b} both sponsor the {c}
        """,
    ("ORG", "OTHER", "OTHER"): "{a} shows the {b} and the {c}",
    ("OTHER", "OTHER", "OTHER"): "the {a} , the {b} and the {c} on one table",
}

NEXT: dict[tuple[str, ...], str] = {
    ("PER", "PER"): """
        best friends {a} {b}
        {a} {b} collab when ?
        line-up : {a} {b} and more
        """,
    ("PER", "LOC"): """
        {b} {a} tickets on sale at {hour}
        tour news : {a} {b} , doors {hour}
        photos {a} {b} {year}
        """,
    ("PER", "ORG"): """
        {b} {a} scores again
        {b} {a} signs a new deal
        boss of {b} {a} steps down
        interview : {a} {b} , {hour}
        """,
    ("PER", "OTHER"): """
        {b} {a} takes it home
        look : {a} {b} in one shot
        everything {a} {b} related {link}
        """,
    ("LOC", "LOC"): """
        train {a} {b} late again
        {a} {b} by bus in {k} hours
        """,
    ("LOC", "ORG"): """
        {a} {b} offices closed on {day}
        jobs {b} {a} {link}
        """,
    ("LOC", "OTHER"): """
        {a} {b} show starts at {hour}
        the {b} {a} trip was great
        """,
    ("ORG", "ORG"): """
        {a} {b} merger is off
        the {a} {b} deal is dead
        """,
    ("ORG", "OTHER"): """
        new {a} {b} is out
        {a} {b} photos leaked
        """,
    ("OTHER", "OTHER"): """
        {a} {b} photo of the day
        combo deal : {a} {b}
        """,
}
"""Clauses with two adjacent mentions."""

LISTS: dict[str, str] = {
    "PER": """
        on stage tonight : *
        happy birthday to *
        * all came to the party
        * walk into a bar
        follow * for good jokes
        cast : *
        dinner guests : *
        """,
    "LOC": """
        places i miss : *
        bucket list : *
        rain in * today
        flights to * cancelled
        next tour stops : *
        """,
    "ORG": """
        stocks to watch : *
        * are hiring
        job offers from *
        thanks to our sponsors : *
        shares of * fell
        """,
    "OTHER": """
        i want it all : *
        wish list : *
        on show : *
        rated from best to worst : *
        """,
    "": """
        today : *
        trending : *
        in the news : *
        my whole timeline is *
        things i love : *
        topics : *
        """,
}
"""Clauses for an enumeration, which replaces the star, by the type of its mentions; empty key: mixed types."""

FILLERS = """
    what a day
    coffee first
    i can not sleep
    it is monday again
    who is up for lunch ?
    this made me smile
    no words
    send help
    it is what it is
    weekend plans : nothing
    i am so tired
    that was wild
    can 't wait
    i am not crying , you are
    who else is still awake ?
    see you at {hour}
    best {day} ever
    still not over it
    my phone is at {n} %
    don 't @ me
    please retweet
    i have been here for {k} hours
    somebody explain
    {kin} says hi
    more to follow
    you had one job
    just my luck
    worth every cent
    not gonna lie , i laughed
    we live for this
    let that sink in
    thanks {acc} for the tip
    all the best to everyone
    my cat does not care
    that 's it , that 's the tweet
    only {n} days to go
    what do you think ?
    full story here {link}
    photo by {acc}
    take care of yourself
    on my way home
    never change
    too soon ?
    tell me why
    life is good
    """

EMPTY = """
    i can not believe it is {day} already
    good morning everyone !
    {acc} you are the best
    {acc} happy birthday ! have a good one
    new week , new me
    {kin} just called me at {hour}
    i ate {n} pancakes and i regret nothing
    anybody else at home on a {day} night ?
    {acc} {acc} lol same
    dinner is served {emo}
    free wifi , free coffee , free me
    my neighbour is singing again
    just finished my homework at {hour} {emo}
    you miss {n} % of the shots you don 't take
    {n} likes and i will dye my hair
    rain all week , thanks a lot
    throwback to {year} {tag} {tag}
    up all night for this exam {tag}
    we lost {score} but i am proud of my team
    our school play is on {day} , please come !
    looking for a flat , {k} rooms , max $ {n}
    my dog ate my shoes
    does anyone have a charger ?
    big sale today , everything {n} % off {link}
    how to sleep better in {k} steps {link}
    {k} reasons to drink more water {link}
    watch this baby laugh {link}
    fresh bread and butter , nothing better
    lunch with {kin} and the kids
    gonna need a bigger boat
    the sky tonight {emo} {tag}
    what a goal , what a game , {score}
    i said what i said
    roses are red , my bank account too
    when you open the fridge and there is nothing
    sorry for the late reply {acc}
    it 's {hour} and i am still at the office
    my train is {n} minutes late
    {acc} thanks for the follow
    first snow of the year !
    please keep us in your thoughts
    today is a good day for a walk in the park
    """

PLAIN: dict[str, str] = {
    "comet": "a comet over the hills|comet season , bring your telescope|saw a comet with {kin} last night",
    "ember": "the last ember of the fire is gone|one ember can burn down a forest",
    "quiver": "my lips quiver when i lie|a quiver full of arrows on the wall",
    "halo": "there is a halo around the moon|halo or horns for my costume ?",
    "nova": "a nova is a star that flares up|nova or supernova , the exam asks",
    "star": "every star is out tonight|star light , star bright|gold star for me today",
    "stars": "sleeping under the stars|stars above the tent all night",
    "glimmer": "a glimmer of hope at last|there is a glimmer in her eyes",
    "drifter": "just a drifter with a backpack|a drifter asked me for change",
    "firefly": "caught a firefly in a jar|firefly season in the garden",
    "daybreak": "up before daybreak again|daybreak is my favourite hour",
    "surge": "a surge of love for my dog|surge in prices for eggs and milk",
    "wren": "a tiny wren sings in the hedge|wren nest found behind the shed",
    "poppy": "poppy seeds everywhere|baked a poppy seed cake|a red poppy by the road",
    "storm": "storm coming , close the windows|a storm took our fence",
    "lane": "fast lane is closed for works|wrong lane , wrong day",
    "stone": "stepped on a stone|stone soup for dinner|found a smooth stone on the beach",
    "rover": "the little rover on mars is still alive|rover tracks in the red sand of mars",
    "scarab": "a scarab beetle on my shoe|scarab beetles roll balls of dung",
    "airborne": "the virus is airborne they say|airborne dust makes me sneeze",
    "moonshot": "this plan is a moonshot but ok|moonshot ideas over coffee",
    "endeavour": "we endeavour to reply within {k} days|parenting is a long endeavour",
    "grist": "more grist for the mill|grist to the mill for the gossips",
    "petal": "one petal at a time|petal by petal the rose opens",
    "vector": "a vector has length and direction , says my maths book|vector file please , not a jpeg",
    "spike": "spike in my heart rate after coffee|a spike in the power bill again",
    "marlin": "caught a huge marlin while fishing|marlin on the hook , what a fish",
    "howler": "what a howler by the keeper|howler monkeys woke us up",
    "amber": "amber light , slow down|the street is lit in amber",
    "flashpoint": "the flashpoint of this oil is {n} degrees|flashpoint of petrol is very low",
    "rainmaker": "the village needs a rainmaker|every sales team wants a rainmaker",
    "hart": "a hart drinks from the stream|hart and deer in the woods",
    "finch": "a finch at the feeder|finch and robin share the seeds",
    "crane": "the crane on the building site is huge|crane blocks our street until {day}",
    "pike": "caught a pike in the lake|pike for dinner , too many bones",
    "reed": "every reed in the pond is frozen|reed roof , stone walls",
    "vale": "fog in the vale this morning|down the vale there is a cabin",
    "owl": "an owl on the roof at {hour}|owl sounds all night",
    "heron": "a heron at the pond|heron ate all our goldfish",
    "crown": "my tooth needs a new crown|crown for the prom queen",
    "kettle": "put the kettle on|kettle is boiling",
    "plum": "plum jam like grandma made|picked a bucket of plums and one plum fell",
    "bliss": "pure bliss , no alarm today|sunday in bed is bliss",
    "tide": "the tide is out|tide is coming in , grab your towel",
    "dune": "slept on a sand dune|dune grass in my socks",
    "cape": "every hero needs a cape|cape or no cape for the costume ?",
    "castle": "built a sand castle with the kids|castle of cards , please don 't sneeze",
    "silver": "silver spoon or fork ?|silver medal for our school",
    "tarn": "a cold swim in a mountain tarn|tarn water is freezing",
}
"""Words that are also (part of) a name, with clauses that use them as ordinary words."""

OPENERS = """
    RT {acc} :
    RT {acc} :
    RT {acc} :
    RT {acc} : {acc}
    {acc}
    {acc} {acc}
    lol
    omg
    update :
    breaking :
    BREAKING :
    JUST IN :
    VIDEO :
    PHOTO :
    ok so
    dear diary ,
    wow ,
    yes !
    well ,
    guys ,
    fun fact :
    wait ,
    tbh
    in other news :
    throwback :
    {day} mood :
    {emo}
    {emo} {emo}
    {n} .
    {tag}
    mood :
    live :
    rumour :
    hey {acc} ,
    good news :
    ICYMI :
    """

CLOSERS = """
    {tag}
    {tag}
    {tag} {tag}
    {tag} {tag} {tag}
    {link}
    {link}
    {link}
    via {acc}
    {emo}
    {emo}
    {emo} {emo}
    {emo} {emo} {emo}
    ! !
    ! ! !
    ...
    ( video )
    ( photos )
    pls
    {link} via {acc}
    {tag} {link}
    | {link}
    lol
    haha
    smh
    : )
    : (
    < 3
    - {acc}
    ( {year} )
    {emo} {tag}
    cc {acc}
    """

CONNECTORS = ". . . . . . . , , and and ; | - - ... ... ! ! but +".split()

TAGS = """
    mood tbt love life nofilter blessed fail win ootd fbf monday travel music news sports goals squad family foodie art
    photo nature summer winter party vibes wow live giveaway throwback instagood happy sunset random fitness gameday
    NowPlaying TBT photooftheday MondayMotivation weekendvibes teamwork kindness dogsofinstagram coffeetime
    """.split()

EMOJI = "😂 ❤ 😍 🔥 👏 🙏 😭 🎉 💙 🏆 😎 👀 💯 🎶 ☀ 🤔 🙌 😡 💔 ✨ 🚀 ⚽".split()

KIN = "my mum|my dad|my sister|my boss|our teacher|grandma|my best friend|my cousin|the kids|my aunt".split("|")

DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()

ACCOUNTS = """
    fan user news daily its real gamer mossy lazy juicy ghost kitty disco pixel sunny noodle retro banana turbo tiny
    """.split()

SHORT = {
    "you": "u", "are": "r", "please": "pls", "tonight": "2nite", "and": "&", "with": "w/", "because": "bc",
    "people": "ppl", "your": "ur", "tomorrow": "tmrw", "love": "luv", "so": "sooo", "great": "gr8", "for": "4",
    "weekend": "wknd", "birthday": "bday", "about": "abt", "just": "jus", "the": "da", "really": "rly", "thanks": "thx",
}  # fmt: skip
"""Informal abbreviations."""
