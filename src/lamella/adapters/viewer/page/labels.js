/** Colours of label ids: a tint inside each object, the full colour along its outline. */

const GOLDEN = 11400714819323198485n;
const TIERS = [[0.9, 0.8], [0.85, 1.0], [0.5, 0.95]];
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

/**
 * Return the picture of a tile of labels, once for each opacity.
 * @param {import("./tiles.js").Tile} tile @param {number} opacity @param {Record<string, number[]>} stored
 */
export function labelPicture(tile, opacity, stored) {
  if (tile.drawn.version === opacity) return tile.drawn.picture;
  const { width, height, planes } = tile;
  const picture = new ImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const id = planes[i];
      if (!id) continue;
      const edge =
        (x > 0 && planes[i - 1] !== id) || (x + 1 < width && planes[i + 1] !== id) ||
        (y > 0 && planes[i - width] !== id) || (y + 1 < height && planes[i + width] !== id); // prettier-ignore
      const [red, green, blue] = stored[id] ?? labelColor(id);
      picture.data.set([red, green, blue, edge ? 255 * Math.min(1, opacity * 2.5) : 255 * opacity], 4 * i);
    }
  }
  tile.drawn.picture = picture;
  tile.drawn.version = opacity;
  return picture;
}
