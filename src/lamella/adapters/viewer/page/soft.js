/** Draw tiles with a Canvas in two dimensions, for browsers without WebGL 2 (remote desktops). */

import { rgb } from "./state.js";
import { UNWRITTEN } from "./tiles.js";

/** Greys of the hatching where pixels are not written. */
export const [HATCH, EMPTY] = [70, 30];

/**
 * @typedef {{box: number[], windows: import("./state.js").Range[]}} Part
 *   windows of the channels in a box of a tile: left, top, right, bottom in its pixels
 */

export class SoftRenderer {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.name = "canvas";
    this.most = Number.POSITIVE_INFINITY;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
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
      tile.drawn.canvas.getContext("2d").putImageData(blended(tile, channels, parts), 0, 0);
      tile.drawn.look = look;
    }
    this.rectangle(tile.drawn.canvas, place);
  }

  /** @param {import("./tiles.js").Tile} tile @param {ImageData} picture @param {number[]} place */
  drawLabels(tile, picture, place) {
    const { version } = tile.drawn;
    if (tile.drawn.uploaded !== version) {
      tile.drawn.labels ??= new OffscreenCanvas(tile.width, tile.height);
      tile.drawn.labels.getContext("2d").putImageData(picture, 0, 0);
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
  const { width, height, planes, mask } = tile;
  const pixels = width * height;
  const total = new Float32Array(pixels * 3);
  channels.slice(0, tile.count).forEach((channel, index) => {
    const [red, green, blue] = rgb(channel.color);
    const offset = index * pixels;
    for (const { box, windows } of parts) {
      const [low, high] = windows[index];
      const span = high - low;
      for (let y = box[1]; y < box[3]; y++) {
        for (let i = y * width + box[0]; i < y * width + box[2]; i++) {
          const value = planes[offset + i];
          let level = span > 0 ? (value - low) / span : Number(value > low);
          level = level > 0 ? Math.min(level, 1) : 0; // also where the value is not a number
          total[3 * i] += level * red;
          total[3 * i + 1] += level * green;
          total[3 * i + 2] += level * blue;
        }
      }
    }
  });
  const picture = new ImageData(width, height);
  const { data } = picture;
  for (let i = 0; i < pixels; i++) {
    if (mask?.[i] === UNWRITTEN) {
      const grey = ((i % width) + Math.floor(i / width)) % 8 < 2 ? HATCH : EMPTY;
      data[4 * i] = data[4 * i + 1] = data[4 * i + 2] = grey;
    } else {
      data[4 * i] = total[3 * i]; // the array rounds
      data[4 * i + 1] = total[3 * i + 1];
      data[4 * i + 2] = total[3 * i + 2];
    }
    data[4 * i + 3] = !mask || mask[i] ? 255 : 0;
  }
  return picture;
}
