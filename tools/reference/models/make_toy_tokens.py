"""Golden of the toy base's tokenizer: tests/golden/models/toy_tokenizer.json, [{text, ids, ids150}].

usage: make_toy_tokens.py TOKENIZER_FOLDER FILE; needs transformers 4.26.1 and ftfy 6.3.1.
"""
import json
import sys

from transformers import CLIPTokenizer

from make_tokenizer import FIXED, chunks, padded

folder, file = sys.argv[1:]
tokenizer = CLIPTokenizer.from_pretrained(folder)
assert tokenizer.fix_text is not None, "ftfy is missing"
PROMPTS = [
    "pixel art portrait of a person, long blonde hair, pale skin, blue eyes, happy mouth, red clothes, white background",
    "pixel art portrait of sks person, zkz clothes, white background", "a photo of 1girl, 1boy and 12 ohwx dogs", *FIXED,
    " ".join(["straight short hair"] * 60),
]
rows = [{"text": text, "ids": tokenizer(text).input_ids, "ids150": chunks(padded(tokenizer, text, 152))} for text in PROMPTS]
with open(file, "w", encoding="ascii") as f:
    f.write("[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n")
