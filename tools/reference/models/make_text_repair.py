"""Tables and golden of the text repair in front of the CLIP tokenizer, from ftfy 6.3.1 (pip install ftfy==6.3.1).

--tables FILE writes what models/clip/text_repair_tables.json holds: HTML entities, the single-byte encodings, and the rules that
tell mojibake. --golden FILE writes tests/golden/models/text_repair.json: [text, what ftfy.fix_text makes of it] for random texts, most of
them decoded wrongly once or twice.
"""
import argparse
import inspect
import json
import random
import re
from pathlib import Path

import ftfy
from ftfy import badness, chardata

WORDS = """café naïve Ångström schön élève señor façade über crème brûlée à la carte où çà São Paulo “quoted” ‘single’ don’t it’s … – — • € £ ¥ © ® ™ ° ½ ×
Привет мир Ελληνικά κόσμε žluťoučký kůň łódź ğüşıöç tiếng Việt 日本語 한글 中文 שלום مرحبا 🙂 🔥 👍 ﬁne ｆｕｌｌ １２３ ﾃｽﾄ the a of dog cat girl
&amp; &eacute; &lt; <b> &#39; &#x1F600; &NTILDE; &unknown; ª º ¬ ¤ ƒ œuvre Œ ß ﬂow ǆ ŉ \u00a0 \u00ad \u200b \ufeff \x85 \x92 \x1b[31m \r\n \u2028""".split(" ")
ENCODINGS = ["latin-1", "windows-1252", "windows-1251", "windows-1250", "windows-1253", "windows-1254", "windows-1257", "iso-8859-2", "macroman", "cp437"]


def alternatives():
    """The alternatives of ftfy's badness expression, without blanks and comments, categories still as {names}."""
    source = inspect.getsource(badness)
    verbose = re.search(r'BADNESS_RE = re\.compile\(\s*r"""(.*?)"""\.format', source, re.S).group(1)
    plain, inside = "", False
    for line in verbose.split("\n"):
        for n, character in enumerate(line):
            if character == "#" and not inside:
                break
            inside = character == "[" or (inside and character != "]")
            if inside or not character.isspace():
                plain += character
    assert re.compile(plain.format(**badness.MOJIBAKE_CATEGORIES)).flags == badness.BADNESS_RE.flags & ~re.VERBOSE
    return plain.split("|")


def tables():
    encodings = {}
    for name in chardata.CHARMAP_ENCODINGS:
        encodings[name] = bytes(range(0x80, 0x100)).decode(name)
        assert len(encodings[name]) == 128
    return {
        "encodings": encodings,
        "badness": alternatives(),
        "categories": badness.MOJIBAKE_CATEGORIES,
        "utf8Clues": chardata.UTF8_CLUES,
        "htmlEntities": {name[1:-1]: text for name, text in chardata.HTML_ENTITIES.items()},
    }


def golden(seed, count):
    rng = random.Random(seed)
    rows = []
    while len(rows) < count:
        text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 8)))
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            text = text.encode("utf-8").decode("sloppy-" + rng.choice(ENCODINGS[1:7]) if rng.random() < 0.5 else rng.choice(ENCODINGS), "replace")
        if rng.random() < 0.3:
            text = "".join(rng.choice(["", c, c, c, c, c, c, " ", "\ufffd"]) if ord(c) > 127 and rng.random() < 0.3 else c for c in text)
        if rng.random() < 0.2:
            text = text.replace("\xa0", " ")
        if rng.random() < 0.2:
            text += " " + rng.choice(WORDS)
        rows.append([text, ftfy.fix_text(text)])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=600)
    args = parser.parse_args()
    if args.tables:
        args.tables.write_text(json.dumps(tables(), indent=2) + "\n", encoding="ascii")
    if args.golden:
        rows = golden(args.seed, args.count)
        args.golden.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="ascii")
        print(sum(text != fixed for text, fixed in rows), "of", len(rows), "changed")


if __name__ == "__main__":
    main()
