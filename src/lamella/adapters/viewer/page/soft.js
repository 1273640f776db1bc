/** Draw tiles with a Canvas in two dimensions, for browsers without WebGL 2 (remote desktops). */

import { rgb } from "./state.js";

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

  /** @param {import("./tiles.js").Tile} tile @param {number[]} place @param {import("./state.js").Channel[]} channels */
  drawPixels(tile, place, channels) {
    const look = channels.map((channel) => `${channel.color}:${channel.window}`).join();
    if (tile.drawn.look !== look) {
      tile.drawn.canvas ??= new OffscreenCanvas(tile.width, tile.height);
      tile.drawn.canvas.getContext("2d").putImageData(blended(tile, channels), 0, 0);
      tile.drawn.look = look;
    }
    this.rectangle(tile.drawn.canvas, place);
  }

  /** @param {import("./tiles.js").Tile} tile @param {ImageData} picture @param {number[]} place @param {number} version */
  drawLabels(tile, picture, place, version) {
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

/** Return the colours of a tile: the sum of its channels; transparent where there is no field.
 * @param {import("./tiles.js").Tile} tile @param {import("./state.js").Channel[]} channels */
export function blended(tile, channels) {
  const { width, height, planes, mask } = tile;
  const pixels = width * height;
  const total = new Float32Array(pixels * 3);
  channels.slice(0, tile.count).forEach((channel, index) => {
    const [red, green, blue] = rgb(channel.color);
    const [low, high] = channel.window;
    const span = high - low;
    const offset = index * pixels;
    for (let i = 0; i < pixels; i++) {
      const value = planes[offset + i];
      let level = span > 0 ? (value - low) / span : Number(value > low);
      level = level > 0 ? Math.min(level, 1) : 0; // also where the value is not a number
      total[3 * i] += level * red;
      total[3 * i + 1] += level * green;
      total[3 * i + 2] += level * blue;
    }
  });
  const picture = new ImageData(width, height);
  for (let i = 0; i < pixels; i++) {
    picture.data[4 * i] = total[3 * i]; // the array rounds
    picture.data[4 * i + 1] = total[3 * i + 1];
    picture.data[4 * i + 2] = total[3 * i + 2];
    picture.data[4 * i + 3] = mask[i] ? 255 : 0;
  }
  return picture;
}
