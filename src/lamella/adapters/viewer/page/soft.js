/** Draw tiles with a Canvas in two dimensions, for browsers without WebGL 2 (remote desktops). */

import { rgb } from "./state.js";
import { UNWRITTEN } from "./tiles.js";

/** Greys of the hatching where pixels are not written. */
export const [HATCH, EMPTY] = [70, 30];

/** Maximum number of channels that are drawn together. */
export const MOST = 16;

/**
 * @typedef {{box: number[], windows: import("./state.js").Range[]}} Part
 *   windows of the channels in a box of a tile: left, top, right, bottom in its pixels
 */

/** Options of a canvas that the processor draws: without a graphics card this is faster than emulating one. */
export const PLAIN = { willReadFrequently: true };

export class SoftRenderer {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.name = "canvas";
    this.emulated = true;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { ...PLAIN, alpha: false }));
  }

  /** @param {number[]} ground */
  begin(ground) {
    const { context, canvas } = this;
    context.imageSmoothingEnabled = false;
    context.fillStyle = `rgb(${ground.join(",")})`;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }

  /** @param {import("./tiles.js").Tile} tile @param {number[]} place @param {import("./state.js").Channel[]} channels
   * @param {Part[]} parts */
  drawPixels(tile, place, channels, parts) {
    const look = JSON.stringify([channels.map((channel) => channel.color), parts]);
    if (tile.drawn.look !== look) {
      tile.drawn.canvas ??= new OffscreenCanvas(tile.width, tile.height);
      tile.drawn.canvas.getContext("2d", PLAIN).putImageData(blended(tile, channels, parts), 0, 0);
      tile.drawn.look = look;
    }
    this.rectangle(tile.drawn.canvas, place);
  }

  /** @param {import("./tiles.js").Tile} tile @param {ImageData} picture @param {number[]} place */
  drawLabels(tile, picture, place) {
    const { version } = tile.drawn;
    if (tile.drawn.uploaded !== version) {
      tile.drawn.labels ??= new OffscreenCanvas(tile.width, tile.height);
      tile.drawn.labels.getContext("2d", PLAIN).putImageData(picture, 0, 0);
      tile.drawn.uploaded = version;
    }
    this.rectangle(tile.drawn.labels, place);
  }

  /** @param {OffscreenCanvas} picture @param {number[]} place */
  rectangle(picture, [left, top, right, bottom]) {
    this.context.drawImage(picture, left, top, right - left, bottom - top);
  }

  /** @param {import("./tiles.js").Tile} tile */
  drop(tile) {
    tile.drawn = {};
  }

  end() {}
}

/**
 * Return the colours of a tile: the sum of its channels, hatching where nothing is written, transparent without a field.
 * @param {{width: number, height: number, count: number, planes: ArrayLike<number>, mask?: Uint8Array}} tile
 * @param {import("./state.js").Channel[]} channels @param {Part[]} parts
 */
export function blended(tile, channels, parts) {
  const { width, height, mask, planes } = tile;
  const picture = new ImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  const shown = channels.slice(0, tile.count);
  const whole = planes instanceof Uint8Array || planes instanceof Uint16Array;
  for (const { box, windows } of parts) {
    const size = (box[2] - box[0]) * (box[3] - box[1]);
    if (whole && size > 20000) {
      const tables = shown.map((channel, index) => table(channel.color, windows[index], planes instanceof Uint8Array ? 256 : 65536));
      addTables(tile, box, tables, pixels);
    } else addValues(tile, box, shown, windows, pixels);
  }
  if (!mask) return picture;
  for (let i = 0; i < mask.length; i++) {
    if (mask[i] === UNWRITTEN) pixels[i] = 0xff000000 | (((i % width) + Math.floor(i / width)) % 8 < 2 ? HATCH * 0x10101 : EMPTY * 0x10101);
    else if (!mask[i]) pixels[i] = 0;
  }
  return picture;
}

/** @type {Map<string, {even: Uint32Array, green: Uint32Array}>} */
const knownTables = new Map();

/**
 * Return the colour of each value of a channel, times 16: `even` has red and blue in one number, `green` the third. The sum
 * of 16 channels fits into 32 bits.
 * @param {string} color @param {import("./state.js").Range} window @param {number} length
 */
function table(color, window, length) {
  const key = `${color} ${window} ${length}`;
  const known = knownTables.get(key);
  if (known) return known;
  const [red, green, blue] = rgb(color);
  const made = { even: new Uint32Array(length), green: new Uint32Array(length) };
  for (let value = 0; value < length; value++) {
    const part = 16 * levelOf(value, window);
    made.even[value] = (Math.round(part * red) << 16) | Math.round(part * blue);
    made.green[value] = Math.round(part * green);
  }
  if (knownTables.size > 32) knownTables.clear();
  knownTables.set(key, made);
  return made;
}

/** Return the brightness of a value in a window: 0 at its start, 1 at its end.
 * @param {number} value @param {import("./state.js").Range} window */
function levelOf(value, [low, high]) {
  const level = high > low ? (value - low) / (high - low) : Number(value > low);
  return level > 0 ? Math.min(level, 1) : 0; // 0 also for NaN
}

/** @param {{width: number, height: number, planes: ArrayLike<number>}} tile @param {number[]} box
 * @param {{even: Uint32Array, green: Uint32Array}[]} looks @param {Uint32Array} pixels */
function addTables({ width, height, planes }, box, looks, pixels) {
  const length = width * height;
  for (let y = box[1]; y < box[3]; y++) {
    for (let i = y * width + box[0]; i < y * width + box[2]; i++) {
      let even = 8 * 0x10001; // half of the 16 by which the sum is divided, so that it is rounded
      let green = 8;
      for (let index = 0; index < looks.length; index++) {
        const value = planes[index * length + i];
        even += looks[index].even[value];
        green += looks[index].green[value];
      }
      const red = even >>> 20;
      const blue = (even & 0xffff) >>> 4;
      green >>>= 4;
      pixels[i] = 0xff000000 | (Math.min(blue, 255) << 16) | (Math.min(green, 255) << 8) | Math.min(red, 255);
    }
  }
}

/** @param {{width: number, height: number, planes: ArrayLike<number>}} tile @param {number[]} box
 * @param {import("./state.js").Channel[]} channels @param {import("./state.js").Range[]} windows @param {Uint32Array} pixels */
function addValues({ width, height, planes }, box, channels, windows, pixels) {
  const length = width * height;
  const colors = channels.map((channel) => rgb(channel.color));
  for (let y = box[1]; y < box[3]; y++) {
    for (let i = y * width + box[0]; i < y * width + box[2]; i++) {
      let [red, green, blue] = [0.5, 0.5, 0.5];
      for (let index = 0; index < colors.length; index++) {
        const level = levelOf(planes[index * length + i], windows[index]);
        red += level * colors[index][0];
        green += level * colors[index][1];
        blue += level * colors[index][2];
      }
      pixels[i] = 0xff000000 | (Math.min(blue, 255) << 16) | (Math.min(green, 255) << 8) | Math.min(red, 255);
    }
  }
}
