/** Pictures of label ids: translucent inside each object, and more opaque along its outline. */

import { safeLabelColor } from "./palettes.js";

const GOLDEN = 11400714819323198485n;
const TIERS = [
  [0.9, 0.8],
  [0.85, 1.0],
  [0.5, 0.95],
];
/** @typedef {number | bigint} Id an id of more than 32 bits is a bigint */
/** @type {Map<Id, number[]>} */
const known = new Map();

/** Return an id of a block of labels: the planes are low bits, stored colours, high bits.
 * @param {ArrayLike<number>} planes @param {number} count of planes @param {number} at @returns {Id} */
export function idAt(planes, count, at) {
  const high = count > 2 ? planes[(2 * planes.length) / count + at] : 0;
  return high ? (BigInt(high) << 32n) | BigInt(planes[at]) : planes[at];
}

/** Return 2**24 plus the stored colour of an id, or 0. @param {ArrayLike<number>} planes @param {number} count @param {number} at */
export const storedColorAt = (planes, count, at) => (count > 1 ? planes[planes.length / count + at] : 0);

/** Return the colour of an id, the same as in previews and in stored colours. @param {Id} id */
export function labelColor(id) {
  let color = known.get(id);
  if (!color) {
    const hue = Number((BigInt(id) * GOLDEN) & (2n ** 64n - 1n)) / 2 ** 64;
    const [saturation, value] = TIERS[Number(BigInt(id) % 3n)];
    color = [5, 3, 1].map((n) => {
      const k = (n + hue * 6) % 6;
      return Math.round(255 * (value - value * saturation * Math.max(0, Math.min(k, 4 - k, 1))));
    });
    known.set(id, color);
  }
  return color;
}

/** Return the colour of an id. @param {Id} id @param {number} stored 2**24 plus its stored colour, or 0
 * @param {string} palette "stored" or "safe" */
export function colorOfLabel(id, stored, palette) {
  if (palette === "safe") return safeLabelColor(id);
  return stored ? [(stored >> 16) & 255, (stored >> 8) & 255, stored & 255] : labelColor(id);
}

/**
 * Return the picture of a tile of labels, which is computed once for each opacity and palette.
 * @param {import("./tiles.js").Tile} tile @param {number} opacity @param {string} palette "stored" or "safe"
 */
export function labelPicture(tile, opacity, palette) {
  const look = `${opacity} ${palette}`;
  if (tile.drawn.version !== look) Object.assign(tile.drawn, { picture: painted(tile, opacity, palette), version: look });
  return tile.drawn.picture;
}

/**
 * Return a picture of label ids.
 * @param {{width: number, height: number, count: number, planes: ArrayLike<number>}} tile @param {number} opacity
 * @param {string} palette "stored" or "safe"
 */
export function painted({ width, height, count, planes }, opacity, palette) {
  const high = count > 2 ? 2 * width * height : -1; // where the high bits start
  const same = (/** @type {number} */ a, /** @type {number} */ b) =>
    planes[a] === planes[b] && (high < 0 || planes[high + a] === planes[high + b]);
  const picture = new ImageData(width, height);
  const { data } = picture;
  const [inside, outline] = [Math.round(255 * opacity), Math.round(255 * Math.min(1, opacity * 2.5))];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      if (!planes[i] && (high < 0 || !planes[high + i])) continue;
      const edge =
        (x > 0 && !same(i, i - 1)) ||
        (x + 1 < width && !same(i, i + 1)) ||
        (y > 0 && !same(i, i - width)) ||
        (y + 1 < height && !same(i, i + width));
      const color = colorOfLabel(idAt(planes, count, i), storedColorAt(planes, count, i), palette);
      data[4 * i] = color[0];
      data[4 * i + 1] = color[1];
      data[4 * i + 2] = color[2];
      data[4 * i + 3] = edge ? outline : inside;
    }
  }
  return picture;
}
