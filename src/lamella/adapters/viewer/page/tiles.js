/** Tiles of raw pixels: which ones are visible, requests for them, and a cache in memory.
 *
 * The canvas is divided into tiles of SIDE x SIDE pixels at each level; a pixel of level 2 covers 4 x 4 canvas units. The
 * key of a tile is level, column, row and query, as in the request: `2/0/1?c=0,1&t=0&z=3`. */

export const SIDE = 512;
const KEPT_BYTES = 400 * 2 ** 20;
const IN_FLIGHT = 8;

/** The value of a mask where no pixel was written; 1 is a pixel, 0 is outside of all fields. */
export const UNWRITTEN = 2;

/**
 * @typedef {{key: string, level: number, column: number, row: number, width: number, height: number, count: number,
 *   planes: Uint8Array | Uint16Array | Uint32Array | Float32Array, mask: Uint8Array, damaged: [number, string][],
 *   unwritten: boolean, old: boolean, drawn: Record<string, any>}} Tile an `old` tile is shown until a new one has arrived;
 *   `drawn` has what a renderer computed from it, such as textures
 */

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };

export class Tiles {
  /** @param {import("./state.js").Source} source @param {import("./state.js").Scene} scene @param {() => void} arrived
   * @param {(text: string) => void} failed */
  constructor(source, scene, arrived, failed) {
    this.source = source;
    this.scene = scene;
    this.arrived = arrived;
    this.failed = failed;
    /** @type {Map<string, Tile>} in the order of their last use */
    this.kept = new Map();
    this.bytes = 0;
    /** @type {Map<string, AbortController>} */
    this.flights = new Map();
    /** @type {Set<string>} tiles that the server refused */
    this.refused = new Set();
    this.requests = 0;
    /** Called with a tile that leaves memory, so that textures are freed. @type {(tile: Tile) => void} */
    this.dropped = () => {};
  }

  /** Return the level whose pixels have nearly the size of screen pixels. @param {number} zoom */
  levelFor(zoom) {
    const level = Math.round(Math.log2(1 / zoom));
    return Math.min(Math.max(level, 0), this.scene.levels - 1);
  }

  /**
   * Return the tiles to draw, the coarsest first, and request those that are missing.
   * @param {{x: number, y: number, zoom: number}} camera @param {number} width @param {number} height
   * @param {string} query
   */
  visible(camera, width, height, query) {
    const level = this.levelFor(camera.zoom);
    const wanted = this.grid(camera, width, height, level);
    /** @type {Tile[]} */
    const shown = [];
    /** @type {Set<string>} */
    const used = new Set();
    /** @type {{key: string, path: string}[]} */
    const missing = [];
    for (const [column, row] of wanted) {
      const tile = this.get(level, column, row, query);
      if (tile) shown.push(tile);
      if (!tile || tile.old) {
        missing.push({ key: `${level}/${column}/${row}?${query}`, path: `tile/${level}/${column}/${row}?${query}` });
        for (let up = 1; !tile && level + up < this.scene.levels; up++) {
          const parent = this.get(level + up, column >> up, row >> up, query);
          if (parent) {
            if (!used.has(parent.key)) shown.push(parent);
            used.add(parent.key);
            break;
          }
        }
      }
    }
    this.request(missing);
    this.complete = missing.every(({ key }) => this.refused.has(key));
    return shown.sort((a, b) => b.level - a.level);
  }

  /** @param {{x: number, y: number, zoom: number}} camera @param {number} width @param {number} height @param {number} level */
  grid(camera, width, height, level) {
    const step = SIDE * 2 ** level;
    const first = (/** @type {number} */ centre, /** @type {number} */ pixels) =>
      Math.max(0, Math.floor((centre - pixels / 2 / camera.zoom) / step));
    const last = (/** @type {number} */ centre, /** @type {number} */ pixels, /** @type {number} */ size) =>
      Math.min(Math.ceil(size / step) - 1, Math.floor((centre + pixels / 2 / camera.zoom) / step));
    /** @type {[number, number][]} */
    const found = [];
    for (let row = first(camera.y, height); row <= last(camera.y, height, this.scene.height); row++)
      for (let column = first(camera.x, width); column <= last(camera.x, width, this.scene.width); column++) found.push([column, row]);
    const distance = (/** @type {[number, number]} */ [column, row]) =>
      ((column + 0.5) * step - camera.x) ** 2 + ((row + 0.5) * step - camera.y) ** 2;
    return found.sort((a, b) => distance(a) - distance(b));
  }

  /** @param {number} level @param {number} column @param {number} row @param {string} query */
  get(level, column, row, query) {
    const key = `${level}/${column}/${row}?${query}`;
    const tile = this.kept.get(key);
    if (tile) {
      this.kept.delete(key);
      this.kept.set(key, tile);
    }
    return tile;
  }

  /** Request tiles, the nearest first, and abandon requests that are not needed any more. @param {{key: string, path: string}[]} missing */
  request(missing) {
    const keys = new Set(missing.map(({ key }) => key));
    for (const [key, flight] of this.flights) {
      if (!keys.has(key)) {
        flight.abort();
        this.flights.delete(key);
      }
    }
    for (const { key, path } of missing) {
      if (this.flights.size >= IN_FLIGHT) break;
      if (!this.flights.has(key) && !this.refused.has(key)) this.fetch(key, path);
    }
  }

  /** @param {string} key @param {string} path */
  async fetch(key, path) {
    const flight = new AbortController();
    this.flights.set(key, flight);
    this.requests += 1;
    try {
      this.keep(decoded(key, await this.source.get(path, flight.signal)));
    } catch (error) {
      if (flight.signal.aborted) return;
      this.refused.add(key);
      this.failed(String(/** @type {Error} */ (error).message || error));
    }
    if (this.flights.get(key) === flight) this.flights.delete(key);
    this.arrived();
  }

  /** @param {Tile} tile */
  keep(tile) {
    const before = this.kept.get(tile.key);
    if (before) this.remove(before);
    this.kept.set(tile.key, tile);
    this.bytes += tile.planes.byteLength + tile.mask.byteLength;
    for (const [key, oldest] of this.kept) {
      if (this.bytes <= KEPT_BYTES || key === tile.key) break;
      this.remove(oldest);
    }
  }

  /** @param {Tile} tile */
  remove(tile) {
    this.kept.delete(tile.key);
    this.bytes -= tile.planes.byteLength + tile.mask.byteLength;
    this.dropped(tile);
  }

  /** Request tiles again when they are next shown: those with pixels that were not written or not readable, or all. @param {boolean} all */
  renew(all) {
    for (const tile of this.kept.values()) tile.old ||= all || tile.unwritten || tile.damaged.length > 0;
    this.refused.clear();
  }

  /** Remove all tiles and cancel all requests, because the layout has changed. */
  clear() {
    for (const flight of this.flights.values()) flight.abort();
    this.flights.clear();
    this.refused.clear();
    for (const tile of [...this.kept.values()]) this.remove(tile);
  }
}

/**
 * Parse pixels: length, header, planes, mask.
 * @param {ArrayBuffer} buffer
 * @returns {{header: any, planes: Tile["planes"], rest: number}} `rest` is where the mask starts
 */
export function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const kind = ARRAYS[/** @type {keyof typeof ARRAYS} */ (header.dtype)];
  const count = header.shape.reduce((/** @type {number} */ product, /** @type {number} */ size) => product * size, 1);
  const planes = new kind(buffer, 4 + length, count);
  return { header, planes, rest: 4 + length + planes.byteLength };
}

/** @param {string} key @param {ArrayBuffer} buffer @returns {Tile} */
export function decoded(key, buffer) {
  const { header, planes, rest } = unpacked(buffer);
  const [count, height, width] = header.shape;
  const mask = new Uint8Array(buffer, rest, height * width);
  const [level, column, row] = key.split("?")[0].split("/").map(Number);
  const unwritten = mask.includes(UNWRITTEN);
  return { key, level, column, row, width, height, count, planes, mask, damaged: header.damaged, unwritten, old: false, drawn: {} };
}
