/** The state of a view (what is shown, and where), its listeners, and its form in the address after `#`. */

/**
 * @typedef {{name: string, color: string, window: [number, number], active: boolean}} Channel
 * @typedef {{name: string, kind: string, width: number, height: number, pixel: number | null, unit: string | null,
 *   times: number, depth: number, dtype: string, limits: [number, number], rows: string[], columns: string[],
 *   labels: string[], channels: Channel[], levels: number,
 *   wells: [string, number, number, number, number][],
 *   fields: [string, number, number, number, number, number, string, number, number][], store: string, axes: string,
 *   colors: Record<string, Record<string, number[]>>}} Scene
 */

export class State {
  /** @param {Scene} scene */
  constructor(scene) {
    this.scene = scene;
    this.channels = scene.channels.map((channel) => ({ ...channel, window: /** @type {[number, number]} */ ([...channel.window]) }));
    this.t = 0;
    /** @type {number | "max"} index of the plane, or the maximum over all */
    this.z = Math.floor(scene.depth / 2);
    this.label = "";
    this.opacity = 0.35;
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

  /** Return the view as text for a link. */
  toHash() {
    const number = (/** @type {number} */ value) => Number(value.toPrecision(9)).toString();
    const { x, y, zoom } = this.camera;
    const parts = [`x=${number(x)}`, `y=${number(y)}`, `zoom=${number(zoom)}`, `t=${this.t}`, `z=${this.z}`];
    this.channels.forEach((channel, index) => {
      parts.push(`c${index}=${channel.active ? 1 : 0},${channel.color},${channel.window.map(number).join(",")}`);
    });
    if (this.label) parts.push(`label=${encodeURIComponent(this.label)}`, `opacity=${this.opacity}`);
    return parts.join("&");
  }

  /** Show what a link says; parts that do not fit this store are left out. @param {string} hash */
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
    const z = within("z", 0, scene.depth - 1);
    if (values.get("z") === "max") this.z = "max";
    else if (z !== null) this.z = Math.round(z);
    this.channels.forEach((channel, index) => {
      const [active, color, low, high] = (values.get(`c${index}`) ?? "").split(",");
      if (!/^[0-9a-fA-F]{6}$/.test(color ?? "") || !(Number(low) <= Number(high))) return;
      Object.assign(channel, { active: active === "1", color, window: [Number(low), Number(high)] });
    });
    const label = values.get("label") ?? "";
    this.label = scene.labels.includes(label) ? label : this.label;
    this.opacity = within("opacity", 0, 1) ?? this.opacity;
    return values.has("zoom");
  }
}

/** Return red, green and blue of six hex digits, from 0 to 255. @param {string} color */
export function rgb(color) {
  return [0, 2, 4].map((start) => Number.parseInt(color.slice(start, start + 2), 16));
}
