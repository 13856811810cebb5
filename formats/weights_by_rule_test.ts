import { deepEqual, equal, throws } from "node:assert/strict";
import { uniformByRule, weightByRule } from "./weights_by_rule.ts";

// Expected values: tools/reference/weights.py with NumPy 2: weights(name, shape, salt), first four values, the last one
// and the float64 sum.
const CASES: [name: string, shape: number[], salt: number, first: number[], last: number, sum: number][] = [
  [
    "unet.conv_in.weight",
    [320, 4, 3, 3],
    0,
    [0.1069689616560936, -0.2264218032360077, 0.12529557943344116, 0.1901329606771469],
    0.1951821744441986,
    -10.578859261908292,
  ],
  [
    "unet.conv_norm_out.weight",
    [320],
    0,
    [1.067441463470459, 1.0722249746322632, 0.9542813897132874, 0.9455476999282837],
    0.9533048272132874,
    319.37842136621475,
  ],
  [
    "unet.conv_in.bias",
    [320],
    0,
    [0.025579726323485374, -0.02543581835925579, 0.0011746883392333984, -0.01979292742908001],
    0.040347155183553696,
    -0.7954540983773768,
  ],
  [
    "text_encoder.text_model.embeddings.token_embedding.weight",
    [100, 32],
    0,
    [-0.020093996077775955, -0.046787895262241364, -0.011694115586578846, 0.02114275097846985],
    0.029710138216614723,
    0.26487617820021114,
  ],
  [
    "unet.time_embedding.linear_1.weight",
    [16, 8],
    7,
    [-0.42616793513298035, 0.07537321746349335, -0.0640791729092598, 0.4574308395385742],
    0.2741328775882721,
    0.10200443561188877,
  ],
  [
    "text_encoder.text_model.final_layer_norm.weight",
    [32],
    3,
    [0.9694222807884216, 1.0934385061264038, 0.9533284902572632, 1.0695494413375854],
    1.0198161602020264,
    31.857011437416077,
  ],
  [
    "vae.größe.weight",
    [3, 5],
    0,
    [0.5470753312110901, -0.39035764336586, -0.6717353463172913, 0.09067858755588531],
    0.5245504975318909,
    -0.2631084695458412,
  ],
];

for (const [name, shape, salt, first, last, sum] of CASES) {
  Deno.test(`weightByRule() equals NumPy's values for ${name}, salt ${salt}`, () => {
    const values = weightByRule(name, shape, salt);
    deepEqual([...values.slice(0, 4)], first);
    equal(values.at(-1), last);
    // NumPy adds pairwise, the loop in order: they differ by rounding alone.
    const total = values.reduce((a, b) => a + b, 0);
    equal(Math.abs(total - sum) < 1e-11 * values.length, true, `sum ${total}, expected ${sum}`);
  });
}

Deno.test("uniformByRule() equals NumPy's values", () => {
  deepEqual([...uniformByRule("lora1.x", 5, 2)], [
    -0.4568384885787964,
    -0.7409948110580444,
    0.42348265647888184,
    0.11533164978027344,
    -0.34806764125823975,
  ]);
});

Deno.test("weightByRule() names a dimension that is no size", () => {
  throws(() => weightByRule("unet.x.weight", [2, -3]), { name: "RangeError", message: /\[2,-3\].*-3 is not/ });
});
