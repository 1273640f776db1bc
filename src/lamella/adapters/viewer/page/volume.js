/** A field in 3-D, turned with the mouse: the maximum of channels along each ray, and labels as solid bodies.
 *
 * The processor computes it, so that it works in any browser. */
import { colorOfLabel, idAt, storedColorAt } from "./labels.js";
import { rgb } from "./state.js";
import { unpacked } from "./tiles.js";

/** Number of rays along the smaller side of the screen: while the volume is turned, and at rest. */
const COARSE = 110;
const FINE = 300;

export class Volume {
  /** @param {import("./state.js").Source} source @param {import("./state.js").State} state @param {HTMLCanvasElement} canvas
   * @param {() => void} arrived @param {(text: string) => void} failed */
  constructor(source, state, canvas, arrived, failed) {
    this.source = source;
    this.state = state;
    this.canvas = canvas;
    this.arrived = arrived;
    this.failed = failed;
    this.turn = { yaw: 0.6, pitch: -0.5 };
    this.scale = 1;
    /** @type {Record<"block" | "ids", string>} what was requested: the volume of the channels, and that of the labels */
    this.paths = { block: "", ids: "" };
    /** The requests of the volumes in memory, which are drawn until the new ones have arrived. */
    this.loaded = { block: "", ids: "" };
    /** @type {any} */
    this.block = null;
    /** @type {any} */
    this.ids = null;
    this.resting = 0;
    this.complete = true;
    this.listen();
  }

  /** Draw the field in the middle of the screen. @param {number} width @param {number} height @param {number[]} active */
  draw(width, height, active) {
    const { state, canvas } = this;
    const shown = state.mode === "volume" && (active.length > 0 || state.label !== "");
    canvas.hidden = !shown;
    this.complete = true;
    const field = `volume/${state.nearestField()}?t=${state.t}`;
    this.want("block", shown && active.length ? `${field}&c=${active.join(",")}` : "");
    this.want("ids", shown && state.label ? `${field}&label=${encodeURIComponent(state.label)}` : "");
    if (!shown) return;
    const isLoaded = (/** @type {"block" | "ids"} */ name) => !this.paths[name] || this.loaded[name] === this.paths[name];
    this.complete = isLoaded("block") && isLoaded("ids") && !this.resting;
    [canvas.width, canvas.height] = [width, height];
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.fillStyle = "#000"; // fluorescence is drawn on black in both themes
    context.fillRect(0, 0, width, height);
    const block = this.block ?? this.ids;
    if (!block) return;
    const channels = this.block ? state.channelsOf(state.nearestField(), active) : [];
    const labels = this.ids && { block: this.ids, palette: state.labelPalette, opacity: channels.length ? state.opacity : 1 };
    const rays = this.resting ? COARSE : FINE;
    const picture = project(block, channels, this.turn, this.scale, width / height, rays, labels);
    const small = new OffscreenCanvas(picture.width, picture.height);
    /** @type {OffscreenCanvasRenderingContext2D} */ (small.getContext("2d")).putImageData(picture, 0, 0);
    context.imageSmoothingEnabled = true;
    context.drawImage(small, 0, 0, width, height);
    outline(context, block, this.turn, this.scale);
  }

  /** Request a volume unless it was requested already; nothing for an empty path. @param {"block" | "ids"} name @param {string} path */
  async want(name, path) {
    if (this.paths[name] === path) return;
    this.paths[name] = path;
    if (!path || name === "ids") {
      this[name] = null; // labels of another field must not be drawn over this one
      this.loaded[name] = "";
    }
    if (!path) return;
    let block = null;
    try {
      const { header, planes } = unpacked(await this.source.get(path));
      const [count, depth, height, width] = header.shape;
      block = { planes, count, depth, height, width, sizes: header.sizes };
    } catch (error) {
      this.failed(String(/** @type {Error} */ (error).message || error));
      block = { planes: new Uint8Array(1), count: 0, depth: 1, height: 1, width: 1, sizes: [1, 1, 1] };
    }
    if (this.paths[name] !== path) return;
    this[name] = block;
    this.loaded[name] = path;
    this.arrived();
  }

  /** Request the volumes again when they are next drawn: those that failed to load, or all. @param {boolean} all */
  renew(all) {
    for (const name of /** @type {const} */ (["block", "ids"]))
      if (all || this[name]?.count === 0) this.paths[name] = this.loaded[name] = "";
  }

  /** Draw coarsely now, and finely when nothing has moved for a moment. */
  moved() {
    clearTimeout(this.resting);
    this.resting = window.setTimeout(() => {
      this.resting = 0;
      this.arrived();
    }, 150);
    this.arrived();
  }

  listen() {
    const { canvas, turn } = this;
    /** @type {{x: number, y: number} | null} */
    let before = null;
    canvas.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      canvas.setPointerCapture(event.pointerId);
      before = { x: event.clientX, y: event.clientY };
    });
    canvas.addEventListener("pointermove", (event) => {
      event.stopPropagation();
      if (!before) return;
      turn.yaw += (event.clientX - before.x) / 150;
      turn.pitch = Math.min(Math.max(turn.pitch + (event.clientY - before.y) / 150, -1.55), 1.55);
      before = { x: event.clientX, y: event.clientY };
      this.moved();
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (before = null));
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        event.stopPropagation();
        this.scale = Math.min(Math.max(this.scale * 2 ** (-event.deltaY / 400), 0.2), 8);
        this.moved();
      },
      { passive: false },
    );
    canvas.addEventListener("dblclick", (event) => event.stopPropagation());
  }
}

/** Return the size of a volume along X, Y and Z, in units of the shortest side of its voxels.
 * @param {{depth: number, height: number, width: number, sizes: number[]}} block */
function extentOf({ depth, height, width, sizes }) {
  const stretch = sizes.map((size) => size / Math.min(...sizes)); // of Z, Y, X
  const sides = [width * stretch[2], height * stretch[1], depth * stretch[0]];
  return { stretch, sides, radius: Math.hypot(...sides) / 2 };
}

/** Return the axes of the screen in the volume, as x, y, z: right, down, and into the screen.
 * @param {{yaw: number, pitch: number}} turn */
function axesOf(turn) {
  const [sinYaw, cosYaw, sinPitch, cosPitch] = [Math.sin(turn.yaw), Math.cos(turn.yaw), Math.sin(turn.pitch), Math.cos(turn.pitch)];
  return {
    right: [cosYaw, 0, -sinYaw],
    below: [sinYaw * sinPitch, cosPitch, cosYaw * sinPitch],
    ahead: [sinYaw * cosPitch, -sinPitch, cosYaw * cosPitch],
  };
}

/** Draw the edges of the volume. @param {CanvasRenderingContext2D} context @param {any} block
 * @param {{yaw: number, pitch: number}} turn @param {number} scale */
function outline(context, block, turn, scale) {
  const { sides, radius } = extentOf(block);
  const { right, below } = axesOf(turn);
  const { width, height } = context.canvas;
  const zoom = (Math.min(width, height) * scale) / (2 * radius);
  const corners = Array.from({ length: 8 }, (_, corner) => {
    const point = sides.map((side, axis) => ((corner >> axis) & 1 ? side / 2 : -side / 2));
    const along = (/** @type {number[]} */ direction) => point.reduce((sum, value, axis) => sum + value * direction[axis], 0);
    return [width / 2 + along(right) * zoom, height / 2 + along(below) * zoom];
  });
  context.strokeStyle = "rgb(255 255 255 / 28%)";
  context.beginPath();
  for (let corner = 0; corner < 8; corner++) {
    for (const axis of [1, 2, 4]) {
      if (corner & axis) continue;
      context.moveTo(corners[corner][0], corners[corner][1]);
      context.lineTo(corners[corner | axis][0], corners[corner | axis][1]);
    }
  }
  context.stroke();
}

/** Return the voxel of a volume at a distance along a ray. @param {any} block @param {number[]} from @param {number[]} ahead
 * @param {number} t @param {number[]} sides of the volume along X, Y and Z */
function voxelAt({ width, height, depth }, from, ahead, t, sides) {
  const at = (/** @type {number} */ axis, /** @type {number} */ length) =>
    Math.min(Math.max(Math.floor(((from[axis] + t * ahead[axis]) / sides[axis]) * length), 0), length - 1);
  return (at(2, depth) * height + at(1, height)) * width + at(0, width);
}

/** Draw the labels that rays have hit over a picture, brighter where their surface faces the screen.
 * @param {ImageData} picture @param {{block: any, palette: string, opacity: number}} labels @param {Int32Array} voxels of the rays,
 * or -1 @param {Float32Array} distances of these voxels @param {number} pixel distance between rays */
function shade({ data, width, height }, { block, palette, opacity }, voxels, distances, pixel) {
  const { planes, count } = block;
  const strength = Math.min(1, 1.8 * opacity);
  const reach = 2; // the slope between neighbouring rays would show the steps between voxels as noise
  const slope = (/** @type {number} */ before, /** @type {number} */ after, /** @type {number} */ here) => {
    const [low, high] = [before, after].map((ray) => (voxels[ray] >= 0 ? distances[ray] : distances[here]));
    return (high - low) / (2 * reach * pixel);
  };
  for (let here = 0; here < voxels.length; here++) {
    if (voxels[here] < 0) continue;
    const [u, v] = [here % width, Math.floor(here / width)];
    const across = slope(here - Math.min(u, reach), here + Math.min(width - 1 - u, reach), here);
    const down = slope(here - width * Math.min(v, reach), here + width * Math.min(height - 1 - v, reach), here);
    const light = 0.35 + 0.65 / Math.hypot(across, down, 1);
    const color = colorOfLabel(idAt(planes, count, voxels[here]), storedColorAt(planes, count, voxels[here]), palette);
    for (let part = 0; part < 3; part++) {
      const at = 4 * here + part;
      data[at] = data[at] * (1 - strength) + color[part] * light * strength;
    }
  }
}

/**
 * Return the maximum along each ray, through the windows and colours of the channels, and the first label over it.
 * @param {{planes: ArrayLike<number>, count: number, depth: number, height: number, width: number, sizes: number[]}} block
 * @param {import("./state.js").Channel[]} channels @param {{yaw: number, pitch: number}} turn @param {number} scale
 * @param {number} aspect width divided by height @param {number} rays along the smaller side
 * @param {{block: any, palette: string, opacity: number} | null} [labels]
 */
export function project(block, channels, turn, scale, aspect, rays, labels = null) {
  const [across, down] = aspect > 1 ? [Math.round(rays * aspect), rays] : [rays, Math.round(rays / aspect)];
  const picture = new ImageData(across, down);
  const { planes, width, height, depth } = block;
  const { stretch, sides, radius } = extentOf(block);
  const { right, below, ahead } = axesOf(turn);
  const step = (2 * radius) / Math.min(rays, 2 * radius);
  const pixel = (2 * radius) / scale / Math.min(across, down);
  const voxels = width * height * depth;
  const colors = channels.map((channel) => rgb(channel.color));
  const middle = sides.map((side) => side / 2);
  const met = new Int32Array(labels ? across * down : 0).fill(-1);
  const distances = new Float32Array(met.length);
  for (let v = 0; v < down; v++) {
    for (let u = 0; u < across; u++) {
      const [a, b] = [(u + 0.5 - across / 2) * pixel, (v + 0.5 - down / 2) * pixel];
      let [near, far] = [-radius, radius];
      const from = [0, 0, 0];
      for (let axis = 0; axis < 3; axis++) {
        from[axis] = middle[axis] + a * right[axis] + b * below[axis];
        if (Math.abs(ahead[axis]) < 1e-9) {
          if (from[axis] < 0 || from[axis] >= sides[axis]) far = near - 1;
          continue;
        }
        const [enter, leave] = [-from[axis] / ahead[axis], (sides[axis] - from[axis]) / ahead[axis]];
        near = Math.max(near, Math.min(enter, leave));
        far = Math.min(far, Math.max(enter, leave));
      }
      const at = 4 * (v * across + u);
      if (far <= near) continue;
      let [red, green, blue] = [0, 0, 0];
      for (let channel = 0; channel < Math.min(channels.length, block.count); channel++) {
        let most = Number.NEGATIVE_INFINITY;
        for (let t = near + step / 2; t < far; t += step) {
          const x = Math.min(Math.max(Math.floor((from[0] + t * ahead[0]) / stretch[2]), 0), width - 1);
          const y = Math.min(Math.max(Math.floor((from[1] + t * ahead[1]) / stretch[1]), 0), height - 1);
          const z = Math.min(Math.max(Math.floor((from[2] + t * ahead[2]) / stretch[0]), 0), depth - 1);
          const value = planes[channel * voxels + (z * height + y) * width + x];
          if (value > most) most = value;
        }
        const [low, high] = channels[channel].window;
        const level = high > low ? Math.min(Math.max((most - low) / (high - low), 0), 1) : Number(most > low);
        red += level * colors[channel][0];
        green += level * colors[channel][1];
        blue += level * colors[channel][2];
      }
      picture.data[at] = red;
      picture.data[at + 1] = green;
      picture.data[at + 2] = blue;
      picture.data[at + 3] = 255;
      for (let t = near + step / 2; labels && t < far; t += step) {
        const voxel = voxelAt(labels.block, from, ahead, t, sides);
        if (!idAt(labels.block.planes, labels.block.count, voxel)) continue;
        met[v * across + u] = voxel;
        distances[v * across + u] = t;
        break;
      }
    }
  }
  if (labels) shade(picture, labels, met, distances, pixel);
  return picture;
}
