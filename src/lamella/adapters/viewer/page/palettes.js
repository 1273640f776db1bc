/** Colours that people with any colour vision can tell apart: of channels, labels and heat maps. */

const OKABE_ITO = ["56B4E9", "E69F00", "009E73", "F0E442", "0072B2", "D55E00", "CC79A7", "FFFFFF"];

/** Return colours of channels. @param {string} palette @param {import("./state.js").Channel[]} stored */
export function channelColors(palette, stored) {
  if (palette === "grey") return stored.map(() => "FFFFFF");
  if (palette !== "safe") return stored.map((channel) => channel.color);
  const few = [["FFFFFF"], ["FF00FF", "00FF00"], ["FF00FF", "FFFF00", "00FFFF"]][stored.length - 1];
  return stored.map((_, index) => (few ?? OKABE_ITO)[index % OKABE_ITO.length]);
}

/** Return the name of the palette whose colours the channels have, or "" for other colours.
 * @param {import("./state.js").Channel[]} channels @param {import("./state.js").Channel[]} stored */
export function paletteOf(channels, stored) {
  const same = (/** @type {string} */ palette) =>
    channelColors(palette, stored).every((color, index) => color.toLowerCase() === channels[index].color.toLowerCase());
  return ["stored", "safe", "grey"].find(same) ?? "";
}

const SAFE_IDS = OKABE_ITO.slice(0, 7).map((color) => [0, 2, 4].map((start) => Number.parseInt(color.slice(start, start + 2), 16)));

/** Return the colour of a label id. @param {number | bigint} id */
export const safeLabelColor = (id) => SAFE_IDS[Number(BigInt(id) % BigInt(SAFE_IDS.length))];

/** Cividis, from low to high. */
const STOPS = [
  [0, 34, 78],
  [39, 63, 108],
  [87, 93, 109],
  [125, 124, 120],
  [166, 157, 117],
  [211, 193, 100],
  [254, 232, 56],
];

/** Return the colour of a fraction from 0 to 1 of a heat map's range. @param {number} part @returns {string} */
export function heatColor(part) {
  const at = Math.min(Math.max(part, 0), 1) * (STOPS.length - 1);
  const index = Math.min(Math.floor(at), STOPS.length - 2);
  const mixed = STOPS[index].map((value, axis) => Math.round(value + (STOPS[index + 1][axis] - value) * (at - index)));
  return `rgb(${mixed.join(",")})`;
}

/** Return the least and the largest value of a heat map. @param {(number | null)[]} values @returns {[number, number]} */
export function heatRange(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? [Math.min(...known), Math.max(...known)] : [0, 0];
}
