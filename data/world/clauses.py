"""Clause templates by the types of their mentions, one per line.

{a}, {b} and {c} are mentions, all other braces are slots, see `phrases`. A mention may require a group of its type: an
ORG is a `club` or a `firm`; an OTHER is a `prize`, a `ware` or a `craft`.
"""

from __future__ import annotations

CLAUSES: dict[tuple[str, ...], str] = {
    ("PER",): """
        {a} is on fire tonight
        so proud of {a}
        {a} cries at the speech
        happy birthday {a} !
        what did {a} just say ?
        still thinking about {a} 's speech
        can not believe {a} did that
        {a} looks tired today
        good morning from {a}
        {kin} met {a} at the shop
        {a} turns {n} today , party at {hour}
        i had lunch with {a} and forgot to take a selfie
        new haircut for {a} and i am here for it
        {a} answers {n} fan questions {link}
        exclusive interview with {a} on {day}
        {a} , please follow me back
        “ i never quit ” , says {a}
        “ no comment ” - {a}
        {a} was born in {year} , feel old yet ?
        is {a} single ?
        {a} has a cold and skips the show on {day}
        {a} breaks the record with {n} points
        {a} scores twice , {score}
        who wore it better , {a} or my dog ?
        {a} says sorry for the late tweet
        my crush on {a} is out of control
        {a} 's mum must be so proud
        dinner with {a} , dreams do come true
        the way {a} smiles though
        {a} is retiring after {k} years
        {a} out with a knee injury for {k} weeks
        actor {a} seen without make-up
        singer {a} cancels the tour
        coach {a} : “ we were not ready ”
        captain {a} leads by example
        {a} dances like nobody is watching
        just saw {a} in line for coffee
        {a} for president {year}
        i will name my cat after {a}
        {a} drops a new album on {day}
        me when {a} walks in
        {a} got married and i was not invited
        shout out to {a} for the autograph
        {a} wrote back to me i am shaking
        nobody : ... {a} : lol
        {a} just woke up and chose drama
        young {a} in {year}
        {a} is my favourite human
        dr {a} explains how to sleep better {link}
        {a} blocked me
        did {a} really shave for this ?
        {a} laughs , the whole room laughs
        pls give {a} a hug
        {a} is gonna be a dad
        we love you {a} !
        {a} and friends play for charity at {hour}
        rest well {a} , you earned it
        someone tell {a} to stop singing
        """,
    ("LOC",): """
        greetings from {a}
        {a} is lovely this time of year
        stuck in traffic near {a} again
        we should all move to {a}
        rain again in {a}
        one week left in {a}
        sunset over {a}
        the road to {a} is closed
        {n} degrees in {a} today
        flights to {a} from $ {n} {link}
        anyone in {a} who can feed my cat ?
        homesick for {a}
        downtown {a} at night
        the mayor of {a} wants more bikes
        power cut in {a} , {n} homes dark
        born and raised in {a}
        snow in {a} ? in july ?
        best tacos in {a} , no contest
        weekend in {a} with {kin}
        lost my keys somewhere in {a}
        moving to {a} on {day} , send boxes
        things to do in {a} : eat , sleep , repeat
        the streets of {a} are empty
        live from {a}
        {a} 's old town is full of tourists
        {a} weather : fog , then more fog
        why is rent in {a} so high ?
        last train to {a} leaves at {hour}
        the view from the top of {a}
        police close the harbour of {a}
        citizens of {a} vote on {day}
        i left my heart in {a}
        next stop {a} !
        took {n} photos in {a} and all are blurry
        fireworks over {a} tonight
        a local guide to {a} {link}
        south of {a} the roads are icy
        half of {a} is under water
        marathon in {a} : {n} runners
        nobody told me {a} has so many stairs
        two nights in {a} for two , like and share to win
        visit {a} they said , it will be sunny they said
        {a} in black and white
        greetings to everyone in {a} tonight
        we got lost on the way to {a}
        """,
    ("ORG",): """
        {a} never answers my mail
        big news from {a} today
        {a} is hiring again
        i trust {a} more than my bank
        new logo for {a} ?
        thanks {a} for the help
        shares of {a} fell {n} %
        shares of {a} up {k} % after the report
        {a} to cut {n} jobs
        {a} posts record profits
        the boss of {a} steps down
        {a} is being sued for $ {n} million
        i have an interview at {a} on {day} , wish me luck
        first day of work at {a}
        the {a} help desk kept me waiting for {n} minutes
        dear {a} , where is my refund ?
        {a} apologises to its customers
        staff at {a} go on strike
        {a:firm} opens {n} new shops
        {a} sponsors the school run
        customers of {a} are angry
        {a} moves its head office
        {a} founder tells all in a new book
        job ad : {a} needs a driver , call {n}
        {a} 's app is down again
        {a} down for anyone else ?
        {a} , fix your website
        the board of {a} meets on {day}
        {a} wins the bid
        {a:firm} has a sale , everything {n} % off
        ad : join {a} today and get {k} months free
        {a} workers want better pay
        {a} doubles its prices , great
        five stars for {a} , great service
        never again {a} , never again
        employees of {a} planted {n} trees
        {a} reports losses for the third year
        union talks with {a} fail
        interns at {a} deserve lunch
        {a:club} lost again
        {a:club} win {score} at home
        what a game by {a:club} !
        season tickets for {a:club} on sale at {hour}
        {a:club} fans are singing in the rain
        {a:club} needs a new keeper
        half time : {a:club} {score} down
        three points for {a:club}
        {a:club} till i die
        {a:club} go top of the league
        the new {a:club} kit is ugly
        """,
    ("OTHER",): """
        i need the {a} now
        the {a} is worth the money
        who else saw the {a} ?
        waiting in line for the {a}
        the {a} is back
        dreaming of the {a}
        look at the size of the {a} !
        the {a} was the best part of the day
        is the {a} really that good ?
        {kin} can not stop talking about the {a}
        all about the {a} {link}
        photos of the {a} {link}
        got close to the {a} today
        everybody wants to touch the {a}
        best day of the year thanks to the {a}
        {a:ware} review : {k} out of 10
        just got my {a:ware}
        my {a:ware} broke after {k} days
        {n} % off the {a:ware} this week only
        selling my {a:ware} , barely used , $ {n}
        unboxing the {a:ware} at {hour}
        the new {a:ware} comes in {k} colours
        the {a:ware} costs more than my rent
        win a {a:ware} ! follow and retweet
        i want a {a:ware} for my birthday
        pre-order your {a:ware} now
        the {a:ware} is sold out everywhere
        never buying a {a:ware} again
        is the {a:ware} better than last year 's model ?
        dropped my {a:ware} in the sink
        lent {kin} my {a:ware} , big mistake
        who gets the {a:prize} this year ?
        the {a:prize} final starts at {hour}
        the {a:prize} goes to nobody , says the jury
        nominees for the {a:prize} are out
        {n} teams want the {a:prize}
        the {a:prize} is coming home !
        road to the {a:prize} starts on {day}
        someone stole the {a:prize} from the case
        polishing the {a:prize} before the show
        countdown for the {a:craft} starts at {hour}
        all aboard the {a:craft}
        the {a:craft} is ready to go
        the crowd watches the {a:craft} leave
        {n} guests on the {a:craft} for the first trip
        the {a:craft} got a fresh coat of paint
        weather delays the {a:craft} until {day}
        rides on the {a:craft} from $ {n}
        the crew of the {a:craft} waves goodbye
        """,
    ("PER", "PER"): """
        {a} meets {b}
        {a} and {b} are friends again
        {a} beats {b} in five sets
        {a} > {b}
        {a} or {b} for best dressed ?
        {a} interviews {b} about love and fame
        {a} & {b} at the afterparty
        {a} unfollowed {b} and i have questions
        are {a} and {b} dating ?
        {a} hugs {b} after the match
        {a} sings , {b} cries
        {a} thanks {b} in the speech
        {a} takes a selfie with {b}
        so {a} and {b} went to school together ?
        {a} calls {b} a liar
        {a} knocks out {b} in round {k}
        duet of the year : {a} feat . {b}
        {b} is no {a}
        {b} replaces {a} as captain
        {a} to marry {b} on {day}
        {a} 's face when {b} walked in
        “ i miss {b} ” , says {a}
        {a} stars opposite {b} in a new film
        why is {a} better than {b} at everything
        {a} taught {b} how to skate
        dinner : {a} cooks and {b} does the dishes
        {a} vs {b} , {score} after {n} minutes
        """,
    ("PER", "LOC"): """
        {a} just landed in {b}
        {a} plays {b} on {day}
        {a} grew up in {b}
        {a} back in {b}
        {a} live in {b} {link}
        crowds in {b} wait for {a}
        {a} buys a house near {b}
        {a} runs for mayor of {b}
        {a} misses the flight to {b}
        {b} loves {a}
        spotted {a} on holiday in {b}
        {a} , the pride of {b}
        from a farm near {b} to the top : {a}
        {a} walks {n} miles to {b}
        {a} sells out {b} in {k} minutes
        see you soon {b} , says {a}
        {b} : fans wake up early to see {a}
        {a} gets lost in {b}
        tonight in {b} : {a} and band
        {a} opens a school in {b}
        selfie with {a} in {b} !
        {a} flies home to {b} for the weekend
        {a} was seen leaving {b} at {hour}
        """,
    ("PER", "ORG"): """
        {a} signs with {b}
        {a} leaves {b}
        {a} of {b} wins it
        {b} fires {a}
        {a} joins the board of {b}
        {a} signs a {k} year deal with {b}
        {a} sues {b}
        {b} boss {a} under fire
        {b} hires {a} as new head of sales
        {a} ( {b} ) talks at {hour}
        {b} drops {a} after the tweet
        {a} quits {b} to travel
        {a} is the new face of {b}
        {b} says thank you to {a}
        {a} works at {b} now , wow
        {b} offers {a} $ {n} million
        {a} sold all shares of {b}
        why did {b} let {a} go ?
        founder {a} returns to {b}
        {a} tells {b} : pay your people
        {a} scores for {b:club} , {score}
        {a} benched by {b:club}
        {b:club} captain {a} out for {k} weeks
        {a} to {b:club} , here we go !
        {a} on the radio with {b:firm}
        contract of {a} at {b} ends on {day}
        """,
    ("PER", "OTHER"): """
        {a} shows off the {b}
        {a} at the {b}
        {a} poses with the {b}
        {a} and the {b} , name a better duo
        {a} can not get enough of the {b}
        is that {a} next to the {b} ?
        {a} dreams of the {b}
        {a} talks about the {b} all night
        {a} drops the {b:ware}
        {a} loves the new {b:ware}
        {a} swears by the {b:ware}
        {a} lost a {b:ware} on the bus
        {a} gives away a {b:ware} to one lucky fan
        nobody holds a {b:ware} like {a}
        {a} wins the {b:prize}
        {a} lifts the {b:prize}
        {a} cries with the {b:prize} in hand
        no {b:prize} for {a} this year
        {b:prize} final : {a} in {k} sets
        {a} turns down the {b:prize}
        {a} boards the {b:craft}
        {a} waves from the {b:craft}
        {a} names the {b:craft} after a dog
        first trip of the {b:craft} with {a}
        {a} is afraid of the {b:craft}
        """,
    ("LOC", "LOC"): """
        from {a} to {b} in one day
        {a} or {b} ?
        {a} is colder than {b} today
        moved from {a} to {b} and i miss my friends
        the bus from {a} to {b} is late again
        road trip : {a} , then {b}
        flights between {a} and {b} cancelled
        {a} has better food than {b} , fight me
        {n} miles from {a} to {b}
        summer in {a} , winter in {b}
        a new train links {a} and {b}
        storm warning for {a} and {b}
        twin towns {a} and {b} celebrate {n} years
        {a} by day , {b} by night
        """,
    ("LOC", "ORG"): """
        {b} opens in {a}
        {b} leaves {a}
        {b} plans {n} new jobs in {a}
        {b} office in {a} evacuated
        {a} says no to {b}
        the {b} plant near {a} will close
        {b} moves from {a} to the coast
        people of {a} are fed up with {b}
        {b} pays for a new school in {a}
        strike at {b} in {a}
        {a} : {b} opens doors at {hour}
        {b} comes to {a} on {day}
        {b} staff day in {a} , free food
        {b:firm} flies to {a} now
        {b:club} win {score} in {a}
        {b:club} fans take over {a}
        away game for {b:club} in {a} on {day}
        job at {b} in {a} , apply now {link}
        """,
    ("LOC", "OTHER"): """
        the {b} comes to {a}
        the {b} spotted near {a}
        {a} waits for the {b}
        the {b} on show in {a} until {day}
        took a picture of the {b} in {a}
        crowds in {a} cheer for the {b}
        only in {a} : the {b}
        the {b:prize} final will be in {a}
        {a} will host the {b:prize} in {year}
        the {b:prize} tours {a} by bus
        where can i buy a {b:ware} in {a} ?
        {a} shops run out of the {b:ware}
        my {b:ware} was stolen in {a}
        ad shoot for the {b:ware} in {a}
        the {b:craft} leaves {a} at {hour}
        look up {a} , here comes the {b:craft}
        from {a} we could see the {b:craft}
        the {b:craft} is back in {a} after {n} days
        """,
    ("ORG", "ORG"): """
        {a} buys {b}
        {a} vs {b} tonight
        {a} and {b} to merge ?
        {a} sues {b} over a logo
        {a} overtakes {b} in sales
        {b} copies {a} again
        {a} teams up with {b}
        {a} sells its stake in {b} for $ {n} million
        shares of {a} and {b} slide
        left {a} for {b} , better pay
        {a} bids $ {n} million for {b}
        {a} denies talks with {b}
        deal done : {a} and {b} share offices
        {a} sponsors {b}
        customers switch from {a} to {b}
        {a:club} {score} {b:club}
        {a:club} beat {b:club} {score}
        {a:club} v {b:club} , kick off {hour}
        """,
    ("ORG", "OTHER"): """
        {a} unveils the {b}
        {a} sponsors the {b}
        {a} shows the {b} to the press
        {a} is proud of the {b}
        {a} puts the {b} on its ads
        thanks to {a} i saw the {b} for free
        the {b} is paid for by {a}
        {a} recalls the {b:ware}
        {a} sells {n} million of the {b:ware}
        {a} says the {b:ware} is safe
        {a} staff get a free {b:ware}
        the {b:ware} now at {a}
        {a} wins the {b:prize}
        {a} out of the {b:prize}
        {a:club} lift the {b:prize} after {n} years
        {b:prize} : {a} through to the final
        {a} launches the {b:craft}
        {a} charters the {b:craft} for its staff
        {a} repairs the {b:craft}
        {a} paints its logo on the {b:craft}
        """,
    ("OTHER", "OTHER"): """
        {a} or {b} , that is the question
        the {a} beats the {b}
        the {a} next to the {b} , wow
        first the {a} , now the {b}
        i like the {a} but love the {b}
        saw the {a} and the {b} in one day
        the {a} is so last year , get the {b}
        would trade the {a} for the {b}
        the {a} and the {b} at the fair on {day}
        {kin} prefers the {a} to the {b}
        the {a} got more likes than the {b}
        {a} vs {b} : which one ?
        """,
}
