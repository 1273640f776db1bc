/** Orthogonal slices: a plane (X, Z) below the picture and a plane (Z, Y) beside it, through a point of the picture. */

import { painted } from "./labels.js";
import { blended } from "./soft.js";
import { unpacked } from "./tiles.js";

/** Fraction of the height or width of the screen that a slice covers. */
const SHARE = 0.26;

export class Slices {
  /** @param {import("./state.js").Source} source @param {import("./state.js").State} state
   * @param {{xz: HTMLCanvasElement, yz: HTMLCanvasElement}} canvases @param {() => void} arrived
   * @param {(text: string) => void} failed */
  constructor(source, state, canvases, arrived, failed) {
    this.source = source;
    this.state = state;
    this.canvases = canvases;
    this.arrived = arrived;
    this.failed = failed;
    /** @type {Record<string, {path: string, block: any}>} of channels as "xz" and "yz", of labels as "xz ids" and "yz ids" */
    this.loaded = {};
    /** @type {Record<string, string>} */
    this.asked = {};
    this.complete = true;
  }

  /** Return the height of the slice below and the width of the slice beside the picture, in pixels of the screen.
   * @param {number} width @param {number} height @returns {[number, number]} */
  static sizes(width, height) {
    return [Math.round(height * SHARE), Math.round(width * SHARE)];
  }

  /** Draw both slices. @param {number} width @param {number} height of the screen @param {number[]} active
   * @param {number[]} ground */
  draw(width, height, active, ground) {
    const { state } = this;
    const field = state.fieldAt(state.cross);
    const shown = state.mode === "slices" && field >= 0 && (active.length > 0 || state.label !== "");
    this.canvases.xz.parentElement?.classList.toggle("sliced", shown);
    for (const canvas of Object.values(this.canvases)) canvas.hidden = !shown;
    this.complete = true;
    if (!shown) return;
    const [below, beside] = Slices.sizes(width, height);
    const { camera, cross, scene } = state;
    const [, , left, top, across, down] = scene.fields[field];
    for (const name of /** @type {const} */ (["xz", "yz"])) {
      const canvas = this.canvases[name];
      const flat = name === "xz";
      [canvas.width, canvas.height] = flat ? [width, below] : [beside, height - below];
      const at = flat ? (cross.y - top) / down : (cross.x - left) / across;
      const where = `t=${state.t}&at=${Math.min(Math.max(at, 0), 1).toFixed(5)}`;
      this.request(name, active.length ? `slice/${field}/${name}?c=${active.join(",")}&${where}` : "");
      this.request(`${name} ids`, state.label ? `slice/${field}/${name}?label=${encodeURIComponent(state.label)}&${where}` : "");
      const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
      context.fillStyle = `rgb(${ground.join(",")})`;
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingEnabled = false;
      const start = flat ? (left - camera.x) * camera.zoom + width / 2 : (top - camera.y) * camera.zoom + height / 2;
      const long = (flat ? across : down) * camera.zoom;
      for (const [block, picture] of this.pictures(name, field, active)) {
        const { length } = block;
        const plan = depthOnScreen(block, flat ? below : beside, long / length);
        context.save();
        if (!flat) context.transform(0, 1, 1, 0, 0, 0); // Z runs to the right, Y down
        context.drawImage(picture, start, plan.start, long, plan.length);
        context.restore();
      }
      const block = this.blockOf(name);
      if (block) this.mark(context, flat, depthOnScreen(block, flat ? below : beside, long / block.length));
    }
  }

  /** Return the loaded block of a slice: that of the channels, or without one that of the labels. @param {string} name */
  blockOf(name) {
    return this.loaded[name]?.block ?? this.loaded[`${name} ids`]?.block;
  }

  /** Return the pictures of the channels and of the labels that have been loaded, each with its block.
   * @param {string} name @param {number} field @param {number[]} active @returns {[any, OffscreenCanvas][]} */
  pictures(name, field, active) {
    const { state } = this;
    /** @type {[any, OffscreenCanvas][]} */
    const found = [];
    for (const key of [name, `${name} ids`]) {
      const block = this.loaded[key]?.block;
      this.complete &&= !this.asked[key] || this.loaded[key]?.path === this.asked[key];
      if (!block || !this.asked[key]) continue;
      const { planes, count, depth, length } = block;
      const plane = { width: length, height: depth, count, planes };
      const channels = state.channelsOf(field, active);
      const windows = channels.map((channel) => channel.window);
      const image =
        key === name
          ? blended(plane, channels, [{ box: [0, 0, length, depth], windows }])
          : painted(plane, state.opacity, state.labelPalette);
      const picture = new OffscreenCanvas(length, depth);
      /** @type {OffscreenCanvasRenderingContext2D} */ (picture.getContext("2d")).putImageData(image, 0, 0);
      found.push([block, picture]);
    }
    return found;
  }

  /** Mark the shown plane and the crossing. @param {CanvasRenderingContext2D} context @param {boolean} flat
   * @param {{start: number, length: number}} plan */
  mark(context, flat, plan) {
    const { state } = this;
    const { camera, cross, scene } = state;
    const width = context.canvas.width;
    const height = context.canvas.height;
    context.fillStyle = "rgb(63 182 168 / 80%)";
    if (state.z !== "max") {
      const z = Math.round(plan.start + ((state.z + 0.5) / scene.depth) * plan.length);
      context.fillRect(flat ? 0 : z, flat ? z : 0, flat ? width : 1, flat ? 1 : height);
    }
    const [below, beside] = [this.canvases.xz.height, this.canvases.yz.width];
    const [screenWidth, screenHeight] = flat ? [width, 0] : [0, height + below];
    const at = flat ? (cross.x - camera.x) * camera.zoom + screenWidth / 2 : (cross.y - camera.y) * camera.zoom + screenHeight / 2;
    context.fillRect(flat ? Math.round(at) : 0, flat ? 0 : Math.round(at), flat ? 1 : beside, flat ? below : 1);
  }

  /** Return the plane of Z under a point of a slice, in pixels along Z. @param {"xz" | "yz"} name @param {number} at */
  planeAt(name, at) {
    const block = this.blockOf(name);
    if (!block) return null;
    const flat = name === "xz";
    const { camera, scene, cross } = this.state;
    const [, , , , across, down] = scene.fields[this.state.fieldAt(cross)];
    const canvas = this.canvases[name];
    const step = ((flat ? across : down) * camera.zoom) / block.length;
    const plan = depthOnScreen(block, flat ? canvas.height : canvas.width, step);
    const z = Math.floor(((at - plan.start) / plan.length) * scene.depth);
    return z >= 0 && z < scene.depth ? z : null;
  }

  /** Request a slice unless it was requested already; nothing for an empty path. @param {string} name @param {string} path */
  async request(name, path) {
    if ((this.asked[name] ?? "") === path) return;
    this.asked[name] = path;
    if (!path) return;
    try {
      const { header, planes } = unpacked(await this.source.get(path));
      if (this.asked[name] !== path) return;
      const [count, depth, length] = header.shape;
      this.loaded[name] = { path, block: { planes, count, depth, length, sizes: header.sizes, along: name.startsWith("xz") ? 2 : 1 } };
    } catch (error) {
      this.loaded[name] = { path, block: null };
      this.failed(String(/** @type {Error} */ (error).message || error));
    }
    this.arrived();
  }

  /** Request slices again when they are next drawn: those that failed to load, or all. @param {boolean} all */
  renew(all) {
    for (const name of Object.keys(this.asked)) if (all || this.loaded[name]?.block === null) this.asked[name] = "";
  }
}

/** Return start and length of the Z axis on the screen, in physical proportions unless the slice has no room for them.
 * @param {any} block @param {number} room in pixels
 * @param {number} step screen pixels per pixel along the other axis */
function depthOnScreen(block, room, step) {
  const thick = (step * block.sizes[0]) / block.sizes[block.along];
  const length = Math.min(Math.max(thick * block.depth, Math.min(room, block.depth)), room - 8);
  return { start: (room - length) / 2, length };
}
