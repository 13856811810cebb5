"""Golden of --weighted_captions: weighted_prompts.json (texts, their parts and tokens with weights) and weighted_prompts.safetensors (states).

usage: SD_SCRIPTS_DIR=... make_weighted_prompts.py BASE OUT; BASE is the toy base; needs transformers 4.26.1, ftfy 6.3.1 and sd-scripts v0.6.4.
The states are those of prompts that fit one row: longer ones upstream joins with BOS and EOS inside, here they are joined as without weights.
"""
import json
import os
import sys

import torch
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from common import save_tensors

sys.path.insert(0, os.environ["SD_SCRIPTS_DIR"])
from library.custom_train_functions import get_prompts_with_weights, get_weighted_text_embeddings, parse_prompt_attention  # noqa: E402
from pathlib import Path  # noqa: E402

base, out = Path(sys.argv[1]), Path(sys.argv[2])
tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
assert tokenizer.fix_text is not None, "ftfy is missing"
model = CLIPTextModel(CLIPTextConfig.from_pretrained(base / "text_encoder")).eval()
model.load_state_dict({k: v.float() for k, v in load_file(base / "text_encoder" / "model.safetensors").items()}, strict=False)

TEXTS = [
    "normal text", "an (important) word", "(unbalanced", r"\(literal\]", "(unnecessary)(parens)", "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
    "pixel art portrait of (sks person:1.4), [red] clothes, (white background:0.6)", "[[grey]] hair, ((blue eyes))", "(weight:1.2", "no:weight) here]",
    r"back\\slash and \[brackets\]", "(a:0)", "(a:-1.5) b", "", "()", "[]", "a:1.5", "(a b:1.1)(c:1.1) d", "été (日本:2), (:1.3)", "(x:.5)",
    "(long:1.2) " + " ".join(["straight short hair"] * 40) + " (tail:0.5)",
]
rows = []
for text in TEXTS:
    tokens, weights = get_prompts_with_weights(tokenizer, [text], 150)
    rows.append({"text": text, "parts": parse_prompt_attention(text), "tokens": tokens[0], "weights": weights[0]})
(out / "weighted_prompts.json").write_text(json.dumps({
    "tokens": "without BOS and EOS, at most 150", "rows": rows}, indent=None, separators=(",", ":"), ensure_ascii=True).replace("},{", "},\n{") + "\n")
short = [text for text in TEXTS if len(tokenizer(text).input_ids) <= 77 and text not in ("(a:0)",)][:9]
with torch.no_grad():
    states = get_weighted_text_embeddings(tokenizer, model, short, "cpu", max_embeddings_multiples=1)
    plain = get_weighted_text_embeddings(tokenizer, model, ["normal text"], "cpu", max_embeddings_multiples=1)
    assert torch.equal(plain, model(tokenizer(["normal text"], padding="max_length", return_tensors="pt").input_ids)[0])
print(short)
save_tensors(out / "weighted_prompts.safetensors", {"states": states})
