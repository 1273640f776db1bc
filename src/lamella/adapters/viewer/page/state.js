/** The state of a view (what is shown, and where), its listeners, and its form in the address after `#`. */

/**
 * @typedef {[number, number]} Range
 * @typedef {{name: string, color: string, window: Range, active: boolean}} Channel
 * @typedef {{name: string, kind: string, width: number, height: number, pixel: number | null, unit: string | null,
 *   times: number, depth: number, dtype: string, types: string[], limits: Range, rows: string[], columns: string[],
 *   labels: string[], channels: Channel[], levels: number, acquisitions: string[], editable: boolean,
 *   wells: [string, number, number, number, number][],
 *   fields: [string, number, number, number, number, number, string, number, number, number][],
 *   store: string, axes: string, searched: number, gap: number}} Scene `gap` is the distance between fields in a grid;
 *   a well is [path, x, y, width, height] in canvas units; a field [path, index of its well, x, y, width, height, reason
 *   why it shows no pixels or "", width and height in its own pixels, index of its acquisition]
 * @typedef {{get: (path: string, signal?: AbortSignal) => Promise<ArrayBuffer>,
 *   post: (path: string, value: any) => Promise<any>}} Source sends requests by HTTP, or as messages of a notebook
 */

/** Read an answer as JSON. @param {Source} source @param {string} path */
export async function readJson(source, path) {
  return JSON.parse(new TextDecoder().decode(await source.get(path)));
}

export class State {
  /** @param {Scene} scene */
  constructor(scene) {
    this.scene = scene;
    this.channels = scene.channels.map((channel) => ({ ...channel, window: /** @type {Range} */ ([...channel.window]) }));
    this.t = 0;
    /** @type {number | "max"} index of the plane, or the maximum over all */
    this.z = Math.floor(scene.depth / 2);
    this.acquisition = 0;
    this.label = scene.channels.length ? "" : (scene.labels[0] ?? "");
    this.labelPalette = "stored";
    this.opacity = scene.channels.length ? 0.35 : 1;
    /** @type {(Range[] | null)[] | null} contrast windows of each well; null if all wells have those of the channels */
    this.wellWindows = null;
    /** @type {"plane" | "slices" | "volume"} */
    this.mode = "plane";
    /** Where slices cross, in canvas units. @type {{x: number, y: number}} */
    this.cross = { x: 0, y: 0 };
    /** @type {{table: string, column: string, values: (number | null)[]} | null} */
    this.heat = null;
    this.following = false;
    /** Centre of the screen in canvas units, and screen pixels per canvas unit. */
    this.camera = { x: scene.width / 2, y: scene.height / 2, zoom: 1 };
    /** @type {(() => void)[]} */
    this.listeners = [];
  }

  /** Call a function after each change. @param {() => void} listener */
  listen(listener) {
    this.listeners.push(listener);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  /** Return whether slices and the volume can be shown: there are several planes, and pixels. */
  get isDeep() {
    const { depth, channels, labels } = this.scene;
    return depth > 1 && channels.length + labels.length > 0;
  }

  /** Return channels with the windows of a field. @param {number} field @param {number[]} active indices of channels */
  channelsOf(field, active) {
    const own = this.wellWindows?.[this.scene.fields[field][1]];
    return active.map((index) => (own ? { ...this.channels[index], window: own[index] } : this.channels[index]));
  }

  /** Return the query parameters of time, Z and acquisition. */
  get place() {
    return `t=${this.t}&z=${this.z}${this.acquisition ? `&a=${this.acquisition}` : ""}`;
  }

  /** Return the index of the field at a point, or -1. @param {{x: number, y: number}} point */
  fieldAt({ x, y }) {
    return this.scene.fields.findLastIndex(
      ([, , left, top, across, down, , , , acquisition]) =>
        acquisition === this.acquisition && x >= left && x < left + across && y >= top && y < top + down,
    );
  }

  /** Return the index of the field nearest to the middle of the screen. */
  nearestField() {
    const at = this.fieldAt(this.camera);
    if (at >= 0) return at;
    let [best, least] = [0, Number.POSITIVE_INFINITY];
    this.scene.fields.forEach(([, , left, top, across, down, , , , acquisition], index) => {
      const distance = Math.hypot(left + across / 2 - this.camera.x, top + down / 2 - this.camera.y);
      if (acquisition === this.acquisition && distance < least) [best, least] = [index, distance];
    });
    return best;
  }

  /** Return the view as text for a link. */
  toHash() {
    const number = (/** @type {number} */ value) => Number(value.toPrecision(9)).toString();
    const { x, y, zoom } = this.camera;
    const parts = [`x=${number(x)}`, `y=${number(y)}`, `zoom=${number(zoom)}`, `t=${this.t}`, `z=${this.z}`];
    if (this.acquisition) parts.push(`a=${this.acquisition}`);
    this.channels.forEach((channel, index) => {
      parts.push(`c${index}=${channel.active ? 1 : 0},${channel.color},${channel.window.map(number).join(",")}`);
    });
    if (this.label) parts.push(`label=${encodeURIComponent(this.label)}`, `opacity=${this.opacity}`);
    if (this.labelPalette !== "stored") parts.push(`ids=${this.labelPalette}`);
    if (this.wellWindows) parts.push("own=1");
    if (this.heat) parts.push(`table=${encodeURIComponent(this.heat.table)}`, `column=${encodeURIComponent(this.heat.column)}`);
    if (this.mode === "slices") parts.push(`slices=${number(this.cross.x)},${number(this.cross.y)}`);
    if (this.mode === "volume") parts.push("volume=1");
    return parts.join("&");
  }

  /**
   * Set the state that a link has, without values that do not fit this store. Return whether the link has a camera
   * position, and what must be requested from the server: contrast of each well, and a column of a table.
   * @param {string} hash @returns {{placed: boolean, own: boolean, table: string | null, column: string | null}}
   */
  fromHash(hash) {
    const values = new URLSearchParams(hash.replace(/^#/, ""));
    const within = (/** @type {string} */ name, /** @type {number} */ low, /** @type {number} */ high) => {
      const text = values.get(name);
      const value = Number(text);
      return text !== null && text !== "" && Number.isFinite(value) && value >= low && value <= high ? value : null;
    };
    const { scene, camera } = this;
    camera.x = within("x", -scene.width, 2 * scene.width) ?? camera.x;
    camera.y = within("y", -scene.height, 2 * scene.height) ?? camera.y;
    camera.zoom = within("zoom", 1e-6, 1e3) ?? camera.zoom;
    this.t = Math.round(within("t", 0, scene.times - 1) ?? this.t);
    this.acquisition = Math.round(within("a", 0, scene.acquisitions.length - 1) ?? this.acquisition);
    const z = within("z", 0, scene.depth - 1);
    if (values.get("z") === "max" && scene.depth > 1) this.z = "max";
    else if (z !== null) this.z = Math.round(z);
    this.channels.forEach((channel, index) => {
      const [active, color, low, high] = (values.get(`c${index}`) ?? "").split(",");
      if (!/^[0-9a-fA-F]{6}$/.test(color ?? "") || !(Number(low) <= Number(high))) return;
      Object.assign(channel, { active: active === "1", color, window: [Number(low), Number(high)] });
    });
    const label = values.get("label") ?? "";
    if (values.has("zoom")) this.label = scene.labels.includes(label) ? label : "";
    this.opacity = within("opacity", 0, 1) ?? this.opacity;
    this.labelPalette = values.get("ids") === "safe" ? "safe" : "stored";
    const [x, y] = (values.get("slices") ?? "").split(",").map(Number);
    if (values.has("slices") && Number.isFinite(x) && Number.isFinite(y)) Object.assign(this, { mode: "slices", cross: { x, y } });
    else this.mode = values.has("volume") ? "volume" : "plane";
    return { placed: values.has("zoom"), own: values.has("own"), table: values.get("table"), column: values.get("column") };
  }
}

/** Return red, green and blue of six hex digits, from 0 to 255. @param {string} color */
export function rgb(color) {
  return [0, 2, 4].map((start) => Number.parseInt(color.slice(start, start + 2), 16));
}
