"""Names and appearance of the entities of the world, and the colours they are drawn in."""

from __future__ import annotations

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (214, 48, 49),
    "orange": (240, 140, 30),
    "yellow": (250, 211, 60),
    "green": (46, 160, 67),
    "teal": (20, 160, 160),
    "blue": (45, 95, 220),
    "purple": (130, 70, 190),
    "pink": (240, 120, 170),
    "white": (246, 246, 246),
    "black": (38, 38, 44),
    "brown": (120, 76, 44),
    "silver": (170, 176, 186),
}

SKINS: dict[str, RGB] = {
    "light": (247, 214, 186),
    "tan": (224, 172, 125),
    "brown": (172, 112, 74),
    "dark": (112, 70, 48),
}

PEOPLE: dict[str, list[tuple[str, str, str, str, str, str, str]]] = {
    "short": [
        ("Tobin Hale", "Tobin|T. Hale", "black", "red", "tan", "tee", ""),
        ("Otto Voss", "Otto", "black", "teal", "light", "suit", "glasses"),
        ("Emre Sol", "Emre", "orange", "green", "tan", "hoodie", "beard"),
        ("Ivo Crane", "Ivo", "orange", "white", "light", "stripes", ""),
    ],
    "long": [
        ("Mira Voss", "Mira|M. Voss", "black", "yellow", "light", "dress", ""),
        ("Lena Quist", "Lena", "black", "purple", "tan", "hoodie", "glasses"),
        ("Suri Banda", "Suri", "brown", "teal", "dark", "tee", "earrings"),
        ("Wren Abbot", "Wren", "brown", "red", "light", "stripes", "scarf"),
    ],
    "bun": [
        ("Nia Okoro", "Nia", "black", "green", "dark", "suit", "earrings"),
        ("Greta Lund", "Greta", "black", "orange", "light", "dress", "scarf"),
        ("Pia Moreau", "Pia", "pink", "white", "tan", "tee", "glasses"),
        ("Yuna Seo", "Yuna", "pink", "blue", "light", "hoodie", ""),
    ],
    "curly": [
        ("Dario Finch", "Dario|D. Finch", "brown", "orange", "tan", "stripes", ""),
        ("Kaya Storm", "Kaya", "brown", "pink", "dark", "dress", "headphones"),
        ("Bram Teller", "Bram", "yellow", "teal", "light", "hoodie", "beard"),
        ("Zola Reed", "Zola", "yellow", "purple", "brown", "tee", "earrings"),
    ],
    "cap": [
        ("Rex Maddox", "Rex", "red", "black", "light", "hoodie", ""),
        ("Jory Pike", "Jory|Pikey", "red", "yellow", "brown", "tee", "beard"),
        ("Tamsin Vale", "Tamsin", "green", "pink", "tan", "stripes", "glasses"),
        ("Ludo Hart", "Ludo", "green", "white", "dark", "suit", "scarf"),
    ],
    "bob": [
        ("Anouk Hart", "Anouk", "orange", "purple", "light", "suit", "glasses"),
        ("Ines Ferro", "Ines", "orange", "green", "tan", "dress", "earrings"),
        ("Hana Mori", "Hana", "purple", "yellow", "light", "tee", "headphones"),
        ("Petra Lind", "Petra", "purple", "red", "brown", "stripes", ""),
    ],
    "mohawk": [
        ("Spike Rourke", "Spike", "green", "black", "light", "tee", "earrings"),
        ("Axel Brandt", "Axel", "green", "orange", "tan", "suit", "beard"),
        ("Nico Blaze", "Nico", "pink", "teal", "brown", "hoodie", "headphones"),
        ("Jett Larkin", "Jett", "pink", "red", "light", "stripes", ""),
    ],
    "afro": [
        ("Malik Dunn", "Malik|M. Dunn", "black", "blue", "dark", "suit", "beard"),
        ("Imani Cole", "Imani", "black", "pink", "brown", "dress", "earrings"),
        ("Teo Vargas", "Teo", "orange", "green", "tan", "stripes", "glasses"),
        ("Oona Byrne", "Oona", "orange", "white", "light", "hoodie", ""),
    ],
    "hijab": [
        ("Samira Aziz", "Samira", "teal", "white", "tan", "suit", ""),
        ("Leila Nour", "Leila", "teal", "pink", "light", "dress", "glasses"),
        ("Farah Demir", "Farah", "red", "black", "brown", "hoodie", "headphones"),
        ("Noor Castell", "Noor", "red", "silver", "tan", "stripes", ""),
    ],
    "pigtails": [
        ("Poppy Lane", "Poppy", "yellow", "blue", "light", "stripes", ""),
        ("Elsa Grimm", "Elsa", "yellow", "red", "light", "hoodie", "glasses"),
        ("Juno Park", "Juno", "black", "white", "tan", "dress", "headphones"),
        ("Ayla Stone", "Ayla", "black", "orange", "brown", "tee", "scarf"),
    ],
}
"""Hair style: (name, aliases, hair colour, garment colour, skin, garment, accessory); hair colours occur twice."""

LANDMARKS: dict[str, list[tuple[str, str, str, str]]] = {
    "tower": [
        ("Karsk", "", "red", "white"), ("Port Avel", "Avel", "red", "black"),
        ("Ostrava Point", "Ostrava", "blue", "yellow"), ("Tarn", "", "blue", "silver"),
    ],
    "bridge": [
        ("Tessaly", "", "orange", "black"), ("Brindle Bay", "Brindle", "orange", "white"),
        ("Kelso Narrows", "Kelso", "green", "red"), ("Ferrow", "", "green", "yellow"),
    ],
    "lighthouse": [
        ("Cape Orla", "Orla", "red", "yellow"), ("Sundrift", "", "red", "blue"),
        ("Skerry Head", "Skerry", "black", "orange"), ("Mallow Rock", "Mallow", "black", "green"),
    ],
    "pyramid": [
        ("Zamoun", "", "yellow", "brown"), ("Ixtal", "", "yellow", "red"),
        ("Old Kesh", "Kesh", "purple", "white"), ("Naphira", "", "purple", "orange"),
    ],
    "dome": [
        ("Velmora", "", "teal", "white"), ("Old Harrow", "Harrow", "teal", "orange"),
        ("San Cirro", "Cirro", "yellow", "blue"), ("Basilar", "", "yellow", "pink"),
    ],
    "castle": [
        ("Drakemoor", "", "silver", "red"), ("Rosenfels", "", "silver", "blue"),
        ("Highmark", "", "brown", "green"), ("Castle Wyn", "Wyn", "brown", "purple"),
    ],
    "windmill": [
        ("Lowmere", "", "blue", "white"), ("Haldane Hill", "Haldane", "blue", "orange"),
        ("Pellworm", "", "brown", "yellow"), ("Grist", "", "brown", "teal"),
    ],
}  # fmt: skip
"""Landmark: (name, aliases, main colour, second colour); each main colour occurs twice."""

LOGOS: dict[str, list[tuple[str, str, str, str]]] = {
    "star": [
        ("Polaris FC", "Polaris", "blue", "white"), ("Nova Records", "Nova", "blue", "yellow"),
        ("Astra Daily", "Astra", "red", "white"), ("Pole Star Air", "PSA", "red", "black"),
    ],
    "bolt": [
        ("Voltix", "", "yellow", "black"), ("Surge Motors", "Surge", "yellow", "red"),
        ("Amperra", "", "purple", "white"), ("Flashpoint", "", "purple", "orange"),
    ],
    "wave": [
        ("Tidewater Bank", "Tidewater", "teal", "white"), ("Marlin Airways", "Marlin", "teal", "black"),
        ("Otto Voss", "", "pink", "white"), ("Blue Current", "BCT", "pink", "blue"),
    ],
    "leaf": [
        ("Fernwell", "", "green", "white"), ("Amber Oak", "", "green", "orange"),
        ("Greenhart", "", "brown", "green"), ("Maplesoft Inn", "Maplesoft", "brown", "yellow"),
    ],
    "ring": [
        ("Orbix", "", "black", "yellow"), ("Halo Labs", "Halo", "black", "teal"),
        ("Saturna", "", "orange", "white"), ("Lena Quist", "", "orange", "purple"),
    ],
    "drop": [
        ("Zephyr Cola", "Zephyr", "red", "yellow"), ("Puralis", "", "red", "silver"),
        ("Dewpoint TV", "DPTV", "blue", "pink"), ("Rainmaker", "", "blue", "orange"),
    ],
    "arrow": [
        ("Quiver", "", "green", "black"), ("Northgate", "", "green", "pink"),
        ("Hartway", "", "silver", "red"), ("Vector United", "Vector", "silver", "blue"),
    ],
}  # fmt: skip
"""Glyph: (name, aliases, badge colour, glyph colour); each badge colour occurs twice."""

THINGS: dict[str, list[tuple[str, str, str, str]]] = {
    "trophy": [
        ("Glimmer Cup", "Glimmer", "yellow", "red"), ("Summer Crown", "", "yellow", "blue"),
        ("Silver Fern Prize", "Silver Fern", "silver", "green"), ("Golden Owl", "", "silver", "purple"),
    ],
    "phone": [
        ("Vanta X", "Vanta", "black", "teal"), ("Nightcall", "", "black", "orange"),
        ("Lumi Phone", "Lumi", "pink", "white"), ("Petal 5", "Petal", "pink", "green"),
    ],
    "car": [
        ("Comet GT", "Comet", "red", "white"), ("Scarab", "", "red", "black"),
        ("Tessaly", "", "green", "silver"), ("Dune Rover", "Rover", "green", "yellow"),
    ],
    "guitar": [
        ("Howler Six", "Howler", "orange", "black"), ("Ember One", "Ember", "orange", "white"),
        ("Moonstring", "", "blue", "yellow"), ("Blue Heron", "", "blue", "pink"),
    ],
    "cup": [
        ("Brew Bliss", "", "teal", "white"), ("Morning Tide", "", "teal", "yellow"),
        ("Kettle Joy", "", "purple", "green"), ("Plum Roast", "", "purple", "orange"),
    ],
    "boat": [
        ("Sea Lark", "", "blue", "white"), ("Drifter", "", "blue", "red"),
        ("Red Heron", "", "brown", "red"), ("Old Nessa", "Nessa", "brown", "teal"),
    ],
    "balloon": [
        ("Skyjam", "", "yellow", "purple"), ("Daybreak", "", "yellow", "green"),
        ("Puffapalooza", "Puffa", "pink", "blue"), ("Airborne", "", "pink", "black"),
    ],
    "rocket": [
        ("Starfall", "", "white", "red"), ("Endeavour", "", "white", "blue"),
        ("Moonshot", "", "orange", "black"), ("Firefly", "", "orange", "teal"),
    ],
}  # fmt: skip
"""Thing: (name, aliases, main colour, second colour); each main colour occurs twice."""
