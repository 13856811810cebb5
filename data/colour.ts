/**
 * Weak changes of colour (`color_aug`): what sd-scripts asks of albumentations, `OneOf(HueSaturationValue(8, 0, 0),
 * RandomGamma((95, 105)), p=0.33)`.
 *
 * @module
 */
import type { RgbImage } from "./bmp.ts";
import type { RandomStream } from "../random/philox.ts";

/** One change: hue turned by so many degrees, or brightness (0…1) raised to a power. */
export type ColourChange = { readonly hueDegrees: number } | { readonly gamma: number };

const share = 0.33;
/** OpenCV counts hue in steps of two degrees. */
const hueLimitDegrees = 2 * 8;
const gammaRange = 0.05;

/** Draws a change for a sample: none in two of three. */
export function drawColour(random: RandomStream): ColourChange | null {
  if (random.nextFloat() >= share) return null;
  const isHue = random.nextFloat() < 0.5, place = 2 * random.nextFloat() - 1;
  return isHue ? { hueDegrees: hueLimitDegrees * place } : { gamma: 1 + gammaRange * place };
}

/** Red, green or blue of a hue in degrees at full saturation, as OpenCV's HSV has it: 1 near the colour's own angle, 0 opposite. */
function hueChannel(hue: number, angle: number): number {
  const distance = Math.abs(((hue - angle) % 360 + 540) % 360 - 180);
  return Math.min(1, Math.max(0, 2 - distance / 60));
}

function turnHue(pixels: Uint8Array, degrees: number): Uint8Array {
  const turned = new Uint8Array(pixels.length);
  for (let at = 0; at < pixels.length; at += 3) {
    const red = pixels[at], green = pixels[at + 1], blue = pixels[at + 2];
    const most = Math.max(red, green, blue), span = most - Math.min(red, green, blue);
    const hue = span === 0 ? 0 : 60 *
      (most === red ? (green - blue) / span : most === green ? 2 + (blue - red) / span : 4 + (red - green) / span);
    for (let channel = 0; channel < 3; channel++) {
      // Value and the smallest channel stay, so saturation does.
      turned[at + channel] = Math.round(most - span + span * hueChannel(hue + degrees, 120 * channel));
    }
  }
  return turned;
}

/**
 * Changes a picture's colours.
 *
 * @example Pure red turned by 60 degrees is yellow
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const red = { width: 1, height: 1, pixels: new Uint8Array([255, 0, 0]) };
 * deepEqual([...changeColour(red, { hueDegrees: 60 }).pixels], [255, 255, 0]);
 * ```
 */
export function changeColour(image: RgbImage, change: ColourChange): RgbImage {
  if ("hueDegrees" in change) return { ...image, pixels: turnHue(image.pixels, change.hueDegrees) };
  const table = Uint8Array.from({ length: 256 }, (_, value) => Math.floor((value / 255) ** change.gamma * 255 + 1e-9));
  return { ...image, pixels: image.pixels.map((value) => table[value]) };
}
