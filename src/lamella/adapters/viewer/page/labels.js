/** Colours of label ids: a tint inside each object, the full colour along its outline. */

import { safeLabelColor } from "./palettes.js";

const GOLDEN = 11400714819323198485n;
const TIERS = [
  [0.9, 0.8],
  [0.85, 1.0],
  [0.5, 0.95],
];
/** @type {Map<number, number[]>} */
const known = new Map();

/** Return the colour of an id, the same as in previews and in stored colours. @param {number} id */
export function labelColor(id) {
  let color = known.get(id);
  if (!color) {
    const hue = Number((BigInt(id) * GOLDEN) & (2n ** 64n - 1n)) / 2 ** 64;
    const [saturation, value] = TIERS[id % 3];
    color = [5, 3, 1].map((n) => {
      const k = (n + hue * 6) % 6;
      return Math.round(255 * (value - value * saturation * Math.max(0, Math.min(k, 4 - k, 1))));
    });
    known.set(id, color);
  }
  return color;
}

/** Return the colour of an id. @param {number} id @param {number} stored 2**24 plus its stored colour, or 0
 * @param {string} palette "stored" or "safe" */
export function colorOfLabel(id, stored, palette) {
  if (palette === "safe") return safeLabelColor(id);
  return stored ? [(stored >> 16) & 255, (stored >> 8) & 255, stored & 255] : labelColor(id);
}

/**
 * Return the picture of a tile of labels: made once for each look.
 * @param {import("./tiles.js").Tile} tile @param {number} opacity @param {string} palette "stored" or "safe"
 */
export function labelPicture(tile, opacity, palette) {
  const look = `${opacity} ${palette}`;
  if (tile.drawn.version === look) return tile.drawn.picture;
  const { width, height, planes } = tile;
  const pixels = width * height;
  const picture = new ImageData(width, height);
  const { data } = picture;
  const [inside, outline] = [Math.round(255 * opacity), Math.round(255 * Math.min(1, opacity * 2.5))];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const id = planes[i];
      if (!id) continue;
      const edge =
        (x > 0 && planes[i - 1] !== id) ||
        (x + 1 < width && planes[i + 1] !== id) ||
        (y > 0 && planes[i - width] !== id) ||
        (y + 1 < height && planes[i + width] !== id);
      const color = colorOfLabel(id, tile.count > 1 ? planes[pixels + i] : 0, palette);
      data[4 * i] = color[0];
      data[4 * i + 1] = color[1];
      data[4 * i + 2] = color[2];
      data[4 * i + 3] = edge ? outline : inside;
    }
  }
  tile.drawn.picture = picture;
  tile.drawn.version = look;
  return picture;
}
